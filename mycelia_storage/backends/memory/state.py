"""What the memory backend holds at one moment.

::

    State ── spaces: name -> Space ── rows:     key -> Row
          │                        ├─ expiring: (expires_at, key) -> None, for rows that expire
          │                        ├─ log:      seq -> Change
          │                        ├─ indexes:  name -> declaration
          │                        ├─ unique:   index name -> (field values as text -> key)
          │                        ├─ vectors:  seq -> key whose vector changed
          │                        └─ texts:    index name -> (term NUL key -> tf and length), and statistics
          └─ dropped: name of a deleted namespace -> last seq of the log that went with it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge

from ...contract import Change, Entry
from ...errors import StorageError
from ...indexes import FieldIndex, Index, TextIndex
from ...names import DEFAULT_NAMESPACE, check_key
from ...states.ordered import SortedMap
from ...states.state import Row, Space, State, now_ms
from ...states.unique import unique_text
from ...states.vectors import vector_log_problems
from ...values import Stored
from .text_postings import TextPostings


class MemorySpace(Space):
    """One namespace in sorted maps."""

    __slots__ = ("_expiring", "_log", "_rows", "_texts", "_unique", "_vectors")

    def __init__(self, name: str, pruned_through: int = 0) -> None:
        self.name = name
        self.metadata = None
        self.created_at = now_ms()
        self.tracked = False
        self.indexes = {}
        self.pruned_through = pruned_through
        self._rows: SortedMap[str, Row] = SortedMap()
        self._expiring: SortedMap[tuple[int, str], None] = SortedMap()
        self._log: SortedMap[int, Change] = SortedMap()
        self._unique: dict[str, SortedMap[str, str]] = {}
        self._texts: dict[str, TextPostings] = {}
        self._vectors: SortedMap[int, str] = SortedMap()
        self.vectors_from = self.vectors_through = 0

    def fork(self) -> MemorySpace:
        copy = MemorySpace.__new__(MemorySpace)
        copy.name, copy.metadata, copy.created_at = self.name, self.metadata, self.created_at
        copy.tracked, copy.pruned_through = self.tracked, self.pruned_through
        copy._rows, copy._expiring, copy._log = self._rows.fork(), self._expiring.fork(), self._log.fork()
        copy.indexes = self.indexes.copy()
        copy._unique = {name: held.fork() for name, held in self._unique.items()}
        copy._texts = {name: held.fork() for name, held in self._texts.items()}
        copy.vectors_from, copy.vectors_through = self.vectors_from, self.vectors_through
        copy._vectors = self._vectors.fork()
        return copy

    # -- rows ------------------------------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        return len(self._rows)

    def row(self, key: str) -> Row | None:
        return self._rows.get(key)

    def live_values(self, keys: Sequence[str], now: int) -> list[tuple[str, Stored]]:
        get = self._rows.get
        return [
            (key, row.value)
            for key in keys
            if (row := get(key)) is not None and (row.expires_at is None or row.expires_at > now)
        ]

    def rows(self, low: str | None = None, high: str | None = None, reverse: bool = False) -> Iterator[tuple[str, Row]]:
        return self._rows.items(low, high, reverse=reverse)

    def expired(self, now: int) -> Iterator[str]:
        for (_, key), _ in self._expiring.items(high=(now + 1, "")):
            yield key

    def put(self, key: str, row: Row, old: Row | None) -> None:
        if old is not None and old.expires_at is not None:
            self._expiring.pop((old.expires_at, key))
        if row.expires_at is not None:
            self._expiring.put((row.expires_at, key), None)
        if self._unique:
            if old is not None:
                self._leave(key, old)
            entry = row.entry(self.name, key)
            for name in self._unique:
                self.enter(name, entry)
        if self._texts:
            self._keep_texts(key, old, row)
        self._rows.put(key, row)
        self.log_vector(key)

    def remove(self, key: str, old: Row) -> None:
        if self._unique:
            self._leave(key, old)
        if self._texts:
            self._keep_texts(key, old, None)
        if old.expires_at is not None:
            self._expiring.pop((old.expires_at, key))
        self._rows.pop(key)
        self.log_vector(key)

    def empty(self) -> None:
        self._rows, self._expiring = SortedMap(), SortedMap()
        self._unique = {index: SortedMap() for index in self._unique}
        self._texts = {index: TextPostings(held.index) for index, held in self._texts.items()}
        self.renew_vector_log()

    # -- indexes ---------------------------------------------------------------------------------------------------

    def add_index(self, name: str, index: Index) -> None:
        self.indexes[name] = index
        if isinstance(index, FieldIndex) and index.unique:
            self._unique[name] = SortedMap()
        elif isinstance(index, TextIndex):
            self._texts[name] = TextPostings(index)

    def enter(self, name: str, entry: Entry) -> None:
        text = self._text(name, entry)
        if text is not None:
            self._unique[name].put(text, entry.key)
        elif name in self._texts:
            self._texts[name].change(entry.key, None, entry)

    def remove_index(self, name: str) -> None:
        self._unique.pop(name, None)
        self._texts.pop(name, None)
        del self.indexes[name]
        if not self.vector_indexes:
            self.end_vector_log()

    def holder(self, name: str, entry: Entry) -> str | None:
        text = self._text(name, entry)
        key = None if text is None else self._unique[name].get(text)
        return None if key == entry.key else key

    def _leave(self, key: str, old: Row) -> None:
        entry = old.entry(self.name, key)
        for name, held in self._unique.items():
            text = self._text(name, entry)
            if text is not None and held.get(text) == key:
                held.pop(text)

    def _text(self, name: str, entry: Entry) -> str | None:
        index = self.indexes[name]
        return unique_text(index, entry) if isinstance(index, FieldIndex) and index.unique else None

    def text_statistics(self, name: str) -> tuple[int, int]:
        return self._texts[name].entries, self._texts[name].length

    def text_postings(self, name: str, term: str) -> Iterator[tuple[str, float, int]]:
        return self._texts[name].of(term)

    def _keep_texts(self, key: str, old: Row | None, row: Row | None) -> None:
        then = None if old is None else old.entry(self.name, key)
        now = None if row is None else row.entry(self.name, key)
        for held in self._texts.values():
            held.change(key, then, now)

    # -- the log of vectors ----------------------------------------------------------------------------------------

    def put_vector_change(self, seq: int, key: str) -> None:
        self._vectors.put(seq, key)

    def forget_vector_changes(self, low: int, high: int) -> None:
        for seq, _ in list(self._vectors.items(low, high)):
            self._vectors.pop(seq)

    def vector_changes(self, after: int) -> Iterator[tuple[int, str]]:
        return self._vectors.items(after + 1)

    # -- the change log --------------------------------------------------------------------------------------------

    @property
    def log_length(self) -> int:
        return len(self._log)

    def changes(self, after: int = 0) -> Iterator[Change]:
        for _, change in self._log.items(after + 1):
            yield change

    def last_change(self) -> int:
        return next((seq for seq, _ in self._log.items(reverse=True)), 0)

    def log(self, change: Change) -> None:
        self._log.put(change.seq, change)

    def forget_changes(self, seqs: list[int]) -> None:
        for seq in seqs:
            self._log.pop(seq)

    def problems(self) -> Iterator[str]:
        """Whatever is wrong, each in a sentence."""
        maps = (self._rows, self._expiring, self._log, self._vectors)
        for problem in (*(problem for kept in maps for problem in kept.problems()), *vector_log_problems(self)):
            yield f"namespace {self.name!r}: {problem}"
        held: dict[str, dict[str, str]] = {name: {} for name in self._unique}
        expiring = 0
        texts = {name: TextPostings(kept.index) for name, kept in self._texts.items()}
        for key, row in self._rows.items():
            expiring += row.expires_at is not None
            try:
                entry = row.entry(self.name, key)
                check_key(key)
            except (StorageError, ValueError) as error:
                yield f"namespace {self.name!r}, key {key!r}: {error}"
                continue
            for expected in texts.values():
                expected.change(key, None, entry)
            for name, values in held.items():
                text = self._text(name, entry)
                if text is not None and row.is_live(now_ms()):
                    values[text] = key
        if expiring != len(self._expiring):
            yield f"namespace {self.name!r}: the list of expiring entries is wrong"
        for name, values in held.items():
            if any(self._unique[name].get(text) != key for text, key in values.items()):
                yield f"namespace {self.name!r}: index {name!r} does not hold what the entries say"
        for name, expected in texts.items():
            if not expected.equals(self._texts[name]):
                yield f"namespace {self.name!r}: index {name!r} does not hold what the entries say"


class MemoryState(State):
    """Everything stored, at one moment."""

    __slots__ = ("_dropped", "_last_seq", "_lost_through", "_spaces")

    def __init__(self) -> None:
        self._spaces: SortedMap[str, MemorySpace] = SortedMap()
        self._spaces.put(DEFAULT_NAMESPACE, MemorySpace(DEFAULT_NAMESPACE))
        self._dropped: SortedMap[str, int] = SortedMap()
        self._last_seq = self._lost_through = 0

    @property
    def last_seq(self) -> int:
        return self._last_seq

    @last_seq.setter
    def last_seq(self, seq: int) -> None:
        self._last_seq = seq

    @property
    def lost_through(self) -> int:
        return self._lost_through

    @lost_through.setter
    def lost_through(self, seq: int) -> None:
        self._lost_through = seq

    def fork(self) -> MemoryState:
        copy = MemoryState.__new__(MemoryState)
        copy._spaces, copy._dropped = self._spaces.fork(), self._dropped.fork()
        copy._last_seq, copy._lost_through = self._last_seq, self._lost_through
        return copy

    # -- namespaces ------------------------------------------------------------------------------------------------

    def space(self, name: str) -> MemorySpace | None:
        return self._spaces.get(name)

    def new_space(self, name: str) -> Space:
        space = MemorySpace(name, self._dropped.pop(name) or 0)
        self._spaces.put(name, space)
        return space

    def own_space(self, space: Space) -> Space:
        assert isinstance(space, MemorySpace)
        own = space.fork()
        self._spaces.put(space.name, own)
        return own

    def drop_space(self, space: Space, lost: int) -> None:
        self._spaces.pop(space.name)
        if lost:
            self._dropped.put(space.name, lost)

    def names(self, low: str | None = None, high: str | None = None) -> Iterator[str]:
        for name, _ in self._spaces.items(low, high):
            yield name

    def names_with_expired(self, now: int) -> list[str]:
        return [space.name for space in self._spaces.values() if any(space.expired(now))]

    # -- entries ---------------------------------------------------------------------------------------------------

    def live_row(self, namespace: str, key: str) -> Row | None:
        space = self._spaces.get(namespace)
        row = None if space is None else space.row(key)
        return row if row is not None and (row.expires_at is None or row.is_live(now_ms())) else None

    def live_keys(self, namespace: str, low: str | None, high: str | None) -> Iterator[str]:
        for key, _ in self._live_rows(namespace, low, high, False):
            yield key

    def live_entries(
        self, namespace: str, low: str | None = None, high: str | None = None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        for key, row in self._live_rows(namespace, low, high, reverse):
            yield row.entry(namespace, key)

    def _live_rows(self, namespace: str, low: str | None, high: str | None, reverse: bool) -> Iterator[tuple[str, Row]]:
        space = self._spaces.get(namespace)
        if space is not None:
            now = now_ms()
            for key, row in space.rows(low, high, reverse):
                if row.is_live(now):
                    yield key, row

    # -- changes and care ------------------------------------------------------------------------------------------

    def all_changes(self, after: int) -> Iterator[Change]:
        return merge(*(space.changes(after) for space in self._spaces.values() if space.log_length))

    def problems(self) -> Iterator[str]:
        for space in self._spaces.values():
            yield from space.problems()
