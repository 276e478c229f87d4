"""Merging nodes that turned out to be one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ...contract import StorageBackend
from ...errors import InvalidInput
from . import nodes as node_store, relationships
from .errors import NodeNotFound
from .layout import check_id
from .nodes import Kept, labels
from .records import Node, Relationship


class Merged(NamedTuple):
    """The node that is left, relationships that moved to it, and those dropped, as said twice or between the merged."""

    node: Node
    moved: int
    dropped: int


def merge(tx: StorageBackend, kept: Kept, keep: str, duplicates: Sequence[str], by: str) -> Merged:
    """Make ``keep`` of it and its duplicates, which are deleted. What both say, ``keep`` says. Raises NodeNotFound.

    Fields that only a duplicate has are taken over, in data and metadata, and so are tags, a missing type and vector.
    ``metadata["merged_from"]`` names the duplicates, and what had been merged into each before.
    """
    ids = [check_id(id) for id in dict.fromkeys(duplicates)]
    if check_id(keep) in ids:
        raise InvalidInput(f"node {keep!r} cannot be merged into itself")
    found = node_store.load_many(tx, kept, [keep, *ids])
    for id in (keep, *ids):
        if id not in found:
            raise NodeNotFound(kept.places.root, id)
    moved, dropped = _move(tx, kept, keep, set(ids))
    _take_vector(tx, kept, found[keep], ids)
    node = found[keep]
    for id in ids:
        node = _filled(node, found[id])
        node_store.delete(tx, kept, id, "remove", False)
    before = [id for one in (keep, *ids) for id in _merged_from(found[one])]
    node = replace(
        node,
        metadata={**node.metadata, "merged_from": list(dict.fromkeys((*before, *ids)))},
        updated_at=None,
        updated_by=by or node.updated_by,
    )
    return Merged(node_store.store(tx, kept, [node])[0], moved, dropped)


def _merged_from(node: Node) -> list[str]:
    """What was merged into a node before; a field of that name with anything else in it is the caller's own."""
    held = node.metadata.get("merged_from")
    return held if isinstance(held, list) and all(isinstance(id, str) for id in held) else []


def _filled(node: Node, other: Node) -> Node:
    both = isinstance(node.data, dict) and isinstance(other.data, dict)
    return replace(
        node,
        data={**other.data, **node.data} if both else other.data if node.data is None else node.data,
        metadata={**other.metadata, **node.metadata},
        tags=(*node.tags, *other.tags),
        node_type=node.node_type or other.node_type,
    )


def _move(tx: StorageBackend, kept: Kept, keep: str, duplicates: set[str]) -> tuple[int, int]:
    """Lead the relationships of the duplicates to ``keep``; how many moved and how many went."""
    said = {_said(one) for one in relationships.all_of(tx, kept, keep)}
    moved: list[Relationship] = []
    seen: set[str] = set()
    dropped = 0
    for id in sorted(duplicates):
        for one in relationships.all_of(tx, kept, id):
            if one.id in seen:
                continue
            seen.add(one.id)
            ends = {one.from_node, one.to_node}
            new = replace(
                one,
                from_node=keep if one.from_node in duplicates else one.from_node,
                to_node=keep if one.to_node in duplicates else one.to_node,
            )
            if (new.from_node == new.to_node and len(ends) > 1) or _said(new) in said:
                dropped += 1
                continue
            said.add(_said(new))
            moved.append(new)
    # An end that is soft-deleted is no reason to refuse: it was there before.
    relationships.store(tx, kept, moved, to_deleted=True)
    return len(moved), dropped


def _said(one: Relationship) -> tuple[Any, ...]:
    """What makes two relationships say the same."""
    data = json.dumps(one.data, sort_keys=True)
    return (one.from_node, one.to_node, one.relation_type, data, one.weight, one.valid_from, one.valid_to)


def _take_vector(tx: StorageBackend, kept: Kept, node: Node, duplicates: Sequence[str]) -> None:
    vectors = kept.places.vectors
    if tx.has(node.id, namespace=vectors):
        return
    for id in duplicates:
        entry = tx.get_entry(id, namespace=vectors)
        if entry is not None:
            tx.delete(id, namespace=vectors)
            tx.set(node.id, entry.value, namespace=vectors, metadata={**entry.metadata, **labels(node)})
            return
