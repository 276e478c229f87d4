"""What a backend brings: a :class:`State`, everything stored at one moment, made of a :class:`Space` per namespace.

A State that was committed or handed to a snapshot is never changed again: a :class:`~.draft.Draft` makes the next one
from forks of it. So readers need no lock, and a savepoint is a reference.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from ..contract import Change, ChangePage, Entry, NamespaceInfo
from ..errors import CursorExpired
from ..filters import Comparison, Filter, Sort, key_prefix_of, match
from ..indexes import FieldIndex, Index, VectorIndex
from ..patterns import prefix_end
from ..values import Stored, decode_metadata, decode_value

#: Rows that a log of vectors keeps at least: so many, and a share of all vectors.
VECTOR_CHANGES_KEPT: Final = 10_000
VECTOR_CHANGES_SHARE: Final = 8

_FORGOTTEN_AT_ONCE: Final = 64


def now_ms() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000


class Row(NamedTuple):
    """An entry as stored: encoded, so that no caller holds a part of it."""

    value: Stored
    metadata: str | None
    version: int
    created_at: int
    updated_at: int
    expires_at: int | None

    def is_live(self, now: int) -> bool:
        """Whether the entry has not expired at ``now`` (UTC ms)."""
        return self.expires_at is None or self.expires_at > now

    def entry(self, namespace: str, key: str) -> Entry:
        """The entry, decoded anew."""
        value, metadata = decode_value(self.value), decode_metadata(self.metadata)
        return Entry(namespace, key, value, metadata, *self[2:])


class Space(ABC):
    """One namespace of a state. Rows include those that have expired and were not swept yet."""

    __slots__ = (
        "created_at",
        "indexes",
        "metadata",
        "name",
        "pruned_through",
        "tracked",
        "vectors_from",
        "vectors_through",
    )

    name: str
    metadata: str | None
    """JSON text."""
    created_at: int
    tracked: bool
    indexes: dict[str, Index]
    pruned_through: int
    """The seq of the last change that is no longer kept, 0 for none."""
    vectors_from: int
    """The first seq that the log of vectors reaches back to, 0 without such a log."""
    vectors_through: int
    """The last seq of the log of vectors, 0 without one."""

    @abstractmethod
    def fork(self) -> Space:
        """A copy: changes of one are not seen by the other."""

    # -- rows ------------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def stored(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def row(self, key: str) -> Row | None:
        """The row of ``key``."""

    @abstractmethod
    def live_values(self, keys: Sequence[str], now: int) -> list[tuple[str, Stored]]:
        """Those of the keys whose entries exist and have not expired at ``now``, with their values as stored."""

    @abstractmethod
    def rows(self) -> Iterator[tuple[str, Row]]:
        """Keys and rows in key order. The space must not change meanwhile."""

    @abstractmethod
    def expired(self, now: int) -> Iterator[str]:
        """The keys of the rows that have expired at ``now``. The space must not change meanwhile."""

    @abstractmethod
    def put(self, key: str, row: Row, old: Row | None) -> None:
        """Store a row, ``old`` being the one it replaces, and keep up the indexes."""

    @abstractmethod
    def remove(self, key: str, old: Row) -> None:
        """Remove a row and what the indexes hold of it."""

    @abstractmethod
    def empty(self) -> None:
        """Remove all rows and what the indexes hold of them."""

    # -- indexes ---------------------------------------------------------------------------------------------------

    @property
    def field_indexes(self) -> dict[str, FieldIndex]:
        """Those of ``indexes`` that are of fields."""
        return {name: index for name, index in self.indexes.items() if isinstance(index, FieldIndex)}

    @property
    def vector_indexes(self) -> dict[str, VectorIndex]:
        """Those of ``indexes`` that are of vectors."""
        return {name: index for name, index in self.indexes.items() if isinstance(index, VectorIndex)}

    @abstractmethod
    def add_index(self, name: str, index: Index) -> None:
        """Declare an index, which is empty at first."""

    @abstractmethod
    def enter(self, name: str, entry: Entry) -> None:
        """Put one entry into that index, while it is built."""

    @abstractmethod
    def remove_index(self, name: str) -> None:
        """Forget an index and what it holds."""

    @abstractmethod
    def holder(self, name: str, entry: Entry) -> str | None:
        """Another key that holds the values of ``entry`` in that unique index."""

    @abstractmethod
    def text_statistics(self, name: str) -> tuple[int, int]:
        """How many entries hold a term of that text index, and the sum of their lengths."""

    @abstractmethod
    def text_postings(self, name: str, term: str) -> Iterator[tuple[str, float, int]]:
        """The entries that hold a term: key, tf, length, in order of key. The space must not change meanwhile."""

    # -- the log of vectors ----------------------------------------------------------------------------------------

    # A namespace with vector indexes has a log of the keys whose vectors change, by seq, without gaps; every entry is a
    # vector of each index, so they share it. It begins above every seq that an earlier one may have had, and anew when
    # the namespace is emptied: what a process remembers of before cannot be taken for what is there now.

    @abstractmethod
    def put_vector_change(self, seq: int, key: str) -> None:
        """Add a row to the log of vectors."""

    @abstractmethod
    def forget_vector_changes(self, low: int, high: int) -> None:
        """Remove the rows from ``low`` (inclusive) to ``high`` (exclusive)."""

    @abstractmethod
    def vector_changes(self, after: int) -> Iterator[tuple[int, str]]:
        """The rows above ``after``, in order. The space must not change meanwhile."""

    def saved_codes(self, name: str) -> tuple[int, bytes] | None:
        """The codes kept of that vector index and the seq that they cover."""
        return None

    def begin_vector_log(self, seq: int) -> None:
        """Begin the log after ``seq``, unless there is one."""
        if not self.vectors_through:
            self.vectors_from, self.vectors_through = seq + 1, seq

    def end_vector_log(self) -> None:
        """Forget the log."""
        self.forget_vector_changes(self.vectors_from, self.vectors_through + 1)
        self.vectors_from = self.vectors_through = 0

    def log_vector(self, key: str) -> None:
        """Log that the vector of ``key`` was set or removed, if there is a log; keep that within bounds."""
        if not self.vectors_through:
            return
        self.vectors_through += 1
        self.put_vector_change(self.vectors_through, key)
        kept = max(VECTOR_CHANGES_KEPT, self.stored // VECTOR_CHANGES_SHARE)
        oldest = self.vectors_through - kept + 1
        if oldest - self.vectors_from >= _FORGOTTEN_AT_ONCE:
            self.forget_vector_changes(self.vectors_from, oldest)
            self.vectors_from = oldest

    def renew_vector_log(self) -> None:
        """Begin the log anew, if there is one: all vectors are gone."""
        if self.vectors_through:
            self.forget_vector_changes(self.vectors_from, self.vectors_through + 1)
            self.vectors_through += 1
            self.vectors_from = self.vectors_through + 1

    # -- the change log --------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def log_length(self) -> int:
        """How many changes are kept."""

    @abstractmethod
    def changes(self, after: int = 0) -> Iterator[Change]:
        """The changes kept with a seq above ``after``, in order. The space must not change meanwhile."""

    @abstractmethod
    def last_change(self) -> int:
        """The seq of the newest change kept, 0 for none."""

    @abstractmethod
    def log(self, change: Change) -> None:
        """Add a change to the log."""

    @abstractmethod
    def forget_changes(self, seqs: list[int]) -> None:
        """Remove these changes from the log."""

    # -- what follows from these -------------------------------------------------------------------------------------

    def count(self, now: int) -> int:
        """How many entries are live."""
        return self.stored - sum(1 for _ in self.expired(now))

    def info(self) -> NamespaceInfo:
        """What the contract tells of a namespace."""
        metadata = decode_metadata(self.metadata)
        return NamespaceInfo(self.name, metadata, self.created_at, self.count(now_ms()), self.tracked)


class State(ABC):
    """Everything stored, at one moment."""

    @property
    @abstractmethod
    def last_seq(self) -> int:
        """The highest seq ever given to a change."""

    @last_seq.setter
    @abstractmethod
    def last_seq(self, seq: int) -> None: ...

    @property
    @abstractmethod
    def lost_through(self) -> int:
        """The highest seq of any change that is no longer kept."""

    @lost_through.setter
    @abstractmethod
    def lost_through(self, seq: int) -> None: ...

    @abstractmethod
    def fork(self) -> State:
        """A copy whose changes the original never sees; the spaces in it are still shared."""

    # -- namespaces ------------------------------------------------------------------------------------------------

    @abstractmethod
    def space(self, name: str) -> Space | None:
        """The namespace of that name."""

    @abstractmethod
    def new_space(self, name: str) -> Space:
        """Make a namespace; of an earlier one of this name it takes over what readers have missed."""

    @abstractmethod
    def own_space(self, space: Space) -> Space:
        """What to change instead of a space that this state gave and may share with others."""

    @abstractmethod
    def drop_space(self, space: Space, lost: int) -> None:
        """Remove a namespace with all it holds. ``lost``, if any: the last seq of the log that went with it."""

    @abstractmethod
    def names(self, low: str | None = None, high: str | None = None) -> Iterator[str]:
        """The names from ``low`` (inclusive) to ``high`` (exclusive) in order."""

    @abstractmethod
    def names_with_expired(self, now: int) -> list[str]:
        """The namespaces that hold expired rows."""

    def family(self, name: str) -> list[str]:
        """The names of that namespace and those below it, as far as they exist."""
        own = [name] if self.space(name) is not None else []
        return own + list(self.names(name + "/", name + "0"))  # "0" is the character after "/"

    # -- entries ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def live_row(self, namespace: str, key: str) -> Row | None:
        """The row of an entry that exists and has not expired."""

    @abstractmethod
    def live_keys(self, namespace: str, low: str | None, high: str | None) -> Iterator[str]:
        """The keys of live entries from ``low`` (inclusive) to ``high`` (exclusive), in order."""

    @abstractmethod
    def live_entries(
        self, namespace: str, low: str | None = None, high: str | None = None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        """The live entries from ``low`` (inclusive) to ``high`` (exclusive), in order of their keys."""

    def select(self, namespace: str, condition: Filter | None, order: Sort) -> Iterator[Entry]:
        """The live entries that meet the condition, in that order, or else of their keys."""
        prefix = key_prefix_of(condition)
        entries = self.live_entries(namespace, *((prefix, prefix_end(prefix)) if prefix else (None, None)))
        found = entries if condition is None else (entry for entry in entries if match(condition, entry))
        return iter(order.sorted(found)) if order else found

    def count(self, namespace: str, condition: Filter | None) -> int:
        """How many live entries meet the condition."""
        if isinstance(condition, Comparison) and (prefix := key_prefix_of(condition)):
            return sum(1 for _ in self.live_keys(namespace, prefix, prefix_end(prefix)))
        if condition is not None:
            return sum(1 for _ in self.select(namespace, condition, Sort()))
        space = self.space(namespace)
        return 0 if space is None else space.count(now_ms())

    def count_all(self) -> tuple[int, int]:
        """How many live entries there are, and how many namespaces."""
        now, entries, spaces = now_ms(), 0, 0
        for name in self.names():
            space = self.space(name)
            entries += 0 if space is None else space.count(now)
            spaces += 1
        return entries, spaces

    # -- changes ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def all_changes(self, after: int) -> Iterator[Change]:
        """The changes of all namespaces with a seq above ``after``, in order."""

    def change_page(self, namespace: str | None, since: int | None, limit: int) -> ChangePage:
        """A page of the change log. Raises CursorExpired."""
        changes: Iterable[Change] = ()
        if namespace is None:
            lost = self.lost_through
        else:
            space = self.space(namespace)
            lost = 0 if space is None else space.pruned_through
        if since is not None and since < lost:
            raise CursorExpired(f"changes up to {lost} are no longer kept; the cursor stands at {since}")
        after = lost if since is None else since
        if namespace is None:
            changes = self.all_changes(after)
        elif space is not None and space.log_length:
            changes = space.changes(after)
        found = list(islice(changes, limit + 1))
        page = found[:limit]
        return ChangePage(page, page[-1].seq if page else after, len(found) > limit)

    # -- care ------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Hold nothing outside of memory any longer; the state and those forked from it are not read again."""
        return

    @abstractmethod
    def problems(self) -> Iterator[str]:
        """Whatever is wrong, each in a sentence."""
