"""Writing and reading relationships, each function inside a transaction of its caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ...contract import StorageBackend
from ...names import key_prefix
from .errors import NodeNotFound
from .layout import Batch, Link, Places, check_id, check_type, hidden_key, last_part, read_link
from .records import Direction, Relationship, dated, relationship_from_json, relationship_to_json

if TYPE_CHECKING:
    from .nodes import Kept

PAGE: Final = 500


def store(
    tx: StorageBackend, kept: Kept, given: Sequence[Relationship], *, to_deleted: bool = False
) -> list[Relationship]:
    """Insert or replace relationships by id; as they are stored. Raises NodeNotFound.

    ``to_deleted``: soft-deleted ends will do; the relationship is hidden then.
    """
    from .nodes import now_ms

    if not given:
        return []
    places, now = kept.places, now_ms()
    # In order of key, as all reads of many: neighbouring rows lie on neighbouring pages.
    before = tx.get_many(sorted({one.id for one in given}), namespace=places.edges)
    ends = {one.from_node for one in given}
    ends.update([one.to_node for one in given])
    missing = ends.difference(tx.get_many(sorted(ends), namespace=places.live))
    resting = _soft_deleted(tx, places, sorted(missing))
    if kept.checked and missing:
        _check_ends(places, given, missing - resting if to_deleted else missing)
    batch = Batch()
    stored = []
    for relationship in given:
        old = before.get(relationship.id)
        relationship = dated(relationship, now, old)
        link = relationship.link
        hidden = bool(resting) and (link.from_node in resting or link.to_node in resting)
        if old is not None:
            was = relationship_from_json(relationship.id, old).link
            # What leads from where to where as before has its rows in the same places.
            if hidden or was[:4] != link[:4]:
                _drop_rows(batch, places, was)
        before[relationship.id] = record = relationship_to_json(relationship)
        batch.put(places.edges, relationship.id, record)
        if hidden:
            _hide(batch, places, link)
        else:
            batch.put_link(places, link)
        stored.append(relationship)
    batch.apply(tx)
    return stored


def _check_ends(places: Places, given: Sequence[Relationship], missing: set[str]) -> None:
    for one in given:
        for end in (one.from_node, one.to_node):
            if end in missing:
                raise NodeNotFound(places.root, end)


def _soft_deleted(tx: StorageBackend, places: Places, ids: list[str]) -> set[str]:
    return (
        {id for id, record in tx.get_many(ids, namespace=places.nodes).items() if record["deleted"]} if ids else set()
    )


def _hide(batch: Batch, places: Places, link: Link) -> None:
    batch.drop_link(places, link)
    for end in (link.from_node, link.to_node):
        batch.put(places.hidden, hidden_key(end, link.relationship_id), None)


def _drop_rows(batch: Batch, places: Places, link: Link) -> None:
    batch.drop_link(places, link)
    for end in (link.from_node, link.to_node):
        batch.drop(places.hidden, hidden_key(end, link.relationship_id))


def load(storage: StorageBackend, kept: Kept, relationship_id: str) -> Relationship | None:
    """The relationship of that id or None, hidden ones too."""
    record = storage.get(check_id(relationship_id, "a relationship"), namespace=kept.places.edges)
    return None if record is None else relationship_from_json(relationship_id, record)


def load_many(storage: StorageBackend, kept: Kept, ids: Iterable[str]) -> list[Relationship]:
    """Those that exist, in the order of ``ids``."""
    found = storage.get_many(ids, namespace=kept.places.edges)
    return [relationship_from_json(id, record) for id, record in found.items()]


def load_all(storage: StorageBackend, kept: Kept) -> Iterator[Relationship]:
    """Every relationship in order of id, read in pages."""
    for entry in storage.scan(namespace=kept.places.edges):
        yield relationship_from_json(entry.key, entry.value)


def links_of(
    storage: StorageBackend, places: Places, node_id: str, direction: Direction, relation_type: str | None = None
) -> Iterator[Link]:
    """The visible links of a node, read in pages; a loop comes once."""
    parts = (node_id,) if relation_type is None else (node_id, relation_type)
    if direction in ("out", "both"):
        for entry in storage.scan(namespace=places.out, prefix=key_prefix(*parts)):
            yield read_link(entry.key, entry.value, True)
    if direction in ("in", "both"):
        for entry in storage.scan(namespace=places.into, prefix=key_prefix(*parts)):
            link = read_link(entry.key, entry.value, False)
            if direction == "in" or link.from_node != link.to_node:
                yield link


def all_of(storage: StorageBackend, kept: Kept, node_id: str) -> list[Relationship]:
    """Every relationship of a node, hidden ones too."""
    links = [*links_of(storage, kept.places, node_id, "both"), *_hidden(storage, kept.places, node_id)]
    return load_many(storage, kept, [link.relationship_id for link in links])


def has_any(storage: StorageBackend, places: Places, node_id: str) -> bool:
    """Whether a node has a relationship, hidden ones too."""
    prefix = key_prefix(node_id)
    return any(
        next(iter(storage.scan(namespace=namespace, prefix=prefix, limit=1)), None) is not None
        for namespace in (places.out, places.into, places.hidden)
    )


def delete_between(tx: StorageBackend, kept: Kept, from_node: str, to_node: str, relation_type: str) -> int:
    """Delete every relationship of that type from one node to the other; how many there were."""
    places = kept.places
    prefix = key_prefix(check_id(from_node), check_type(relation_type), check_id(to_node))
    links = [read_link(entry.key, entry.value, True) for entry in tx.scan(namespace=places.out, prefix=prefix)]
    # Hidden ones have no rows there.
    waiting = (last_part(entry.key) for entry in tx.scan(namespace=places.hidden, prefix=key_prefix(from_node)))
    while page := list(islice(waiting, PAGE)):
        for one in load_many(tx, kept, page):
            if (one.from_node, one.to_node, one.relation_type) == (from_node, to_node, relation_type):
                links.append(one.link)
    _remove(tx, places, links)
    return len(links)


def delete(tx: StorageBackend, kept: Kept, relationship_id: str) -> bool:
    """Delete the relationship of that id; whether it existed."""
    found = load(tx, kept, relationship_id)
    if found is not None:
        _remove(tx, kept.places, [found.link])
    return found is not None


def _remove(tx: StorageBackend, places: Places, links: Iterable[Link]) -> None:
    batch = Batch()
    for link in links:
        batch.drop(places.edges, link.relationship_id)
        _drop_rows(batch, places, link)
    batch.apply(tx)


def delete_all_of(tx: StorageBackend, places: Places, node_id: str) -> None:
    """Delete every relationship of a node, hidden ones too."""
    _remove(tx, places, [*links_of(tx, places, node_id, "both"), *_hidden(tx, places, node_id)])


def _hidden(tx: StorageBackend, places: Places, node_id: str) -> list[Link]:
    ids = [last_part(entry.key) for entry in tx.scan(namespace=places.hidden, prefix=key_prefix(node_id))]
    records: dict[str, Any] = tx.get_many(ids, namespace=places.edges)
    return [relationship_from_json(id, record).link for id, record in records.items()]


def hide(tx: StorageBackend, places: Places, node_id: str) -> None:
    """Take a node's relationships out of sight."""
    batch = Batch()
    for link in list(links_of(tx, places, node_id, "both")):
        _hide(batch, places, link)
    batch.apply(tx)


def show(tx: StorageBackend, kept: Kept, node_id: str) -> None:
    """Bring a node's relationships back, but for those whose other end is still deleted."""
    places = kept.places
    links = _hidden(tx, places, node_id)
    ends = dict.fromkeys(end for link in links for end in (link.from_node, link.to_node))
    records = tx.get_many(ends, namespace=places.nodes)
    batch = Batch()
    for link in links:
        if any(records[end]["deleted"] for end in (link.from_node, link.to_node) if end in records):
            continue
        batch.put_link(places, link)
        for end in (link.from_node, link.to_node):
            batch.drop(places.hidden, hidden_key(end, link.relationship_id))
    batch.apply(tx)
