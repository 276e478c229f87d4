"""Graphs as files, in and out.

==========  ========================================================================================================
format      what a file holds
==========  ========================================================================================================
jsonl       all of the graph, vectors and what is soft-deleted too, as JSON lines (:mod:`.lines`). Written and read in
            bounded memory
node-link   one JSON object as networkx writes it, ``{"nodes": [...], "edges": [...]}``
graphml     XML for other programs; nested data is JSON text in it
==========  ========================================================================================================

The latter two go through a graph of networkx (:mod:`.networks`), are held in memory, and leave out vectors and what is
soft-deleted. They are for programs that draw and compute: those would show a vector as one more label of its node, as
GraphML has no lists, or as hundreds of Python floats at each. What moves or keeps a graph is jsonl.

What is read may refer to nodes that the graph has already. A vector that a node has stays unless the file has another.
Each batch is a transaction, so reading again after an error goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ...errors import InvalidInput, InvalidValue
from ...records import RecordFile
from ...similarity import to_vector
from .errors import NodeNotFound
from .lines import Item, Placed, from_lines, to_lines
from .records import Node, NodeVector, Relationship
from .settings import VectorConfig

if TYPE_CHECKING:
    from .graph import Graph

Format = Literal["jsonl", "node-link", "graphml"]

#: Items stored in one transaction. The more there are, the more of them fall on one page of a large table: into a graph
#: of a million relationships 20,000 at a time take half of the system time that 1,000 do. Each takes about 2 KB of
#: memory and 30 microseconds of the write lock.
BATCH: Final = 20_000
#: Characters and bytes of data in one transaction, roughly.
_MOST_CHARS: Final = 16_000_000

_SUFFIXES: Final[dict[str, Format]] = {".jsonl": "jsonl", ".json": "node-link", ".graphml": "graphml"}


class Carried(NamedTuple):
    """What was read or written."""

    nodes: int
    relationships: int
    vectors: int


def format_of(path: Path, given: str | None) -> Format:
    """The format of a file, by its name unless given. Raises InvalidInput."""
    known: dict[str, Format] = {format: format for format in _SUFFIXES.values()}
    found = known.get(given) if given is not None else _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise InvalidInput(f"the format of a graph is one of {', '.join(known)}")
    return found


def store_all(graph: Graph, items: Iterable[Item], batch: int | None = None) -> Carried:
    """Store nodes, relationships and vectors in batches, each one transaction. What they lead to comes before them.

    ``batch``: items in one. Raises NodeNotFound, InvalidValue, InvalidInput; the batches before stay.
    """
    return _store_placed(graph, (Placed(item, "") for item in items), batch)


def _batches(given: Iterable[Placed], most: int) -> Iterator[list[Placed]]:
    """What is given in lists of at most so many, fewer where their data is large."""
    batch: list[Placed] = []
    room = _MOST_CHARS
    for placed in given:
        batch.append(placed)
        room -= _extent(placed.item)
        if room < 0 or len(batch) >= most:
            yield batch
            batch, room = [], _MOST_CHARS
    if batch:
        yield batch


def _extent(item: Item | VectorConfig) -> int:
    """About how many characters or bytes an item's own data has."""
    waiting: list[Any]
    if isinstance(item, Relationship):
        waiting = [item.data] if item.data is not None else []
    elif isinstance(item, Node):
        waiting = [item.data, item.metadata]
    elif isinstance(item, NodeVector):
        waiting = [item.vector, item.metadata]
    else:
        waiting = []
    found = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, str | bytes):
            found += len(value)
        elif isinstance(value, list):
            found += len(value)
            waiting += value
        elif isinstance(value, dict):
            found += len(value)
            waiting += value.values()
    return found


def _store_placed(graph: Graph, given: Iterable[Placed], most: int | None = None) -> Carried:
    most = BATCH if most is None else most
    if not isinstance(most, int) or most < 1:
        raise InvalidInput("a batch is a number of items, 1 at least")
    counts = Carried(0, 0, 0)
    for batch in _batches(given, most):
        stored = _store_batch(graph, batch)
        counts = Carried(*map(sum, zip(counts, stored, strict=True)))
    return counts


def _store_batch(graph: Graph, batch: Sequence[Placed]) -> Carried:
    nodes: list[Node] = []
    relationships: list[Relationship] = []
    vectors: list[NodeVector] = []
    for item, place in batch:
        if isinstance(item, Node):
            nodes.append(item)
        elif isinstance(item, Relationship):
            relationships.append(item)
        elif isinstance(item, NodeVector):
            vectors.append(item)
            _check_vector(graph, item, place)
        else:
            _check_declared(graph, item, place)
    try:
        graph.store_many(nodes, relationships, vectors=vectors, to_deleted=True)
    except NodeNotFound as error:
        raise NodeNotFound(error.graph, error.node_id, _who_misses(graph, batch, error.node_id)) from None
    return Carried(len(nodes), len(relationships), len(vectors))


def _check_vector(graph: Graph, vector: NodeVector, place: str) -> None:
    try:
        to_vector(vector.vector, graph.config.vector_config.index)
    except InvalidValue as error:
        raise InvalidValue(_at(place, f"node {vector.node_id!r}: {error}")) from None


def _check_declared(graph: Graph, declared: VectorConfig, place: str) -> None:
    here = graph.config.vector_config.dimensions
    if declared.dimensions != here:
        raise InvalidValue(_at(place, f"these vectors have {declared.dimensions} dimensions, the graph's have {here}"))


def _who_misses(graph: Graph, batch: Sequence[Placed], node_id: str) -> str:
    """Where the first item is that was refused for want of that node."""
    checked = graph.config.enable_foreign_keys
    for item, place in batch:
        if checked and isinstance(item, Relationship) and node_id in (item.from_node, item.to_node):
            return place
    named = (place for item, place in batch if isinstance(item, NodeVector) and item.node_id == node_id)
    return next(named, "")


def _at(place: str, text: str) -> str:
    return f"{place}: {text}" if place else text


def export(graph: Graph, target: Path | IO[bytes], format: str | None = None) -> Carried:
    """Write the graph to a stream, or to a new file that its owner alone can read and a failure leaves nothing of.

    Raises InvalidInput, OSError, BackendUnavailable.
    A graph that is written meanwhile should be one in a snapshot of its storage, or the parts may not fit together.
    """
    if isinstance(target, Path):
        chosen = format_of(target, format)
        with _new_file(target) as stream:
            return export(graph, stream, chosen)
    chosen = format_of(Path(), format)
    if chosen != "jsonl":
        from . import networks

        whole = networks.to_networkx(graph)
        networks.write(whole, target, chosen)
        return Carried(whole.number_of_nodes(), whole.number_of_edges(), 0)
    counts = {"vector_config": 0, "node": 0, "relationship": 0, "vector": 0}
    for kind, line in to_lines(graph):
        counts[kind] += 1
        target.write(line)
    return Carried(counts["node"], counts["relationship"], counts["vector"])


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            yield file
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def load(graph: Graph, path: Path, format: str | None = None) -> Carried:
    """Read a file into the graph.

    Raises InvalidInput, InvalidValue and NodeNotFound naming the line; the batches before stay. Also OSError,
    BackendUnavailable, and what storing raises.
    """
    chosen = format_of(path, format)
    if chosen == "jsonl":
        with RecordFile(path, "jsonl") as file:
            return _store_placed(graph, from_lines(file))
    from . import networks

    return store_all(graph, networks.from_networkx(networks.read(path, chosen)))
