"""The contract, sent to the shard of its namespace: written once for the storage and its transactions."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from ...contract import (
    BatchResult,
    ChangePage,
    CheckReport,
    Entries,
    Entry,
    EntryList,
    Keys,
    NamespaceInfo,
    SearchHits,
    Status,
    StorageBackend,
    batch_pairs,
    check_page,
)
from ...errors import InvalidNamespace, StorageBusy, StorageError, TransactionError
from ...filters import FilterInput, SortInput
from ...indexes import Index
from ...names import DEFAULT_NAMESPACE, Namespace, check_namespace
from ...similarity import VectorInput
from . import changes, ledger, merging
from .cursors import decode
from .ledger import RESERVED
from .router import Router, View
from .routing import top_of

T = TypeVar("T")


class ShardedOperations(StorageBackend):
    """Everything but transactions and care of the whole."""

    backend_name = "sharded"
    _router: Router

    #: Whether a batch without ``atomic`` may write to several shards.
    _spans_shards = True

    @abstractmethod
    def _read(self, namespace: Namespace, call: Callable[[StorageBackend], T]) -> T:
        """Read on the shard of a namespace."""

    @abstractmethod
    def _write(self, namespace: Namespace, call: Callable[[StorageBackend], T], *, batch: bool = False) -> T:
        """Write on the shard of a namespace; a batch in a transaction."""

    @abstractmethod
    def _gather(self, call: Callable[[View, Mapping[str, StorageBackend]], T]) -> T:
        """Read on every shard."""

    # -- entries ---------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        return self._read(namespace, lambda shard: shard.get(key, default, namespace=namespace))

    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        return self._read(namespace, lambda shard: shard.get_entry(key, namespace=namespace))

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        return self._read(namespace, lambda shard: shard.has(key, namespace=namespace))

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
        return self._write(
            namespace,
            lambda shard: shard.set(
                key,
                value,
                namespace=namespace,
                metadata=metadata,
                overwrite=overwrite,
                ttl=ttl,
                if_version=if_version,
            ),
        )

    def delete(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None) -> bool:
        return self._write(namespace, lambda shard: shard.delete(key, namespace=namespace, if_version=if_version))

    def get_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        wanted = list(keys)
        return self._read(namespace, lambda shard: shard.get_many(wanted, namespace=namespace))

    def delete_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> int:
        return self._write(namespace, lambda shard: shard.delete_many(keys, namespace=namespace), batch=True)

    def get_metadata(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        return self._read(namespace, lambda shard: shard.get_metadata(key, namespace=namespace))

    def set_metadata(
        self,
        key: str,
        metadata: dict[str, Any],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        merge: bool = True,
    ) -> int:
        return self._write(namespace, lambda shard: shard.set_metadata(key, metadata, namespace=namespace, merge=merge))

    # -- batches ---------------------------------------------------------------------------------------------------

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
        """As the contract has it, within one shard.

        ``atomic=True`` with items for several shards writes nothing and raises TransactionError. ``atomic=False``
        writes the good ones to each; each shard commits by itself, after ``entries`` came to their end.
        """
        options: dict[str, Any] = {"metadata": metadata, "overwrite": overwrite, "ttl": ttl, "atomic": atomic}
        name = check_namespace(namespace)
        if isinstance(entries, Mapping):
            return self._write(name, lambda shard: shard.set_many(entries, namespace=name, **options), batch=True)
        items = iter(batch_pairs(entries))
        first = next(items, None)
        home = name if first is None else _namespace_of(first, name)
        rest = items if first is None else itertools.chain([first], items)
        if not atomic and self._spans_shards:
            return self._set_on_each(rest, name, home, options)

        def put(shard: StorageBackend) -> BatchResult:
            within = self._within_one_shard(shard, rest, name, home, "a batch")
            return shard.set_many(within, namespace=name, **options)

        return self._write(home, put, batch=True)

    def _within_one_shard(
        self, shard: StorageBackend, items: Iterable[Any], namespace: str, home: str, what: str
    ) -> Iterator[Any]:
        """The items, until one belongs to another shard than ``home``.

        ``shard`` is the transaction that they go to. Raises TransactionError, StorageBusy.
        """
        view = self._router.view
        place = view.holder(top_of(home))[0]
        known = {home}
        for item in items:
            own = namespace if item.__class__ is tuple and len(item) == 2 else _namespace_of(item, namespace)
            if own not in known:
                top = top_of(own)
                other, settled = view.holder(top)
                if other == place and not settled:
                    claim = self._router.look(view, top, place, shard)
                    if claim.fence is not None:
                        raise StorageBusy(f"namespace {own!r} is being moved to another shard: try again")
                    other = view.holder(top)[0]
                if other != place:
                    raise TransactionError(
                        f"{what} has items for {home!r} on shard {place!r} and for {own!r} on shard {other!r};"
                        " one commit covers one shard: split it, or pin both namespaces to one shard"
                    )
                known.add(own)
            yield item

    def _set_on_each(self, items: Iterable[Any], namespace: str, home: str, options: dict[str, Any]) -> BatchResult:
        """A batch without ``atomic``, in a transaction for each top-level namespace."""
        groups: dict[str, tuple[str, list[Any]]] = {top_of(home): (home, [])}
        for item in items:
            own = _namespace_of(item, namespace)
            groups.setdefault(top_of(own), (own, []))[1].append(item)
        written = 0
        errors: dict[tuple[str, str], StorageError] = {}
        for own, group in groups.values():
            result = self._write(own, partial(_put, group, namespace, options), batch=True)
            written += result.written
            errors |= result.errors
        return BatchResult(written, errors)

    def restore(self, entries: Iterable[Entry]) -> int:
        """As the contract has it, within one shard. Raises TransactionError for entries of several."""
        items = iter(entries)
        first = next(items, None)
        home = DEFAULT_NAMESPACE if first is None else _namespace_of(first, DEFAULT_NAMESPACE)
        rest = items if first is None else itertools.chain([first], items)
        return self._write(
            home,
            lambda shard: shard.restore(self._within_one_shard(shard, rest, home, home, "a restore")),
            batch=True,
        )

    # -- ranges ----------------------------------------------------------------------------------------------------

    def list(
        self,
        pattern: str | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int | None = None,
        offset: int = 0,
        after: str | None = None,
    ) -> Keys:
        return self._read(
            namespace,
            lambda shard: shard.list(pattern, namespace=namespace, limit=limit, offset=offset, after=after),
        )

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
        return self._read(
            namespace,
            lambda shard: shard.scan(
                namespace=namespace, prefix=prefix, start=start, end=end, after=after, reverse=reverse, limit=limit
            ),
        )

    def query(
        self,
        filter: FilterInput | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        sort: SortInput | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> EntryList:
        return self._read(
            namespace, lambda shard: shard.query(filter, namespace=namespace, sort=sort, limit=limit, offset=offset)
        )

    def count(self, *, namespace: Namespace = DEFAULT_NAMESPACE, filter: FilterInput | None = None) -> int:
        return self._read(namespace, lambda shard: shard.count(namespace=namespace, filter=filter))

    # -- namespaces and indexes ------------------------------------------------------------------------------------

    def create_namespace(
        self,
        name: Namespace,
        *,
        metadata: dict[str, Any] | None = None,
        exist_ok: bool = False,
        track_changes: bool = False,
    ) -> None:
        def create(shard: StorageBackend) -> None:
            shard.create_namespace(name, metadata=metadata, exist_ok=exist_ok, track_changes=track_changes)
            if track_changes:
                ledger.keep_tracking(shard, check_namespace(name))

        self._write(name, create, batch=True)

    def delete_namespace(self, name: Namespace, *, recursive: bool = False) -> int:
        return self._write(name, lambda shard: shard.delete_namespace(name, recursive=recursive))

    def list_namespaces(self, *, prefix: Namespace | None = None) -> Keys:
        if prefix is not None:
            return self._read(prefix, lambda shard: shard.list_namespaces(prefix=prefix))
        return self._gather(merging.names)

    def get_namespace(self, name: Namespace) -> NamespaceInfo | None:
        return self._read(name, lambda shard: shard.get_namespace(name))

    def create_index(self, namespace: Namespace, index: Index, *, name: str | None = None) -> str:
        return self._write(namespace, lambda shard: shard.create_index(namespace, index, name=name))

    def drop_index(self, namespace: Namespace, name: str) -> bool:
        return self._write(namespace, lambda shard: shard.drop_index(namespace, name))

    def list_indexes(self, namespace: Namespace) -> dict[str, Index]:
        return self._read(namespace, lambda shard: shard.list_indexes(namespace))

    def search_text(
        self,
        text: str,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int = 10,
        filter: FilterInput | None = None,
        index: str | None = None,
    ) -> SearchHits:
        return self._read(
            namespace,
            lambda shard: shard.search_text(text, namespace=namespace, limit=limit, filter=filter, index=index),
        )

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
        return self._read(
            namespace,
            lambda shard: shard.search_vectors(
                vector, namespace=namespace, limit=limit, filter=filter, exact=exact, index=index
            ),
        )

    # -- changes and care ------------------------------------------------------------------------------------------

    def changes(
        self, *, namespace: Namespace | None = None, since: int | None = None, limit: int | None = None
    ) -> ChangePage:
        """As the contract has it. A cursor of all namespaces can be longer than 64 bits: keep it as text."""
        check_page(limit)
        if namespace is not None:
            return self._changes_of(check_namespace(namespace), since, limit)
        if since is not None:
            decode(since)
        return self._gather(lambda view, shards: changes.page_of_all(shards, view, self._router, since, limit))

    @abstractmethod
    def _changes_of(self, namespace: str, since: int | None, limit: int | None) -> ChangePage:
        """A page of one namespace."""

    def _last_seq(self) -> int:
        return self._gather(changes.last_seen)

    def get_status(self) -> Status:
        return self._gather(partial(merging.status, self.backend_name))

    def check(self) -> CheckReport:
        return self._gather(merging.check)


def _put(items: list[Any], namespace: str, options: Mapping[str, Any], shard: StorageBackend) -> BatchResult:
    return shard.set_many(items, namespace=namespace, **options)


def _namespace_of(item: Any, namespace: str) -> str:
    """The namespace of a batch's item; of a bad item, the batch's own: its shard says what is wrong."""
    if isinstance(item, Entry):
        own: Any = item.namespace
    elif isinstance(item, Mapping):
        own = item.get("namespace", namespace)
    else:
        return namespace
    try:
        own = check_namespace(own)
    except InvalidNamespace:
        return namespace
    return own if top_of(own) != RESERVED else namespace
