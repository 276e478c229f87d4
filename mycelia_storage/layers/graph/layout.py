"""Where a graph is kept. Every namespace is an ordered table below the graph's own, ``graph`` unless named otherwise.

=============  ====================================  =========================================================
namespace      key                                   value
=============  ====================================  =========================================================
nodes          node                                  the node's record (:func:`.records.node_to_json`)
live           node                                  null; nodes that are not soft-deleted
types          type | node                           null; live nodes
tags           tag | node                            null; live nodes
texts          node                                  the texts in its data, metadata its type and tags; live nodes;
                                                     text index ``$value``
vectors        node                                  float32 bytes, metadata its own, type and tags; live nodes;
                                                     vector index
resting        node                                  the same, of soft-deleted nodes; no index
edges          relationship                          its record (:func:`.records.relationship_to_json`)
out            from | type | to | relationship       what a step needs (:func:`link_value`)
in             to | type | from | relationship       the same
hidden         node | relationship                   null; relationships with a soft-deleted end, under both ends
=============  ====================================  =========================================================

``|`` joins the parts of a composite key (:func:`mycelia_storage.names.join_key`). The neighbours of a node are one
range of ``out`` or ``in``, those by one type a shorter one: what reading them costs is their number, not the graph's.
A relationship with a soft-deleted end has rows in ``hidden`` instead, so that a step never has to look at nodes.

A node's or relationship's id has at most 256 bytes in the key's encoding, a type 128: four of them fit into a key. In
tags NUL and U+0001 are written U+0001 U+0001 and U+0001 U+0002.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple

from ...contract import StorageBackend
from ...errors import BatchError, InvalidInput
from ...names import Namespace, check_key, check_namespace, join_key, key_prefix, split_key

#: Which part of a key of ``out`` or ``in`` is the node that it leads to.
FAR_PART: Final = 2

MOST_ID_BYTES: Final = 256
MOST_TYPE_BYTES: Final = 128
MOST_TAG_BYTES: Final = 640

TABLES: Final = (
    "nodes",
    "live",
    "types",
    "tags",
    "texts",
    "vectors",
    "resting",
    "edges",
    "out",
    "in",
    "hidden",
)


@dataclass(frozen=True)
class Places:
    """The namespaces of one graph."""

    root: str
    nodes: str
    live: str
    types: str
    tags: str
    texts: str
    vectors: str
    resting: str
    edges: str
    out: str
    into: str
    hidden: str

    @classmethod
    def below(cls, root: Namespace) -> Places:
        """Those below ``root``. Raises InvalidNamespace."""
        name = check_namespace(root)
        return cls(name, *(check_namespace(f"{name}/{table}") for table in TABLES))

    def all(self) -> tuple[str, ...]:
        """Every one of them."""
        return tuple(f"{self.root}/{table}" for table in TABLES)


def check_id(id: object, what: str = "a node") -> str:
    """The id as it is. Raises InvalidKey, and InvalidInput for one that is too long."""
    if id.__class__ is str and 0 < len(id) <= MOST_ID_BYTES and id.isascii() and id.isprintable():
        return id
    return _check_part(check_key(id), f"the id of {what}", MOST_ID_BYTES)


def check_type(type: object, what: str = "a relationship") -> str:
    """The type as it is. Raises InvalidKey, and InvalidInput for one that is too long."""
    return _check_part(check_key(type), f"the type of {what}", MOST_TYPE_BYTES)


def are_plain(*texts: str) -> bool:
    """Whether each is good as id and type, decided for all at once; False also where it takes a closer look."""
    try:
        together = "".join(texts)
    except TypeError:
        return False
    return "" not in texts and len(together) <= MOST_TYPE_BYTES and together.isascii() and together.isprintable()


def check_tag(tag: object) -> str:
    """The tag as it is: any text without lone surrogates. Raises InvalidInput."""
    if not isinstance(tag, str) or not tag:
        raise InvalidInput("a tag is a string of one character at least")
    _check_part(_written(tag), "a tag", MOST_TAG_BYTES)
    return tag


def _check_part(text: str, what: str, most: int) -> str:
    if text.isascii() and len(text) <= most and "\x01" not in text and "\x02" not in text:
        return text  # the usual text is its own encoding
    try:
        size = len(join_key(text).encode()) - 1
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} contains a lone surrogate") from None
    if size > most:
        raise InvalidInput(f"{what} takes {size} bytes in a key; at most {most} are allowed")
    return text


def _written(tag: str) -> str:
    return tag.replace("\x01", "\x01\x02").replace("\0", "\x01\x01")


def type_key(type: str, node_id: str) -> str:
    """A row of ``types``."""
    return join_key(type, node_id)


def tag_key(tag: str, node_id: str) -> str:
    """A row of ``tags``."""
    return join_key(_written(tag), node_id)


def tag_prefix(tag: str) -> str:
    """What the rows of a tag begin with."""
    return key_prefix(_written(tag))


def last_part(key: str) -> str:
    """The last part of a composite key: the node of a type or tag, the relationship of a hidden row."""
    return str(split_key(key)[-1])


def hidden_key(node_id: str, relationship_id: str) -> str:
    """A row of ``hidden``."""
    return join_key(node_id, relationship_id)


class Link(NamedTuple):
    """A step from one node to another, as a row of ``out`` or ``in`` has it."""

    from_node: str
    to_node: str
    relation_type: str
    relationship_id: str
    recorded_at: int
    weight: float
    valid_from: int | None
    valid_to: int | None
    end_recorded_at: int | None = None


def out_key(link: Link) -> str:
    """Its row in ``out``."""
    return join_key(link.from_node, link.relation_type, link.to_node, link.relationship_id)


def in_key(link: Link) -> str:
    """Its row in ``in``."""
    return join_key(link.to_node, link.relation_type, link.from_node, link.relationship_id)


def link_keys(link: Link) -> tuple[str, str]:
    """Both. The texts of a link are checked, so that only their encoding is left to do."""
    near, far, relation_type, relationship_id, *_ = link
    outward = f"s{near}\x01s{relation_type}\x01s{far}\x01s{relationship_id}"
    if "\x02" in outward or outward.count("\x01") > 3:
        return out_key(link), in_key(link)
    return outward, f"s{far}\x01s{relation_type}\x01s{near}\x01s{relationship_id}"


#: Weight, valid_from, valid_to and end_recorded_at where a row does not say.
_DEFAULTS: Final[tuple[Any, ...]] = (1, None, None, None)


def link_value(link: Link) -> list[Any]:
    """``[recorded_at, weight, valid_from, valid_to, end_recorded_at]``, without the defaults that it ends with."""
    value: list[Any] = list(link[4:])
    for default in (None, None, None, 1):
        if value[-1] != default:
            break
        value.pop()
    return value


def split_link_key(key: str) -> list[str]:
    """The parts of a row's key: near node, type, far node, relationship."""
    if "\x02" in key:
        return [str(part) for part in split_key(key)]
    # Four strings without anything to decode, each after its letter.
    return [part[1:] for part in key.split("\x01")]


def read_link(key: str, value: list[Any], outward: bool) -> Link:
    """The link of a row."""
    near, relation_type, far, relationship_id = split_link_key(key)
    from_node, to_node = (near, far) if outward else (far, near)
    return Link(from_node, to_node, relation_type, relationship_id, *value, *_DEFAULTS[len(value) - 1 :])


#: Rows up to which a batch is written in one call; more are cheaper by namespace, as pairs.
_FEW_ROWS: Final = 60


class Batch:
    """Writes collected, then applied in few calls: a row set or dropped twice is as it was said last."""

    def __init__(self) -> None:
        self._sets: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self._metadata: dict[tuple[str, str], dict[str, Any]] = {}
        self._drops: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def put(self, namespace: str, key: str, value: Any, metadata: dict[str, Any] | None = None) -> None:
        """Set a row."""
        self._sets[namespace][key] = value
        if self._drops:
            self._drops[namespace].pop(key, None)
        if metadata is not None:
            self._metadata[namespace, key] = metadata
        elif self._metadata:
            self._metadata.pop((namespace, key), None)

    def drop(self, namespace: str, key: str) -> None:
        """Delete a row, if there is one."""
        self._sets[namespace].pop(key, None)
        self._drops[namespace][key] = None

    def put_link(self, places: Places, link: Link) -> None:
        """Set the two rows of a link."""
        value = link_value(link)
        outward, inward = link_keys(link)
        self.put(places.out, outward, value)
        self.put(places.into, inward, value)

    def drop_link(self, places: Places, link: Link) -> None:
        """Delete the two rows of a link."""
        outward, inward = link_keys(link)
        self.drop(places.out, outward)
        self.drop(places.into, inward)

    def apply(self, tx: StorageBackend) -> None:
        """Write all of it. Raises what the storage raises for the first bad row."""
        for namespace, keys in self._drops.items():
            if keys:
                tx.delete_many(list(keys), namespace=namespace)
        rows = sum(map(len, self._sets.values()))
        try:
            if rows == 1:
                [(namespace, key, value)] = ((name, *row) for name, held in self._sets.items() for row in held.items())
                tx.set(key, value, namespace=namespace, metadata=self._metadata.get((namespace, key)))
            elif 0 < rows <= _FEW_ROWS:
                tx.set_many(item for namespace in sorted(self._sets) for item in self._items(namespace))
            else:
                for namespace in sorted(self._sets):
                    tx.set_many(self._pairs(namespace), namespace=namespace)
        except BatchError as error:
            raise next(iter(error.errors.values())) from None
        for held in (self._sets, self._metadata, self._drops):
            held.clear()

    # In order of key: neighbouring rows of a table lie on neighbouring pages.

    def _items(self, namespace: str) -> Iterator[dict[str, Any]]:
        for key, value in sorted(self._sets[namespace].items(), key=_first):
            metadata = self._metadata.get((namespace, key))
            yield {"namespace": namespace, "key": key, "value": value, "metadata": metadata}

    def _pairs(self, namespace: str) -> Iterable[Any]:
        if self._metadata:
            return self._items(namespace)
        return sorted(self._sets[namespace].items(), key=_first)


_first: Final = itemgetter(0)
