"""Entries whose words wait to be put into blocks: so that a single write touches one page and not one for each term.

An entry that waits is a row among the postings, under the term "" that no word is::

    term "", first  entry id
    kind            12, beyond all layouts
    data            JSON: [{term: tf}, length of the entry, [terms under which the blocks hold it]]

It says all that the entry holds now; what blocks say of it no longer counts. Once many wait, all of them go into the
blocks at once, which changes a block for many of them as for one (:class:`.text_postings.TextKeeper`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from ...text import Occurrences

#: What ``kind`` says of such a row.
KIND: Final = 12

#: Bytes of data that wait at most, and entries.
MOST_BYTES: Final = 40_000
MOST_ENTRIES: Final = 64

READ: Final = "SELECT first, kind, data FROM storage_text_postings WHERE index_number = ? AND term = '' ORDER BY first"
READ_ONE: Final = (
    "SELECT first, kind, data FROM storage_text_postings WHERE index_number = ? AND term = '' AND first = ?"
)
READ_SOME: Final = """SELECT p.first, p.kind, p.data FROM json_each(?2) AS wanted
CROSS JOIN storage_text_postings AS p ON p.index_number = ?1 AND p.term = '' AND p.first = wanted.value"""
SIZE: Final = "SELECT count(*), total(length(data)) FROM storage_text_postings WHERE index_number = ? AND term = ''"
PUT: Final = """INSERT INTO storage_text_postings (index_number, term, first, kind, data) VALUES (?1, '', ?2, ?3, ?4)
ON CONFLICT (index_number, term, first) DO UPDATE SET data = ?4"""
REMOVE: Final = "DELETE FROM storage_text_postings WHERE index_number = ? AND term = '' AND first = ?"
REMOVE_ALL: Final = "DELETE FROM storage_text_postings WHERE index_number = ? AND term = ''"

Run = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]


class Waiting(NamedTuple):
    """What an entry holds, and under which terms the blocks still have it."""

    now: Occurrences
    in_blocks: frozenset[str]

    def encode(self) -> bytes:
        """As its row keeps it."""
        return orjson.dumps([self.now.terms, self.now.length, sorted(self.in_blocks)])


def decode(rows: Iterable[Sequence[Any]]) -> dict[int, Waiting]:
    """The entries of rows of first, kind and data. Raises ValueError for a damaged one."""
    found = {}
    for id, kind, data in rows:
        if kind != KIND:
            raise ValueError("a row of another kind among those that wait")
        found[id] = _decode(data)
    return found


# One after another, searches see nearly the same rows.
@lru_cache(maxsize=2_048)
def _decode(data: bytes) -> Waiting:
    terms, length, in_blocks = orjson.loads(data)
    if terms.__class__ is not dict or length.__class__ is not int or in_blocks.__class__ is not list:
        raise ValueError("what waits is damaged")
    return Waiting(Occurrences(terms, length), frozenset(in_blocks))


class WaitingPostings:
    """What of the entries that wait concerns a query."""

    def __init__(self, waiting: dict[int, Waiting], query: Iterable[str]) -> None:
        wanted = frozenset(query)
        #: The postings of the query's terms: term, entry, tf, length of the entry.
        self.postings: list[tuple[str, int, float, int]] = []
        #: How many postings of each term in the blocks no longer count.
        self.outdated: dict[str, int] = {}
        #: The entries that those are of.
        self.entries: list[int] = []
        for id, ((terms, length), in_blocks) in waiting.items():
            if not terms.keys().isdisjoint(wanted):
                self.postings += [(term, id, terms[term], length) for term in terms.keys() & wanted]
            if in_blocks:
                self.entries.append(id)
                for term in in_blocks & wanted:
                    self.outdated[term] = self.outdated.get(term, 0) + 1

    def corrected(self, holding: dict[str, int]) -> dict[str, int]:
        """How many entries hold each term, from how many postings the blocks have of it."""
        found = {term: number - self.outdated.get(term, 0) for term, number in holding.items()}
        for term, _, _, _ in self.postings:
            found[term] = found.get(term, 0) + 1
        if any(number < 0 for number in found.values()):
            raise ValueError("the blocks lack postings of entries that wait")
        return {term: number for term, number in found.items() if number}
