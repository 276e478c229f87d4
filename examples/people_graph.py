"""People, places and topics of real conversations as a graph with time, asked real questions.

Run it with ``python examples/people_graph.py [FOLDER [CONVERSATION ...]]``. FOLDER holds ``turns.jsonl``,
``questions.jsonl``, ``turn_vectors.npy`` and ``question_vectors.npy``, by default ``../shared/data/conversations``
beside the repository. Everything stays in memory.

Nodes are people, what they said (with its vector), places and topics; a person ``said`` a turn, a turn is ``about`` a
topic or a place, and a person ``talks_about`` it from the first time on until the last.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mycelia_storage import open_storage
from mycelia_storage.layers.graph import Graph, Node, Relationship, StorageConfig, VectorConfig

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "conversations"

TOPICS = {
    "adoption": "adopt|adoption|adopting",
    "books": "book|books|reading|novel",
    "camping": "camp|camping|hike|hiking|hiked",
    "cooking": "cook|cooking|recipe|recipes|baking",
    "dancing": "dance|dancing|dancer",
    "games": "game|games|gaming|tournament",
    "movies": "movie|movies|film|screenplay|script",
    "music": "music|concert|song|violin|guitar",
    "painting": "paint|painting|painted|art",
    "pets": "dog|dogs|cat|cats|puppy|turtle|turtles|pet|pets",
    "pottery": "pottery|clay",
    "running": "run|running|race|marathon",
    "sports": "basketball|team|gym|workout",
    "volunteering": "volunteer|volunteering|shelter|charity",
}
PLACES = ("California", "Chicago", "Edinburgh", "England", "Florida", "Galway", "London", "Michigan", "Oregon", "Paris")
PLACES += ("Rome", "Scotland", "Seattle", "Spain", "Sweden", "Tampa")

PATTERNS = {("topic", name): re.compile(rf"\b({words})\b", re.IGNORECASE) for name, words in TOPICS.items()}
PATTERNS |= {("place", name): re.compile(rf"\b{name}\b") for name in PLACES}


def read(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def person_of(turn: dict[str, Any]) -> str:
    """People of one name in two conversations are two people."""
    return f"{turn['conversation']}/{turn['speaker']}"


def items(turns: list[dict[str, Any]]) -> Iterator[Node | Relationship]:
    """The nodes and relationships of the conversations."""
    for kind, name in PATTERNS:
        yield Node(f"{kind}:{name}", {"name": name}, kind)
    for person, turn in {person_of(turn): turn for turn in turns}.items():
        yield Node(person, {"name": turn["speaker"]}, "person", (turn["conversation"],))
    spoken: dict[tuple[str, str], list[int]] = {}
    for turn in turns:
        who, key, at = person_of(turn), turn["key"], turn["created_at"]
        yield Node(key, {"text": turn["text"]}, "turn", (turn["conversation"],), created_by=who, created_at=at)
        yield Relationship(who, key, "said", id=f"said:{key}", valid_from=at)
        for (kind, name), pattern in PATTERNS.items():
            if pattern.search(turn["text"]):
                what = f"{kind}:{name}"
                yield Relationship(key, what, "about", id=f"about:{key}:{what}", valid_from=at)
                spoken.setdefault((who, what), []).append(at)
    for (who, what), times in spoken.items():
        yield Relationship(
            who,
            what,
            "talks_about",
            {"times": len(times)},
            f"talks:{who}:{what}",
            weight=1 / len(times),
            valid_from=min(times),
            valid_to=max(times) + 1,
        )


def build(folder: Path, conversations: list[str]) -> tuple[Graph, list[dict[str, Any]]]:
    """The graph of some conversations, or of all, with a vector for every turn; the turns too."""
    from mycelia_storage.layers.graph.carrying import store_all

    graph = Graph(open_storage("memory:"), StorageConfig(vector_config=VectorConfig(dimensions=384)))
    graph.initialize()
    every = read(folder / "turns.jsonl")
    vectors = np.load(folder / "turn_vectors.npy").astype(np.float32)
    chosen = [row for row, turn in enumerate(every) if not conversations or turn["conversation"] in conversations]
    turns = [every[row] for row in chosen]
    store_all(graph, items(turns))
    graph.store_vectors((every[row]["key"], vectors[row], {}) for row in chosen)
    return graph, turns


def topics(graph: Graph, person: str, **when: int) -> dict[str, int]:
    """What a person talks about, with the number of turns, most of it first."""
    found = graph.load_relationships(person, direction="out", types="talks_about", **when)
    return dict(sorted(((one.to_node, one.data["times"]) for one in found), key=lambda pair: (-pair[1], pair[0])))


def evidence_found(graph: Graph, folder: Path, conversation: str, most: int = 5) -> tuple[int, int]:
    """Of the questions that name a person of the conversation, to how many the best turns hold evidence: by meaning,
    among all turns within one hop of that person.
    """
    questions = read(folder / "questions.jsonl")
    vectors = np.load(folder / "question_vectors.npy").astype(np.float32)
    people = [node for node in graph.list_nodes_by_tag(conversation) if node.node_type == "person"]
    asked = answered = 0
    for row, question in enumerate(questions):
        named = [person for person in people if person.data["name"] in question["question"]]
        if question["conversation"] == conversation and len(named) == 1 and question["evidence"]:
            hits = graph.find_by_vector(vectors[row], limit=most, node_type="turn", within=(named[0].id, 1))
            asked += 1
            answered += bool({hit.node.id for hit in hits} & set(question["evidence"]))
    return answered, asked


def main(folder: Path, conversations: list[str]) -> None:
    """Build the graph and ask it."""
    graph, turns = build(folder, conversations)
    stats = graph.get_stats()
    print(f"{stats.nodes} nodes, {stats.relationships} relationships, {stats.vectors} vectors")
    people = sorted({person_of(turn) for turn in turns})
    for person in people:
        told = ", ".join(f"{what.partition(':')[2]} {times}" for what, times in list(topics(graph, person).items())[:4])
        print(f"{person} talks about {told}")

    first, second = people[:2]
    shared = sorted(topics(graph, first).keys() & topics(graph, second).keys())
    print(f"\nWhat do {first} and {second} share? {', '.join(what.partition(':')[2] for what in shared)}")

    middle = sorted(turn["created_at"] for turn in turns)[len(turns) // 2]
    at = topics(graph, first, as_of=middle)
    day = datetime.fromtimestamp(middle / 1000, UTC).date()
    print(f"What was on {first}'s mind on {day}? {', '.join(what.partition(':')[2] for what in at)}")

    path = graph.shortest_path(first, people[-1], direction="both", types="talks_about", weighted=True)
    if path is not None:
        print(f"How are {first} and {people[-1]} connected? {' - '.join(path.nodes)}")

    found = graph.search_nodes("adoption agency", within=(first, 1), limit=1)
    for node in found:
        print(f"What did {first} say of an adoption agency? {node.data['text']}")

    for conversation in sorted({turn["conversation"] for turn in turns})[:1]:
        answered, asked = evidence_found(graph, folder, conversation)
        print(f"\n{conversation}: of {asked} questions that name one person, {answered} find evidence among the 5")
        print("turns of that person nearest in meaning.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA, sys.argv[2:])
