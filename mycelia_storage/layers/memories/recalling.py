"""A recall: two or three searches in one snapshot, fused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...contract import Entry, SearchHits, StorageBackend
from ...errors import IndexNotFound, InvalidInput
from ...filters import Filter, match, where
from ...similarity import scores, to_matrix, to_vector
from .contexts import TEXT_INDEX
from .embedders import Embedder, embed
from .fields import conditions, describe, vector_filter
from .fusion import Fused, Fusion, Leg, LegName, check_fusion, check_weights, fuse
from .records import Reason, Recollection, Recollections, memory_of
from .spaces import EmbeddingSpace, Places, Spaces

if TYPE_CHECKING:
    from ...similarity import Floats

#: How many hits each leg brings, at least; deeper vector legs find the same, as every candidate gets its cosine.
TEXT_DEPTH: Final = 80
VECTOR_DEPTH: Final = 10


@dataclass(frozen=True)
class Asked:
    """A checked question. ``vector``: the bytes of the query's vector, None to search by words alone."""

    query: str
    vector: Any
    condition: Filter | None
    weights: Mapping[str, float]
    fusion: Fusion
    exact: bool | None


def read_question(
    query: str,
    condition: Filter | None,
    vector: Any,
    weights: Mapping[str, float],
    fusion: Fusion,
    exact: bool | None,
    embedder: Embedder | None,
) -> Asked:
    """The checked question; the embedder has been asked for its vector, if that was not given. Raises InvalidInput."""
    if not isinstance(query, str):
        raise InvalidInput(f"a query is a string, not {type(query).__name__}")
    weights, fusion = check_weights(weights), check_fusion(fusion)
    wanted = weights["vector"] or weights["window"]
    if vector is None and embedder is not None and query.strip() and wanted:
        vector = embed(embedder, [query])[0]
    return Asked(query, vector, condition, weights, fusion, exact)


class Search:
    """One question asked of one state."""

    def __init__(self, storage: StorageBackend, places: Places, spaces: Spaces, asked: Asked) -> None:
        self.storage = storage
        self.places = places
        self.asked = asked
        self.space: EmbeddingSpace | None = spaces.active if asked.vector is not None else None
        self.entries: dict[str, Entry] = {}
        self.plan: dict[str, Any] = {}

    def ranked(self, text_depth: int, vector_depth: int) -> Fused:
        """All that the legs found to these depths, fused."""
        legs = []
        if self.asked.query and self.asked.weights["text"]:
            legs.append(self._text_leg(text_depth))
        space = self.space
        if space is not None and (self.asked.weights["vector"] or self.asked.weights["window"]):
            legs.extend(self._vector_legs(space, vector_depth, [key for leg in legs for key in leg.ranks]))
        return fuse(legs, self.asked.weights, self.asked.fusion)

    def recollections(self, fused: Fused, k: int, explain: bool) -> Recollections:
        """The ``k`` best."""
        ranking = fused.ranking()
        found: list[Recollection] = []
        at = 0
        while len(found) < k and at < len(ranking):
            page = ranking[at : at + k - len(found)]
            at += len(page)
            self._fetch(page)
            for key in page:
                entry = self.entries.get(key)
                if entry is not None:  # a memory expires a moment before its vectors
                    legs = fused.explain(key) if explain else {}
                    found.append(Recollection(memory_of(entry), fused.scores[key], legs))
        return Recollections(found, self.plan)

    def _fetch(self, keys: list[str]) -> None:
        missing = [key for key in keys if key not in self.entries]
        if missing:
            for entry in self.storage.query(where("$key").is_in(missing), namespace=self.places.main):
                self.entries[entry.key] = entry

    def _text_leg(self, depth: int) -> Leg:
        leg = Leg("text")
        try:
            hits = self.storage.search_text(
                self.asked.query,
                namespace=self.places.main,
                limit=depth,
                filter=self.asked.condition,
                index=TEXT_INDEX.default_name,
            )
        except IndexNotFound:  # a read-only storage that never held any
            hits = SearchHits(method="empty")
        for rank, hit in enumerate(hits, 1):
            leg.ranks[hit.key], leg.scores[hit.key] = rank, hit.score
            self.entries[hit.key] = hit.entry
        leg.cut = len(hits) == depth
        self.plan["text"] = hits.plan
        return leg

    def _vector_legs(self, space: EmbeddingSpace, depth: int, others: list[str]) -> list[Leg]:
        asked = self.asked
        query = to_vector(asked.vector, space.index)
        possible, condition = vector_filter(asked.condition)
        if not possible:
            allowed = self.storage.query(asked.condition, namespace=self.places.main)
            condition = where("$key").is_in([entry.key for entry in allowed])
        legs = []
        names: tuple[tuple[LegName, str], ...] = (
            ("vector", self.places.text(space)),
            ("window", self.places.window(space)),
        )
        for name, namespace in names:
            if not asked.weights[name]:
                continue
            hits = self.storage.search_vectors(
                asked.vector, namespace=namespace, limit=depth, filter=condition, exact=asked.exact
            )
            leg = Leg(name)
            for rank, hit in enumerate(hits, 1):
                leg.ranks[hit.key], leg.scores[hit.key] = rank, hit.score
            self.plan[name] = hits.plan
            legs.append(leg)
        if asked.fusion == "weighted":
            candidates = list(dict.fromkeys([*others, *(key for leg in legs for key in leg.ranks)]))
            self._complete(space, query, legs, candidates)
        return legs

    def _complete(self, space: EmbeddingSpace, query: Floats, legs: list[Leg], candidates: list[str]) -> None:
        """The true cosine of every candidate; a memory without a window has that of its text."""
        own: dict[str, float] = {}
        for leg in legs:
            if leg.name == "vector":
                self._score(space, query, leg, self.places.text(space), candidates)
                own = leg.scores
            else:
                self._score(space, query, leg, self.places.window(space), candidates)
                without = [key for key in candidates if key not in leg.scores]
                if without and not own:
                    alone = Leg("vector")
                    self._score(space, query, alone, self.places.text(space), without)
                    own = alone.scores
                leg.scores.update((key, own[key]) for key in without if key in own)

    def _score(self, space: EmbeddingSpace, query: Floats, leg: Leg, namespace: str, keys: list[str]) -> None:
        missing = [key for key in keys if key not in leg.scores]
        held = self.storage.get_many(missing, namespace=namespace) if missing else {}
        if held:
            found = scores(to_matrix(list(held.values()), space.dimensions), query, space.index.metric)
            leg.scores.update(zip(held, found.tolist(), strict=True))


def depths(k: int) -> tuple[int, int]:
    """How deep the legs go for ``k`` results."""
    return max(TEXT_DEPTH, k), max(VECTOR_DEPTH, k)


def reason(search: Search, key: str, k: int) -> Reason:
    """Why the first ``k`` hold that memory or do not."""
    storage, places, condition = search.storage, search.places, search.asked.condition
    entry = storage.get_entry(key, namespace=places.main)
    if entry is None:
        expired = storage.get(key, namespace=places.expiries)
        if expired is not None:
            return Reason(key, "expired", f"it expired at {expired} (UTC ms)")
        return Reason(key, "missing", "there is no memory of that key, or it expired long ago")
    failed = tuple(describe(part) for part in conditions(condition) if not match(part, entry))
    if failed:
        return Reason(key, "filtered", f"it does not meet {'; '.join(failed)}", failed=failed)
    fused = search.ranked(*depths(k))
    if key in fused.scores:
        rank, legs = fused.ranking().index(key) + 1, fused.explain(key)
        if rank <= k:
            return Reason(key, "returned", f"it is number {rank}", rank, fused.scores[key], legs=legs)
        return Reason(
            key, "below the cut", f"it is number {rank}, and {k} were wanted", rank, fused.scores[key], legs=legs
        )
    everything = max(storage.count(namespace=places.main), 1)
    deep = search.ranked(everything, everything)
    if key not in deep.scores:
        return Reason(key, "no match", "it holds none of the words, and has no vector to compare")
    legs = deep.explain(key)
    ranks = ", ".join(f"{name} {leg.rank}" for name, leg in legs.items() if leg.rank is not None)
    return Reason(
        key,
        "below the cut",
        f"no leg had it among its first: {ranks}",
        deep.ranking().index(key) + 1,
        deep.scores[key],
        legs=legs,
    )
