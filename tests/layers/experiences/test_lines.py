"""Export and import of a collective as lines."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from mycelia_storage.layers.experiences import (
    DimensionMismatch,
    ExperienceStore,
    Fact,
    InvalidField,
    NotFound,
    RelationType,
)

from .conftest import OpenStorage
from .making import DIMENSION, lesson, vector
from .test_experiences import everything


def without_stamps(store: ExperienceStore) -> dict[tuple[str, str], object]:
    rows = everything(store.storage)
    return {
        place: {name: field for name, field in row.items() if name not in ("born", "edited", "floor")}
        if isinstance(row, dict)
        else row
        for place, row in rows.items()
    }


@pytest.fixture
def full(store: ExperienceStore, team: str) -> ExperienceStore:
    ids = [store.record(lesson(team, f"{n}\n", vector(n), experience_type=Fact("s", "t"))) for n in range(4)]
    store.reinforce(ids[0])
    store.archive(ids[1])
    store.store_relation(ids[0], ids[1], RelationType.SUPPORTS, metadata="{}")
    store.store_insight(team, "i", ids, embedding=vector(1.0))
    return store


def test_what_is_exported_can_be_imported_elsewhere(
    full: ExperienceStore, team: str, open_storage: OpenStorage
) -> None:
    lines = list(full.export_collective(team))
    assert len(lines) == 1 + 4 + 1 + 1
    assert all(line.count(b"\n") == 1 for line in lines)
    there = ExperienceStore(open_storage(), DIMENSION)
    assert there.import_collective(lines) == (team, 7)
    assert without_stamps(there) == without_stamps(full)
    assert there.import_collective(line.decode() for line in lines) == (team, 0)
    assert there.get_wal_sequence() == 7
    found = there.search_similar(team, vector(2.0), 9)
    assert [e.content for e, _ in found] == ["2\n", "3\n", "0\n"]


def test_a_deleted_collective_comes_back(full: ExperienceStore, team: str) -> None:
    before = without_stamps(full)
    lines = list(full.export_collective(team))
    full.delete_collective(team)
    assert full.import_collective(lines) == (team, 7)
    assert without_stamps(full) == before


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda lines: lines[1:], InvalidField),
        (lambda lines: [*lines, b"{"], InvalidField),
        (lambda lines: [*lines, b'{"entity": "x", "id": "y"}'], InvalidField),
        (lambda lines: [lines[0], *lines[2:]], InvalidField),
        (lambda lines: [lines[0], orjson.dumps(orjson.loads(lines[1]) | {"vector": ""})], InvalidField),
        (lambda lines: [orjson.dumps(orjson.loads(lines[0]) | {"dimension": 9}), *lines[1:]], DimensionMismatch),
        (lambda lines: lines[:0], InvalidField),
    ],
)
def test_a_bad_line_imports_nothing(
    full: ExperienceStore,
    team: str,
    open_storage: OpenStorage,
    spoil: Callable[[list[bytes]], list[bytes]],
    error: type[Exception],
) -> None:
    there = ExperienceStore(open_storage(), DIMENSION)
    before = everything(there.storage)
    with pytest.raises(error):
        there.import_collective(spoil(list(full.export_collective(team))))
    assert everything(there.storage) == before
    assert there.get_wal_sequence() == 0


def test_exporting_what_is_not_there(store: ExperienceStore) -> None:
    with pytest.raises(NotFound):
        store.export_collective(store.instance_id())
