"""A load that is killed: what was said to be stored is there, a batch is there whole or not at all, and rows fit."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage.config import open_storage
from mycelia_storage.layers.graph import Graph, Node, Relationship

from .conftest import CONFIG
from .test_loading import check_rows

ROOT = Path(__file__).parents[3]
SEED = 20_261_121
BATCH = 60
PARTS = 400


def part(number: int) -> list[Any]:
    """A batch: nodes, relationships between them, to the part before, and one that every part replaces."""
    ids = [f"n{number:03}-{place:02}" for place in range(BATCH // 2)]
    ends = [(ids[place], ids[place * 7 % len(ids)]) for place in range(BATCH // 2 - 2)]
    ends += [(ids[0], f"n{max(number - 1, 0):03}-00")]
    edges = [Relationship(*pair, "next", id=f"e{number:03}-{place:02}") for place, pair in enumerate(ends)]
    newest = Relationship(ids[1], ids[0], "newest", number, id="newest")
    nodes = [Node(id, {"text": f"raven {number}"}, "kind", ("tag",)) for id in ids]
    return [*nodes, *edges, newest]


def main(address: str) -> None:
    """The process that is killed: it says which parts are stored."""
    with open_storage(address) as storage:
        graph = Graph(storage, CONFIG)
        begun = len(graph.list_node_ids()) // (BATCH // 2)
        for number in range(begun, PARTS):
            graph.store_all(part(number), batch=BATCH)
            print(number, flush=True)


@pytest.mark.parametrize("backend", ["sqlite", "rocksdb"])
def test_a_killed_load_leaves_whole_batches(backend: str, tmp_path: Path) -> None:
    address = f"{backend}:///{tmp_path / 'graph'}"
    chosen = random.Random(SEED)
    with open_storage(address) as storage:
        Graph(storage, CONFIG).initialize()
    stored = 0
    for _ in range(4):
        code = f"from tests.layers.graph.test_killed_loading import main; main({address!r})"
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = [int(child.stdout.readline()) for _ in range(1 + chosen.randrange(8))]
            child.kill()
            said += [int(line) for line in child.stdout.read().split()]
        with open_storage(address) as storage:
            graph = Graph(storage, CONFIG)
            nodes = len(graph.list_node_ids())
            assert nodes % (BATCH // 2) == 0
            assert nodes // (BATCH // 2) in (said[-1] + 1, said[-1] + 2)
            assert said[0] == stored
            stored = nodes // (BATCH // 2)
            check_rows(storage, graph)
            assert len(list(graph.relationships())) == stored * (BATCH // 2 - 1) + 1
            newest = graph.load_relationship("newest")
            assert newest is not None
            assert newest.data == stored - 1
            assert len(graph.search_nodes(f"raven {stored - 1}", limit=nodes)) == nodes
            assert storage.check().ok
