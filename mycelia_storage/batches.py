"""What ``set_many`` takes, item by item in its normal form."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .answers import BatchResult, Entry
from .arguments import check_ttl
from .errors import BatchError, IndexFull, InvalidInput, KeyExists, StorageError, UniqueViolation
from .names import Namespace, check_key, check_namespace

if TYPE_CHECKING:
    from .contract import StorageBackend

#: What ``set_many`` takes: a mapping, or an iterable of (key, value) pairs, entries, or dicts with ``key`` and
#: ``value`` and optionally ``namespace``, ``metadata`` and ``ttl``.
Entries = Mapping[str, Any] | Iterable[tuple[str, Any] | Entry | Mapping[str, Any]]

_ITEM_FIELDS: Final = frozenset({"key", "value", "namespace", "metadata", "ttl"})


class BatchItem(NamedTuple):
    """One item of a batch in its normal form. ``ttl`` is seconds or None."""

    namespace: str
    key: str
    value: Any
    metadata: dict[str, Any] | None
    ttl: float | None


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


def set_one_by_one(
    storage: StorageBackend,
    entries: Entries,
    namespace: Namespace,
    metadata: dict[str, Any] | None,
    overwrite: bool,
    ttl: float | None,
    atomic: bool,
) -> BatchResult:
    """``set_many`` in terms of ``set``."""
    errors: dict[tuple[str, str], StorageError] = {}
    written = 0
    with storage.transaction() as tx:
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
