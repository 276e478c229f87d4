"""Writing and reading nodes, each function inside a transaction of its caller."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, Literal

from ...contract import StorageBackend, check_page
from ...errors import InvalidInput
from ...names import join_key, key_prefix, split_key
from . import relationships
from .errors import NodeHasRelationships
from .layout import Batch, Places, check_id, check_tag, check_type, last_part, tag_key, tag_prefix, type_key
from .records import Node, changed, node_from_json, node_to_json

PAGE: Final = 500

Edges = Literal["remove", "refuse"]


@dataclass(frozen=True)
class Kept:
    """How a graph is kept: where, and what is checked."""

    places: Places
    checked: bool
    """Whether both ends of a relationship must exist."""


def now_ms() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000


def store(tx: StorageBackend, kept: Kept, nodes: Sequence[Node]) -> list[Node]:
    """Insert or replace nodes; as they are stored. Of an id given twice the last wins."""
    if not nodes:
        return []
    places, now = kept.places, now_ms()
    before = tx.get_many(sorted({node.id for node in nodes}), namespace=places.nodes)
    batch = Batch()
    stored: list[Node] = []
    first: dict[str, Node | None] = {}  # as each was before all of it
    for node in nodes:
        old = before.get(node.id)
        was = None if old is None else node_from_json(node.id, old)
        node = _dated(node, was, now)
        before[node.id] = record = node_to_json(node)
        batch.put(places.nodes, node.id, record)
        _list(batch, places, node, was)
        first.setdefault(node.id, was)
        stored.append(node)
    hidden: list[Node] = []
    shown: list[Node] = []
    for node in {node.id: node for node in stored}.values():
        was = first[node.id]
        if was is None:
            # It had no relationships before, unless nobody checked.
            hidden += [node] if node.deleted else []
        elif was.deleted != node.deleted:
            (hidden if node.deleted else shown).append(node)
        elif (was.node_type, was.tags) != (node.node_type, node.tags):
            _label_vector(tx, batch, places, node)
    batch.apply(tx)
    for node in hidden:
        _rest(tx, node, places.vectors, places.resting)
        relationships.hide(tx, places, node.id)
    for node in shown:
        _rest(tx, node, places.resting, places.vectors)
        relationships.show(tx, kept, node.id)
    return stored


def _dated(node: Node, was: Node | None, now: int) -> Node:
    return changed(
        node,
        created_at=was.created_at if was else now if node.created_at is None else node.created_at,
        created_by=was.created_by if was else node.created_by,
        updated_at=now if node.updated_at is None else node.updated_at,
        updated_by=node.updated_by or node.created_by,
    )


def _list(batch: Batch, places: Places, node: Node, was: Node | None) -> None:
    """The rows by which a node is found, as far as they change."""
    new = _rows(places, node)
    if was is not None:
        old = _rows(places, was)
        for row in old - new:
            batch.drop(*row)
        new -= old
    for namespace, key in new:
        batch.put(namespace, key, None)
    words = [] if node.deleted else texts_of(node)
    if words:
        batch.put(places.texts, node.id, words, labels(node))
    elif was is not None and not was.deleted and texts_of(was):
        batch.drop(places.texts, node.id)


def _rows(places: Places, node: Node | None) -> set[tuple[str, str]]:
    if node is None or node.deleted:
        return set()
    rows = {(places.live, node.id)}
    for tag in node.tags:
        rows.add((places.tags, tag_key(tag, node.id)))
    if node.node_type is not None:
        rows.add((places.types, type_key(node.node_type, node.id)))
    return rows


def labels(node: Node) -> dict[str, Any]:
    """What searches filter by, as metadata of texts and vectors."""
    return {"node_type": node.node_type, "tags": list(node.tags)}


def texts_of(node: Node) -> list[str]:
    """The words that a node is found by: every string in its data, names of fields left out, and its tags."""
    found: list[str] = []
    waiting = [node.data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            waiting.extend(reversed(value.values()))
    return [text for text in (*found, *node.tags) if text]


def _label_vector(tx: StorageBackend, batch: Batch, places: Places, node: Node) -> None:
    namespace = places.resting if node.deleted else places.vectors
    entry = tx.get_entry(node.id, namespace=namespace)
    if entry is not None:
        batch.put(namespace, node.id, entry.value, {**entry.metadata, **labels(node)})


def _rest(tx: StorageBackend, node: Node, source: str, target: str) -> None:
    """Take a node's vector out of the search, or back."""
    entry = tx.get_entry(node.id, namespace=source)
    if entry is not None:
        tx.delete(node.id, namespace=source)
        tx.set(node.id, entry.value, namespace=target, metadata={**entry.metadata, **labels(node)})


def load(storage: StorageBackend, kept: Kept, node_id: str, *, deleted: bool = False) -> Node | None:
    """The node or None; a soft-deleted one only if asked for."""
    record = storage.get(check_id(node_id), namespace=kept.places.nodes)
    if record is None or (record["deleted"] and not deleted):
        return None
    return node_from_json(node_id, record)


def load_many(storage: StorageBackend, kept: Kept, ids: Iterable[str]) -> dict[str, Node]:
    """Those of the nodes that are live, in the order of ``ids``."""
    found = storage.get_many(ids, namespace=kept.places.nodes)
    return {id: node_from_json(id, record) for id, record in found.items() if not record["deleted"]}


def load_all(storage: StorageBackend, kept: Kept, *, deleted: bool = False) -> Iterator[Node]:
    """Every node in order of id, read in pages."""
    for entry in storage.scan(namespace=kept.places.nodes):
        if deleted or not entry.value["deleted"]:
            yield node_from_json(entry.key, entry.value)


def delete(tx: StorageBackend, kept: Kept, node_id: str, edges: Edges, soft: bool) -> bool:
    """Delete a node; whether it was there. Raises NodeHasRelationships."""
    places = kept.places
    if edges not in ("remove", "refuse"):
        raise InvalidInput('edges is "remove" or "refuse"')
    record = tx.get(check_id(node_id), namespace=places.nodes)
    if record is None or (soft and record["deleted"]):
        return False
    if edges == "refuse" and relationships.has_any(tx, places, node_id):
        raise NodeHasRelationships(f"node {node_id!r} in graph {places.root!r} has relationships")
    node = node_from_json(node_id, record)
    if soft:
        store(tx, kept, [replace(node, deleted=True, updated_at=None)])
        return True
    relationships.delete_all_of(tx, places, node_id)
    batch = Batch()
    _list(batch, places, replace(node, deleted=True), node)
    for namespace in (places.nodes, places.texts, places.vectors, places.resting):
        batch.drop(namespace, node_id)
    batch.apply(tx)
    return True


def ids(storage: StorageBackend, kept: Kept, limit: int | None, after: str | None) -> list[str]:
    """The ids of live nodes in order."""
    return storage.list(namespace=kept.places.live, limit=limit, after=after)


def by_type(storage: StorageBackend, kept: Kept, node_type: str, limit: int | None, after: str | None) -> list[Node]:
    """The live nodes of a type in order of id."""
    check_type(node_type, "a node")
    start = None if after is None else type_key(node_type, after)
    return _listed(storage, kept, kept.places.types, key_prefix(node_type), limit, start)


def by_tag(storage: StorageBackend, kept: Kept, tag: str, limit: int | None, after: str | None) -> list[Node]:
    """The live nodes with a tag in order of id."""
    check_tag(tag)
    start = None if after is None else tag_key(tag, after)
    return _listed(storage, kept, kept.places.tags, tag_prefix(tag), limit, start)


def _listed(
    storage: StorageBackend, kept: Kept, namespace: str, prefix: str, limit: int | None, after: str | None
) -> list[Node]:
    check_page(limit)
    found: list[Node] = []
    rows = storage.scan(namespace=namespace, prefix=prefix, after=after, limit=limit)
    while page := [last_part(entry.key) for entry in islice(rows, PAGE)]:
        found += load_many(storage, kept, page).values()
    return found


def types(storage: StorageBackend, kept: Kept) -> list[str]:
    """The types that live nodes have, in order: one read each."""
    return _first_parts(storage, kept.places.types)


def _first_parts(storage: StorageBackend, namespace: str) -> list[str]:
    found: list[str] = []
    start: str | None = None
    while entries := list(storage.scan(namespace=namespace, start=start, limit=1)):
        first = str(split_key(entries[0].key)[0])
        found.append(first)
        start = join_key(first) + "\x02"
    return found
