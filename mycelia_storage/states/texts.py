"""Text indexes of states: what a write changes in the postings, and the search over them.

A space keeps, for each text index, a posting for each term of each entry, and the number of entries that hold any term
with the sum of their lengths.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from heapq import heapify, heappop
from typing import Final, NamedTuple

from ..contract import Entry, SearchHit, SearchHits, pick_index
from ..filters import Filter, match
from ..indexes import TextIndex
from ..text import Occurrences, fields_of, idf, occurrences, query_terms, rarest, term_score
from .state import State

_NOTHING: Final = Occurrences({}, 0)


class TextChange(NamedTuple):
    """What to do to the postings of one entry, and what to add to the statistics."""

    gone: list[str]
    put: dict[str, float]
    """Terms with their tf, for :attr:`length`."""
    length: int
    more_entries: int
    more_length: int


def text_change(index: TextIndex, old: Entry | None, new: Entry | None) -> TextChange | None:
    """What leads from the postings of an entry as it was to those of the entry as it is; None for nothing."""
    paths = fields_of(index)
    before = None if old is None else [(path.read(old), weight) for path, weight in paths]
    after = None if new is None else [(path.read(new), weight) for path, weight in paths]
    if before == after:
        return None
    then = _NOTHING if before is None else occurrences(before, index.language)
    now = _NOTHING if after is None else occurrences(after, index.language)
    put = {term: tf for term, tf in now.terms.items() if now.length != then.length or then.terms.get(term) != tf}
    gone = [term for term in then.terms if term not in now.terms]
    return TextChange(gone, put, now.length, (now.length > 0) - (then.length > 0), now.length - then.length)


def text_of(index: TextIndex, entry: Entry) -> Occurrences:
    """What the postings of an entry have to say."""
    return occurrences(((path.read(entry), weight) for path, weight in fields_of(index)), index.language)


def search_text(
    state: State, text: str, namespace: str, limit: int, condition: Filter | None, wanted: str | None
) -> SearchHits:
    """``search_text`` of the contract; ``wanted`` names the index. Raises IndexNotFound, InvalidInput."""
    space = state.space(namespace)
    name, index = pick_index({} if space is None else space.indexes, TextIndex, namespace, wanted)
    assert space is not None
    entries, length = space.text_statistics(name)
    scores: dict[str, float] = {}
    if limit and entries:
        held = {term: list(space.text_postings(name, term)) for term in query_terms(text, index.language)}
        average = length / entries
        for term in rarest({term: len(postings) for term, postings in held.items()}):
            weight = idf(entries, len(held[term]))
            for key, tf, long in held[term]:
                scores[key] = scores.get(key, 0.0) + term_score(weight, tf, long, average)
    candidates = len(scores)
    hits = SearchHits((), method="postings", entries=entries, candidates=candidates)
    for key, score in _best_first(scores) if candidates else ():
        row = state.live_row(namespace, key)
        entry = None if row is None else row.entry(namespace, key)
        if entry is not None and (condition is None or match(condition, entry)):
            hits.append(SearchHit(key, score, entry))
            if len(hits) == limit:
                break
    return hits


def _best_first(scores: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Keys with their scores as float32, best first, ties in order of key; put in order as far as they are drawn."""
    waiting = [(-score, key) for score, key in zip(array("f", scores.values()), scores, strict=True)]
    heapify(waiting)
    while waiting:
        score, key = heappop(waiting)
        yield key, -score
