"""Graphs as JSON lines, GraphML and node-link JSON, in and out.

==========  ========================================================================================================
format      what a file holds
==========  ========================================================================================================
jsonl       a line for each node, ``{"node": {...}}``, then one for each relationship, ``{"relationship": {...}}``, with
            their fields: everything but vectors. Written and read in bounded memory
node-link   one JSON object as networkx writes it, ``{"nodes": [...], "edges": [...]}``
graphml     XML for other programs; nested data is JSON text in it
==========  ========================================================================================================

The latter two go through a graph of networkx (:mod:`.networks`) and are held in memory. What is read may refer to nodes
that the graph has already; each batch is a transaction, so reading again after an error goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ...dumps import json_line
from ...errors import InvalidInput
from ...records import RecordFile
from .records import Node, Relationship

if TYPE_CHECKING:
    from .graph import Graph

Format = Literal["jsonl", "node-link", "graphml"]

BATCH: Final = 1_000

_SUFFIXES: Final[dict[str, Format]] = {".jsonl": "jsonl", ".json": "node-link", ".graphml": "graphml"}


class Carried(NamedTuple):
    """What was read or written."""

    nodes: int
    relationships: int


def format_of(path: Path, given: str | None) -> Format:
    """The format of a file, by its name unless given. Raises InvalidInput."""
    known: dict[str, Format] = {format: format for format in _SUFFIXES.values()}
    found = known.get(given) if given is not None else _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise InvalidInput(f"the format of a graph is one of {', '.join(known)}")
    return found


def store_all(graph: Graph, items: Iterable[Node | Relationship]) -> Carried:
    """Store nodes and relationships in batches, each one transaction. A relationship's ends come before it."""
    counts = [0, 0]
    waiting = iter(items)
    while batch := list(islice(waiting, BATCH)):
        nodes = [item for item in batch if isinstance(item, Node)]
        relationships = [item for item in batch if isinstance(item, Relationship)]
        graph.store_many(nodes, relationships, to_deleted=True)
        counts[0] += len(nodes)
        counts[1] += len(relationships)
    return Carried(*counts)


def to_lines(graph: Graph) -> Iterator[bytes]:
    """The graph as JSON lines, each with its line break, in order of id; soft-deleted nodes too, vectors not."""
    for node in graph.nodes(deleted=True):
        yield json_line({"node": {**asdict(node), "tags": list(node.tags)}}) + b"\n"
    for relationship in graph.relationships():
        yield json_line({"relationship": asdict(relationship)}) + b"\n"


def from_lines(file: RecordFile) -> Iterator[Node | Relationship]:
    """The nodes and relationships of a file. Raises InvalidInput naming the line of the first bad one."""
    for record in file.records():
        if record.error is not None:
            raise InvalidInput(f"line {record.line}: {record.error}")
        yield read_item(record.value, f"line {record.line}")


def read_item(value: Any, place: str) -> Node | Relationship:
    """The node or relationship of one record. Raises InvalidInput naming ``place``."""
    kind, fields = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else ("", None)
    if kind not in ("node", "relationship") or not isinstance(fields, dict):
        raise InvalidInput(f'{place}: neither {{"node": ...}} nor {{"relationship": ...}}')
    try:
        return Node(**fields) if kind == "node" else Relationship(**fields)
    except (TypeError, InvalidInput) as error:
        raise InvalidInput(f"{place}: {error}") from None


def export(graph: Graph, target: Path | IO[bytes], format: str | None = None) -> Carried:
    """Write the graph to a file of its own, or to a stream. Raises InvalidInput, OSError, BackendUnavailable."""
    chosen = format_of(target if isinstance(target, Path) else Path(), format)
    if chosen != "jsonl":
        from . import networks

        whole = networks.to_networkx(graph)
        networks.write(whole, target, chosen)
        return Carried(whole.number_of_nodes(), whole.number_of_edges())
    counts = [0, 0]
    stream = target.open("xb") if isinstance(target, Path) else target
    try:
        for line in to_lines(graph):
            counts[line.startswith(b'{"relationship"')] += 1
            stream.write(line)
    finally:
        if isinstance(target, Path):
            stream.close()
    return Carried(*counts)


def load(graph: Graph, path: Path, format: str | None = None) -> Carried:
    """Read a file into the graph. Raises InvalidInput, NodeNotFound, OSError, BackendUnavailable."""
    chosen = format_of(path, format)
    if chosen == "jsonl":
        with RecordFile(path, "jsonl") as file:
            return store_all(graph, from_lines(file))
    from . import networks

    return store_all(graph, networks.from_networkx(networks.read(path, chosen)))
