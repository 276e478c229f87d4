"""How good a recall is on one's own data: labelled queries, recall@k and MRR for each leg and for all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...errors import InvalidInput
from .fusion import Fusion
from .memories import Memories

DEPTHS: Final = (5, 10, 20)

#: Each column of the result and the weights it is made with; None are the memories' own.
LEGS: Final[Mapping[str, Mapping[str, float] | None]] = {
    "text": {"text": 1.0},
    "vector": {"vector": 1.0},
    "window": {"window": 1.0},
    "fused": None,
}

_FIELDS: Final = frozenset({"query", "relevant", "vector", "filter", "conversation", "session", "subject", "category"})


@dataclass(frozen=True)
class Labelled:
    """A query and the keys that it should find."""

    query: str
    relevant: tuple[str, ...]
    vector: Any = None
    conditions: tuple[tuple[str, Any], ...] = ()
    """What else ``recall`` takes by name: filter, conversation, session, subject."""
    category: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """The measures of one leg: means over the queries."""

    leg: str
    queries: int
    recall: tuple[tuple[int, float], ...]
    """(k, share of the relevant keys among the first k)."""
    mrr: float
    """Of one over the rank of the first relevant key, 0 where none is among the first 50."""


def read_labelled(data: Any) -> Labelled:
    """A labelled query from a JSON object. Raises InvalidInput."""
    if not isinstance(data, dict) or data.keys() - _FIELDS:
        raise InvalidInput(f"a labelled query is an object of {', '.join(sorted(_FIELDS))}")
    query, relevant = data.get("query"), data.get("relevant")
    if not isinstance(query, str) or not isinstance(relevant, list) or not relevant:
        raise InvalidInput("a labelled query has a query and the relevant keys")
    if not all(isinstance(key, str) for key in relevant):
        raise InvalidInput("relevant keys are strings")
    conditions = tuple(
        (name, data[name]) for name in ("filter", "conversation", "session", "subject") if data.get(name) is not None
    )
    category = data.get("category")
    return Labelled(
        query,
        tuple(dict.fromkeys(relevant)),
        data.get("vector"),
        conditions,
        None if category is None else str(category),
    )


def evaluate(
    memories: Memories, queries: Iterable[Labelled], *, legs: Sequence[str] = tuple(LEGS), depth: int = 50
) -> list[Evaluation]:
    """The measures of each leg that there is: vectors need an embedder, or vectors with the queries."""
    asked = list(queries)
    found = []
    for leg in legs:
        ranks = [rank_relevant(memories, one, LEGS[leg], depth) for one in asked]
        if leg in ("vector", "window") and not any(counted for counted, _ in ranks):
            continue
        found.append(measure(leg, asked, [places for _, places in ranks]))
    return found


def rank_relevant(
    memories: Memories, one: Labelled, weights: Mapping[str, float] | None, depth: int, fusion: Fusion | None = None
) -> tuple[int, list[int]]:
    """How many memories a recall found, and the ranks of the relevant ones among them, from 1."""
    hits = memories.recall(one.query, depth, vector=one.vector, weights=weights, fusion=fusion, **dict(one.conditions))
    wanted = set(one.relevant)
    return len(hits), [rank for rank, hit in enumerate(hits, 1) if hit.key in wanted]


def measure(leg: str, asked: Sequence[Labelled], ranks: Sequence[Sequence[int]]) -> Evaluation:
    """The means over the queries."""
    number = max(len(asked), 1)
    recall = tuple(
        (
            k,
            sum(sum(rank <= k for rank in places) / len(one.relevant) for one, places in zip(asked, ranks, strict=True))
            / number,
        )
        for k in DEPTHS
    )
    return Evaluation(leg, len(asked), recall, sum(1 / places[0] for places in ranks if places) / number)
