"""What the database keeps of a text index: postings in blocks (:mod:`.text_blocks`), and the statistics of BM25.

What entries hold waits (:mod:`.text_waiting`) until it is put into the blocks of its terms with that of many others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from struct import error as StructError  # noqa: N812
from typing import Any, ClassVar, Final

import orjson

from ...contract import Entry
from ...errors import StorageCorrupt
from ...indexes import TextIndex
from ...text import Occurrences, fields_of, occurrences, to_float32
from ...values import decode_metadata, decode_value
from . import text_waiting
from .search_upkeep import Keeper, Run, StoredRow
from .text_blocks import Block, Change, base_of, change, disorder, encode, postings
from .text_waiting import Waiting

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
_PUT: Final = """INSERT INTO storage_text_postings (index_number, term, first, kind, data) VALUES %s
ON CONFLICT (index_number, term, first) DO UPDATE SET kind = excluded.kind, data = excluded.data"""
# Many rows in one statement cost half of what they cost one by one.
_ROWS_A_STATEMENT: Final = 50
_PUT_ONE: Final = _PUT % "(?, ?, ?, ?, ?)"
_PUT_MANY: Final = _PUT % ", ".join(["(?, ?, ?, ?, ?)"] * _ROWS_A_STATEMENT)
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
        changed: dict[int, tuple[Occurrences, Occurrences]] = {}
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
            changed[_id((was, row))] = then, now
        if changed:
            self._take_up(changed)
            self.run(_COUNT, (self.number, entries, length))

    def _take_up(self, changed: dict[int, tuple[Occurrences, Occurrences]]) -> None:
        """Have the entries wait, or put them into the blocks with all that wait, if that is too many."""
        many = len(changed) > text_waiting.MOST_ENTRIES
        if many:
            rows = self.run(text_waiting.READ, (self.number,))
        elif len(changed) == 1:
            rows = self.run(text_waiting.READ_ONE, (self.number, next(iter(changed))))
        else:
            rows = self.run(text_waiting.READ_SOME, (self.number, str(list(changed))))
        known = self._decoded(rows)
        waiting = {
            id: Waiting(now, known[id].in_blocks if id in known else frozenset(then.terms))
            for id, (then, now) in changed.items()
        }
        if many:
            self._settle(known | waiting)
            return
        for id, each in waiting.items():
            if each.now.terms or each.in_blocks:
                self.run(text_waiting.PUT, (self.number, id, text_waiting.KIND, each.encode()))
            else:
                self.run(text_waiting.REMOVE, (self.number, id))
        number, size = self.run(text_waiting.SIZE, (self.number,))[0]
        if number > text_waiting.MOST_ENTRIES or size > text_waiting.MOST_BYTES:
            self.settle()

    def settle(self) -> None:
        self._settle(self._decoded(self.run(text_waiting.READ, (self.number,))))

    def _decoded(self, rows: Sequence[Sequence[Any]]) -> dict[int, Waiting]:
        try:
            return text_waiting.decode(rows)
        except ValueError as error:
            raise damaged_index(self.namespace, self.name) from error

    def _settle(self, waiting: dict[int, Waiting]) -> None:
        """Put these, among which are all that wait, into the blocks."""
        changes: Changes = defaultdict(list)
        for id, (now, in_blocks) in sorted(waiting.items()):
            for term in in_blocks - now.terms.keys():
                changes[term].append((id, None))
            for term, tf in now.terms.items():
                changes[term].append((id, (tf, now.length)))
        self.run(text_waiting.REMOVE_ALL, (self.number,))
        self._apply(changes)

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
            puts: list[tuple[Any, ...]] = []
            for term in part:
                puts += [
                    (self.number, term, *block) for block in self._changed(term, changes[term], found.get(term, []))
                ]
            self._put(puts)

    def _put(self, rows: Sequence[tuple[Any, ...]]) -> None:
        rest = len(rows) % _ROWS_A_STATEMENT
        for at in range(0, len(rows) - rest, _ROWS_A_STATEMENT):
            self.run(_PUT_MANY, tuple(chain.from_iterable(rows[at : at + _ROWS_A_STATEMENT])))
        for row in rows[len(rows) - rest :]:
            self.run(_PUT_ONE, row)

    def _apply_sorted(self, changes: Changes) -> None:
        for each in changes.values():
            each.sort()
        self._apply(changes)

    def _changed(self, term: str, changes: list[Change], blocks: list[Block]) -> Iterator[Block]:
        """The blocks of a term that are new or change; those that go are removed."""
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
                    yield from encode(base_of(records[0][0]), records)
                continue
            try:
                left = change(blocks[place], part)
            except (StructError, IndexError) as error:
                raise damaged_index(self.namespace, self.name) from error
            if not left:
                self.run(_REMOVE, (self.number, term, firsts[place]))
            else:
                yield from left if left[0] != blocks[place] else left[1:]

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
                for term, tf in now.terms.items():
                    changes[term].append((row.id, (tf, now.length)))
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
        try:
            waiting = text_waiting.decode(self.run(text_waiting.READ, (self.number,)))
        except ValueError:
            return [f"what waits to be put into {where} is damaged"]
        kept = sum([len(each.now.terms) for each in waiting.values()])
        kept_total = sum(
            [
                _digest(term, id, tf, each.now.length)
                for id, each in waiting.items()
                for term, tf in each.now.terms.items()
            ]
        )
        outdated = {(term, id) for id, each in waiting.items() for term in each.in_blocks}
        ordered = True
        place: tuple[str, int] = ("", 2**63 - 1)  # after what waits
        last: Block | None = None
        while rows := self.run(_ALL, (self.number, *place)):
            for term, *columns in rows:
                block = Block(*columns)
                if disorder([block] if last is None or term != place[0] else [last, block]):
                    ordered = False
                    continue
                records = [each for each in postings(block) if each[0] not in waiting]
                outdated -= {(term, id) for id, _, _ in postings(block) if id in waiting}
                kept += len(records)
                kept_total += sum([_digest(term, id, tf, long) for id, tf, long in records])
                place, last = (term, block.first), block
            place = rows[-1][:2]
        found = []
        if not ordered:
            found.append(f"the postings of {where} are out of order")
        if (kept, kept_total) != (number, total) or outdated:
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


def _digest(term: str, id: int, tf: float, length: int) -> int:
    return hash((term, id, to_float32(tf), length))
