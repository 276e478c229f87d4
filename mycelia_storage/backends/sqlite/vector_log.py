"""What the database keeps of a vector index beside the entries: a log of which entries changed, and their number.

The vectors themselves are the entries' values. Every process has codes of its own in memory
(:mod:`.vector_search`), and catches up with the log before it searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...errors import IndexFull, StorageError
from ...indexes import VectorIndex
from ...similarity import are_vectors, check_vector
from .search_upkeep import Keeper, Run, StoredRow

_APPEND: Final = """INSERT INTO storage_vector_log (index_number, seq, entry_id, total)
SELECT ?1, seq + 1, ?2, total + ?3 FROM storage_vector_log WHERE index_number = ?1 ORDER BY seq DESC LIMIT 1"""
# ?2 a JSON list of entries, ?3 how many more there are now: the total is right from the last row on.
_APPEND_MANY: Final = """INSERT INTO storage_vector_log (index_number, seq, entry_id, total)
SELECT ?1, last.seq + 1 + changed.key, changed.value, last.total + ?3 FROM json_each(?2) AS changed, (
SELECT seq, total FROM storage_vector_log WHERE index_number = ?1 ORDER BY seq DESC LIMIT 1) AS last"""
_FIRST: Final = "INSERT INTO storage_vector_log (index_number, seq, entry_id, total) VALUES (?, 1, NULL, ?)"
LAST: Final = "SELECT seq, total FROM storage_vector_log WHERE index_number = ? ORDER BY seq DESC LIMIT 1"
_EMPTIED: Final = """INSERT INTO storage_vector_log (index_number, seq, entry_id, total)
SELECT ?1, seq + 1, NULL, 0 FROM storage_vector_log WHERE index_number = ?1 ORDER BY seq DESC LIMIT 1"""
_FORGET_BEFORE_LAST: Final = """DELETE FROM storage_vector_log WHERE index_number = ?1
AND seq < (SELECT max(seq) FROM storage_vector_log WHERE index_number = ?1)"""
_FORGET_CODES: Final = "DELETE FROM storage_vector_codes WHERE index_number = ?"
_FORGET: Final = "DELETE FROM storage_vector_log WHERE index_number = ?"
_KEYS: Final = "SELECT key, value FROM storage_entries WHERE namespace = ?1 AND key > ?2 ORDER BY key LIMIT 1000"


class VectorKeeper(Keeper):
    """The log of one vector index."""

    def __init__(self, run: Run, namespace: str, name: str, number: int, index: VectorIndex) -> None:
        super().__init__(run, namespace, name, number)
        self.index = index

    def check(self, entries: Sequence[tuple[str, Any]]) -> None:
        if not are_vectors([value for _, value in entries], self.index):
            for key, value in entries:
                check_vector(value, self.index, self.namespace, key)

    def has_room(self, more: int) -> bool:
        return int(self.run(LAST, (self.number,))[0][1]) + more <= self.index.max_vectors

    def full(self) -> StorageError:
        return IndexFull(
            f"index {self.name!r} of namespace {self.namespace!r} holds at most {self.index.max_vectors:,} vectors"
        )

    def build(self) -> None:
        total, after = 0, ""
        while rows := self.run(_KEYS, (self.namespace, after)):
            self.check(rows)
            total, after = total + len(rows), rows[-1][0]
        if total > self.index.max_vectors:
            raise self.full()
        self.run(_FIRST, (self.number, total))

    def changed(self, old: Sequence[StoredRow], new: Sequence[StoredRow]) -> None:
        more = len(new) - len(old)
        ids = {row.id for row in old} | {row.id for row in new}
        if len(ids) == 1:
            self.run(_APPEND, (self.number, ids.pop(), more))
        elif ids:
            self.run(_APPEND_MANY, (self.number, str(sorted(ids)), more))

    def emptied(self) -> None:
        self.run(_EMPTIED, (self.number,))
        self.run(_FORGET_BEFORE_LAST, (self.number,))
        self.run(_FORGET_CODES, (self.number,))

    def problems(self) -> list[str]:
        from .vector_codes import problems_of_codes

        where = f"index {self.name!r} of namespace {self.namespace!r}"
        last = self.run(LAST, (self.number,))
        if not last:
            return [f"the log of {where} is gone"]
        found, total, after = [], 0, ""
        while rows := self.run(_KEYS, (self.namespace, after)):
            for key, value in rows:
                try:
                    self.check([(key, value)])
                except StorageError as error:
                    found.append(f"{where}: {error}")
            total, after = total + len(rows), rows[-1][0]
        if total != last[0][1]:
            found.append(f"{where} counts {last[0][1]} vectors, and there are {total}")
        if not found:
            found += [f"{where}: {problem}" for problem in problems_of_codes(self)]
        return found

    def drop(self) -> None:
        self.run(_FORGET, (self.number,))
        self.run(_FORGET_CODES, (self.number,))
