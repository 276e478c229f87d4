"""Real conversations are ranked alike on every backend, as the definition says.

The conversations are for evaluation only and no part of the repository: ``shared/data/conversations`` beside the
project, or the folder that ``MYCELIA_CONVERSATIONS`` names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from mycelia_storage import (
    MemoryStorageBackend,
    PostgresStorageBackend,
    RocksDBStorageBackend,
    SQLiteStorageBackend,
)
from mycelia_storage.contract import StorageBackend
from mycelia_storage.field_paths import parse_path
from mycelia_storage.filters import match, where
from mycelia_storage.indexes import TextIndex
from mycelia_storage.text import Occurrences, occurrences, query_terms, rank

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "conversations"
FOLDER = Path(os.environ.get("MYCELIA_CONVERSATIONS", BESIDE))
QUESTIONS_OF_EACH = 25

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the conversations are not at {FOLDER}")

INDEXES = {
    "weighted": TextIndex({"text": 1.0, "speaker": 0.5, "$metadata.before": 0.3}),
    "every word": TextIndex("text", language=None),
}


def read(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (FOLDER / name).read_bytes().splitlines()]


@pytest.fixture(scope="module")
def turns() -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for turn in read("turns.jsonl"):
        found.setdefault(turn["conversation"], {})[turn["key"]] = turn
    return found


@pytest.fixture(scope="module")
def questions() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for question in read("questions.jsonl"):
        found.setdefault(question["conversation"], []).append(question["question"])
    return {conversation: asked[:QUESTIONS_OF_EACH] for conversation, asked in found.items()}


@pytest.fixture(scope="module")
def definition() -> dict[tuple[str, str], dict[str, Occurrences]]:
    """What the entries of each conversation hold, by index and conversation, once it was asked for."""
    return {}


@pytest.fixture(params=["memory", "rocksdb", "sqlite", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    opened: StorageBackend
    if request.param == "memory":
        opened = MemoryStorageBackend()
    elif request.param == "rocksdb":
        opened = RocksDBStorageBackend(tmp_path / "s")
    elif request.param == "postgres":
        schemas = request.getfixturevalue("postgres_schemas")
        opened = PostgresStorageBackend(schemas.url, schema=schemas.new())
    else:
        opened = SQLiteStorageBackend({"dbPath": str(tmp_path / "s.db")})
    with opened:
        yield opened


@pytest.mark.parametrize("name", INDEXES)
def test_the_rankings_are_those_of_the_definition(
    storage: StorageBackend,
    turns: dict[str, dict[str, dict[str, Any]]],
    questions: dict[str, list[str]],
    definition: dict[tuple[str, str], dict[str, Occurrences]],
    name: str,
) -> None:
    index = INDEXES[name]
    compared = 0
    for conversation, held in turns.items():
        storage.create_index(conversation, index)
        texts = [""] + [turn["text"] for turn in held.values()]
        storage.set_many(
            [
                {"key": key, "value": turn, "metadata": {"before": before}}
                for (key, turn), before in zip(held.items(), texts, strict=False)
            ],
            namespace=conversation,
        )
        entries = {entry.key: entry for entry in storage.scan(namespace=conversation)}
        kept = definition.setdefault((name, conversation), {})
        if not kept:
            fields = [(parse_path(path), weight) for path, weight in index.fields]
            for key, entry in entries.items():
                of_entry = occurrences([(path.read(entry), weight) for path, weight in fields], index.language)
                if of_entry.length:
                    kept[key] = of_entry
        speaker = next(iter(held.values()))["speaker"]
        for number, question in enumerate(questions[conversation]):
            ranked = rank(query_terms(question, index.language), kept)
            filter = where("speaker") == speaker if number % 4 == 0 else None
            allowed = [key for key in ranked if filter is None or match(filter, entries[key])]
            wanted = sorted(allowed, key=lambda key: (-ranked[key], key))[:10]
            hits = storage.search_text(question, namespace=conversation, filter=filter)
            about = f"{conversation}: {question}"
            assert [hit.score for hit in hits] == pytest.approx([ranked[key] for key in wanted], rel=1e-6), about
            for hit, key in zip(hits, wanted, strict=True):
                # Other keys only where rounding decides between equals.
                assert hit.key == key or ranked[hit.key] == pytest.approx(ranked[key], rel=1e-6), about
                assert hit.entry == entries[hit.key]
            compared += 1
    assert compared > 100
    assert storage.check().ok
