"""Graphs of networkx, the one place that imports it and what draws.

A graph becomes a ``MultiDiGraph`` whose nodes have the attributes of :class:`.records.Node` and whose edges, keyed by
id, those of :class:`.records.Relationship`. The other way any graph of networkx is taken: attributes that are no fields
go into ``data``, an edge without id gets one, an undirected edge becomes one in each direction. Vectors stay behind.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ...errors import BackendUnavailable, InvalidInput
from .records import Node, Relationship, Subgraph

if TYPE_CHECKING:
    from .graph import Graph

_EXTRA: Final = "pip install 'mycelia-storage[graph]'"
_NODE_FIELDS: Final = frozenset(field.name for field in fields(Node)) - {"id"}
_EDGE_FIELDS: Final = frozenset(field.name for field in fields(Relationship)) - {"id", "from_node", "to_node"}
#: Fields that GraphML, which knows no nesting, holds as JSON text.
_NESTED: Final = ("data", "metadata", "tags")
_SAME_KEY: Final = uuid.UUID("6d1b2f0e-7a53-4c57-9d3c-0a4f1f3f5b9e")
#: What XML 1.0 has no way to write; a carriage return it reads as a line feed.
_NO_XML: Final = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")


def networkx() -> Any:
    """The module. Raises BackendUnavailable naming the extra."""
    try:
        import networkx as module
    except ImportError as error:
        raise BackendUnavailable(f"networkx is missing: {_EXTRA}") from error
    return module


def to_networkx(graph: Graph | Subgraph) -> Any:
    """A ``networkx.MultiDiGraph`` of a graph (without what is soft-deleted) or of a part of it."""
    made = networkx().MultiDiGraph()
    if isinstance(graph, Subgraph):
        nodes, relationships = iter(graph.nodes.values()), iter(graph.relationships)
    else:
        nodes, relationships = graph.nodes(), graph.relationships()
    for node in nodes:
        attributes = asdict(node)
        attributes["tags"] = list(node.tags)
        made.add_node(attributes.pop("id"), **attributes)
    for one in relationships:
        if one.from_node in made and one.to_node in made:
            attributes = asdict(one)
            ends = attributes.pop("from_node"), attributes.pop("to_node")
            made.add_edge(*ends, key=attributes.pop("id"), **attributes)
    return made


def from_networkx(network: Any) -> Iterator[Node | Relationship]:
    """The nodes, then the relationships of a graph of networkx.

    A key that edges between other nodes have too is no id: all but the first of them get ids made of ends and key.
    Raises InvalidInput, for two nodes that are one as text (1 and "1") too.
    """
    names: set[str] = set()
    for id, attributes in network.nodes(data=True):
        if str(id) in names:
            raise InvalidInput(f"two nodes have the id {str(id)!r}")
        names.add(str(id))
        fields = _fields(attributes, _NODE_FIELDS)
        tags = fields.pop("tags", ())
        yield Node(str(id), **fields, tags=(tags,) if isinstance(tags, str) else tags)
    keyed = network.is_multigraph()
    edges = (
        network.edges(keys=True, data=True) if keyed else ((a, b, "", data) for a, b, data in network.edges(data=True))
    )
    keys: set[str] = set()
    for from_node, to_node, key, attributes in edges:
        fields = {"relation_type": "related", **_fields(attributes, _EDGE_FIELDS)}
        # Numbers are what networkx gives parallel edges by itself: no ids.
        id = key if isinstance(key, str) else ""
        if id in keys:
            id = uuid.uuid5(_SAME_KEY, json.dumps([str(from_node), str(to_node), key])).hex
        keys.update([id] if id else ())
        yield Relationship(str(from_node), str(to_node), id=id, **fields)
        if not network.is_directed() and from_node != to_node:
            yield Relationship(str(to_node), str(from_node), **fields)


def _fields(attributes: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The attributes that are fields, null ones left out, with all others in ``data``."""
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in attributes.items():
        if name not in names:
            rest[str(name)] = value
        elif value is not None:
            known[name] = value
    data = known.get("data")
    if rest and data is not None:
        rest = {**rest, **data} if isinstance(data, dict) else {**rest, "data": data}
    return {**known, "data": rest or data}


def write(network: Any, stream: IO[bytes], format: str) -> None:
    """Write a graph of networkx as node-link JSON or GraphML.

    Raises InvalidInput where an id, a type or an author holds what XML cannot.
    """
    if format == "node-link":
        text = json.dumps(networkx().node_link_data(network, edges="edges"), ensure_ascii=False).encode()
    else:
        text = "\n".join(networkx().generate_graphml(_flat(network))).encode()
    stream.write(text)


def read(path: Path, format: str) -> Any:
    """A graph of networkx from such a file. Raises InvalidInput."""
    nx = networkx()
    try:
        if format == "node-link":
            found = json.loads(path.read_bytes())
            return nx.node_link_graph(found, edges="links" if "links" in found else "edges")
        text = path.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise InvalidInput("GraphML with declarations of its own is not read")
        return _deep(nx.parse_graphml(text.decode("utf-8-sig"), edge_key_type=str, force_multigraph=True))
    except InvalidInput:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        SyntaxError,
        AttributeError,
        RecursionError,
        nx.NetworkXException,
    ) as error:
        raise InvalidInput(f"{path.name} is no {format} file: {error}") from error


def _flat(network: Any) -> Any:
    made = networkx().MultiDiGraph()
    for id, attributes in network.nodes(data=True):
        made.add_node(id, **_flat_fields(f"node {id!r}", id, attributes))
    for from_node, to_node, key, attributes in network.edges(keys=True, data=True):
        made.add_edge(from_node, to_node, key=key, **_flat_fields(f"relationship {key!r}", key, attributes))
    return made


def _flat_fields(what: str, id: str, attributes: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for name, value in attributes.items():
        if name in _NESTED:
            flat[name] = json.dumps(value, ensure_ascii=True)
        elif value is not None:
            flat[name] = value
    if any(isinstance(text, str) and _NO_XML.search(text) for text in (id, *flat.values())):
        raise InvalidInput(f"{what} has a character that GraphML cannot hold: write JSON lines or node-link")
    return flat


def _deep(network: Any) -> Any:
    for _, attributes in network.nodes(data=True):
        _deepen(attributes)
    for _, _, attributes in network.edges(data=True):
        attributes.pop("id", None)  # the key again
        _deepen(attributes)
    return network


def _deepen(attributes: dict[str, Any]) -> None:
    for name in _NESTED:
        if isinstance(attributes.get(name), str):
            try:
                attributes[name] = json.loads(attributes[name])
            except ValueError:
                pass  # another program's text
