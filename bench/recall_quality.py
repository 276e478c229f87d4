"""How good recall is on real conversations: recall@k and MRR for each leg, category and conversation.

``python -m bench.recall_quality [--db URL] [--data FOLDER] [--questions N] [--sweep]`` prints a table. The data is five
conversations of LoCoMo (snap-research/LoCoMo, CC BY-NC 4.0) with vectors of all-MiniLM-L6-v2, in the folder
``shared/data/conversations`` beside the repository or in MYCELIA_CONVERSATIONS; none of it is in the repository.
Evidence recall@k is the share of a question's evidence among the first k, averaged over questions; each conversation is
a namespace of memories, and a question searches its own.

``--sweep`` shows what leaving each conversation out would have chosen among the weights, and how that does on it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from mycelia_storage import StorageBackend, open_storage
from mycelia_storage.layers.memories import EmbeddingSpace, Labelled, Memories
from mycelia_storage.layers.memories.evaluation import LEGS, measure, rank_relevant
from mycelia_storage.layers.memories.fusion import Fusion

SPACE = EmbeddingSpace("all-MiniLM-L6-v2", 384)

#: Weights of text that ``--sweep`` chooses from; the rest is shared by vector and window.
SWEPT = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def data_folder() -> Path | None:
    """Where the conversations are, or None."""
    given = os.environ.get("MYCELIA_CONVERSATIONS")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "conversations"
    folder = Path(given) if given else beside
    return folder if (folder / "questions.jsonl").exists() else None


@dataclass(frozen=True)
class Conversations:
    """The turns of each conversation as ``remember_many`` takes them, and the questions."""

    turns: dict[str, list[dict[str, Any]]]
    questions: list[tuple[str, Labelled]]


def read_conversations(folder: Path) -> Conversations:
    """The data with its vectors."""
    turns: dict[str, list[dict[str, Any]]] = defaultdict(list)
    own, window, asked = (
        numpy.load(folder / f"{name}_vectors.npy").astype("<f4") for name in ("turn", "window", "question")
    )
    for row, turn in enumerate(_lines(folder / "turns.jsonl")):
        turns[turn["conversation"]].append(
            {name: turn[name] for name in ("key", "conversation", "session", "speaker", "text", "created_at")}
            | {"vector": own[row], "window_vector": window[row]}
        )
    questions = [
        (one["conversation"], Labelled(one["question"], tuple(one["evidence"]), asked[row], (), str(one["category"])))
        for row, one in enumerate(_lines(folder / "questions.jsonl"))
    ]
    return Conversations(dict(turns), questions)


def remember(storage: StorageBackend, data: Conversations) -> dict[str, Memories]:
    """Each conversation in a namespace of its own."""
    found = {}
    for name, turns in data.turns.items():
        found[name] = Memories(storage, ("quality", name), space=SPACE)
        found[name].remember_many(turns)
    return found


def rank_all(
    memories: Mapping[str, Memories],
    questions: Sequence[tuple[str, Labelled]],
    weights: Mapping[str, float] | None,
    fusion: Fusion | None = None,
) -> list[list[int]]:
    """The ranks of the evidence of each question, 50 at most."""
    return [rank_relevant(memories[name], one, weights, 50, fusion)[1] for name, one in questions]


def figures(
    questions: Sequence[tuple[str, Labelled]], ranks: Sequence[Sequence[int]], rows: Iterable[int]
) -> list[float]:
    """R@5, R@10, R@20 and MRR over some of the questions."""
    chosen = list(rows)
    found = measure("", [questions[row][1] for row in chosen], [ranks[row] for row in chosen])
    return [*(share for _, share in found.recall), found.mrr]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def _print_row(name: str, number: int, found: Sequence[float]) -> None:
    print(f"{name:34} {number:5} " + " ".join(f"{share:6.3f}" for share in found), flush=True)


def _print_table(questions: Sequence[tuple[str, Labelled]], legs: Mapping[str, list[list[int]]]) -> None:
    groups: dict[str, list[int]] = {"all": list(range(len(questions)))}
    for row, (name, one) in enumerate(questions):
        groups.setdefault(f"category {one.category}", []).append(row)
        groups.setdefault(name, []).append(row)
    print(f"{'':34} {'n':>5}    R@5   R@10   R@20    MRR")
    for group in sorted(groups, key=lambda group: (group != "all", not group.startswith("category"), group)):
        for leg, ranks in legs.items():
            _print_row(f"{group}, {leg}", len(groups[group]), figures(questions, ranks, groups[group]))


def _print_sweep(memories: Mapping[str, Memories], questions: Sequence[tuple[str, Labelled]]) -> None:
    ranked = {
        text: rank_all(memories, questions, {"text": text, "vector": (1 - text) / 2, "window": (1 - text) / 2})
        for text in SWEPT
    }
    print("\nweight of text")
    for text, ranks in ranked.items():
        _print_row(f"  {text}", len(questions), figures(questions, ranks, range(len(questions))))
    print("chosen by R@10 + R@20 without the conversation, and how it does on it")
    for name in memories:
        inside = [row for row, (conversation, _) in enumerate(questions) if conversation == name]
        others = [row for row, (conversation, _) in enumerate(questions) if conversation != name]
        chosen = max(ranked, key=lambda text: sum(figures(questions, ranked[text], others)[1:3]))
        _print_row(f"  {name}: {chosen}", len(inside), figures(questions, ranked[chosen], inside))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db", help="a storage; without it, a temporary SQLite file")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--questions", type=int, help="only the first so many of each conversation")
    parser.add_argument("--sweep", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.data or data_folder()
    if folder is None:
        print("no conversations: see the top of this file", file=sys.stderr)
        return 1
    data = read_conversations(folder)
    questions = data.questions
    if arguments.questions is not None:
        seen: dict[str, int] = defaultdict(int)
        kept = []
        for name, one in questions:
            seen[name] += 1
            if seen[name] <= arguments.questions:
                kept.append((name, one))
        questions = kept
    with tempfile.TemporaryDirectory() as place, open_storage(arguments.db or f"sqlite:///{place}/q.db") as storage:
        began = time.perf_counter()
        memories = remember(storage, data)
        print(f"{sum(map(len, data.turns.values()))} turns remembered in {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        legs = {leg: rank_all(memories, questions, weights) for leg, weights in LEGS.items()}
        legs["rrf"] = rank_all(memories, questions, None, "rrf")
        asked = len(legs) * len(questions)
        print(f"{asked} recalls of 50 in {time.perf_counter() - began:.1f} s\n")
        _print_table(questions, legs)
        if arguments.sweep:
            _print_sweep(memories, questions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
