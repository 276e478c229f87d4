"""The graph layer on its backends, beside networkx and an embedded graph database.

    python -m bench.graph [--edges 10000 1000000] [--engines sqlite postgres memory networkx kuzu] [--json FILE]

The graph is random with degrees by a power law: an edge's ends are chosen by preferential attachment from a seed, so
that a few nodes have thousands of neighbours and most have some. Every engine gets the same edges and the same
questions, of nodes drawn among the ends of edges (hubs come often) and answers are compared. Times are medians in
milliseconds, of answers as the engine gives them to its user: nodes with their data for neighbours, ids otherwise.
The lightest path is Dijkstra's where every edge weighs one, the hardest case for it; Kuzu is not asked.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

SEED = 20_261_121
EDGES_A_NODE = 5
QUESTIONS = 60
PAGE = 100


def power_law(edges: int) -> tuple[int, list[tuple[int, int]]]:
    """The number of nodes and the edges as pairs; parallel ones and loops are left out."""
    chosen = random.Random(SEED)
    ends: list[int] = [0, 1]
    pairs: dict[tuple[int, int], None] = {(0, 1): None}
    nodes = edges // EDGES_A_NODE + 10
    for number in range(edges * 2):
        if len(pairs) == edges:
            break
        newest = min(2 + number // EDGES_A_NODE, nodes - 1)
        start = newest if chosen.random() < 0.7 else chosen.choice(ends)
        end = chosen.choice(ends) if chosen.random() < 0.8 else chosen.randrange(newest)
        if start != end and (start, end) not in pairs:
            pairs[start, end] = None
            ends += (start, end)
    return nodes, list(pairs)


def name(number: int) -> str:
    return f"n{number}"


class Ours:
    """The graph layer on one backend."""

    def __init__(self, backend: str, folder: Path, stack: ExitStack) -> None:
        from mycelia_storage.config import open_storage
        from mycelia_storage.layers.graph import Graph

        if backend == "postgres":
            storage = open_storage(f"postgres+embedded:///{folder}/server")
        elif backend == "memory":
            storage = open_storage("memory:")
        else:
            storage = open_storage({"backend": backend, "options": {"dbPath": str(folder / "graph")}})
        stack.enter_context(storage)
        self.storage = storage
        self.graph = Graph(storage)
        self.graph.initialize()

    def load(self, nodes: int, pairs: list[tuple[int, int]]) -> None:
        from mycelia_storage.layers.graph import Node, Relationship

        def items() -> Iterator[Any]:
            for number in range(nodes):
                yield Node(name(number), {"n": number})
            for number, (start, end) in enumerate(pairs):
                yield Relationship(name(start), name(end), "knows", id=f"e{number}")

        self.graph.store_all(items())
        self.storage.optimize()

    def neighbours(self, node: str) -> list[str]:
        return [one.node.id for one in self.graph.neighbours(node, limit=PAGE).neighbours]

    def two_hops(self, node: str) -> set[str]:
        return set(self.graph.reach(node, hops=2, limit=None))

    def path(self, start: str, goal: str) -> int | None:
        found = self.graph.shortest_path(start, goal, max_visited=10**7)
        return None if found is None else len(found.links)

    def lightest_path(self, start: str, goal: str) -> float | None:
        found = self.graph.shortest_path(start, goal, weighted=True, max_visited=10**7)
        return None if found is None else found.cost


class NetworkX:
    """A DiGraph in memory."""

    def __init__(self, _backend: str, _folder: Path, _stack: ExitStack) -> None:
        import networkx

        self.networkx = networkx
        self.graph = networkx.DiGraph()

    def load(self, nodes: int, pairs: list[tuple[int, int]]) -> None:
        self.graph.add_nodes_from((name(number), {"n": number}) for number in range(nodes))
        self.graph.add_edges_from((name(start), name(end), {"type": "knows"}) for start, end in pairs)

    def neighbours(self, node: str) -> list[str]:
        return sorted(self.graph.successors(node))[:PAGE]

    def two_hops(self, node: str) -> set[str]:
        return set(self.networkx.single_source_shortest_path_length(self.graph, node, cutoff=2))

    def path(self, start: str, goal: str) -> int | None:
        try:
            return len(self.networkx.bidirectional_shortest_path(self.graph, start, goal)) - 1
        except self.networkx.NetworkXNoPath:
            return None

    def lightest_path(self, start: str, goal: str) -> float | None:
        try:
            return float(self.networkx.bidirectional_dijkstra(self.graph, start, goal)[0])
        except self.networkx.NetworkXNoPath:
            return None


class Kuzu:
    """Kuzu, asked in Cypher, loaded by COPY FROM of CSV files."""

    def __init__(self, _backend: str, folder: Path, stack: ExitStack) -> None:
        import kuzu

        self.folder = folder
        self.database = kuzu.Database(str(folder / "kuzu"), max_num_threads=1)
        self.connection = kuzu.Connection(self.database, num_threads=1)
        stack.callback(self.database.close)
        stack.callback(self.connection.close)
        self.connection.execute("CREATE NODE TABLE Node(id STRING, n INT64, PRIMARY KEY(id))")
        self.connection.execute("CREATE REL TABLE Knows(FROM Node TO Node)")

    def load(self, nodes: int, pairs: list[tuple[int, int]]) -> None:
        files = self.folder / "nodes.csv", self.folder / "edges.csv"
        files[0].write_text("".join(f"{name(number)},{number}\n" for number in range(nodes)))
        files[1].write_text("".join(f"{name(start)},{name(end)}\n" for start, end in pairs))
        self.connection.execute(f"COPY Node FROM '{files[0]}'")
        self.connection.execute(f"COPY Knows FROM '{files[1]}'")

    def _rows(self, cypher: str, **parameters: Any) -> list[list[Any]]:
        found = self.connection.execute(cypher, parameters)
        rows = []
        while found.has_next():
            rows.append(found.get_next())
        return rows

    def neighbours(self, node: str) -> list[str]:
        cypher = "MATCH (a:Node {id: $id})-[:Knows]->(b:Node) RETURN b.id, b.n ORDER BY b.id LIMIT 100"
        return [row[0] for row in self._rows(cypher, id=node)]

    def two_hops(self, node: str) -> set[str]:
        cypher = "MATCH (a:Node {id: $id})-[:Knows*1..2]->(b:Node) RETURN DISTINCT b.id"
        return {node, *(row[0] for row in self._rows(cypher, id=node))}

    def path(self, start: str, goal: str) -> int | None:
        cypher = "MATCH p = (a:Node {id: $a})-[:Knows* SHORTEST 1..30]->(b:Node {id: $b}) RETURN length(p)"
        rows = self._rows(cypher, a=start, b=goal)
        return rows[0][0] if rows else None


ENGINES: dict[str, Callable[[str, Path, ExitStack], Any]] = {
    "sqlite": Ours,
    "postgres": Ours,
    "memory": Ours,
    "rocksdb": Ours,
    "networkx": NetworkX,
    "kuzu": Kuzu,
}


def measure(engine: str, edges: int, folder: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The figures of one engine and its answers to each task."""
    nodes, pairs = power_law(edges)
    chosen = random.Random(SEED + 1)
    asked = [name(chosen.choice(chosen.choice(pairs))) for _ in range(QUESTIONS)]
    few = [name(chosen.randrange(nodes)) for _ in range(QUESTIONS)]
    ways = [(name(chosen.randrange(nodes)), name(chosen.choice(pairs)[1])) for _ in range(QUESTIONS // 3)]
    with ExitStack() as stack:
        opened = ENGINES[engine](engine, folder, stack)
        begun = time.perf_counter()
        opened.load(nodes, pairs)
        loaded = time.perf_counter() - begun
        figures: dict[str, Any] = {"engine": engine, "edges": edges, "nodes": nodes, "load_s": round(loaded, 2)}
        answers: dict[str, list[Any]] = {}
        tasks: list[tuple[str, list[Callable[[], Any]]]] = [
            ("neighbours_of_any", [lambda node=node: opened.neighbours(node) for node in few]),
            ("neighbours_of_ends", [lambda node=node: opened.neighbours(node) for node in asked]),
            ("two_hops", [lambda node=node: opened.two_hops(node) for node in few]),
            ("path", [lambda way=way: opened.path(*way) for way in ways]),
        ]
        if hasattr(opened, "lightest_path"):
            tasks.append(("lightest_path", [lambda way=way: opened.lightest_path(*way) for way in ways]))
        for task, calls in tasks:
            calls[0]()
            times = []
            for call in calls:
                begun = time.perf_counter()
                answer = call()
                times.append((time.perf_counter() - begun) * 1000)
                answers.setdefault(task, []).append(sorted(answer) if isinstance(answer, set) else answer)
            figures[f"{task}_ms"] = round(statistics.median(times), 3)
            figures[f"{task}_p95_ms"] = round(sorted(times)[int(len(times) * 0.95)], 3)
    return figures, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--edges", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=["sqlite", "postgres", "memory", "networkx", "kuzu"]
    )
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    results = []
    for edges in chosen.edges:
        agreed: dict[str, list[Any]] = {}
        for engine in chosen.engines:
            with tempfile.TemporaryDirectory(prefix="mycelia-bench-") as folder:
                try:
                    figures, answers = measure(engine, edges, Path(folder))
                except ImportError as error:
                    print(f"{engine}: not installed ({error.name})")
                    continue
            figures["answers_agree"] = all(_same(some, agreed.setdefault(task, some)) for task, some in answers.items())
            results.append(figures)
            print(json.dumps(figures), flush=True)
    if chosen.json:
        about = {"machine": platform.machine(), "python": platform.python_version(), "results": results}
        chosen.json.write_text(json.dumps(about, indent=1) + "\n")


def _same(answers: list[Any], agreed: list[Any]) -> bool:
    # A page of a hub's neighbours may be any hundred of them; only its length is compared.
    return all(
        len(one) == len(other) if isinstance(one, list) and len(one) == PAGE else one == other
        for one, other in zip(answers, agreed, strict=True)
    )


if __name__ == "__main__":
    main()
