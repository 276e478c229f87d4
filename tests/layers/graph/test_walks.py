"""Walks: reach, subgraphs, paths by steps and by weight, compared with networkx on random graphs."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import networkx
import pytest

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.errors import InvalidInput
from mycelia_storage.layers.graph import Graph, GraphPath, GraphTooLarge, Node, Relationship
from mycelia_storage.layers.graph.networks import to_networkx

Fill = Callable[..., Graph]


def random_graph(graph: Graph, seed: int, nodes: int = 30, edges: int = 60) -> Any:
    """A random graph with loops, parallel edges, types, weights and times; the same in networkx."""
    chosen = random.Random(seed)
    names = [f"n{number}" for number in range(nodes)]
    relationships = []
    for number in range(edges):
        start = chosen.choice(names[: 1 + chosen.randrange(nodes)])
        times = sorted(chosen.sample(range(100), 2))
        relationships.append(
            Relationship(
                start,
                chosen.choice(names),
                chosen.choice(["red", "blue"]),
                id=f"e{number}",
                weight=chosen.choice([0, 0.5, 1, 2, 7]),
                valid_from=times[0],
                valid_to=times[1],
            )
        )
    graph.store_many([Node(name) for name in names], relationships)
    return to_networkx(graph)


def allowed(network: Any, types: tuple[str, ...] | None, as_of: int | None) -> Any:
    """The part of it with the edges that a walk may take."""
    part = networkx.MultiDiGraph()
    part.add_nodes_from(network)
    for start, end, key, fields in network.edges(keys=True, data=True):
        in_time = as_of is None or fields["valid_from"] <= as_of < fields["valid_to"]
        if in_time and (types is None or fields["relation_type"] in types):
            part.add_edge(start, end, key=key, **fields)
    return part


def check_path(path: GraphPath, network: Any, direction: str, start: str, goal: str) -> None:
    assert (path.nodes[0], path.nodes[-1], len(path.nodes)) == (start, goal, len(path.links) + 1)
    for (here, there), link in zip(pairwise(path.nodes), path.links, strict=True):
        assert network.has_edge(link.from_node, link.to_node, link.relationship_id)
        ways = {"out": [(here, there)], "in": [(there, here)], "both": [(here, there), (there, here)]}
        assert (link.from_node, link.to_node) in ways[direction]


@pytest.mark.parametrize("seed", [20_261_121, 20_261_122])
def test_walks_agree_with_networkx(graph: Graph, seed: int) -> None:
    network = random_graph(graph, seed)
    chosen = random.Random(seed)
    names = sorted(network)
    for _ in range(12):
        start, goal = chosen.sample(names, 2)
        direction = chosen.choice(["out", "in", "both"])
        types = chosen.choice([None, ("red",), ("blue", "red")])
        as_of = chosen.choice([None, 30, 60])
        rules: dict[str, Any] = {"direction": direction, "types": types, "as_of": as_of}
        part = allowed(network, types, as_of)
        walked = {"out": part, "in": part.reverse(), "both": part.to_undirected()}[direction]
        hops = chosen.randrange(4)
        near = networkx.single_source_shortest_path_length(walked, start, cutoff=hops)
        assert graph.reach(start, hops=hops, **rules) == near
        assert list(graph.reach(start, hops=hops, **rules)) == sorted(near, key=lambda name: (near[name], name))
        seen = graph.subgraph(start, hops=hops, **rules)
        assert (set(seen.nodes), seen.depths, seen.truncated) == (set(near), near, False)
        assert {one.id for one in seen.relationships} == {key for *_, key in part.subgraph(near).edges(keys=True)}
        path = graph.shortest_path(start, goal, **rules)
        cheap = graph.shortest_path(start, goal, weighted=True, **rules)
        if not networkx.has_path(walked, start, goal):
            assert path is cheap is None
            continue
        assert path is not None
        assert cheap is not None
        assert path.cost == len(path.links) == networkx.shortest_path_length(walked, start, goal)
        assert cheap.cost == pytest.approx(networkx.shortest_path_length(walked, start, goal, weight="weight"))
        assert cheap.cost == pytest.approx(sum(link.weight for link in cheap.links))
        check_path(path, part, direction, start, goal)
        check_path(cheap, part, direction, start, goal)


def test_cycles_and_loops_end(fill: Fill) -> None:
    graph = fill("abc", "aa", "ab", "bc", "ca")
    assert graph.reach("a", hops=100) == {"a": 0, "b": 1, "c": 2}
    path = graph.shortest_path("a", "c")
    assert path is not None
    assert path.nodes == ["a", "b", "c"]
    assert graph.shortest_path("a", "a") == GraphPath(["a"], [], 0)
    assert graph.shortest_path("a", "a", weighted=True) == GraphPath(["a"], [], 0)


def test_no_way_no_path(fill: Fill) -> None:
    graph = fill("abc", "ab", "ca")
    assert graph.shortest_path("a", "c") is None
    assert graph.shortest_path("a", "c", weighted=True) is None
    assert graph.shortest_path("a", "ghost") is None
    assert graph.shortest_path("ghost", "ghost", weighted=True) is None
    assert graph.shortest_path("c", "b", max_hops=1) is None
    assert graph.shortest_path("c", "b", max_hops=2) is not None
    assert graph.reach("ghost") == {}


def test_the_lighter_way_may_be_longer(fill: Fill) -> None:
    graph = fill("abc", "ab", "bc")
    graph.store_relationship(Relationship("a", "c", "next", id="direct", weight=3))
    short, light = graph.shortest_path("a", "c"), graph.shortest_path("a", "c", weighted=True)
    assert short is not None
    assert light is not None
    assert ([link.relationship_id for link in short.links], short.cost) == (["direct"], 1)
    assert (light.nodes, light.cost) == (["a", "b", "c"], 2)


def test_limits_cut_off_in_a_fixed_order(fill: Fill) -> None:
    graph = fill("abcdef", "ab", "ac", "ad", "ae", "bf")
    assert graph.reach("a", hops=2, limit=3) == {"a": 0, "b": 1, "c": 1}
    assert graph.reach(["c", "a"], limit=1) == {"a": 0}
    part = graph.subgraph("a", hops=2, max_nodes=4)
    assert (list(part.nodes), part.truncated) == (["a", "b", "c", "d"], True)
    part = graph.subgraph("a", hops=2, max_relationships=2)
    assert ([one.id for one in part.relationships], part.truncated) == (["ab", "ac"], True)
    assert len(graph.subgraph("a", hops=2, max_relationships=5).relationships) == 5
    for weighted in (False, True):
        with pytest.raises(GraphTooLarge):
            graph.shortest_path("a", "f", weighted=weighted, max_visited=1)


def test_several_starts(fill: Fill) -> None:
    graph = fill("abcd", "ab", "cd")
    assert graph.reach(["c", "a"], hops=1) == {"a": 0, "c": 0, "b": 1, "d": 1}


def test_bad_questions(graph: Graph) -> None:
    with pytest.raises(InvalidInput):
        graph.reach("a", hops=-1)
    with pytest.raises(InvalidInput):
        graph.shortest_path("a", "b", weighted=True, max_hops=3)
    with pytest.raises(InvalidInput):
        graph.shortest_path("", "b")
    wrong: list[dict[str, Any]] = [{"hops": None}, {"hops": "2"}, {"types": 5}, {"direction": "up"}, {"as_of": 1.5}]
    for rules in wrong:
        with pytest.raises(InvalidInput):
            graph.reach("a", **rules)
    for within in (5, "ab", ("a",)):
        with pytest.raises(InvalidInput):
            graph.search_nodes("words", within=within)  # type: ignore[arg-type]


def test_a_hub_of_thousands_is_read_in_pages(graph: Graph) -> None:
    count = 1_200
    graph.store_many(
        [Node("hub"), *(Node(f"n{number:04}") for number in range(count))],
        [Relationship("hub", f"n{number:04}", "has", id=str(number)) for number in range(count)],
    )
    assert len(graph.reach("hub", hops=1, limit=None)) == count + 1
    page = graph.neighbours("hub", limit=1_000)
    assert [one.node.id for one in page.neighbours[-1:]] == ["n0999"]
    assert len(graph.neighbours("hub", limit=1_000, cursor=page.cursor).neighbours) == 200
    assert graph.delete_node("hub", soft=True)
    assert graph.reach("n0001", direction="both") == {"n0001": 0}
    assert graph.restore_node("hub")
    assert len(graph.load_relationships("hub")) == count


@pytest.mark.parametrize("seed", [20_261_123, 20_261_124])
def test_every_backend_gives_the_same_walks_as_memory(graph: Graph, seed: int) -> None:
    other = Graph(MemoryStorageBackend())
    other.initialize()
    random_graph(graph, seed, 40, 130)
    for number in range(0, 130, 5):
        one = graph.load_relationship(f"e{number}")
        assert one is not None
        assert one.valid_from is not None
        graph.end_relationship(one.id, one.valid_from + 1)
    other.store_many(list(graph.nodes()), list(graph.relationships()))
    recorded = sorted(one.recorded_at or 0 for one in graph.relationships())
    chosen = random.Random(seed)
    for _ in range(15):
        start, goal = (f"n{number}" for number in chosen.sample(range(40), 2))
        rules: dict[str, Any] = {
            "direction": chosen.choice(["out", "in", "both"]),
            "types": chosen.choice([None, None, "red", ()]),
            "as_of": chosen.choice([None, None, 50]),
            "known_at": chosen.choice([None, None, recorded[0] - 1, recorded[-1]]),
        }
        hops, limit = chosen.randrange(7), chosen.choice([1, 5, 20, None])
        found = [
            (
                list(one.reach([start, goal], hops=hops, limit=limit, **rules).items()),
                one.subgraph(start, hops=hops, max_nodes=limit or 99, max_relationships=30, **rules),
                one.shortest_path(start, goal, **rules),
                one.shortest_path(start, goal, weighted=True, **rules),
            )
            for one in (graph, other)
        ]
        assert found[0] == found[1]


def test_long_ways(fill: Fill) -> None:
    names = [chr(ord("a") + number) for number in range(26)]
    graph = fill("".join(names), *(here + there for here, there in pairwise(names)))
    assert graph.reach("a", hops=25) == {name: number for number, name in enumerate(names)}
    for weighted in (False, True):
        path = graph.shortest_path("a", "z", weighted=weighted)
        assert path is not None
        assert (path.nodes, path.cost) == (names, 25)
    assert graph.shortest_path("a", "z", max_hops=24) is None


def test_of_equally_light_ways_the_shortest(fill: Fill) -> None:
    graph = fill("abcd")
    for way, weight in (("ab", 0), ("bc", 0), ("cd", 0), ("ad", 0), ("db", 0)):
        graph.store_relationship(Relationship(way[0], way[1], "next", id=way, weight=weight))
    path = graph.shortest_path("a", "d", weighted=True)
    assert path is not None
    assert (path.nodes, path.cost) == (["a", "d"], 0)
