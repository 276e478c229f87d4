"""Nodes by words and by meaning, of a type, with a tag, near another node."""

from __future__ import annotations

import pytest

from mycelia_storage.errors import InvalidInput, InvalidValue
from mycelia_storage.layers.graph import Graph, GraphTooLarge, Node, NodeNotFound, Relationship, VectorHit, searching


@pytest.fixture
def garden(graph: Graph) -> Graph:
    """Plants in a chain: rose - oak - fern - moss."""
    graph.store_many(
        [
            Node("rose", {"name": "Rose", "notes": ["red flower", {"smell": "sweet"}]}, "plant", ("garden",)),
            Node("oak", {"name": "Oak", "height": 30}, "tree", ("wood",)),
            Node("fern", {"name": "Fern", "about": "green, no flower"}, "plant", ("wood",)),
            Node("moss", {"name": "Moss", "about": "green flower-less carpet"}, "plant", ("wood", "wet")),
        ],
        [
            Relationship("rose", "oak", "near", id="1"),
            Relationship("oak", "fern", "near", id="2"),
            Relationship("fern", "moss", "near", id="3"),
        ],
    )
    graph.store_vectors(
        [("rose", [1, 0, 0], {"m": 1}), ("oak", [0, 1, 0], {}), ("fern", [0, 1, 1], {}), ("moss", [0, 0, 1], {})]
    )
    return graph


def ids(found: list[Node]) -> list[str]:
    return [node.id for node in found]


def test_words_anywhere_in_data_and_tags_are_found(garden: Graph) -> None:
    assert ids(garden.search_nodes("sweet")) == ["rose"]
    assert ids(garden.search_nodes("WET")) == ["moss"]
    assert set(ids(garden.search_nodes("flower"))) == {"rose", "fern", "moss"}
    assert garden.search_nodes("name about") == []
    assert garden.search_nodes("") == garden.search_nodes("\"*' OR --") == []
    hits = garden.find_by_text("green flower", limit=2)
    assert len(hits) == 2
    assert hits[0].score >= hits[1].score > 0


def test_search_by_type_tag_and_hops(garden: Graph) -> None:
    assert set(ids(garden.search_nodes("flower", tag="wood"))) == {"fern", "moss"}
    assert ids(garden.search_nodes("flower", node_type="tree")) == []
    assert set(ids(garden.search_nodes("flower", within=("oak", 1)))) == {"rose", "fern"}
    assert ids(garden.search_nodes("flower", within=("moss", 1), node_type="plant", tag="wet")) == ["moss"]
    assert ids(garden.search_nodes("flower", within=("ghost", 2))) == []


def test_meaning_within_hops(garden: Graph) -> None:
    found = garden.find_by_vector([0, 0.1, 1], limit=2)
    assert [hit.node.id for hit in found] == ["moss", "fern"]
    near = garden.find_by_vector([0, 0.1, 1], limit=5, within=("rose", 2))
    assert [hit.node.id for hit in near] == ["fern", "oak", "rose"]
    assert [hit.node.id for hit in garden.find_by_vector([1, 0, 0], node_type="tree")] == ["oak"]
    assert [hit.node.id for hit in garden.find_by_vector([1, 0, 0], tag="wet", exact=True)] == ["moss"]


def test_vectors_as_the_original_has_them(garden: Graph) -> None:
    assert garden.search_vectors([2, 0, 0], 1) == [VectorHit("rose", pytest.approx(1.0), {"m": 1})]
    assert garden.load_vector("fern") == [0, 1, 1]
    assert garden.load_vector("x") is None
    assert garden.delete_vector("rose") is True
    assert garden.delete_vector("rose") is False
    assert garden.get_stats().vectors == 3


def test_a_changed_node_is_found_by_what_it_says_now(garden: Graph) -> None:
    garden.store_node(Node("rose", {"name": "Thistle"}, "weed"))
    assert garden.search_nodes("sweet") == garden.search_nodes("rose") == []
    assert ids(garden.search_nodes("thistle", node_type="weed")) == ["rose"]
    assert [hit.node.id for hit in garden.find_by_vector([1, 0, 0], node_type="weed")] == ["rose"]
    assert garden.search_vectors([1, 0, 0], 1)[0].metadata == {"m": 1}
    garden.store_node(Node("rose", {"height": 3}))
    assert garden.search_nodes("thistle") == []


def test_bad_vectors_and_bad_questions(garden: Graph) -> None:
    with pytest.raises(NodeNotFound):
        garden.store_vector("ghost", [1, 0, 0])
    for bad in ([1, 0], [0, 0, 0], [1, float("nan"), 0], "abc"):
        with pytest.raises(InvalidValue):
            garden.store_vector("rose", bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        garden.store_vectors([("rose", [1, 0, 0], [])])  # type: ignore[list-item]
    with pytest.raises(InvalidInput):
        garden.search_nodes("x", limit=-1)
    assert garden.load_vector("rose") == [1, 0, 0]


def test_too_many_nodes_near_are_an_error(garden: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MOST_WITHIN", 2)
    with pytest.raises(GraphTooLarge, match="rose"):
        garden.search_nodes("flower", within=("rose", 3))


def test_another_kind_of_vectors_is_refused(garden: Graph) -> None:
    with pytest.raises(InvalidInput):
        Graph(garden.storage).initialize()
