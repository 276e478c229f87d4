"""The storage contract: what every backend promises. Start here.

:class:`StorageBackend` is the whole contract. A handful of its methods are abstract; the others have a body here,
written with those few, that a backend may override for speed and must then answer alike. A :class:`Transaction` is a
``StorageBackend`` too, so code that takes "a storage" joins a transaction by being handed one.

Throughout: ``namespace`` is a string or a tuple of segments (:mod:`mycelia_storage.names`); values are JSON data or
bytes (:mod:`mycelia_storage.values`); times are integer UTC milliseconds; durations are seconds. Every method may be
called from any thread. Every method raises ``StorageClosed`` after ``close()``, ``InvalidInput`` (a subclass) for
arguments that break a rule, before anything is written, and ``StorageBusy`` when the write lock stays taken past
``busy_timeout``. A single call is atomic unless its docstring says otherwise. No read sees an expired entry.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, TypeVar

from .errors import (
    BatchError,
    IndexFull,
    IndexNotFound,
    InvalidInput,
    KeyExists,
    MigrationError,
    SqlUnavailable,
    StorageBusy,
    StorageError,
    TransactionError,
    UniqueViolation,
)
from .field_paths import parse_path
from .filters import Filter, FilterInput, Sort, SortInput, key_prefix_of, match, parse_filter, parse_sort
from .following import Ways, follow_by_scanning, read_parts, with_parts
from .indexes import Index, TextIndex, VectorIndex
from .names import DEFAULT_NAMESPACE, KeyPart, Namespace, check_key, check_keys, check_namespace
from .patterns import compile_pattern, literal_prefix
from .similarity import VectorInput, best, scores, to_matrix, to_vector
from .sql_views import SqlRows, SqlView
from .text import occurrences, query_terms, rank

if TYPE_CHECKING:
    from .migrations import Migration, Migrator

R = TypeVar("R")

Operation = Literal["set", "delete", "expire", "clear"]

#: Entries that a derived method reads at a time.
PAGE: Final = 500

#: How often ``watch`` looks for changes of other processes, in seconds.
WATCH_INTERVAL: Final = 0.02


class Entry(NamedTuple):
    """A key with everything that is stored under it."""

    namespace: str
    key: str
    value: Any
    metadata: dict[str, Any]
    version: int
    """Rises strictly per key, also across delete and re-create: microseconds of a hybrid clock."""
    created_at: int
    updated_at: int
    expires_at: int | None


class Change(NamedTuple):
    """One write in a namespace that tracks changes. ``key`` is None for ``clear``."""

    seq: int
    """Rises in commit order through the whole storage."""
    namespace: str
    key: str | None
    operation: Operation
    version: int
    """The version that a set gave the entry; for the others a clock value above the version that went."""
    at: int


class ChangePage(NamedTuple):
    """Changes in order of ``seq``; ``cursor`` is where the next call goes on."""

    changes: list[Change]
    cursor: int
    has_more: bool


class BatchResult(NamedTuple):
    """What ``set_many`` did: items written (a key given twice counts twice) and the error of each other item."""

    written: int
    errors: dict[tuple[str, str], StorageError]


class NamespaceInfo(NamedTuple):
    """A namespace; ``entries`` counts its own, not those of namespaces below it."""

    name: str
    metadata: dict[str, Any]
    created_at: int
    entries: int
    track_changes: bool


class Status(NamedTuple):
    """The storage at a glance. Sizes are bytes, 0 where the backend keeps no file."""

    healthy: bool
    backend: str
    entries: int
    namespaces: int
    size_bytes: int
    wal_bytes: int
    schema_version: int
    last_error: str | None
    details: dict[str, Any]


class CheckReport(NamedTuple):
    """The result of a check: every problem in a sentence."""

    ok: bool
    problems: list[str]


class SearchHit(NamedTuple):
    """An entry that a search found."""

    key: str
    score: float
    """How well it fits, more being better: see :mod:`mycelia_storage.text` and :mod:`mycelia_storage.similarity`."""
    entry: Entry

    @property
    def value(self) -> Any:
        """The entry's value."""
        return self.entry.value

    @property
    def metadata(self) -> dict[str, Any]:
        """The entry's metadata."""
        return self.entry.metadata


class SearchHits(list[SearchHit]):
    """What a search found, best first, ties in order of key; a list.

    ``plan`` says how it was done: ``method``, and what else the backend can tell, such as how many entries were
    looked at.
    """

    plan: dict[str, Any]

    def __init__(self, hits: Iterable[SearchHit] = (), **plan: Any) -> None:
        super().__init__(hits)
        self.plan = plan


class BatchItem(NamedTuple):
    """One item of a batch in its normal form. ``ttl`` is seconds or None."""

    namespace: str
    key: str
    value: Any
    metadata: dict[str, Any] | None
    ttl: float | None


# Inside the class ``list`` is its method, so its signatures name these.
_list = list
Keys = list[str]
EntryList = list[Entry]

#: What ``set_many`` takes: a mapping, or an iterable of (key, value) pairs, entries, or dicts with ``key`` and
#: ``value`` and optionally ``namespace``, ``metadata`` and ``ttl``.
Entries = Mapping[str, Any] | Iterable[tuple[str, Any] | Entry | Mapping[str, Any]]


class StorageBackend(ABC):
    """Namespaced key-value storage. See the module for the rules that hold for every method."""

    supports_transactions: bool = True
    supports_query: bool = True
    supports_metadata: bool = True

    @property
    def transactions_span_namespaces(self) -> bool:
        """Whether one transaction may touch any namespaces together. If not, it may touch those of one top level."""
        return True

    #: Name in configuration and status: "sqlite", "memory", ...
    backend_name: str = ""

    @property
    def sql_dialect(self) -> Literal["sqlite", "postgres"] | None:
        """The dialect that migrations for it are written in, None for a storage without SQL."""
        return None

    # -- entries ---------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        """The value of ``key``, or ``default``. The caller may change what is returned; nothing stored changes."""
        entry = self.get_entry(key, namespace=namespace)
        return default if entry is None else entry.value

    @abstractmethod
    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        """The whole entry, or None."""

    @abstractmethod
    def set(
        self,
        key: str,
        value: Any,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        if_version: int | None = None,
    ) -> int:
        """Store an entry and return its new version.

        Replaces value, metadata and expiry; keeps ``created_at``. Creates the namespace.

        ``ttl``: seconds from now, over 0. ``if_version``: compare-and-set; 0 means "must not exist".
        Raises KeyExists (``overwrite=False``), VersionConflict (``if_version``), UniqueViolation, IndexFull.
        """

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        """Whether ``key`` exists."""
        return self.get_entry(key, namespace=namespace) is not None

    @abstractmethod
    def delete(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None) -> bool:
        """Delete an entry; whether it existed. A missing key is no error, except under ``if_version`` other than 0.

        Raises VersionConflict.
        """

    # -- several entries -------------------------------------------------------------------------------------------

    def get_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        """The values of those ``keys`` that exist, in the order of ``keys``."""
        found = {}
        for key in keys:
            entry = self.get_entry(key, namespace=namespace)
            if entry is not None:
                found[entry.key] = entry.value
        return found

    def get_across(
        self, wanted: Mapping[str, Iterable[str]] | Mapping[Namespace, Iterable[str]]
    ) -> dict[str, dict[str, Any]]:
        """:meth:`get_many` in several namespaces, keys by namespace: the values found, by the names of all of them.

        On a server that is one round trip, and one state.
        """
        found: dict[str, dict[str, Any]] = {}
        for namespace, keys in wanted.items():
            name = check_namespace(namespace)
            found.setdefault(name, {}).update(self.get_many(keys, namespace=name))
        return found

    def set_many(
        self,
        entries: Entries,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        atomic: bool = True,
    ) -> BatchResult:
        """Store many entries in one transaction. ``entries`` may be any iterable, larger than memory too.

        An item's own namespace, metadata and ttl win over the arguments. Of a key given twice the last wins.
        ``atomic=True``: one bad item writes nothing and raises BatchError, which names every bad key.
        ``atomic=False``: the good items are written, the others are in ``.errors``.
        """
        errors: dict[tuple[str, str], StorageError] = {}
        written = 0
        with self.transaction() as tx:
            for item in batch_items(entries, namespace, metadata, ttl, errors):
                try:
                    tx.set(
                        item.key,
                        item.value,
                        namespace=item.namespace,
                        metadata=item.metadata,
                        overwrite=overwrite,
                        ttl=item.ttl,
                    )
                except (InvalidInput, KeyExists, UniqueViolation, IndexFull) as error:
                    errors[item.namespace, item.key] = error
                else:
                    written += 1
            if errors and atomic:
                raise BatchError(errors)
        return BatchResult(written, errors)

    def delete_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> int:
        """Delete several entries in one transaction; how many existed."""
        with self.transaction() as tx:
            return sum(tx.delete(key, namespace=namespace) for key in keys)

    def restore(self, entries: Iterable[Entry]) -> int:
        """Store entries as they are, with their version, times and expiry (load, copy); how many were stored.

        One transaction. An entry already expired is left out. A tracked namespace logs each as "set".
        The version of an existing key never falls: a restored version at or below it becomes the next one.
        """
        with self.transaction() as tx:
            return tx.restore(entries)

    # -- reading ranges --------------------------------------------------------------------------------------------

    def list(
        self,
        pattern: str | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int | None = None,
        offset: int = 0,
        after: str | None = None,
    ) -> Keys:
        """Keys in order of their UTF-8 bytes, from after ``after`` on.

        ``pattern``: ``*`` any run, ``?`` one character, everything else literal, whole key; None is every key.
        A literal prefix of the pattern is read as a range.
        """
        check_page(limit, offset)
        prefix = "" if pattern is None else literal_prefix(pattern)
        matches = None if pattern is None else compile_pattern(pattern)
        keys: Keys = []
        if limit == 0:
            return keys
        for entry in self.scan(namespace=namespace, prefix=prefix, after=after):
            if matches is None or matches(entry.key):
                if offset:
                    offset -= 1
                    continue
                keys.append(entry.key)
                if len(keys) == limit:
                    break
        return keys

    @abstractmethod
    def scan(
        self,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
        after: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        """Entries in key order (``reverse``: the other way), read in pages as the iterator is drawn.

        ``start`` is inclusive, ``end`` exclusive, ``after`` exclusive in the direction of travel. Arguments are
        checked at the call. Between two steps nothing is locked or held open, and each page sees the state of
        its moment; for one state throughout, scan a snapshot: ``transaction(read_only=True)``.
        """

    def scan_prefixes(
        self,
        prefixes: Iterable[str],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        parts: Mapping[int, Collection[KeyPart]] | None = None,
    ) -> Iterator[Entry]:
        """The entries under each of ``prefixes`` in turn, each in key order: many short scans for the price of few.

        ``parts={2: ["bob", "eve"]}``: only composite keys whose part 2, counted from 0, is one of these. A prefix
        given twice, or one that begins another, gives its entries each time. Otherwise as :meth:`scan`.
        """
        name, checked, wanted = check_namespace(namespace), check_keys(prefixes), read_parts(parts)
        entries = (entry for prefix in checked for entry in self.scan(namespace=name, prefix=prefix))
        return with_parts(entries, wanted) if wanted else entries

    def follow(
        self,
        starts: Iterable[KeyPart],
        *,
        namespaces: Iterable[Namespace],
        part: int,
        second: Iterable[KeyPart] | None = None,
        filter: FilterInput | None = None,
        hops: int = 1,
        limit: int | None = None,
    ) -> dict[KeyPart, int]:
        """Where composite keys lead from ``starts``: each part reached, with the least number of hops to it.

        A key leads from its first part to its part number ``part``, counted from 0, as ``join_key("ada", "knows",
        "bob")`` leads from "ada" to "bob" with ``part=2``. Followed are the keys of all ``namespaces`` whose second
        part is among ``second``, unless that is None, and whose entries match ``filter``. The starts are in the answer,
        at 0 hops. Nearest first, then in order of the parts; ``limit`` at most. Reads in steps: of one state only in a
        transaction. Raises InvalidInput, and InvalidKey for keys that lead to what is no part.
        """
        return follow_by_scanning(self, Ways.read(starts, namespaces, part, second, filter, hops, limit))

    def query(
        self,
        filter: FilterInput | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        sort: SortInput | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> EntryList:
        """Entries that match ``filter``, in the order of ``sort`` or else of their keys.

        :mod:`mycelia_storage.filters` has the language. Raises InvalidFilter.
        """
        condition, order = parse_filter(filter), parse_sort(sort)
        check_page(limit, offset)
        found = [entry for entry in self.scan(namespace=namespace) if condition is None or match(condition, entry)]
        if order:
            found = order.sorted(found)
        return found[offset:] if limit is None else found[offset : offset + limit]

    def count(self, *, namespace: Namespace = DEFAULT_NAMESPACE, filter: FilterInput | None = None) -> int:
        """How many entries match."""
        condition = parse_filter(filter)
        return sum(condition is None or match(condition, entry) for entry in self.scan(namespace=namespace))

    @abstractmethod
    def clear(self, *, namespace: Namespace | None = None) -> int:
        """Delete the entries of that namespace alone, or of all; how many. Namespaces, indexes and changes stay.

        A tracked namespace logs one change, "clear".
        """

    # -- metadata --------------------------------------------------------------------------------------------------

    def get_metadata(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        """The metadata of ``key``, ``{}`` for none. Raises KeyNotFound."""
        from .errors import KeyNotFound

        entry = self.get_entry(key, namespace=namespace)
        if entry is None:
            raise KeyNotFound(check_namespace(namespace), key)
        return entry.metadata

    @abstractmethod
    def set_metadata(
        self,
        key: str,
        metadata: dict[str, Any],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        merge: bool = True,
    ) -> int:
        """Merge into (top level) or replace the metadata; the entry's new version. Keeps value and expiry.

        Raises KeyNotFound.
        """

    # -- namespaces ------------------------------------------------------------------------------------------------

    @abstractmethod
    def create_namespace(
        self,
        name: Namespace,
        *,
        metadata: dict[str, Any] | None = None,
        exist_ok: bool = False,
        track_changes: bool = False,
    ) -> None:
        """Create a namespace. Raises NamespaceExists without ``exist_ok``.

        With ``exist_ok`` on an existing one: given metadata replaces its own; ``track_changes=True`` turns tracking
        on, False leaves it as it is.
        """

    @abstractmethod
    def delete_namespace(self, name: Namespace, *, recursive: bool = False) -> int:
        """Delete a namespace, its indexes and its changes; how many entries went with it.

        ``recursive`` takes its entries and the namespaces below it along, and works on a parent that exists only
        through its children. Raises NamespaceNotFound, NamespaceNotEmpty, InvalidNamespace (``default``).
        """

    @abstractmethod
    def list_namespaces(self, *, prefix: Namespace | None = None) -> Keys:
        """Names in order of their UTF-8 bytes. ``prefix`` keeps that namespace and those below it."""

    @abstractmethod
    def get_namespace(self, name: Namespace) -> NamespaceInfo | None:
        """What is known of a namespace, or None."""

    # -- transactions ----------------------------------------------------------------------------------------------

    def transaction(self, *, read_only: bool = False, isolation: str = "serializable") -> Transaction:
        """A transaction for ``with``: commits at the end of the block, rolls back on an exception.

        It begins at the call, and belongs to the calling thread: until it ends, that thread's writes through the
        storage itself raise TransactionError instead of waiting for themselves. ``read_only=True`` is a snapshot:
        it blocks nobody and its writes raise StorageReadOnly. Called on a transaction, it is a savepoint.
        ``isolation`` names the weakest level wanted ("serializable", "snapshot", "repeatable read",
        "read committed"); a backend may give more.
        """
        return self._begin(read_only, check_isolation(isolation), bound=True)

    def begin_transaction(self, *, read_only: bool = False, isolation: str = "serializable") -> Transaction:
        """The same for explicit :meth:`commit` and :meth:`rollback`; it belongs to no thread; other writers wait."""
        return self._begin(read_only, check_isolation(isolation), bound=False)

    def run_transaction(
        self,
        function: Callable[..., R],
        /,
        *args: Any,
        attempts: int = 10,
        **kwargs: Any,
    ) -> R:
        """``function(tx, *args, **kwargs)`` in a serializable transaction, committed when it returns; its result.

        When the transaction fails in a way that is safe to repeat (StorageBusy: the lock stayed taken, or it met a
        concurrent one), the function runs again in a new one after a short random pause, ``attempts`` times in all.
        So it should have no effect but through ``tx``. A backend may run several such transactions side by side.
        In a transaction it is a savepoint, run once. Raises what the function raises, and StorageBusy at last.
        """
        if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
            raise InvalidInput("attempts is a whole number of at least 1")
        for attempt in range(1, attempts + 1):
            try:
                with self._begin_to_repeat() as tx:
                    return function(tx, *args, **kwargs)
            except StorageBusy:
                if attempt == attempts:
                    raise
            time.sleep(random.uniform(0, min(0.001 * 2**attempt, 0.25)))
        raise AssertionError

    def _begin_to_repeat(self) -> Transaction:
        """Start a transaction for :meth:`run_transaction`: its failures may ask for a repetition."""
        return self.transaction()

    @abstractmethod
    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        """Start a transaction; ``bound`` ties it to the calling thread."""

    @abstractmethod
    def _transaction(self, id: str) -> Transaction:
        """The open transaction of that id. Raises TransactionError, TransactionExpired."""

    def commit(self, id: str) -> None:
        """Commit the transaction of that id. Raises TransactionError, TransactionExpired, CommitUnknown."""
        self._transaction(id).commit()

    def rollback(self, id: str) -> None:
        """Undo the transaction of that id. Raises TransactionError, TransactionExpired."""
        self._transaction(id).rollback()

    # -- indexes ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def create_index(self, namespace: Namespace, index: Index, *, name: str | None = None) -> str:
        """Build an index and return its name. Creates the namespace; the same declaration again changes nothing.

        Raises UniqueViolation when the entries already collide, InvalidValue or IndexFull when they are no vectors
        or too many, InvalidInput when the name has another declaration.
        """

    @abstractmethod
    def drop_index(self, namespace: Namespace, name: str) -> bool:
        """Remove an index; whether it existed."""

    @abstractmethod
    def list_indexes(self, namespace: Namespace) -> dict[str, Index]:
        """The namespace's indexes by name, in order of name."""

    # -- search ----------------------------------------------------------------------------------------------------

    def search_text(
        self,
        text: str,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int = 10,
        filter: FilterInput | None = None,
        index: str | None = None,
    ) -> SearchHits:
        """The ``limit`` entries that fit the words of ``text`` best, of those that match ``filter``.

        An entry is found if it holds one of the words at least. ``text`` is data: nothing in it has a special
        meaning. :mod:`mycelia_storage.text` defines words and scores. ``index`` names the text index where the
        namespace has several. Raises IndexNotFound, InvalidFilter.
        """
        declared = _declared(self, namespace, index, TextIndex)
        condition = parse_filter(filter)
        query = query_terms(check_text(text), declared.language)
        fields = [(parse_path(path), weight) for path, weight in declared.fields]
        held = {}
        entries: dict[str, Entry] = {}
        for entry in self.scan(namespace=namespace):
            kept = occurrences(((path.read(entry), weight) for path, weight in fields), declared.language)
            if kept.length:
                held[entry.key] = kept
                if condition is None or match(condition, entry):
                    entries[entry.key] = entry
        ranked = rank(query, held)
        found = best(((key, score) for key, score in ranked.items() if key in entries), check_limit(limit))
        hits = (SearchHit(key, score, entries[key]) for key, score in found)
        return SearchHits(hits, method="scan", entries=len(held))

    def search_vectors(
        self,
        vector: VectorInput,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int = 10,
        filter: FilterInput | None = None,
        exact: bool | None = None,
        index: str | None = None,
    ) -> SearchHits:
        """The ``limit`` entries nearest to ``vector``, of those that match ``filter``: never fewer than there are.

        ``vector``: ``dimensions`` numbers, an array or the bytes of float32. ``exact=True`` compares it with every
        vector; else a backend may go through an approximation first. What it returns is scored exactly in either
        case, as :mod:`mycelia_storage.similarity` defines. ``index`` names the vector index where the namespace has
        several. Raises IndexNotFound, InvalidValue, InvalidFilter.
        """
        declared = _declared(self, namespace, index, VectorIndex)
        condition, query = parse_filter(filter), to_vector(vector, declared)
        check_limit(limit)
        best_yet: EntryList = []
        scored: dict[str, float] = {}
        seen = 0
        held = self.scan(namespace=namespace, prefix=key_prefix_of(condition))
        entries = (entry for entry in held if condition is None or match(condition, entry))
        while page := _list(islice(entries, PAGE)):
            seen += len(page)
            matrix = to_matrix([entry.value for entry in page], declared.dimensions)
            scored.update(
                zip((entry.key for entry in page), scores(matrix, query, declared.metric).tolist(), strict=True)
            )
            kept = {key for key, _ in best(scored.items(), limit)}
            best_yet = [entry for entry in (*best_yet, *page) if entry.key in kept]
            scored = {entry.key: scored[entry.key] for entry in best_yet}
        found = {entry.key: entry for entry in best_yet}
        hits = (SearchHit(key, score, found[key]) for key, score in best(scored.items(), limit))
        return SearchHits(hits, method="exact", vectors=seen)

    # -- SQL -------------------------------------------------------------------------------------------------------

    def query_sql(
        self,
        sql: str,
        parameters: Sequence[Any] = (),
        *,
        views: Mapping[str, SqlView],
        limit: int = 1_000,
        timeout: float = 5.0,
    ) -> SqlRows:
        """Answer one SELECT over ``views``, which are all that it sees (:mod:`mycelia_storage.sql_views`).

        Each ``?`` is bound to the next parameter. At most ``limit`` rows come back, within ``timeout`` seconds. It
        reads a committed state; it can write nothing, reach no other table, no setting and no file, and call only
        functions that compute. The language is the backend's. Raises SqlRefused, SqlTimeout, TransactionError in a
        transaction, and SqlUnavailable where there is no SQL.
        """
        raise SqlUnavailable(f"the {self.backend_name} backend has no SQL")

    # -- changes ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def changes(
        self, *, namespace: Namespace | None = None, since: int | None = None, limit: int | None = None
    ) -> ChangePage:
        """Changes after the cursor ``since``, at most ``limit`` (default 1,000), of that namespace or of all.

        ``since=None`` starts at the oldest kept. ``page.cursor`` goes on exactly there: also when the page is empty.
        A namespace that is untracked or missing gives an empty page. Raises CursorExpired when changes after
        ``since`` are no longer kept.
        """

    def watch(
        self, *, namespace: Namespace | None = None, since: int | None = None, timeout: float | None = None
    ) -> Iterator[Change]:
        """New changes as they are committed, by any process. ``since=None`` starts at the call.

        A generator: ``close()`` ends it. ``timeout`` bounds the wait for the next change, in seconds; then it ends.
        Raises CursorExpired.
        """
        name = None if namespace is None else check_namespace(namespace)
        cursor = self._last_seq() if since is None else since
        return self._watch(name, cursor, timeout)

    def _watch(self, namespace: str | None, cursor: int, timeout: float | None) -> Iterator[Change]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            page = self.changes(namespace=namespace, since=cursor)
            cursor = page.cursor
            yield from page.changes
            if page.changes:
                deadline = None if timeout is None else time.monotonic() + timeout
            elif deadline is not None and time.monotonic() >= deadline:
                return
            if not page.has_more:
                left = WATCH_INTERVAL if deadline is None else min(WATCH_INTERVAL, deadline - time.monotonic())
                self._wait_for_commit(max(left, 0))

    @abstractmethod
    def _last_seq(self) -> int:
        """The seq of the newest change, 0 for none yet: the cursor that means "from now on"."""

    def _wait_for_commit(self, seconds: float) -> None:
        """Return after at most ``seconds``, sooner when something was committed, if the backend can tell."""
        time.sleep(seconds)

    # -- care ------------------------------------------------------------------------------------------------------

    def component_migrator(self, component: str, migrations: Iterable[Migration]) -> AbstractContextManager[Migrator]:
        """For ``with``: what applies the migrations of a plug-in to this database, beside the entries.

        ``component`` is its name (:func:`~mycelia_storage.migrations.derive_schema_name`), with which its tables
        begin. It has a connection of its own. Raises MigrationError where there is no SQL: ``sql_dialect`` tells.
        """
        raise MigrationError(f"the {self.backend_name} backend has no SQL schema that a component could add to")

    def ping(self) -> None:
        """Read once, at the same small cost whatever the size: for probes, which ``get_status`` may be too slow for.

        Raises what reading raises, and StorageError where the backend knows that what is written would be lost.
        """
        self.has("ping")

    @abstractmethod
    def get_status(self) -> Status:
        """Health, sizes and the last background error. It counts, so it takes longer the more there is."""

    @abstractmethod
    def check(self) -> CheckReport:
        """Read everything and report each thing that is wrong, indexes included."""

    @abstractmethod
    def backup(
        self, path: str | Path, *, overwrite: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Write a consistent copy to ``path`` while others go on writing.

        Refuses an existing path unless ``overwrite``. ``progress(done, total)`` is called along the way.
        """

    def optimize(self) -> None:
        """Do now what the backend otherwise does when it finds time: sweep, checkpoint, statistics."""

    @abstractmethod
    def close(self) -> None:
        """Roll back what is open and release everything. Closing twice is no error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Transaction(StorageBackend):
    """A transaction: the whole contract, seeing its own writes, invisible to others until :meth:`commit`.

    It has a time limit (``transaction_timeout``, 60 s by default); past it everything is undone and every use raises
    TransactionExpired. ``backup``, ``close`` and ``optimize`` belong to the storage and raise TransactionError here.
    """

    #: Names it in ``storage.commit(id)`` and ``storage.rollback(id)``.
    id: str

    @property
    @abstractmethod
    def is_active(self) -> bool:
        """Whether it can still be used."""

    @abstractmethod
    def commit(self, id: str | None = None) -> None:
        """Make the writes durable and visible, all at once. With an id: of that savepoint."""

    @abstractmethod
    def rollback(self, id: str | None = None) -> None:
        """Undo the writes. With an id: of that savepoint."""

    def run_transaction(self, function: Callable[..., R], /, *args: Any, attempts: int = 10, **kwargs: Any) -> R:
        with self.transaction() as tx:
            return function(tx, *args, **kwargs)

    def backup(
        self, path: str | Path, *, overwrite: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        raise TransactionError("backup belongs to the storage, not to a transaction")

    def optimize(self) -> None:
        raise TransactionError("optimize belongs to the storage, not to a transaction")

    def query_sql(
        self,
        sql: str,
        parameters: Sequence[Any] = (),
        *,
        views: Mapping[str, SqlView],
        limit: int = 1_000,
        timeout: float = 5.0,
    ) -> SqlRows:
        raise TransactionError("query_sql belongs to the storage, not to a transaction")

    def close(self) -> None:
        raise TransactionError("end a transaction with commit() or rollback()")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back on an exception; nothing if the block already did either."""
        if error is not None:
            if self.is_active:
                self.rollback()
        elif not self.finished:
            self.commit()

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether commit or rollback was called (an expired one was not finished: its commit raises)."""


# -- what backends share in reading arguments ------------------------------------------------------------------------

_ISOLATIONS: Final = ("serializable", "snapshot", "repeatable read", "read committed")


def check_isolation(isolation: str) -> str:
    """The level in its normal form. Raises InvalidInput."""
    level = isolation.lower().replace("_", " ").replace("-", " ") if isinstance(isolation, str) else isolation
    if level not in _ISOLATIONS:
        raise InvalidInput(f"isolation is one of {', '.join(_ISOLATIONS)}")
    return level


def check_page(limit: int | None, offset: int = 0) -> None:
    """Raise InvalidInput unless both are whole numbers of at least 0 (limit may be None)."""
    for name, number in (("limit", limit), ("offset", offset)):
        if number is None and name == "limit":
            continue
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise InvalidInput(f"{name} is a whole number of at least 0")


def check_limit(limit: int) -> int:
    """The number of hits wanted. Raises InvalidInput unless it is a whole number of at least 0."""
    if limit is None:
        raise InvalidInput("limit is a whole number of at least 0")
    check_page(limit)
    return limit


def check_text(text: str) -> str:
    """The text of a query. Raises InvalidInput for what is no string."""
    if not isinstance(text, str):
        raise InvalidInput(f"a text query is a string, not {type(text).__name__}")
    return text


SearchIndex = TypeVar("SearchIndex", TextIndex, VectorIndex)


def pick_index(
    declared: Mapping[str, Index], kind: type[SearchIndex], namespace: str, name: str | None
) -> tuple[str, SearchIndex]:
    """The name and declaration of the index that a search uses. Raises IndexNotFound, InvalidInput."""
    found = {label: index for label, index in declared.items() if isinstance(index, kind)}
    if name is not None:
        if name not in found:
            raise IndexNotFound(f"namespace {namespace!r} has no {kind.kind} index {name!r}")
        return name, found[name]
    if not found:
        raise IndexNotFound(f"namespace {namespace!r} has no {kind.kind} index: create_index makes one")
    if len(found) > 1:
        raise InvalidInput(f"namespace {namespace!r} has several {kind.kind} indexes: name one of {', '.join(found)}")
    return next(iter(found.items()))


def _declared(storage: StorageBackend, namespace: Namespace, name: str | None, kind: type[SearchIndex]) -> SearchIndex:
    return pick_index(storage.list_indexes(namespace), kind, check_namespace(namespace), name)[1]


def check_ttl(ttl: float | None) -> float | None:
    """Raise InvalidInput unless ``ttl`` is None or a finite number over 0."""
    if ttl is None:
        return None
    if not isinstance(ttl, int | float) or isinstance(ttl, bool) or not 0 < ttl < 1e12:
        raise InvalidInput("ttl is a number of seconds over 0")
    return ttl


def check_version(if_version: int | None) -> int | None:
    """Raise InvalidInput unless ``if_version`` is None or a whole number of at least 0."""
    if if_version is None:
        return None
    if not isinstance(if_version, int) or isinstance(if_version, bool) or if_version < 0:
        raise InvalidInput("if_version is a version, or 0 for a key that must not exist")
    return if_version


def batch_items(
    entries: Entries,
    namespace: Namespace,
    metadata: dict[str, Any] | None,
    ttl: float | None,
    errors: dict[tuple[str, str], StorageError],
) -> Iterator[BatchItem]:
    """The items of a batch one by one, keys, namespaces and ttl checked; those that fail go into ``errors``."""
    name = check_namespace(namespace)
    check_ttl(ttl)
    for position, item in enumerate(batch_pairs(entries)):
        read = read_batch_item(item, position, name, metadata, ttl, errors)
        if read is not None:
            yield read


def batch_pairs(entries: Entries) -> Iterable[Any]:
    """What :func:`read_batch_item` takes one by one. Raises InvalidInput for what is no collection of items."""
    if isinstance(entries, Mapping):
        return entries.items()
    if isinstance(entries, str | bytes) or not isinstance(entries, Iterable):
        raise InvalidInput("entries are a mapping or an iterable of (key, value) pairs, entries or dicts")
    return entries


def read_batch_item(
    item: Any,
    position: int,
    namespace: str,
    metadata: dict[str, Any] | None,
    ttl: float | None,
    errors: dict[tuple[str, str], StorageError],
) -> BatchItem | None:
    """One item in its normal form; None for an expired entry and for a bad item, which goes into ``errors``."""
    own: Any = namespace
    key: Any = None
    try:
        if isinstance(item, Entry):
            own, key = item.namespace, item.key
            left = None if item.expires_at is None else (item.expires_at - time.time_ns() // 1_000_000) / 1000
            if left is not None and left <= 0:
                return None
            return BatchItem(check_namespace(own), check_key(key), item.value, item.metadata, left)
        if isinstance(item, Mapping):
            own, key = item.get("namespace", namespace), item.get("key")
            if "value" not in item or item.keys() - _ITEM_FIELDS:
                raise InvalidInput("a batch item has key and value, and may have namespace, metadata and ttl")
            return BatchItem(
                check_namespace(own),
                check_key(key),
                item["value"],
                item.get("metadata", metadata),
                check_ttl(item.get("ttl", ttl)),
            )
        if not isinstance(item, Sequence) or isinstance(item, str | bytes) or len(item) != 2:
            raise InvalidInput(f"item {position} of a batch is no (key, value) pair, entry or dict")
        key = item[0]
        return BatchItem(namespace, check_key(key), item[1], metadata, ttl)
    except InvalidInput as error:
        shown = own if isinstance(own, str) else repr(own)
        errors[shown, key if isinstance(key, str) else f"item {position}"] = error
        return None


_ITEM_FIELDS: Final = frozenset({"key", "value", "namespace", "metadata", "ttl"})


# The names that ``filters`` gives are part of the contract's signatures.
__all__ = [
    "PAGE",
    "BatchItem",
    "BatchResult",
    "Change",
    "ChangePage",
    "CheckReport",
    "Entries",
    "Entry",
    "EntryList",
    "Filter",
    "Index",
    "Keys",
    "Namespace",
    "NamespaceInfo",
    "Operation",
    "SearchHit",
    "SearchHits",
    "Sort",
    "SqlRows",
    "SqlView",
    "Status",
    "StorageBackend",
    "Transaction",
    "batch_items",
    "batch_pairs",
    "check_isolation",
    "check_limit",
    "check_page",
    "check_text",
    "check_ttl",
    "check_version",
    "pick_index",
    "read_batch_item",
]
