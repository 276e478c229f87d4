"""Search: the nearest experiences that match a filter, ranked by similarity or by similarity and energy together.

Similarity is the cosine of two vectors, 0 where one of them is all zero. The filter is asked while the storage ranks,
so there are never fewer hits than there are matches. Hits go by score, then by similarity, then by id.

Weighted ranking: score = similarity weight * similarity cut to [0, 1] + energy weight * energy. It reads the nearest
max(4k, k + 16) matches (2,000 at most), and four times as many until no experience left out could enter the result, or
``candidates`` are read. So it is exact where no more than ``candidates`` match, and often beyond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ...contract import StorageBackend
from ...filters import And, Filter, Or, where
from .activities import Activities
from .decay_settings import DecayConfig, RecallWeights
from .entities import Experience, Insight
from .errors import InvalidField
from .ids import as_id
from .kinds import ExperienceType
from .limits import check_count, check_paging, is_finite, is_zero, pack_vector
from .rows import facets, keys_of, read_experiences, tag_text

#: As many matches a weighted ranking looks at, unless told otherwise.
CANDIDATES: Final = 320

_MOST_AT_ONCE: Final = 2_000


@dataclass(frozen=True)
class SearchFilter:
    """Conditions, all of which an experience must meet; an empty list is met by none."""

    domains: Sequence[str] | None = None
    """One of these at least."""
    experience_types: Sequence[type[ExperienceType] | ExperienceType] | None = None
    min_importance: float | None = None
    min_confidence: float | None = None
    since: int | None = None
    """Recorded then or later, in milliseconds."""
    exclude_archived: bool = True
    tags_all: Mapping[str, str] = field(default_factory=dict)
    """Each of these tags, with this value."""

    def condition(self, *, mixed: bool = True) -> Filter | None:
        """The filter of the storage, over what vectors have as metadata. Raises InvalidField.

        ``mixed``: among vectors of which some may be archived.
        """
        parts: list[Filter] = []
        if self.exclude_archived and mixed:
            parts.append(where("$metadata.archived") == False)  # noqa: E712
        if self.experience_types is not None:
            parts.append(where("$metadata.type").is_in([kind.tag for kind in self.experience_types]))
        for name, least in (("importance", self.min_importance), ("confidence", self.min_confidence)):
            if least is not None:
                if not is_finite(least):
                    raise InvalidField(f"min_{name}", "is a number")
                parts.append(where(f"$metadata.{name}") >= least)
        if self.since is not None:
            parts.append(where("$metadata.at") >= self.since)
        for key, value in self.tags_all.items():
            parts.append(where("$metadata.tags").contains(tag_text(key, value)))
        if self.domains is not None:
            parts.append(Or(tuple(where("$metadata.domain").contains(domain) for domain in self.domains)))
        return And(tuple(parts)) if parts else None

    def holds(self, facet: Mapping[str, Any]) -> bool:
        """Whether an experience with these facets meets all of it; the same as :meth:`condition`."""
        types = self.experience_types
        return (
            not (self.exclude_archived and facet["archived"])
            and (types is None or facet["type"] in {kind.tag for kind in types})
            and (self.min_importance is None or facet["importance"] >= self.min_importance)
            and (self.min_confidence is None or facet["confidence"] >= self.min_confidence)
            and (self.since is None or facet["at"] >= self.since)
            and all(tag_text(key, value) in facet["tags"] for key, value in self.tags_all.items())
            and (self.domains is None or any(domain in facet["domain"] for domain in self.domains))
        )

    @property
    def matches_nothing(self) -> bool:
        """Whether it has an empty list, which nothing meets."""
        return (self.experience_types is not None and not self.experience_types) or (
            self.domains is not None and not self.domains
        )


#: The filter that leaves out what is archived, and nothing else.
EVERYTHING: Final = SearchFilter()


class Found(NamedTuple):
    """An experience that a search found."""

    experience: Experience
    similarity: float
    score: float
    """What it was ranked by: the similarity itself in a plain search."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search. ``now`` pins the time that energies are counted at."""

    k: int = 10
    filter: SearchFilter = EVERYTHING
    weights: RecallWeights | None = None
    candidates: int = CANDIDATES
    now: int | None = None


class Search(Activities):
    """The part of the store for search."""

    def search_similar(self, collective_id: str, query: Any, k: int = 10) -> list[tuple[Experience, float]]:
        """The k nearest experiences, not archived, with their similarity. Raises InvalidField, NotFound,
        DimensionMismatch.
        """
        return self.search_similar_filtered(collective_id, query, k, SearchFilter())

    def search_similar_filtered(
        self, collective_id: str, query: Any, k: int, filter: SearchFilter
    ) -> list[tuple[Experience, float]]:
        """The same among those that match a filter."""
        check_count("k", k)
        with self._snapshot() as tx:
            id, vector = self._query(tx, collective_id, query)
            return [(found, similarity) for found, similarity in self._nearest(tx, id, vector, k, filter)]

    def search(self, collective_id: str, query: Any, options: SearchOptions | None = None) -> list[Found]:
        """The k best experiences by similarity, or by similarity and energy where there are weights: those of the
        options, else the collective's, else the store's. An energy weight of 0 is a plain search.

        Raises InvalidField, NotFound, DimensionMismatch.
        """
        options = options or SearchOptions()
        if options.weights is not None:
            options.weights.check()
        check_count("k", options.k)
        check_count("candidates", options.candidates, 2**31)
        with self._snapshot() as tx:
            id, vector = self._query(tx, collective_id, query)
            return self._ranked(tx, id, vector, options)

    def get_insights(self, collective_id: str, query: Any, k: int = 10) -> list[tuple[Insight, float]]:
        """The k nearest insights with their similarity. Raises InvalidField, NotFound, DimensionMismatch."""
        check_paging(k)
        with self._snapshot() as tx:
            id, vector = self._query(tx, collective_id, query)
            return self._insights(tx, id, vector, k)

    # -- parts that read one snapshot ------------------------------------------------------------------------------

    def _query(self, tx: StorageBackend, collective_id: str, query: Any) -> tuple[str, bytes]:
        id = as_id(collective_id, "collective_id")
        return id, pack_vector(query, self._existing(id, tx).embedding_dimension)

    def _ranked(self, tx: StorageBackend, id: str, vector: bytes, options: SearchOptions) -> list[Found]:
        settings = self.decay_of(id, tx)
        weights = options.weights or settings.default_recall_weights
        if weights is None or weights.energy == 0:
            plain = self._nearest(tx, id, vector, options.k, options.filter)
            return [Found(experience, similarity, similarity) for experience, similarity in plain]
        return self._weighted(tx, id, vector, options, weights, settings)

    def _weighted(
        self,
        tx: StorageBackend,
        id: str,
        vector: bytes,
        options: SearchOptions,
        weights: RecallWeights,
        settings: DecayConfig,
    ) -> list[Found]:
        k, now = options.k, self._now(options.now)
        wanted = min(_MOST_AT_ONCE, max(4 * k, k + 16))
        most = max(wanted, options.candidates)
        while True:
            hits = self._near(tx, id, vector, wanted, options.filter)
            rows: dict[str, Any] = {}
            ids = [key for key, _, _ in hits]
            for start in range(0, len(ids), 500):
                rows |= tx.get_many(ids[start : start + 500], namespace=self.layout.experiences)
            found = []
            for key, similarity, held in hits:
                if key in rows:
                    experience = Experience.from_json(key, rows[key], held)
                    blend = weights.similarity * min(max(similarity, 0.0), 1.0)
                    blend += weights.energy * settings.energy(experience, now)
                    found.append(Found(experience, similarity, blend))
            found.sort(key=lambda each: (-each.score, -each.similarity, each.experience.id))
            if len(hits) < wanted or wanted >= most:
                return found[:k]
            left = weights.similarity * min(max(hits[-1][1], 0.0), 1.0) + weights.energy
            if len(found) >= k and found[k - 1].score > left:
                return found[:k]
            wanted = min(most, 4 * wanted)

    def _nearest(
        self, tx: StorageBackend, id: str, vector: bytes, k: int, filter: SearchFilter
    ) -> list[tuple[Experience, float]]:
        hits = self._near(tx, id, vector, k, filter)
        rows = tx.get_many([key for key, _, _ in hits], namespace=self.layout.experiences)
        return [(Experience.from_json(key, rows[key], held), score) for key, score, held in hits if key in rows]

    def _insights(self, tx: StorageBackend, id: str, vector: bytes, k: int) -> list[tuple[Insight, float]]:
        hits = _hits(tx, [self.layout.insight_vectors(id)], self.layout.insight_zeros(id), vector, k)
        rows = tx.get_many([key for key, _, _ in hits], namespace=self.layout.insights)
        return [(Insight.from_json(key, rows[key], held), score) for key, score, held in hits if key in rows]

    def _near(
        self, tx: StorageBackend, id: str, query: bytes, limit: int, filter: SearchFilter
    ) -> list[tuple[str, float, bytes]]:
        if filter.matches_nothing:
            return []
        places = [self.layout.vectors(id)]
        if not filter.exclude_archived:
            places.append(self.layout.archived(id))
        near, flat = filter.condition(mixed=False), filter.condition()
        return _hits(tx, places, self.layout.zeros(id), query, limit, near, flat)

    # -- what is recent --------------------------------------------------------------------------------------------

    def get_recent_experiences(
        self, collective_id: str, limit: int = 10, filter: SearchFilter | None = None
    ) -> list[Experience]:
        """The newest experiences that match, newest first; archived ones only if the filter wants them.

        Raises InvalidField, NotFound.
        """
        check_count("limit", limit)
        id = as_id(collective_id, "collective_id")
        with self._snapshot() as tx:
            self._existing(id, tx)
            return self._recent(tx, id, limit, filter or SearchFilter())

    get_recent_experiences_filtered = get_recent_experiences

    def _recent(self, tx: StorageBackend, id: str, limit: int, filter: SearchFilter) -> list[Experience]:
        found: list[str] = []
        last: str | None = None
        size = max(2 * limit, 50)
        while True:
            page = list(tx.scan(namespace=self.layout.ages(id), reverse=True, after=last, limit=size))
            ids = keys_of(page)
            rows = tx.get_many(ids, namespace=self.layout.experiences)
            for each, row in rows.items():
                if filter.holds(facets(Experience.from_json(each, row, b""))):
                    found.append(each)
                    if len(found) == limit:
                        return read_experiences(tx, self.layout, found)
            if len(page) < size:
                return read_experiences(tx, self.layout, found)
            last = page[-1].key


def _hits(
    tx: StorageBackend,
    places: list[str],
    zeros: str,
    query: bytes,
    limit: int,
    near: Filter | None = None,
    flat: Filter | None = None,
) -> list[tuple[str, float, bytes]]:
    """Ids, similarities and vectors of the nearest in several namespaces, best first.

    ``near`` is the filter of those, ``flat`` that of the vectors without a direction.
    """
    if limit == 0:
        return []
    found = [(entry.key, 0.0, entry.value) for entry in tx.query(flat, namespace=zeros, limit=limit)]
    for place in places:
        if is_zero(query):
            rest = tx.query(near, namespace=place, limit=limit)
            found += [(entry.key, 0.0, entry.value) for entry in rest]
        else:
            hits = tx.search_vectors(query, namespace=place, limit=limit, filter=near)
            found += [(hit.key, hit.score, hit.value) for hit in hits]
    return sorted(found, key=lambda each: (-each[1], each[0]))[:limit]
