"""What the database keeps of a text index: postings in blocks (:mod:`.text_blocks`), and the statistics of BM25.

A write changes the blocks of the terms that it adds to or takes from its entries; a batch changes each block once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from struct import error as StructError  # noqa: N812
from typing import Any, ClassVar, Final

import orjson

from ...contract import Entry
from ...errors import StorageCorrupt
from ...indexes import TextIndex
from ...text import Occurrences, fields_of, occurrences, to_float32
from ...values import decode_metadata, decode_value
from .search_upkeep import Keeper, Run, StoredRow
from .text_blocks import Block, Change, base_of, change, disorder, encode, postings

BEGIN: Final = "INSERT INTO storage_text_indexes (index_number, entries, length) VALUES (?, 0, 0)"
STATISTICS: Final = "SELECT entries, length FROM storage_text_indexes WHERE index_number = ?"
_COUNT: Final = "UPDATE storage_text_indexes SET entries = entries + ?2, length = length + ?3 WHERE index_number = ?1"
_RESET: Final = "UPDATE storage_text_indexes SET entries = 0, length = 0 WHERE index_number = ?"
_END: Final = "DELETE FROM storage_text_indexes WHERE index_number = ?"
_FORGET: Final = "DELETE FROM storage_text_postings WHERE index_number = ?"
# ?2 terms as a JSON list, ?3 and ?4 the lowest and highest entry to change.
_FIND: Final = """SELECT p.term, p.first, p.kind, p.data FROM json_each(?2) AS wanted
CROSS JOIN storage_text_postings AS p ON p.index_number = ?1 AND p.term = wanted.value AND p.first <= ?4
AND p.first >= coalesce((SELECT max(first) FROM storage_text_postings
WHERE index_number = ?1 AND term = wanted.value AND first <= ?3), ?3)"""
# ?2 pairs of term and entry as a JSON list.
_FIND_EACH: Final = """SELECT DISTINCT p.term, p.first, p.kind, p.data FROM json_each(?2) AS wanted
CROSS JOIN storage_text_postings AS p ON p.index_number = ?1 AND p.term = wanted.value ->> 0
AND p.first = (SELECT max(first) FROM storage_text_postings
WHERE index_number = ?1 AND term = wanted.value ->> 0 AND first <= wanted.value ->> 1)
ORDER BY p.term, p.first"""
_PUT: Final = """INSERT INTO storage_text_postings (index_number, term, first, kind, data) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (index_number, term, first) DO UPDATE SET kind = ?4, data = ?5"""
_REMOVE: Final = "DELETE FROM storage_text_postings WHERE index_number = ? AND term = ? AND first = ?"
_PAGE: Final = """SELECT id, key, value, metadata FROM storage_entries
WHERE namespace = ?1 AND key > ?2 ORDER BY key LIMIT 1000"""
_ALL: Final = """SELECT term, first, kind, data FROM storage_text_postings
WHERE index_number = ?1 AND (term, first) > (?2, ?3) ORDER BY term, first LIMIT 1000"""

_NOTHING: Final = Occurrences({}, 0)
_TERMS_A_STATEMENT: Final = 500
#: Postings that are put in order in memory while an index is built.
_POSTINGS_A_RUN: Final = 400_000
#: From the lowest entry changed to the highest there are so many times the most changes of a term: then the blocks are
#: looked up one by one, rather than reading all of a common term.
_SCATTERED: Final = 100

Changes = defaultdict[str, list[Change]]


class TextKeeper(Keeper):
    """The postings of one text index."""

    needs_values: ClassVar[bool] = True

    def __init__(self, run: Run, namespace: str, name: str, number: int, index: TextIndex) -> None:
        super().__init__(run, namespace, name, number)
        self.index = index

    # -- keeping up ------------------------------------------------------------------------------------------------

    def changed(self, old: Sequence[StoredRow], new: Sequence[StoredRow]) -> None:
        before = {row.id: row for row in old}
        pairs: list[tuple[StoredRow | None, StoredRow | None]] = [(before.pop(row.id, None), row) for row in new]
        pairs += [(row, None) for row in before.values()]
        pairs.sort(key=_id)
        changes: Changes = defaultdict(list)
        entries = length = 0
        for was, row in pairs:
            held = None if was is None else self._fields(was)
            wanted = None if row is None else self._fields(row)
            if held == wanted:
                continue
            language = self.index.language
            then = _NOTHING if held is None else occurrences(held, language)
            now = _NOTHING if wanted is None else occurrences(wanted, language)
            if then == now:
                continue
            entries += (now.length > 0) - (then.length > 0)
            length += now.length - then.length
            _compare(_id((was, row)), then, now, changes)
        self._apply(changes)
        if changes:
            self.run(_COUNT, (self.number, entries, length))

    def _fields(self, row: StoredRow) -> list[tuple[Any, float]]:
        """The values of the index's fields, with their weights. A damaged entry holds no text."""
        try:
            value, metadata = decode_value(row.value), decode_metadata(row.metadata)
        except ValueError:
            return []
        entry = Entry(self.namespace, row.key, value, metadata, 0, 0, 0, None)
        return [(path.read(entry), weight) for path, weight in fields_of(self.index)]

    def _apply(self, changes: Changes) -> None:
        """Change the blocks; the changes of each term are in order of id."""
        terms = sorted(changes)
        low = min([each[0][0] for each in changes.values()], default=0)
        high = max([each[-1][0] for each in changes.values()], default=0)
        scattered = high - low > _SCATTERED * max([len(each) for each in changes.values()], default=0)
        for at in range(0, len(terms), _TERMS_A_STATEMENT):
            part = terms[at : at + _TERMS_A_STATEMENT]
            found: dict[str, list[Block]] = {}
            if scattered:
                pairs = orjson.dumps([(term, id) for term in part for id, _ in changes[term]]).decode()
                rows = self.run(_FIND_EACH, (self.number, pairs))
            else:
                rows = self.run(_FIND, (self.number, orjson.dumps(part).decode(), low, high))
            for term, *block in rows:
                found.setdefault(term, []).append(Block(*block))
            for term in part:
                self._change_term(term, changes[term], found.get(term, []))

    def _apply_sorted(self, changes: Changes) -> None:
        for each in changes.values():
            each.sort()
        self._apply(changes)

    def _change_term(self, term: str, changes: list[Change], blocks: list[Block]) -> None:
        firsts = [block.first for block in blocks]
        at = 0
        while at < len(changes):
            # All changes up to the next block belong to one block.
            place = bisect_right(firsts, changes[at][0]) - 1
            until = firsts[place + 1] if place + 1 < len(firsts) else None
            stop = at + 1
            while stop < len(changes) and (until is None or changes[stop][0] < until):
                stop += 1
            part = changes[at:stop]
            at = stop
            if place < 0:
                records = [(id, *posting) for id, posting in part if posting is not None]
                if records:
                    self._put(term, encode(base_of(records[0][0]), records))
                continue
            try:
                left = change(blocks[place], part)
            except (StructError, IndexError) as error:
                raise damaged_index(self.namespace, self.name) from error
            if not left:
                self.run(_REMOVE, (self.number, term, firsts[place]))
            else:
                self._put(term, left if left[0] != blocks[place] else left[1:])

    def _put(self, term: str, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self.run(_PUT, (self.number, term, *block))

    # -- as a whole ------------------------------------------------------------------------------------------------

    def build(self) -> None:
        self.run(BEGIN, (self.number,))
        changes: Changes = defaultdict(list)
        waiting = entries = length = 0
        after = ""
        while rows := self.run(_PAGE, (self.namespace, after)):
            for row in map(StoredRow._make, rows):
                now = occurrences(self._fields(row), self.index.language)
                entries, length = entries + (now.length > 0), length + now.length
                waiting += len(now.terms)
                _compare(row.id, _NOTHING, now, changes)
            after = rows[-1][1]
            if waiting > _POSTINGS_A_RUN:
                self._apply_sorted(changes)
                changes, waiting = defaultdict(list), 0
        self._apply_sorted(changes)
        self.run(_COUNT, (self.number, entries, length))

    def emptied(self) -> None:
        self.run(_FORGET, (self.number,))
        self.run(_RESET, (self.number,))

    def drop(self) -> None:
        self.run(_FORGET, (self.number,))
        self.run(_END, (self.number,))

    def problems(self) -> list[str]:
        """What differs between the postings and what the entries say, each in a sentence."""
        where = f"index {self.name!r} of namespace {self.namespace!r}"
        entries = length = number = total = 0
        after = ""
        while rows := self.run(_PAGE, (self.namespace, after)):
            for row in map(StoredRow._make, rows):
                now = occurrences(self._fields(row), self.index.language)
                entries, length = entries + (now.length > 0), length + now.length
                number += len(now.terms)
                total += sum([_digest(term, row.id, tf, now.length) for term, tf in now.terms.items()])
            after = rows[-1][1]
        kept, kept_total, ordered = 0, 0, True
        place: tuple[str, int] = ("", -1)
        last: Block | None = None
        while rows := self.run(_ALL, (self.number, *place)):
            for term, *columns in rows:
                block = Block(*columns)
                if disorder([block] if last is None or term != place[0] else [last, block]):
                    ordered = False
                    continue
                records = postings(block)
                kept += len(records)
                kept_total += sum([_digest(term, id, tf, long) for id, tf, long in records])
                place, last = (term, block.first), block
            place = rows[-1][:2]
        found = []
        if not ordered:
            found.append(f"the postings of {where} are out of order")
        if (kept, kept_total) != (number, total):
            found.append(f"{where} does not hold what the entries say")
        if self.run(STATISTICS, (self.number,)) != [(entries, length)]:
            found.append(f"the statistics of {where} are wrong")
        return found


def damaged_index(namespace: str, name: str) -> StorageCorrupt:
    """The error for postings that cannot be read."""
    return StorageCorrupt(f"what index {name!r} of namespace {namespace!r} keeps is damaged: drop and create it again")


def _id(pair: tuple[StoredRow | None, StoredRow | None]) -> int:
    row = pair[0] or pair[1]
    assert row is not None
    return row.id


def _compare(id: int, then: Occurrences, now: Occurrences, changes: Changes) -> None:
    """Note what leads from one to the other."""
    length, before = now.length, then.terms
    if before:
        for term in before:
            if term not in now.terms:
                changes[term].append((id, None))
        if length == then.length:
            for term, tf in now.terms.items():
                if before.get(term) != tf:
                    changes[term].append((id, (tf, length)))
            return
    for term, tf in now.terms.items():
        changes[term].append((id, (tf, length)))


def _digest(term: str, id: int, tf: float, length: int) -> int:
    return hash((term, id, to_float32(tf), length))
