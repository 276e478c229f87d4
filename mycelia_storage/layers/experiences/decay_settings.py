"""How knowledge fades: energy from importance, use and age, and the settings of it.

energy = importance · (1 + freq_weight · ln(1 + applications)) · 2^(-age / half_life), cut to [0, 1]. Age is the time
since the last reinforcement. It is computed when read, never stored, rounded to float32 and then cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Final

from .entities import Experience
from .errors import InvalidField
from .limits import is_finite

_DAY: Final = 86_400.0


@dataclass(frozen=True)
class RecallWeights:
    """How much similarity and energy count in a ranking; together 1."""

    similarity: float
    energy: float

    def check(self) -> None:
        """Raise InvalidField unless both are at least 0 and together 1."""
        for name in ("similarity", "energy"):
            if not is_finite(getattr(self, name)) or getattr(self, name) < 0:
                raise InvalidField("weights", f"have a {name} that is no number of at least 0")
        if abs(self.similarity + self.energy - 1) > 1e-4:
            raise InvalidField("weights", "do not add up to 1")


@dataclass(frozen=True)
class DecayConfig:
    """The settings of a whole store."""

    half_life: float = 30 * _DAY
    """Seconds in which energy halves."""
    freq_weight: float = 0.25
    floor: float = 0.05
    """Below this, :meth:`list_cold_experiences` counts an experience as cold when it is not told otherwise."""
    default_recall_weights: RecallWeights | None = None

    def check(self) -> None:
        """Raise InvalidField for a setting out of its range."""
        CollectiveDecay(self.half_life, self.freq_weight, self.floor, self.default_recall_weights).check()

    def energy(self, experience: Experience, now: int) -> float:
        """The energy of an experience at a time in milliseconds."""
        return energy(
            experience.importance,
            experience.total_applications,
            max(0, now - experience.last_reinforced) / 1000,
            self,
        )


@dataclass(frozen=True)
class CollectiveDecay:
    """The settings of one collective; None takes that of the store."""

    half_life: float | None = None
    freq_weight: float | None = None
    floor: float | None = None
    default_recall_weights: RecallWeights | None = None

    def check(self) -> None:
        """Raise InvalidField for a setting out of its range."""
        if self.half_life is not None and (not is_finite(self.half_life) or self.half_life <= 0):
            raise InvalidField("half_life", "is a number of seconds over 0")
        if self.freq_weight is not None and (not is_finite(self.freq_weight) or self.freq_weight < 0):
            raise InvalidField("freq_weight", "is a number of at least 0")
        if self.floor is not None and (not is_finite(self.floor) or not 0 <= self.floor <= 1):
            raise InvalidField("floor", "is a number from 0 to 1")
        if self.default_recall_weights is not None:
            self.default_recall_weights.check()

    def over(self, whole: DecayConfig) -> DecayConfig:
        """These settings, and those of the store where there are none."""
        merged = {
            field.name: getattr(whole, field.name) if getattr(self, field.name) is None else getattr(self, field.name)
            for field in fields(self)
        }
        return DecayConfig(**merged)

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        weights = self.default_recall_weights
        return {
            "half_life": self.half_life, "freq_weight": self.freq_weight, "floor": self.floor,
            "weights": None if weights is None else [weights.similarity, weights.energy],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CollectiveDecay:
        """What :meth:`to_json` made."""
        weights = data["weights"]
        return cls(
            data["half_life"], data["freq_weight"], data["floor"], None if weights is None else RecallWeights(*weights)
        )


def energy(importance: float, applications: int, age: float, settings: DecayConfig) -> float:
    """The formula above; ``age`` in seconds."""
    import numpy

    raw = importance * (1 + settings.freq_weight * math.log1p(applications))
    return min(max(float(numpy.float32(raw * 0.5 ** (age / settings.half_life))), 0.0), 1.0)
