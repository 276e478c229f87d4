"""What the tests of this folder record."""

from __future__ import annotations

from typing import Any

from mycelia_storage.layers.experiences import NewExperience

DIMENSION = 8


def vector(*numbers: float) -> list[float]:
    """A vector that begins so, and goes on with zeros."""
    return [*numbers, *[0.0] * (DIMENSION - len(numbers))]


def lesson(team: str, content: str = "a lesson", embedding: Any = None, **fields: Any) -> NewExperience:
    """Something to record."""
    return NewExperience(team, content, vector(1.0) if embedding is None else embedding, **fields)
