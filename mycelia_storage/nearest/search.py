"""One search: candidates from the index, ranked by their vectors, read in the caller's view of the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..contract import SearchHit, SearchHits
from ..filters import Filter, match
from ..similarity import Scorer, to_matrix
from .index import Difference, NearestIndex
from .resident import Resident
from .scan import ScanCodes
from .source import VectorSource

if TYPE_CHECKING:
    from ..similarity import Floats
    from .resident import Mask

_AT_ONCE: Final = 1_000

#: Standard deviations of the error of a code's distance. Of 100,000 vectors much like one another (Gaussian noise, the
#: worst case) 3.5 found 99.4 % of the nearest, of vectors of real sentences all.
_DEVIATIONS: Final = 3.5

#: Steps after which a search with enough hits ends anyhow. Vectors of many norms under l2 need thirty (ten found three
#: quarters of the nearest); a query that is about as far from everything would go on through all.
_MOST_STEPS: Final = 50


class _Search(NamedTuple):
    source: VectorSource
    nearest: NearestIndex
    query: Floats
    scorer: Scorer
    limit: int
    condition: Filter | None

    def score(self, vectors: list[tuple[Any, bytes]]) -> _Scored:
        ids = [id for id, _ in vectors]
        matrix = to_matrix([vector for _, vector in vectors], self.nearest.declared.dimensions)
        return _Scored(ids, self.scorer.scores(matrix))


class _Scored(NamedTuple):
    """Entries and their scores, in the same order."""

    ids: list[Any]
    scores: Floats


def search(
    source: VectorSource, index: NearestIndex, query: Floats, limit: int, condition: Filter | None, exact: bool | None
) -> SearchHits:
    """The ``limit`` nearest entries that meet ``condition``, with a plan."""
    position = source.position()
    run = _Search(source, index, query, Scorer(query, index.declared.metric), limit, condition)
    if limit == 0 or position.total == 0:
        return SearchHits(method="exact", vectors=position.total)
    if index.is_too_large(position.total):
        return _exhaustive(run, position.total)
    with index.lock:
        difference = index.meet(source, position.seq)
        if difference is None or (exact and not isinstance(index.vectors, Resident)):
            candidates = None
        else:
            allowed = None if difference.all else index.allowed(source, condition, difference.ids)
            candidates = _Candidates(run, difference, allowed)
            index.link(source)
    if candidates is None:
        return _exhaustive(run, position.total)
    return candidates.search(position.total)


class _Candidates:
    """The entries that a search can find: those that the index covers, and those that differ in the view."""

    def __init__(self, run: _Search, difference: Difference, allowed: Mask | None) -> None:
        import numpy

        self._run = run
        self._difference = difference
        self._allowed = allowed
        # Others may append to these meanwhile, or put new ones in their place; what they hold does not change.
        self._ids = run.nearest.ids
        self._vectors = run.nearest.vectors
        self._graph = run.nearest.graph
        self._upto = 0 if difference.all else len(self._ids)
        self._count = self._upto if allowed is None else int(numpy.count_nonzero(allowed))
        self._others = _none()

    def search(self, total: int) -> SearchHits:
        """The hits, with a plan."""
        self._look_up()
        if isinstance(self._vectors, Resident):
            return self._exact(total)
        return self._by_graph(total) or self._approximate(total)

    def _by_graph(self, total: int) -> SearchHits | None:
        """By the graph, and by codes where it does not reach; None where it is not the way."""
        import numpy

        run, graph, vectors = self._run, self._graph, self._vectors
        wanted = max(run.nearest.declared.ef, 3 * run.limit)
        if graph is None or run.condition is not None or 8 * wanted > self._count:
            return None
        assert isinstance(vectors, ScanCodes)
        with run.nearest.lock:
            near = [at for at in graph.nearest(run.query, wanted) if at < self._upto]
            linked = graph.count
            if linked < self._upto:
                rest = numpy.zeros(vectors.count, dtype=bool)
                rest[linked : self._upto] = True if self._allowed is None else self._allowed[linked:]
                near += vectors.nearest(run.query, wanted, rest)[0].tolist()
        if self._allowed is not None:
            near = [at for at in near if self._allowed[at]]
        scored = run.score(run.source.vectors([self._ids[at] for at in near]))
        if len(scored.ids) < min(run.limit, self._count):
            return None
        hits = _hits(run, _joined(self._others, scored))
        hits.plan = {"method": graph.method, "vectors": total, "allowed": self._count, "rescored": len(near)}
        return hits

    def _look_up(self) -> None:
        """Score the entries that differ."""
        run, ids = self._run, list(self._difference.ids)
        for start in range(0, len(ids), _AT_ONCE):
            entries = run.source.entries(ids[start : start + _AT_ONCE])
            meets = run.condition
            kept = [(id, entry.value) for id, entry in entries.items() if meets is None or match(meets, entry)]
            self._others = _joined(self._others, run.score(kept))

    def _exact(self, total: int) -> SearchHits:
        """By vectors in memory."""
        run, wanted = self._run, self._run.limit
        assert isinstance(self._vectors, Resident)
        while True:
            found = self._others
            if self._count:
                near = self._vectors.nearest(run.query, min(wanted, self._count), self._allowed, self._upto)
                scored = _Scored([self._ids[at] for at in near.tolist()], run.scorer.scores(self._vectors.rows(near)))
                found = _joined(found, scored)
            hits = _hits(run, found)
            if len(hits) == run.limit or wanted >= self._count:
                hits.plan = {"method": "exact", "vectors": total, "compared": self._count + len(self._others.ids)}
                return hits
            wanted = max(4 * wanted, 64)  # some have expired, and are in the way of others

    def _approximate(self, total: int) -> SearchHits:
        """By codes, then by vectors, until no further code is near enough to be worth a look.

        How far distances to codes are off is seen on those already looked at: the next is left alone, and all after it,
        when its distance is that of the last hit and some standard deviations of this error away.
        """
        import numpy

        run = self._run
        vectors = self._vectors
        assert isinstance(vectors, ScanCodes)
        step = max(run.nearest.settings.rescored, run.limit * run.nearest.settings.rescored // 10)
        near, rough = self._near(4 * step)
        found, errors = self._others, numpy.empty(0, dtype=numpy.float32)
        seen: set[int] = set()
        looked_at = 0
        while looked_at < len(near):
            seen.update(near[looked_at : looked_at + step])
            part = [self._ids[at] for at in near[looked_at : looked_at + step]]
            scored = run.score(run.source.vectors(part))
            found = _joined(found, scored)
            if rough is not None and scored.ids:
                expected = dict(zip(part, rough[looked_at : looked_at + step].tolist(), strict=True))
                exact = vectors.distances(run.query, scored.scores)
                off = exact - numpy.array([expected[id] for id in scored.ids])
                errors = numpy.concatenate((errors, off)) if errors.size else off
            looked_at += len(part)
            if len(found.ids) >= run.limit and len(seen) >= _MOST_STEPS * step:
                break
            if looked_at == len(near) and len(seen) < self._count:
                more, rough = self._near(4 * len(seen))
                fresh = [place for place, at in enumerate(more) if at not in seen]
                near, looked_at = [more[place] for place in fresh], 0
                rough = None if rough is None else rough[fresh]
            if len(found.ids) >= run.limit and rough is not None and errors.size and looked_at < len(near):
                last_hit = numpy.partition(found.scores, -run.limit)[-run.limit :][:1]
                mean = float(errors.sum()) / len(errors)
                deviation = max(float(errors @ errors) / len(errors) - mean * mean, 0) ** 0.5
                nearest = float(rough[looked_at]) + mean - _DEVIATIONS * deviation
                if nearest > float(vectors.distances(run.query, last_hit)[0]):
                    break
        hits = _hits(run, found)
        hits.plan = {"method": vectors.method, "vectors": total, "allowed": self._count, "rescored": len(seen)}
        return hits

    def _near(self, wanted: int) -> tuple[list[int], Floats | None]:
        """Positions with the distances of their codes, best first; where all are wanted, in no order and without."""
        import numpy

        allowed, vectors = self._allowed, self._vectors
        assert isinstance(vectors, ScanCodes)
        if wanted >= self._count:
            all_of_them = range(self._upto) if allowed is None else numpy.flatnonzero(allowed).tolist()
            return list(all_of_them), None
        with self._run.nearest.lock:
            more = vectors.count - self._upto
            if allowed is not None and more:
                allowed = numpy.concatenate((allowed, numpy.zeros(more, dtype=bool)))
            positions, distances = vectors.nearest(self._run.query, wanted, allowed)
        return positions.tolist(), distances


def _exhaustive(run: _Search, total: int) -> SearchHits:
    """By every vector that there is, read from the database."""
    best = _none()
    seen = 0
    for page in run.source.all_vectors(run.condition):
        seen += len(page)
        best = _cut(_joined(best, run.score(page)), run.limit)
    hits = _hits(run, best)
    hits.plan = {"method": "exact", "vectors": total, "compared": seen}
    return hits


def _none() -> _Scored:
    import numpy

    return _Scored([], numpy.empty(0, dtype=numpy.float32))


def _joined(one: _Scored, other: _Scored) -> _Scored:
    import numpy

    if not one.ids or not other.ids:
        return one if one.ids else other
    return _Scored(one.ids + other.ids, numpy.concatenate((one.scores, other.scores)))


def _cut(found: _Scored, limit: int) -> _Scored:
    """The best, and all that tie with the last of them, in no order."""
    import numpy

    if len(found.ids) <= limit:
        return found
    least = numpy.partition(found.scores, -limit)[-limit]
    kept = numpy.flatnonzero(found.scores >= least)
    return _Scored([found.ids[at] for at in kept.tolist()], found.scores[kept])


def _hits(run: _Search, found: _Scored) -> SearchHits:
    """The best of them with their entries, ties in order of key."""
    hits: list[SearchHit] = []
    while found.ids and len(hits) < run.limit:
        part = _cut(found, run.limit - len(hits))
        entries = run.source.entries(part.ids)
        scored = zip(part.ids, part.scores.tolist(), strict=True)
        hits += [SearchHit(entries[id].key, score, entries[id]) for id, score in scored if id in entries]
        if len(part.ids) == len(found.ids) or len(hits) >= run.limit:
            break
        worse = found.scores < part.scores.min()  # some have expired since
        found = _Scored([id for id, kept in zip(found.ids, worse.tolist(), strict=True) if kept], found.scores[worse])
    hits.sort(key=lambda hit: (-hit.score, hit.key))
    return SearchHits(hits[: run.limit])
