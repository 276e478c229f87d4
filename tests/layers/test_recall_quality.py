"""Recall on real conversations, which are beside the repository or in MYCELIA_CONVERSATIONS: as good as it was, the
same on every backend, and fused never worse than its better leg.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.recall_quality import SPACE, Conversations, data_folder, figures, rank_all, read_conversations, remember
from mycelia_storage import MemoryStorageBackend, SQLiteStorageBackend, StorageBackend
from mycelia_storage.layers.memories import Labelled, Memories
from mycelia_storage.layers.memories.evaluation import LEGS


@pytest.fixture(scope="module")
def conversations() -> Conversations:
    folder = data_folder()
    if folder is None:
        pytest.skip("the conversations are for evaluation only and not part of the repository")
    return read_conversations(folder)


@pytest.fixture(scope="module")
def on_sqlite(conversations: Conversations, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Memories]]:
    with SQLiteStorageBackend(str(tmp_path_factory.mktemp("quality") / "q.db")) as storage:
        yield remember(storage, conversations)


def test_the_figures_are_reached(conversations: Conversations, on_sqlite: dict[str, Memories]) -> None:
    questions = conversations.questions
    everything = range(len(questions))
    text = figures(questions, rank_all(on_sqlite, questions, LEGS["text"]), everything)
    fused = figures(questions, rank_all(on_sqlite, questions, LEGS["fused"]), everything)
    assert text[1] >= 0.765
    assert text[2] >= 0.82
    assert fused[1] >= 0.79
    assert fused[2] >= 0.86
    assert fused[3] >= 0.56
    assert all(together >= alone for together, alone in zip(fused, text, strict=True))


def _found(memories: Memories, query: str, vector: Any) -> list[tuple[str, float]]:
    return [(hit.key, hit.score) for hit in memories.recall(query, vector=vector)]


@pytest.fixture(scope="module")
def by_definition(conversations: Conversations) -> tuple[str, list[tuple[Labelled, Any, list[tuple[str, float]]]]]:
    """Some questions of the shortest conversation, with and without their vectors, and what memory finds."""
    name = min(conversations.turns, key=lambda name: len(conversations.turns[name]))
    asked = [one for conversation, one in conversations.questions if conversation == name][::21]
    with MemoryStorageBackend() as storage:
        memories = Memories(storage, space=SPACE)
        memories.remember_many(conversations.turns[name])
        pairs = [(one, vector) for one in asked for vector in (None, one.vector)]
        return name, [(one, vector, _found(memories, one.query, vector)) for one, vector in pairs]


def test_backends_agree(
    storage: StorageBackend,
    conversations: Conversations,
    by_definition: tuple[str, list[tuple[Labelled, Any, list[tuple[str, float]]]]],
) -> None:
    name, expected = by_definition
    memories = Memories(storage, space=SPACE)
    memories.remember_many(conversations.turns[name])
    for one, vector, wanted in expected:
        found = _found(memories, one.query, vector)
        assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=1e-4)
        # Keys are equal but where scores tie within rounding.
        ties = {key for key, score in wanted if abs(score - wanted[-1][1]) < 1e-4}
        assert {key for key, _ in found} - ties <= {key for key, _ in wanted}


def test_the_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MYCELIA_CONVERSATIONS", str(tmp_path))
    assert data_folder() is None
    (tmp_path / "questions.jsonl").touch()
    assert data_folder() == tmp_path
