"""Context: what an agent wants to know before it starts, in one call and from one state of the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .decay_settings import RecallWeights
from .entities import Activity, Experience, Insight, Relation
from .kinds import Direction
from .limits import check_count
from .search import CANDIDATES, EVERYTHING, Search, SearchFilter, SearchOptions


@dataclass(frozen=True)
class ContextRequest:
    """What to gather. The filter applies to experiences, not to insights."""

    collective_id: str
    query_embedding: Any
    max_similar: int = 20
    max_recent: int = 10
    include_insights: bool = True
    include_relations: bool = True
    include_active_agents: bool = True
    filter: SearchFilter = EVERYTHING
    recall_weights: RecallWeights | None = None
    now: int | None = None


@dataclass(frozen=True)
class ContextCandidates:
    """What was gathered. An experience may be both similar and recent."""

    similar_experiences: list[tuple[Experience, float]] = field(default_factory=list)
    recent_experiences: list[Experience] = field(default_factory=list)
    insights: list[Insight] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    active_agents: list[Activity] = field(default_factory=list)


class Context(Search):
    """The part of the store for context."""

    def get_context_candidates(self, request: ContextRequest) -> ContextCandidates:
        """Similar and recent experiences, near insights, the relations of those experiences, and who is at work.

        Raises InvalidField, NotFound, DimensionMismatch.
        """
        check_count("max_similar", request.max_similar)
        check_count("max_recent", request.max_recent)
        with self._snapshot() as tx:
            id, vector = self._query(tx, request.collective_id, request.query_embedding)
            if request.recall_weights is not None:
                request.recall_weights.check()
            options = SearchOptions(
                request.max_similar, request.filter, request.recall_weights, CANDIDATES, request.now
            )
            similar = [(found.experience, found.similarity) for found in self._ranked(tx, id, vector, options)]
            recent = self._recent(tx, id, request.max_recent, request.filter)
            insights = self._insights(tx, id, vector, request.max_similar) if request.include_insights else []
            relations: dict[str, Relation] = {}
            if request.include_relations:
                for experience in dict.fromkeys([*(each.id for each, _ in similar), *(each.id for each in recent)]):
                    for relation in self._touching(tx, experience, Direction.BOTH):
                        relations.setdefault(relation.id, relation)
        agents = self.get_active_agents(id, now=request.now) if request.include_active_agents else []
        return ContextCandidates(similar, recent, [each for each, _ in insights], [*relations.values()], agents)
