"""StorageFacet: the contract for asyncio, with results instead of exceptions.

===================  ==============================================================  ======================
method               ``.data``                                                       and by name
===================  ==============================================================  ======================
get                  the value                                                       metadata, version
set, set_metadata    the new version                                                 version
has                  whether it exists                                               exists
delete               whether it existed                                              existed
get_many             key -> value of those that exist                                results: key -> result
set_many             how many were written                                           results, errors
delete_many          how many existed                                                deleted
list                 the keys                                                        keys
query                the entries                                                     results
count                how many                                                        count
clear                how many went                                                   deleted
get_metadata         the metadata                                                    metadata
create_namespace     None
delete_namespace     how many entries went                                           deleted
list_namespaces      the names                                                       namespaces
begin_transaction    the id                                                          transaction_id, transactionId
commit, rollback     None
get_status           the Status                                                      healthy, entries, ...
close                None
===================  ==============================================================  ======================

A missing key is ``success=False`` with KeyNotFound from get and get_metadata; every StorageError is a result. Wrong
calls, such as an unknown option, raise TypeError. ``setMany``, ``getMetadata`` and so on are the same methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..aio import AsyncStorage, AsyncTransaction
from ..contract import Entries, Entry, StorageBackend
from ..errors import BatchError, KeyNotFound, StorageError, TransactionError
from ..filters import FilterInput, SortInput
from ..names import DEFAULT_NAMESPACE, Namespace, check_namespace
from .options import facet_method
from .results import FacetEntry, Result

Target = AsyncStorage | AsyncTransaction

#: A query may bring these along, as the original's StorageQuery does.
_QUERY_PARTS = frozenset({"filters", "sort", "limit", "offset", "namespace"})


class StorageFacet:
    """The facet of ``backend``, which it owns. ``config`` is kept for the reader, as ``_config``."""

    def __init__(self, backend: StorageBackend, config: Mapping[str, Any] | None = None) -> None:
        self._storage_backend = backend
        self._config = dict(config or {})
        self._storage = AsyncStorage(backend)
        self._transactions: dict[str, AsyncTransaction] = {}
        self.supports_transactions = backend.supports_transactions
        self.supports_query = backend.supports_query
        self.supports_metadata = backend.supports_metadata

    def _target(self, transaction: object) -> Target:
        if transaction is None:
            return self._storage
        return self._open(transaction)

    def _open(self, transaction: object) -> AsyncTransaction:
        id = transaction.transaction_id if isinstance(transaction, Result) else transaction
        if not isinstance(id, str):
            raise TypeError(f"a transaction is named by its id, not by {type(id).__name__}")
        try:
            return self._transactions[id]
        except KeyError:
            raise TransactionError(f"transaction {id!r} is unknown or finished") from None

    # -- entries -------------------------------------------------------------------------------------------------------

    @facet_method
    async def get(self, target: Target, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Result:
        entry = await target.get_entry(key, namespace=namespace)
        if entry is None:
            raise KeyNotFound(check_namespace(namespace), key)
        return Result(data=entry.value, metadata=entry.metadata, version=entry.version)

    @facet_method
    async def set(
        self,
        target: Target,
        key: str,
        value: Any,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        if_version: int | None = None,
    ) -> Result:
        version = await target.set(
            key, value, namespace=namespace, metadata=metadata, overwrite=overwrite, ttl=ttl, if_version=if_version
        )
        return Result(data=version, version=version)

    @facet_method
    async def has(self, target: Target, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Result:
        exists = await target.has(key, namespace=namespace)
        return Result(data=exists, exists=exists)

    @facet_method
    async def delete(
        self, target: Target, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None
    ) -> Result:
        existed = await target.delete(key, namespace=namespace, if_version=if_version)
        return Result(data=existed, existed=existed)

    @facet_method
    async def get_many(
        self, target: Target, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE
    ) -> Result:
        wanted = [*keys]
        found = await target.get_many(wanted, namespace=namespace)
        name = check_namespace(namespace)
        results = {
            key: Result(data=found[key]) if key in found else Result(error=KeyNotFound(name, key)) for key in wanted
        }
        return Result(data=found, results=results)

    @facet_method
    async def set_many(
        self,
        target: Target,
        entries: Entries,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        atomic: bool = False,
    ) -> Result:
        """Entries may carry options of their own: ``{"key", "value", "options": {"namespace", "metadata", "ttl"}}``.

        As in the original, good entries are written beside bad ones; ``atomic=True`` writes all or none.
        """
        items = [*(entries.items() if isinstance(entries, Mapping) else map(_flat, entries))]
        errors: dict[tuple[str, str], StorageError]
        refused: BatchError | None = None
        try:
            written, errors = await target.set_many(
                items, namespace=namespace, metadata=metadata, overwrite=overwrite, ttl=ttl, atomic=atomic
            )
        except BatchError as error:
            written, errors, refused = 0, error.errors, error
        results: dict[str, Result] = {}
        if refused is None:
            results.update((key, Result()) for item in items if isinstance(key := _key(item), str))
        results.update((key, Result(error=error)) for (_, key), error in errors.items())
        failed = refused or (BatchError(errors) if errors else None)
        return Result(error=failed, data=written, results=results, errors=[*errors.values()])

    @facet_method
    async def delete_many(
        self, target: Target, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE
    ) -> Result:
        wanted = [*keys]
        deleted = await target.delete_many(wanted, namespace=namespace)
        return Result(data=deleted, deleted=deleted, results={key: Result() for key in wanted})

    # -- ranges --------------------------------------------------------------------------------------------------------

    @facet_method
    async def list(
        self,
        target: Target,
        pattern: str | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int | None = None,
        offset: int = 0,
        after: str | None = None,
    ) -> Result:
        keys = await target.list(pattern, namespace=namespace, limit=limit, offset=offset, after=after)
        return Result(data=keys, keys=keys)

    @facet_method
    async def query(
        self,
        target: Target,
        filter: FilterInput | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        sort: SortInput | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Result:
        """``filter`` may be the original's query, ``{"filters": [...], "sort", "limit", "offset"}``; its parts win."""
        wanted: dict[str, Any] = {"namespace": namespace, "sort": sort, "limit": limit, "offset": offset}
        condition: Any = filter
        if isinstance(filter, Mapping) and "field" not in filter and filter.keys() <= _QUERY_PARTS:
            parts = dict(filter)
            condition = parts.pop("filters", None) or None
            wanted.update(parts)
        entries = await target.query(condition, **wanted)
        found = [FacetEntry(*entry) for entry in entries]
        return Result(data=found, results=found)

    @facet_method
    async def count(
        self, target: Target, *, namespace: Namespace = DEFAULT_NAMESPACE, filter: FilterInput | None = None
    ) -> Result:
        count = await target.count(namespace=namespace, filter=filter)
        return Result(data=count, count=count)

    @facet_method
    async def clear(self, target: Target, *, namespace: Namespace | None = None) -> Result:
        """Without a namespace, all of them."""
        deleted = await target.clear(namespace=namespace)
        return Result(data=deleted, deleted=deleted)

    # -- metadata and namespaces ---------------------------------------------------------------------------------------

    @facet_method
    async def get_metadata(self, target: Target, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Result:
        metadata = await target.get_metadata(key, namespace=namespace)
        return Result(data=metadata, metadata=metadata)

    @facet_method
    async def set_metadata(
        self,
        target: Target,
        key: str,
        metadata: dict[str, Any],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        merge: bool = True,
    ) -> Result:
        version = await target.set_metadata(key, metadata, namespace=namespace, merge=merge)
        return Result(data=version, version=version)

    @facet_method
    async def create_namespace(
        self,
        target: Target,
        name: Namespace,
        *,
        metadata: dict[str, Any] | None = None,
        exist_ok: bool = False,
        track_changes: bool = False,
    ) -> Result:
        await target.create_namespace(name, metadata=metadata, exist_ok=exist_ok, track_changes=track_changes)
        return Result()

    @facet_method
    async def delete_namespace(self, target: Target, name: Namespace, *, recursive: bool = False) -> Result:
        deleted = await target.delete_namespace(name, recursive=recursive)
        return Result(data=deleted, deleted=deleted)

    @facet_method
    async def list_namespaces(self, target: Target, *, prefix: Namespace | None = None) -> Result:
        names = await target.list_namespaces(prefix=prefix)
        return Result(data=names, namespaces=names)

    # -- transactions --------------------------------------------------------------------------------------------------

    @facet_method
    async def begin_transaction(
        self, target: Target, *, read_only: bool = False, isolation: str = "serializable"
    ) -> Result:
        """A transaction, or under the option ``transaction`` a savepoint of that one."""
        transaction = await target.begin_transaction(read_only=read_only, isolation=isolation)
        id = transaction.id
        self._transactions[id] = transaction
        return Result(data=id, transactionId=id, transaction_id=id)

    @facet_method
    async def commit(self, target: Target, transaction_id: object) -> Result:
        transaction = self._open(transaction_id)
        del self._transactions[transaction.id]
        await transaction.commit()
        return Result()

    @facet_method
    async def rollback(self, target: Target, transaction_id: object) -> Result:
        transaction = self._open(transaction_id)
        del self._transactions[transaction.id]
        await transaction.rollback()
        return Result()

    # -- care ----------------------------------------------------------------------------------------------------------

    @facet_method
    async def get_status(self, target: Target) -> Result:
        status = await target.get_status()
        return Result(data=status, **status._asdict())

    @facet_method
    async def close(self, target: Target) -> Result:
        self._transactions.clear()
        await self._storage.close()
        return Result()

    getMany = get_many  # noqa: N815
    setMany = set_many  # noqa: N815
    deleteMany = delete_many  # noqa: N815
    getMetadata = get_metadata  # noqa: N815
    setMetadata = set_metadata  # noqa: N815
    createNamespace = create_namespace  # noqa: N815
    deleteNamespace = delete_namespace  # noqa: N815
    listNamespaces = list_namespaces  # noqa: N815
    beginTransaction = begin_transaction  # noqa: N815
    getStatus = get_status  # noqa: N815


def _flat(item: Any) -> Any:
    """An entry of a batch with its own options beside key and value."""
    if isinstance(item, Mapping) and "options" in item:
        options = item["options"] or {}
        return {**{name: value for name, value in item.items() if name != "options"}, **options}
    return item


def _key(item: Any) -> Any:
    if isinstance(item, Entry):
        return item.key
    return item.get("key") if isinstance(item, Mapping) else item[0]
