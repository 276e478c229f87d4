"""The bench asks every engine the same, and gets the same answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.graph import _same, measure, power_law


@pytest.mark.parametrize("engine", ["sqlite", "memory"])
def test_answers_are_those_of_networkx(engine: str, tmp_path: Path) -> None:
    figures, answers = measure(engine, 400, tmp_path)
    _, wanted = measure("networkx", 400, tmp_path)
    assert answers.keys() == wanted.keys()
    assert all(_same(answers[task], wanted[task]) for task in wanted)
    assert figures["edges"] == 400


def test_degrees_follow_a_power_law() -> None:
    nodes, pairs = power_law(5_000)
    assert len(pairs) == len(set(pairs)) == 5_000
    degrees = [0] * nodes
    for start, end in pairs:
        degrees[start] += 1
        degrees[end] += 1
    assert max(degrees) > 100
    assert sorted(degrees)[nodes // 2] < 15
