"""Whether anything is as near as that: a search that needs no best hit and mostly reads no vector at all.

Distances to codes are off, but how far they are for vectors just as near as that can be seen beforehand: on some of the
index's own vectors and queries made from them (:meth:`ScanCodes.farthest`). If no code is within, there is no such
vector, whatever the filter; if some are, their entries are looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..filters import Filter, match
from ..similarity import Scorer, to_matrix
from .index import NearestIndex
from .resident import Resident
from .source import VectorSource

if TYPE_CHECKING:
    from ..similarity import Floats
    from .resident import Mask

#: Candidates that are looked up; where more are near, a search with the filter is cheaper.
_LOOKED_UP: Final = 64


def is_any_near(
    source: VectorSource, index: NearestIndex, query: Floats, least: float, condition: Filter | None
) -> bool | None:
    """Whether an entry that meets ``condition`` scores ``least`` or more; None: a search has to tell."""
    position = source.position()
    if position.total == 0:
        return False
    if index.declared.metric != "cosine" or index.is_too_large(position.total):
        return None
    scorer = Scorer(query, index.declared.metric)
    with index.lock:
        difference = index.meet(source, position.seq)
        if difference is None or difference.all or len(difference.ids) > _LOOKED_UP:
            return None
        allowed = index.allowed(source, None, difference.ids)
        if isinstance(index.vectors, Resident):
            near = _near_vectors(index.vectors, len(index.ids), query, scorer, least, allowed)
        else:
            near = _near_codes(index, source, query, least, allowed)
        if near is None:
            return None
        wanted = [*(index.ids[at] for at in near), *difference.ids]
    entries = source.entries(wanted) if wanted else {}
    values = [entry.value for entry in entries.values() if condition is None or match(condition, entry)]
    return bool(values) and float(scorer.scores(to_matrix(values, index.declared.dimensions)).max()) >= least


def _near_vectors(
    vectors: Resident, count: int, query: Floats, scorer: Scorer, least: float, allowed: Mask | None
) -> list[Any] | None:
    if not count:
        return []
    near = vectors.nearest(query, min(_LOOKED_UP, count), allowed, count)
    within = near[scorer.scores(vectors.rows(near)) >= least]
    return None if len(within) >= _LOOKED_UP else list(within.tolist())


def _near_codes(
    index: NearestIndex, source: VectorSource, query: Floats, least: float, allowed: Mask | None
) -> list[Any] | None:
    farthest = index.farthest(source, least)
    if farthest is None:
        return None
    assert not isinstance(index.vectors, Resident)
    positions, distances = index.vectors.nearest(query, _LOOKED_UP, allowed)
    within = positions[distances <= farthest]
    return None if len(within) >= _LOOKED_UP else list(within.tolist())
