"""Insights: statements derived from experiences, with a vector of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .entities import Insight
from .errors import EmbeddingError, InvalidField, NotFound, RequiredField, TooManyItems
from .ids import as_id, new_id
from .kinds import Entity, Event, InsightType
from .limits import MAX_INSIGHT, MAX_SOURCES, check_content, check_paging, check_score, check_string, pack_vector
from .relations import Relations
from .rows import drop_insight, find_insight, put_insight, read_insights
from .turns import Turn


class Insights(Relations):
    """The part of the store for insights."""

    def store_insight(
        self,
        collective_id: str,
        content: str,
        source_experience_ids: Sequence[str],
        *,
        embedding: Any = None,
        insight_type: InsightType = InsightType.PATTERN,
        confidence: float = 0.5,
        domain: Sequence[str] = (),
    ) -> str:
        """Store an insight; its id. Raises ValidationError, NotFound, EmbeddingError without a vector."""
        self._check_writable()
        collective = as_id(collective_id, "collective_id")
        self._check_insight(content, confidence, source_experience_ids, insight_type, domain)
        sources = tuple(as_id(source, "source_experience_ids") for source in source_experience_ids)
        dimension = self._existing(collective).embedding_dimension
        for source in sources:
            self._check_source(self.storage.get(source, namespace=self.layout.experiences), source, collective)
        given = self.embed(content) if embedding is None else embedding
        if given is None:
            raise EmbeddingError("an insight needs an embedding, and the store has no embedder")
        vector = pack_vector(given, dimension)

        def work(turn: Turn) -> str:
            if not turn.has(self.layout.collectives, collective):
                raise NotFound("collective", collective)
            for source in sources:
                self._check_source(turn.get(self.layout.experiences, source), source, collective)
            insight = Insight(
                new_id(), collective, content, vector, sources, InsightType(insight_type), confidence, tuple(domain),
                turn.now, turn.now, turn.stamp(),
            )  # fmt: skip
            put_insight(turn, insight)
            turn.log(Entity.INSIGHT, insight.id, collective, Event.CREATED)
            return insight.id

        return self._write(work)

    def save_insight(self, insight: Insight) -> None:
        """Store an insight as it is; its sources are not looked at. Raises ValidationError, NotFound."""
        self._check_insight(
            insight.content, insight.confidence, insight.source_experience_ids, insight.insight_type, insight.domain
        )
        id, collective = as_id(insight.id), as_id(insight.collective_id, "collective_id")
        vector = pack_vector(insight.vector, self.dimension)

        def work(turn: Turn) -> None:
            if not turn.has(self.layout.collectives, collective):
                raise NotFound("collective", collective)
            old = find_insight(turn, id)
            put_insight(turn, replace(insight, id=id, collective_id=collective, vector=vector, born=turn.stamp()), old)
            turn.log(Entity.INSIGHT, id, collective, Event.CREATED if old is None else Event.UPDATED)

        self._write(work)

    def _check_insight(self, content: Any, confidence: Any, sources: Any, kind: Any, domain: Any) -> None:
        check_content(content, MAX_INSIGHT)
        check_score("confidence", confidence)
        if isinstance(sources, str) or not isinstance(sources, Sequence):
            raise InvalidField("source_experience_ids", "is a list of ids")
        if not sources:
            raise RequiredField("source_experience_ids")
        if len(sources) > MAX_SOURCES:
            raise TooManyItems("source_experience_ids", len(sources), MAX_SOURCES)
        if kind not in tuple(InsightType):
            raise InvalidField("insight_type", f"is one of {', '.join(InsightType)}")
        if isinstance(domain, str) or not isinstance(domain, Sequence):
            raise InvalidField("domain", "is a list of strings")
        for each in domain:
            check_string("domain", each)

    def _check_source(self, row: Any, source: str, collective: str) -> None:
        if row is None:
            raise NotFound("experience", source)
        if row["collective"] != collective:
            raise InvalidField("source_experience_ids", "has an experience of another collective")

    def get_insight(self, id: str) -> Insight | None:
        """The insight with its vector, or None."""
        found = read_insights(self.storage, self.layout, [as_id(id)])
        return found[0] if found else None

    def delete_insight(self, id: str) -> bool:
        """Delete an insight; whether it existed."""
        id = as_id(id)

        def work(turn: Turn) -> bool:
            insight = find_insight(turn, id)
            if insight is not None:
                drop_insight(turn, insight)
            return insight is not None

        return self._write(work)

    def list_insight_ids_in_collective(self, id: str) -> list[str]:
        """All ids in order; [] for an unknown collective."""
        return self.storage.list(namespace=self.layout.insights_of(as_id(id)))

    def list_insight_ids_paginated(
        self, collective_id: str, limit: int, offset: int = 0, *, after: str | None = None
    ) -> list[str]:
        """A page of ids in order. ``after``: the last id of the page before."""
        check_paging(limit, offset)
        return self.storage.list(
            namespace=self.layout.insights_of(as_id(collective_id)),
            limit=limit,
            offset=offset,
            after=None if after is None else as_id(after, "after"),
        )

    def list_insights(
        self, collective_id: str, limit: int, offset: int = 0, *, after: str | None = None
    ) -> list[Insight]:
        """The same as whole insights."""
        ids = self.list_insight_ids_paginated(collective_id, limit, offset, after=after)
        return read_insights(self.storage, self.layout, ids)

    def delete_insights_by_collective(self, id: str) -> int:
        """Delete all insights of a collective, in one transaction; how many."""
        id = as_id(id)

        def work(turn: Turn) -> int:
            ids = [row.key for row in turn.rows(self.layout.insights_of(id))]
            for insight in ids:
                held = find_insight(turn, insight)
                if held is not None:
                    drop_insight(turn, held)
            return len(ids)

        return self._write(work, alone=True)
