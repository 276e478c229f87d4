"""Columns decide filters as ``match`` does."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from mycelia_storage.field_paths import parse_path
from mycelia_storage.filters import Filter, match, where
from mycelia_storage.nearest import columns as columns_module
from mycelia_storage.nearest.columns import MOST_COLUMNS, Columns, paths_of
from mycelia_storage.nearest.source import FieldRow

SEED = 20_261_121

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    0.5,
    -0.0,
    2**53 + 1,
    -(2**62),
    "",
    "a",
    "abc",
    "1",
    [],
    [1],
    ["a"],
    {},
    {"a": 1},
]
PATHS = ("$metadata.x", "$metadata.y.z", "$key", "$created_at", "$metadata", "value", "$value")


def some_row(random: Random, number: int) -> FieldRow:
    metadata: dict[str, Any] = {}
    if random.random() < 0.8:
        metadata["x"] = random.choice(VALUES)
    if random.random() < 0.5:
        metadata["y"] = random.choice([{"z": random.choice(VALUES)}, 7, None])
    return FieldRow("v", f"k{number}", b"", metadata, random.randrange(5), 0)


def some_filter(random: Random, depth: int = 2) -> Filter:
    if depth and random.random() < 0.6:
        one, other = some_filter(random, depth - 1), some_filter(random, depth - 1)
        return random.choice([one & other, one | other, ~one])
    field, operand = where(random.choice(PATHS)), random.choice([*VALUES, 3, float(2**60)])
    text = random.choice(["", "a", "k1", "b"])
    return random.choice([
        field == operand, field != operand, field > operand, field >= operand, field < operand, field <= operand,
        field.is_in([operand, 1]), field.not_in([operand]), field.exists(random.random() < 0.5), field.contains(text),
        field.starts_with(text), field.ends_with(text),
    ])  # fmt: skip


def test_a_mask_says_what_match_says() -> None:
    random = Random(SEED)
    for round_ in range(60):
        rows = [some_row(random, number) for number in range(30)]
        columns, condition = Columns(), some_filter(random)
        assert columns.holds(condition) is None
        assert columns.make(columns.missing(condition), len(rows), enumerate(rows))
        for number in range(30, 40):
            rows.append(some_row(random, number))
            columns.append(rows[-1])
        held = columns.holds(condition)
        assert held is not None
        assert held.tolist() == [match(condition, row) for row in rows], f"seed {SEED}, round {round_}: {condition}"


def test_the_oldest_columns_go() -> None:
    columns = Columns()
    conditions = [where(f"$metadata.f{number}") == 1 for number in range(MOST_COLUMNS + 1)]
    rows = [FieldRow("v", "k", b"", {"f0": 1}, 0, 0)]
    for condition in conditions[:-1]:
        assert columns.make(columns.missing(condition), len(rows), enumerate(rows))
    assert columns.missing(conditions[0]) == []
    assert columns.make(columns.missing(conditions[-1]), len(rows), enumerate(rows))
    assert columns.missing(conditions[0]) == []
    assert columns.missing(conditions[1]) == [parse_path("$metadata.f1")]


def test_a_field_of_too_many_values_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_module, "MOST_VALUES", 5)
    columns, condition = Columns(), where("$metadata.n") == 1
    rows = [FieldRow("v", f"k{number}", b"", {"n": number}, 0, 0) for number in range(6)]
    missing = columns.missing(condition)
    assert columns.can_hold(missing)
    assert not columns.make(missing, len(rows), enumerate(rows))
    assert columns.holds(condition) is None
    assert not columns.can_hold(columns.missing(condition))


def test_the_fields_of_a_filter() -> None:
    condition = (where("$metadata.a") == 1) & ~((where("$key") > "x") | where("$metadata.a").exists())
    assert [str(path) for path in paths_of(condition)] == ["$metadata.a", "$key", "$metadata.a"]
