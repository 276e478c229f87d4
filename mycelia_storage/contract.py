"""The storage contract: what every backend promises. Start here.

:class:`StorageBackend` is the whole contract. A handful of its methods are abstract; the others have a body here,
written with those few, that a backend may override for speed and must then answer alike. A :class:`Transaction` is a
``StorageBackend`` too, so code that takes "a storage" joins a transaction by being handed one.

Throughout: ``namespace`` is a string or a tuple of segments (:mod:`mycelia_storage.names`); values are JSON data or
bytes (:mod:`mycelia_storage.values`); times are integer UTC milliseconds; durations are seconds. Every method may be
called from any thread. Every method raises ``StorageClosed`` after ``close()``, ``InvalidInput`` (a subclass) for
arguments that break a rule, before anything is written, and ``StorageBusy`` when the write lock stays taken past
``busy_timeout``. A single call is atomic unless its docstring says otherwise. No read sees an expired entry.

What the methods give back is in :mod:`~mycelia_storage.answers`; the longer of the bodies are functions in modules
beside this one, above all :mod:`~mycelia_storage.scanning`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

# ``X as X``: names that belong to the contract, for others to import from here.
from . import scanning
from .answers import (
    BatchResult as BatchResult,
    Change as Change,
    ChangePage as ChangePage,
    CheckReport as CheckReport,
    Entry as Entry,
    EntryList as EntryList,
    Keys as Keys,
    NamespaceInfo as NamespaceInfo,
    Operation as Operation,
    SearchHit as SearchHit,
    SearchHits as SearchHits,
    Status as Status,
)
from .arguments import (
    check_isolation as check_isolation,
    check_limit as check_limit,
    check_page as check_page,
    check_text as check_text,
    check_ttl as check_ttl,
    check_version as check_version,
)
from .batches import (
    BatchItem as BatchItem,
    Entries as Entries,
    batch_items as batch_items,
    batch_pairs as batch_pairs,
    read_batch_item as read_batch_item,
    set_one_by_one,
)
from .errors import KeyNotFound, MigrationError, SqlUnavailable, TransactionError
from .filters import Filter as Filter, FilterInput, Sort as Sort, SortInput
from .following import Ways, follow_by_scanning, follow_keys_by_scanning, read_parts, with_parts
from .indexes import Index as Index, pick_index as pick_index
from .names import DEFAULT_NAMESPACE, KeyPart, Namespace as Namespace, check_keys, check_namespace
from .repeating import repeat_while_busy
from .scanning import PAGE as PAGE
from .similarity import VectorInput
from .sql_views import SqlRows as SqlRows, SqlView as SqlView
from .watching import watch_by_reading

if TYPE_CHECKING:
    from .migrations import Migration, Migrator

R = TypeVar("R")


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
        entries = (self.get_entry(key, namespace=namespace) for key in keys)
        return {entry.key: entry.value for entry in entries if entry is not None}

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
        return set_one_by_one(self, entries, namespace, metadata, overwrite, ttl, atomic)

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
        return scanning.list_keys(self, pattern, namespace, limit, offset, after)

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

    def follow_keys(
        self,
        starts: Iterable[KeyPart],
        *,
        namespaces: Iterable[Namespace],
        part: int,
        second: Iterable[KeyPart] | None = None,
        filter: FilterInput | None = None,
        limit: int | None = None,
    ) -> dict[KeyPart, tuple[str, str]]:
        """One hop of :meth:`follow`: each part that a key leads to, with the namespace and the key.

        Of several keys it is the first one in the first of ``namespaces``. In order of the parts; ``limit`` at most.
        """
        return follow_keys_by_scanning(self, Ways.read(starts, namespaces, part, second, filter, 1, limit))

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
        return scanning.query(self, filter, namespace, sort, limit, offset)

    def count(self, *, namespace: Namespace = DEFAULT_NAMESPACE, filter: FilterInput | None = None) -> int:
        """How many entries match."""
        return scanning.count(self, namespace, filter)

    @abstractmethod
    def clear(self, *, namespace: Namespace | None = None) -> int:
        """Delete the entries of that namespace alone, or of all; how many. Namespaces, indexes and changes stay.

        A tracked namespace logs one change, "clear".
        """

    # -- metadata --------------------------------------------------------------------------------------------------

    def get_metadata(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        """The metadata of ``key``, ``{}`` for none. Raises KeyNotFound."""
        entry = self.get_entry(key, namespace=namespace)
        if entry is None:
            raise KeyNotFound(check_namespace(namespace), key)
        return entry.metadata

    @abstractmethod
    def set_metadata(
        self, key: str, metadata: dict[str, Any], *, namespace: Namespace = DEFAULT_NAMESPACE, merge: bool = True
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

    def run_transaction(self, function: Callable[..., R], /, *args: Any, attempts: int = 10, **kwargs: Any) -> R:
        """``function(tx, *args, **kwargs)`` in a serializable transaction, committed when it returns; its result.

        When the transaction fails in a way that is safe to repeat (StorageBusy: the lock stayed taken, or it met a
        concurrent one), the function runs again in a new one after a short random pause, ``attempts`` times in all.
        So it should have no effect but through ``tx``. A backend may run several such transactions side by side.
        In a transaction it is a savepoint, run once. Raises what the function raises, and StorageBusy at last.
        """
        return repeat_while_busy(self._begin_to_repeat, attempts, lambda tx: function(tx, *args, **kwargs))

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
        return scanning.search_text(self, text, namespace, limit, filter, index)

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
        return scanning.search_vectors(self, vector, namespace, limit, filter, index)

    def has_near(
        self,
        vector: VectorInput,
        least: float,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        filter: FilterInput | None = None,
        index: str | None = None,
    ) -> bool:
        """Whether an entry that matches ``filter`` scores ``least`` or more for ``vector``, as :meth:`search_vectors`
        scores it; where that is so of none, it may cost a fraction of a search. Where a search goes by codes this does
        too: about one entry in a million that scores just ``least`` is missed. Raises the same errors.
        """
        hits = self.search_vectors(vector, namespace=namespace, limit=1, filter=filter, index=index)
        return bool(hits) and hits[0].score >= least

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
        """The changes that :meth:`watch` gives."""
        return watch_by_reading(self, namespace, cursor, timeout)

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
