"""How what the legs of a search found becomes one ranking.

Weighted: each leg's scores are brought to 0 .. 1, those of text by its best score (0 is "none of the words"), cosines
between the lowest and highest of all candidates; then they are added up by weight. A candidate that a vector leg did
not find gets its true cosine. One that a cut text leg did not find scores between nothing and the lowest found: half
of that is taken. RRF: the sum of weight / (60 + rank).

On five long conversations (997 questions; bench/recall_quality.py) the weighted sum beat its best leg on every measure
and RRF was worse than text alone on three of four, so weighted is the default. Weights of text from .5 to .6 do about
as well; what is left is shared by a text's own vector and that of its window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from ...errors import InvalidInput
from .records import LegScore

Fusion = Literal["weighted", "rrf"]
LegName = Literal["text", "vector", "window"]

DEFAULT_WEIGHTS: Final[Mapping[str, float]] = {"text": 0.55, "vector": 0.225, "window": 0.225}

#: The constant of reciprocal rank fusion.
RRF_K: Final = 60


@dataclass
class Leg:
    """What one leg found: ranks from 1, and scores, which may be known of more keys."""

    name: LegName
    ranks: dict[str, int] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    cut: bool = False
    """Whether there may be more that it did not bring."""


@dataclass
class Fused:
    """Candidates with their scores, and what each leg added."""

    scores: dict[str, float]
    shares: dict[str, dict[str, float]]
    legs: list[Leg]
    weights: dict[str, float]

    def ranking(self) -> list[str]:
        """Candidates, best first, ties in order of key."""
        return sorted(self.scores, key=lambda key: (-self.scores[key], key))

    def explain(self, key: str) -> dict[str, LegScore]:
        """What each leg gave that candidate."""
        return {
            leg.name: LegScore(
                leg.ranks.get(key),
                leg.scores.get(key),
                self.shares[leg.name].get(key, 0.0),
                self.weights[leg.name],
            )
            for leg in self.legs
        }


def check_weights(weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weights by leg; one that is not named has 0. Raises InvalidInput."""
    if weights is None:
        return dict(DEFAULT_WEIGHTS)
    if not isinstance(weights, Mapping):
        raise InvalidInput("weights are a mapping from text, vector and window to numbers")
    for name, weight in weights.items():
        if name not in DEFAULT_WEIGHTS:
            raise InvalidInput(f"no leg {name!r}: legs are {', '.join(DEFAULT_WEIGHTS)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e9:
            raise InvalidInput(f"the weight of {name} is a number of at least 0")
    found = {name: float(weights.get(name, 0)) for name in DEFAULT_WEIGHTS}
    if not any(found.values()):
        raise InvalidInput("one weight at least is over 0")
    return found


def check_fusion(fusion: str) -> Fusion:
    """The method. Raises InvalidInput."""
    if fusion not in get_args(Fusion):
        raise InvalidInput(f"fusion is one of {', '.join(get_args(Fusion))}")
    return fusion  # type: ignore[return-value]


def fuse(legs: list[Leg], weights: Mapping[str, float], fusion: Fusion) -> Fused:
    """One score for each key that a leg has ranked, from 0 to 1 when weighted."""
    candidates: dict[str, None] = {}
    for leg in legs:
        candidates.update(dict.fromkeys(leg.ranks))
    total = sum(weights[leg.name] for leg in legs) or 1.0
    used: dict[str, float] = {leg.name: weights[leg.name] / total for leg in legs}
    shares: dict[str, dict[str, float]] = {}
    for leg in legs:
        weight = used[leg.name]
        if fusion == "rrf":
            shares[leg.name] = {key: weight / (RRF_K + rank) for key, rank in leg.ranks.items()}
            continue
        known = {key: leg.scores[key] for key in candidates if key in leg.scores}
        if not known:
            shares[leg.name] = {}
            continue
        high = max(known.values())
        low = 0.0 if leg.name == "text" else min(known.values())
        span = high - low
        share = {key: weight * ((score - low) / span if span > 0 else 1.0) for key, score in known.items()}
        if leg.cut and leg.name == "text":
            beyond = min(share.values()) / 2
            share.update((key, beyond) for key in candidates if key not in share)
        shares[leg.name] = share
    parts = list(shares.values())
    scores = {key: sum(part.get(key, 0.0) for part in parts) for key in candidates}
    return Fused(scores, shares, legs, used)
