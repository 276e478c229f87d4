"""Two processes at one graph: one deletes nodes while the other leads relationships to them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mycelia_storage.config import open_storage
from mycelia_storage.layers.graph import Graph, Node, NodeNotFound, Relationship

from .conftest import CONFIG

ROOT = Path(__file__).parents[3]
NODES = 40


def connect(graph: Graph) -> int:
    """Lead relationships from the hub to every node, round after round, until none is left; how many were made."""
    made = 0
    while graph.load_node("stop") is None:
        for number in range(NODES):
            try:
                graph.store_relationship(Relationship("hub", f"n{number}", "to", id=f"e{number}"))
                made += 1
            except NodeNotFound:
                pass
    return made


def main(address: str, schema: str) -> None:
    """The other process."""
    with open_storage(address, **({"schema": schema} if schema else {})) as storage:
        graph = Graph(storage, CONFIG)
        print("ready", flush=True)
        print(connect(graph), flush=True)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Where both processes find the graph: an address and a schema."""
    if request.param == "postgres":
        schemas = request.getfixturevalue("postgres_schemas")
        yield schemas.url, schemas.new()
    else:
        yield str(tmp_path / "graph.db"), ""


def test_no_relationship_outlives_its_node(place: tuple[str, str]) -> None:
    address, schema = place
    with open_storage(address, **({"schema": schema} if schema else {})) as storage:
        graph = Graph(storage, CONFIG)
        graph.initialize()
        graph.store_many([Node("hub"), *(Node(f"n{number}") for number in range(NODES))])
        code = f"from tests.layers.graph.test_processes import main; main({address!r}, {schema!r})"
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
            try:
                assert other.stdout is not None
                assert other.stdout.readline() == "ready\n"
                until = time.monotonic() + 30
                while next(graph.relationships(), None) is None and time.monotonic() < until:
                    time.sleep(0.002)
                for number in range(NODES):
                    assert graph.delete_node(f"n{number}", soft=number % 4 == 0) is True
                    time.sleep(0.002)  # the other one writes meanwhile
                graph.store_node(Node("stop"))
                made = int(other.stdout.readline())
            finally:
                other.kill() if other.poll() is None and sys.exc_info()[0] else None
        assert other.returncode == 0
        assert made > 0
        assert graph.load_relationships("hub") == []
        left = [one.to_node for one in graph.relationships()]
        assert all(graph.load_node(node, deleted=True) is not None for node in left)
        for table in ("out", "in"):
            assert storage.count(namespace=f"graph/{table}") == 0
        assert storage.count(namespace="graph/hidden") == 2 * len(left)
