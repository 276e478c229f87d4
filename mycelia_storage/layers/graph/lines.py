"""A graph as JSON lines: one for each thing in it, written and read in bounded memory.

============================  ========================================================================================
line                          what it holds
============================  ========================================================================================
``{"vector_config": {...}}``  how the vectors are declared, the fields of :class:`.settings.VectorConfig`; first, in a
                              file with vectors
``{"node": {...}}``           the fields of :class:`.records.Node`, soft-deleted ones too
``{"relationship": {...}}``   the fields of :class:`.records.Relationship`
``{"vector": {...}}``         ``node_id``, ``float32`` and the vector's own ``metadata``; those that rest with their
                              soft-deleted nodes too
============================  ========================================================================================

``float32`` is base64 of the numbers as little-endian float32, exactly as they are stored: four thirds of four bytes
each, where decimals that give the same bits take about twelve. Files made by hand may have a list of numbers instead.
A field that is left out has its default. A file without vectors is read as any other.
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...dumps import json_line
from ...errors import InvalidInput
from ...records import Record, RecordFile
from .records import Node, NodeVector, Relationship
from .settings import VectorConfig

if TYPE_CHECKING:
    from .graph import Graph

Item = Node | Relationship | NodeVector

_VECTOR_FIELDS: Final = frozenset({"node_id", "float32", "metadata"})


class Placed(NamedTuple):
    """What a line of a file holds, and which line that is."""

    item: Item | VectorConfig
    place: str


def to_lines(graph: Graph) -> Iterator[tuple[str, bytes]]:
    """The lines of a graph, each with its kind and its line break: nodes, relationships, vectors, in order of id."""
    if next(graph.vectors(deleted=True), None) is not None:
        yield _line("vector_config", asdict(graph.config.vector_config))
    for node in graph.nodes(deleted=True):
        yield _line("node", {**asdict(node), "tags": list(node.tags)})
    for relationship in graph.relationships():
        yield _line("relationship", asdict(relationship))
    for node_id, vector, metadata in graph.vectors(deleted=True):
        yield _line("vector", {"node_id": node_id, "float32": b64encode(vector).decode(), "metadata": metadata})


def _line(kind: str, fields: dict[str, Any]) -> tuple[str, bytes]:
    return kind, json_line({kind: fields}) + b"\n"


def from_lines(file: RecordFile) -> Iterator[Placed]:
    """What the lines of a file hold. Raises InvalidInput naming the line of the first bad one."""
    for record in file.records():
        yield _read(record)


def _read(record: Record) -> Placed:
    place = f"line {record.line}"
    if record.error is not None:
        raise InvalidInput(f"{place}: {record.error}")
    try:
        return Placed(read_item(record.value), place)
    except (TypeError, InvalidInput) as error:
        raise InvalidInput(f"{place}: {error}") from None


def declared_vectors(path: Path) -> VectorConfig | None:
    """How the vectors of a file are declared, or else as many dimensions as its first has; None if it has none."""
    with RecordFile(path, "jsonl") as file:
        for record in file.records():
            if isinstance(record.value, dict) and not record.value.keys().isdisjoint(("vector_config", "vector")):
                item = _read(record).item
                if isinstance(item, VectorConfig):
                    return item
                if isinstance(item, NodeVector):
                    return VectorConfig(len(item.vector) // 4)
    return None


def read_item(value: Any) -> Item | VectorConfig:
    """What one line holds. Raises InvalidInput, TypeError for fields that there are not."""
    kind, fields = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else ("", None)
    if isinstance(fields, dict):
        if kind == "node":
            return Node(**fields)
        if kind == "relationship":
            return Relationship(**fields)
        if kind == "vector":
            return _read_vector(fields)
        if kind == "vector_config":
            return _read_config(fields)
    raise InvalidInput('one of {"node": ...}, {"relationship": ...} and {"vector": ...} is meant to be here')


def _read_vector(fields: dict[str, Any]) -> NodeVector:
    unknown = fields.keys() - _VECTOR_FIELDS
    if unknown:
        raise InvalidInput(f"a vector has no field {min(unknown)!r}")
    node_id, numbers, metadata = fields.get("node_id"), fields.get("float32"), fields.get("metadata", {})
    if not isinstance(node_id, str) or not isinstance(metadata, dict):
        raise InvalidInput("a vector has the id of its node, and a dict as metadata")
    return NodeVector(node_id, _read_numbers(numbers), metadata)


def _read_numbers(numbers: Any) -> bytes:
    try:
        if isinstance(numbers, str):
            return b64decode(numbers, validate=True)
        if isinstance(numbers, list) and all(type(number) in (int, float) for number in numbers):
            return struct.pack(f"<{len(numbers)}f", *numbers)
    except (ValueError, OverflowError, struct.error):
        pass
    raise InvalidInput("float32 is base64 of little-endian float32, or a list of numbers of that size")


def _read_config(fields: dict[str, Any]) -> VectorConfig:
    config = VectorConfig(**fields)
    _ = config.index  # raises for what cannot be declared
    return config
