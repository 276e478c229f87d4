"""One search: candidates from the index, ranked by their vectors, read in the caller's view of the storage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..contract import SearchHit, SearchHits
from ..filters import Filter, match
from ..similarity import scores, to_matrix
from .index import Difference, NearestIndex
from .resident import Resident
from .source import VectorSource

if TYPE_CHECKING:
    from ..similarity import Floats
    from .resident import Mask

_AT_ONCE: Final = 1_000

#: How many times as many codes as at first are rescored at most, once there are enough hits.
_MOST_ROUNDS: Final = 64


class _Search(NamedTuple):
    source: VectorSource
    index: NearestIndex
    query: Floats
    limit: int
    condition: Filter | None

    def score(self, vectors: list[tuple[Any, bytes]]) -> Iterable[tuple[Any, float]]:
        if not vectors:
            return ()
        declared = self.index.declared
        matrix = to_matrix([vector for _, vector in vectors], declared.dimensions)
        found = scores(matrix, self.query, declared.metric).tolist()
        return zip((id for id, _ in vectors), found, strict=True)


def search(
    source: VectorSource, index: NearestIndex, query: Floats, limit: int, condition: Filter | None, exact: bool | None
) -> SearchHits:
    """The ``limit`` nearest entries that meet ``condition``, with a plan."""
    position = source.position()
    run = _Search(source, index, query, limit, condition)
    if limit == 0 or position.total == 0:
        return SearchHits(method="exact", vectors=position.total)
    with index.lock:
        difference = index.meet(source, position.seq)
        if difference is None or (exact and not isinstance(index.vectors, Resident)):
            candidates = None
        else:
            allowed = None if difference.all else index.allowed(source, condition, difference.ids)
            candidates = _Candidates(run, difference, allowed)
    if candidates is None:
        return _exhaustive(run, position.total)
    return candidates.search(position.total)


class _Candidates:
    """The entries that a search can find: those that the index covers, and those that differ in the view."""

    def __init__(self, run: _Search, difference: Difference, allowed: Mask | None) -> None:
        self._run = run
        self._difference = difference
        self._allowed = allowed
        # Others may append to these meanwhile, or put new ones in their place; what they hold does not change.
        self._ids = run.index.ids
        self._vectors = run.index.vectors
        self._upto = 0 if difference.all else len(self._ids)
        self._count = self._upto if allowed is None else int(allowed.sum())
        self._found: dict[Any, float] = {}

    def search(self, total: int) -> SearchHits:
        """The hits, with a plan."""
        self._look_up()
        return self._exact(total) if isinstance(self._vectors, Resident) else self._approximate(total)

    def _look_up(self) -> None:
        """Score the entries that differ."""
        ids = list(self._difference.ids)
        for start in range(0, len(ids), _AT_ONCE):
            entries = self._run.source.entries(ids[start : start + _AT_ONCE])
            meets = self._run.condition
            kept = [(id, entry.value) for id, entry in entries.items() if meets is None or match(meets, entry)]
            self._found.update(self._run.score(kept))

    def _exact(self, total: int) -> SearchHits:
        """By vectors in memory."""
        run, wanted = self._run, self._run.limit
        assert isinstance(self._vectors, Resident)
        while True:
            found = dict(self._found)
            if self._count:
                near = self._vectors.nearest(run.query, min(wanted, self._count), self._allowed, self._upto)
                ranked = scores(self._vectors.rows(near), run.query, run.index.declared.metric)
                found.update(zip([self._ids[at] for at in near.tolist()], ranked.tolist(), strict=True))
            hits = _hits(run, found)
            if len(hits) == run.limit or wanted >= self._count:
                hits.plan = {"method": "exact", "vectors": total, "compared": self._count + len(self._difference.ids)}
                return hits
            wanted = max(4 * wanted, 64)  # some have expired, and are in the way of others

    def _approximate(self, total: int) -> SearchHits:
        """By codes, then by vectors. More are looked at while the last ones looked at still get among the best."""
        run = self._run
        wanted = max(run.index.settings.rescored * run.limit // 10, run.index.settings.rescored)
        most = wanted * _MOST_ROUNDS
        found, looked_at = self._found, 0
        while True:
            wanted = min(wanted, self._count)
            ids = [self._ids[at] for at in self._near(wanted)]
            found.update(run.score(run.source.vectors(ids[looked_at:])))
            best = sorted(found, key=found.__getitem__, reverse=True)[: run.limit]
            last = set(ids[max(looked_at, len(ids) // 2) :])
            looked_at = len(ids)
            if wanted >= self._count or (len(best) == run.limit and (wanted >= most or not last.intersection(best))):
                break
            wanted *= 4 if len(best) < run.limit else 2
        hits = _hits(run, found)
        hits.plan = {"method": self._vectors.method, "vectors": total, "allowed": self._count, "rescored": looked_at}
        return hits

    def _near(self, wanted: int) -> list[int]:
        import numpy

        allowed = self._allowed
        if not wanted:
            return []
        if wanted >= self._count:
            return list(range(self._upto)) if allowed is None else numpy.flatnonzero(allowed).tolist()
        assert not isinstance(self._vectors, Resident)
        with self._run.index.lock:
            more = self._vectors.count - self._upto
            if allowed is not None and more:
                allowed = numpy.concatenate((allowed, numpy.zeros(more, dtype=bool)))
            return self._vectors.nearest(self._run.query, wanted, allowed).tolist()


def _exhaustive(run: _Search, total: int) -> SearchHits:
    """By every vector that there is, read from the database."""
    best: list[tuple[Any, float]] = []
    seen = 0
    for page in run.source.all_vectors(run.condition):
        seen += len(page)
        best += run.score(page)
        if len(best) > 4 * run.limit + _AT_ONCE:
            best = _cut(best, run.limit)
    hits = _hits(run, dict(best))
    hits.plan = {"method": "exact", "vectors": total, "compared": seen}
    return hits


def _cut(found: list[tuple[Any, float]], limit: int) -> list[tuple[Any, float]]:
    """The best, and all that tie with the last of them."""
    found.sort(key=lambda pair: -pair[1])
    if len(found) <= limit:
        return found
    least = found[limit - 1][1] if limit else 0.0
    return [pair for pair in found if pair[1] >= least]


def _hits(run: _Search, found: dict[Any, float]) -> SearchHits:
    """The best of them with their entries, ties in order of key."""
    ranked = sorted(found.items(), key=lambda pair: -pair[1])
    hits: list[SearchHit] = []
    at = 0
    while at < len(ranked) and len(hits) < run.limit:
        # As many as are wanted, and all that tie with the last of them.
        end = min(at + run.limit - len(hits), len(ranked))
        while end < len(ranked) and ranked[end][1] == ranked[end - 1][1]:
            end += 1
        part = ranked[at:end]
        entries = run.source.entries([id for id, _ in part])
        hits += [SearchHit(entries[id].key, score, entries[id]) for id, score in part if id in entries]
        at = end
    hits.sort(key=lambda hit: (-hit.score, hit.key))
    return SearchHits(hits[: run.limit])
