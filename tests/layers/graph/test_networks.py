"""Graphs of other programs, and drawings of what has odd names: corners that once were wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx
import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.errors import InvalidInput
from mycelia_storage.layers.graph import Graph, Node, Relationship, StorageConfig, Subgraph, VectorConfig
from mycelia_storage.layers.graph.carrying import export, load, store_all
from mycelia_storage.layers.graph.drawing import draw, label, to_dot, to_mermaid
from mycelia_storage.layers.graph.networks import from_networkx

GRAPHML = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{}</graphml>'


def graph_of(network: Any = None) -> Graph:
    graph = Graph(MemoryStorageBackend(), StorageConfig(vector_config=VectorConfig(dimensions=3)))
    graph.initialize()
    if network is not None:
        store_all(graph, from_networkx(network))
    return graph


def test_edges_of_one_key_between_other_nodes_are_all_taken() -> None:
    network = networkx.MultiDiGraph()
    for start, end in ("ab", "cd", "bc"):
        network.add_edge(start, end, key="knows")
    graph = graph_of(network)
    assert {(one.from_node, one.to_node) for one in graph.relationships()} == {("a", "b"), ("c", "d"), ("b", "c")}
    before = list(graph.relationships())
    store_all(graph, from_networkx(network))  # again: the same ids
    assert [one.id for one in graph.relationships()] == [one.id for one in before]
    assert graph.load_relationship("knows") is not None


def test_two_nodes_that_are_one_as_text_are_refused() -> None:
    network = networkx.Graph()
    network.add_nodes_from([1, "1"])
    with pytest.raises(InvalidInput, match="'1'"):
        graph_of(network)


@pytest.mark.parametrize(
    ("attributes", "data"),
    [
        ({"data": {"q": 1}, "colour": "red"}, {"q": 1, "colour": "red"}),
        ({"data": 5, "colour": "red"}, {"data": 5, "colour": "red"}),
        ({"data": None, "colour": "red"}, {"colour": "red"}),
        ({"data": 0}, 0),
        ({}, None),
    ],
)
def test_no_attribute_is_lost_beside_data(attributes: dict[str, Any], data: Any) -> None:
    network = networkx.DiGraph()
    network.add_node("a", **attributes)
    network.add_edge("a", "a", **attributes)
    graph = graph_of(network)
    assert [node.data for node in graph.nodes()] == [one.data for one in graph.relationships()] == [data]


def test_a_tag_given_as_text_is_one_tag_and_null_fields_are_none() -> None:
    network = networkx.DiGraph()
    network.add_node("a", tags="red, blue", metadata=None, created_by=None, deleted=None, created_at=None)
    network.add_node("b", tags=None)
    assert {node.id: node.tags for node in graph_of(network).nodes()} == {"a": ("red, blue",), "b": ()}
    network.add_node("c", tags=5)
    with pytest.raises(InvalidInput, match="tags"):
        graph_of(network)


@pytest.mark.parametrize(
    ("node", "edge"),
    [
        (Node("a\x01"), None),
        (Node("a\r"), None),
        (Node("a", node_type="\x02"), None),
        (Node("a", created_by="\0"), None),
        (Node("a"), Relationship("a", "a", "\x1f", id="1")),
        (Node("a"), Relationship("a", "a", "t", id="\uffff")),
    ],
)
def test_graphml_is_not_written_where_nobody_could_read_it(
    tmp_path: Path, node: Node, edge: Relationship | None
) -> None:
    graph = graph_of()
    graph.store_many([node], [edge] if edge else [])
    with pytest.raises(InvalidInput, match="GraphML cannot hold"):
        export(graph, tmp_path / "g.graphml")
    assert not (tmp_path / "g.graphml").exists()
    export(graph, tmp_path / "g.json")
    other = graph_of()
    load(other, tmp_path / "g.json")
    assert list(other.nodes()) == list(graph.nodes())


def test_graphml_keeps_every_character_that_xml_has(tmp_path: Path) -> None:
    graph = graph_of()
    text = ' <a> & "b" \t\n \u2028 🦊 ]]>'
    graph.store_many(
        [Node(text, {"x": "\0\x01\r\ud7ff"}, text, ("\0", text), created_by=text)],
        [Relationship(text, text, text, [text], id=text, created_by=text)],
    )
    export(graph, tmp_path / "g.graphml")
    other = graph_of()
    load(other, tmp_path / "g.graphml")
    assert (list(other.nodes()), list(other.relationships())) == (list(graph.nodes()), list(graph.relationships()))


def test_an_edges_id_in_graphml_is_its_id_alone(tmp_path: Path) -> None:
    path = tmp_path / "g.graphml"
    inside = '<graph edgedefault="directed"><node id="a"/><edge id="e1" source="a" target="a"/></graph>'
    path.write_bytes(b"\xef\xbb\xbf" + GRAPHML.format(inside).encode())
    graph = graph_of()
    load(graph, path)
    assert [(one.id, one.data) for one in graph.relationships()] == [("e1", None)]


def test_files_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    path.write_text("[" * 200_000)
    with pytest.raises(InvalidInput, match="node-link"):
        load(graph_of(), path)


def odd_part() -> Subgraph:
    graph = graph_of()
    names = ["", "  ", "\x01", "\u202e", "\uffff", "🦊", "$x^2$", "a\x01b"]
    nodes = [Node(f"n{number}", {"name": name}) for number, name in enumerate(names)]
    edges = [
        Relationship(f"n{number}", "hub", name.strip() or "\x01", id=str(number)) for number, name in enumerate(names)
    ]
    edges += [Relationship("hub", "n0", "knows", id="x"), Relationship("hub", "n0", "know", id="y")]
    graph.store_many([*nodes, Node("hub"), Node("\x01"), Node("a"), Node("a\x02")], edges)
    return graph.subgraph(["hub", "a", "a\x02", "\x01"], hops=1)


def test_no_label_is_empty() -> None:
    part = odd_part()
    assert '""' not in to_mermaid(part)
    assert 'label=""' not in to_dot(part)
    assert [label(part.nodes[id]) for id in ("n0", "n2", "\x01", "a\x02")] == ["n0", "n2", "?", "a"]


def test_nodes_that_look_alike_stay_two_in_dot() -> None:
    dot = to_dot(odd_part())
    assert len(set(re.findall(r'^  ("[^"]*") \[', dot, re.MULTILINE))) == 12
    assert '"a&#2;" [label="a"]' in dot
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", dot)


def test_a_picture_with_odd_names_is_well_formed_and_silent(tmp_path: Path) -> None:
    part = odd_part()
    draw(part, tmp_path / "p.svg", title="\x01 $ 🦊")
    text = (tmp_path / "p.svg").read_text()
    ElementTree.fromstring(text)
    assert "<!-- know, knows -->" in text or "<!-- knows, know -->" in text
    draw(Subgraph({}, [], {}, False), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0
