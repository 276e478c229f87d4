"""What a graph holds and answers: frozen records, checked when they are made.

Times are integer UTC milliseconds. ``data`` is any JSON data.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, NamedTuple, Self, TypeVar

from ...errors import InvalidInput, StorageCorrupt
from .layout import Link, are_plain, check_id, check_tag, check_type

R = TypeVar("R")

Direction = Literal["out", "in", "both"]


@dataclass(frozen=True)
class Node:
    """A node. The store fills in times that are None; ``created_*`` of a node that exists stay as they are.

    ``deleted``: soft-deleted. Its relationships, vector and texts come back with it.
    """

    id: str
    data: Any = None
    node_type: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    created_by: str = ""
    updated_by: str = ""
    created_at: int | None = None
    updated_at: int | None = None
    deleted: bool = False

    def __post_init__(self) -> None:
        check_id(self.id)
        if self.node_type is not None:
            check_type(self.node_type, "a node")
        if self.tags != ():
            if isinstance(self.tags, str) or not isinstance(self.tags, Iterable):
                raise InvalidInput("tags are a sequence of strings")
            object.__setattr__(self, "tags", tuple(dict.fromkeys(check_tag(tag) for tag in self.tags)))
        if not isinstance(self.metadata, dict):
            raise InvalidInput("the metadata of a node is a dict")
        if not isinstance(self.deleted, bool):
            raise InvalidInput("deleted is a boolean")
        if not self.created_by == self.updated_by == "":
            _check_texts(created_by=self.created_by, updated_by=self.updated_by)
        if self.created_at is not None or self.updated_at is not None:
            _check_times(created_at=self.created_at, updated_at=self.updated_at)

    @classmethod
    def new(
        cls, id: str, data: Any = None, node_type: str | None = None, tags: Iterable[str] = (), peer: str = ""
    ) -> Self:
        """A node as the original's ``Node::new`` makes one."""
        return cls(id, data, node_type, tuple(tags), created_by=peer, updated_by=peer)


@dataclass(frozen=True)
class Relationship:
    """A directed edge. Any number may lead from one node to another; the id tells them apart, a random one by default.

    ``valid_from`` (inclusive) and ``valid_to`` (exclusive) say when it held in the world, None being without bound;
    ``recorded_at`` when the graph came to know it, and ``end_recorded_at`` when it came to know the end if that was
    later: until then it had none. ``weight`` is its length for weighted paths, 0 or more.

    What a replaced relationship said is not kept. One that is replaced without ``recorded_at`` counts as recorded when
    it was replaced.
    """

    from_node: str
    to_node: str
    relation_type: str
    data: Any = None
    id: str = ""
    weight: float = 1
    valid_from: int | None = None
    valid_to: int | None = None
    recorded_at: int | None = None
    end_recorded_at: int | None = None
    created_at: int | None = None
    created_by: str = ""

    def __post_init__(self) -> None:
        if self.id == "":
            object.__setattr__(self, "id", uuid.uuid4().hex)
        if not are_plain(self.from_node, self.to_node, self.relation_type, self.id):
            check_id(self.from_node)
            check_id(self.to_node)
            check_type(self.relation_type)
            check_id(self.id, "a relationship")
        weight = self.weight
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight < inf:
            raise InvalidInput(f"the weight of relationship {self.id!r} is a finite number of at least 0")
        if self.created_by != "":
            _check_texts(created_by=self.created_by)
        start, end, end_recorded_at = self.valid_from, self.valid_to, self.end_recorded_at
        if not start is end is end_recorded_at is self.recorded_at is self.created_at is None:
            _check_times(
                valid_from=start,
                valid_to=end,
                recorded_at=self.recorded_at,
                end_recorded_at=end_recorded_at,
                created_at=self.created_at,
            )
            if start is not None and end is not None and end < start:
                raise InvalidInput(f"relationship {self.id!r} ends before it begins")

    @property
    def link(self) -> Link:
        """Its row among the links; ``recorded_at`` is filled in."""
        return Link(
            self.from_node,
            self.to_node,
            self.relation_type,
            self.id,
            self.recorded_at or 0,
            self.weight,
            self.valid_from,
            self.valid_to,
            self.end_recorded_at,
        )


class Neighbour(NamedTuple):
    """A relationship as one of its ends sees it, and the node at the other end."""

    node: Node
    link: Link
    direction: Literal["out", "in"]
    """"out" when the relationship leads to ``node``."""


class NeighbourPage(NamedTuple):
    """Neighbours in order; ``cursor`` is where the next call goes on, None at the end."""

    neighbours: list[Neighbour]
    cursor: str | None


class GraphPath(NamedTuple):
    """A way through the graph: ``nodes`` has one more than ``links``; ``cost`` is steps, or the sum of weights."""

    nodes: list[str]
    links: list[Link]
    cost: float


class Subgraph(NamedTuple):
    """Part of a graph. ``depths`` has the steps from the start to each node; ``truncated``: a limit cut it off."""

    nodes: dict[str, Node]
    relationships: list[Relationship]
    depths: dict[str, int]
    truncated: bool


class NodeHit(NamedTuple):
    """A node that a search found; a larger score is a better one."""

    node: Node
    score: float


class VectorHit(NamedTuple):
    """A vector that a search found, as the original's results are."""

    id: str
    score: float
    metadata: dict[str, Any]


class NodeVector(NamedTuple):
    """A node's vector with its own metadata, as ``Graph.vectors`` gives and ``Graph.store_vectors`` takes them."""

    node_id: str
    vector: bytes
    """Little-endian float32, as stored."""
    metadata: dict[str, Any]


class QueryResult(NamedTuple):
    """What a read-only SQL query answered; ``truncated``: there are rows beyond the limit."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: bool


class StorageStats(NamedTuple):
    """How much there is. ``nodes`` are the live ones; ``relationships`` all, hidden ones too; sizes of the storage."""

    nodes: int
    deleted_nodes: int
    relationships: int
    node_tags: int
    vectors: int
    size_bytes: int
    backend: str


def node_to_json(node: Node) -> dict[str, Any]:
    """The record that is stored under the node's id."""
    return {
        "data": node.data,
        "metadata": node.metadata,
        "node_type": node.node_type,
        "tags": list(node.tags),
        "created_at": node.created_at,
        "updated_at": node.updated_at,
        "created_by": node.created_by,
        "updated_by": node.updated_by,
        "deleted": node.deleted,
    }


def node_from_json(id: str, record: Mapping[str, Any]) -> Node:
    """The node of a record. Raises StorageCorrupt for what is none."""
    try:
        return Node(id, **{**record, "tags": tuple(record["tags"])})
    except (TypeError, KeyError, InvalidInput) as error:
        raise StorageCorrupt(f"the record of node {id!r} cannot be read") from error


def relationship_to_json(relationship: Relationship) -> dict[str, Any]:
    """The record that is stored under the relationship's id."""
    record = {
        "from_node": relationship.from_node,
        "to_node": relationship.to_node,
        "relation_type": relationship.relation_type,
        "data": relationship.data,
        "weight": relationship.weight,
        "valid_from": relationship.valid_from,
        "valid_to": relationship.valid_to,
        "recorded_at": relationship.recorded_at,
        "created_at": relationship.created_at,
        "created_by": relationship.created_by,
    }
    if relationship.end_recorded_at is not None:
        record["end_recorded_at"] = relationship.end_recorded_at
    return record


def relationship_from_json(id: str, record: Mapping[str, Any]) -> Relationship:
    """The relationship of a record. Raises StorageCorrupt for what is none."""
    try:
        return Relationship(id=id, **record)
    except (TypeError, InvalidInput) as error:
        raise StorageCorrupt(f"the record of relationship {id!r} cannot be read") from error


def dated(relationship: Relationship, now: int, before: Mapping[str, Any] | None) -> Relationship:
    """The relationship with the times that the store fills in; ``before`` is the record that it replaces."""
    created_at, created_by = relationship.created_at, relationship.created_by
    if before is not None:
        created_at, created_by = before["created_at"], before["created_by"] or created_by
    return changed(
        relationship,
        created_at=now if created_at is None else created_at,
        created_by=created_by,
        recorded_at=now if relationship.recorded_at is None else relationship.recorded_at,
    )


def changed(record: R, **fields: Any) -> R:
    """A copy with other values in some fields, of which all are known to be good: none is checked again."""
    copy = object.__new__(record.__class__)
    copy.__dict__.update(record.__dict__, **fields)
    return copy


def _check_texts(**texts: object) -> None:
    for name, text in texts.items():
        if not isinstance(text, str):
            raise InvalidInput(f"{name} is a string")


def _check_times(**times: object) -> None:
    for name, time in times.items():
        if time.__class__ is int and -(2**63) <= time < 2**63:
            continue
        if time is not None and (not isinstance(time, int) or isinstance(time, bool) or not -(2**63) <= time < 2**63):
            raise InvalidInput(f"{name} is a time in whole milliseconds")
