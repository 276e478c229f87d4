"""The writes of the contract, written once over ``_write``: on the storage each commits, in a transaction it waits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from ..contract import BatchResult, Entries, Entry, batch_pairs, check_ttl, check_version, read_batch_item
from ..errors import BatchError, InvalidInput, InvalidValue, StorageError
from ..indexes import Index
from ..names import DEFAULT_NAMESPACE, Namespace, check_key, check_keys, check_namespace
from ..values import encode_metadata, encode_value
from .draft import Draft, EncodedItem
from .reading import StateReads

T = TypeVar("T")

#: Items of a batch for which one next state is made. Each state copies the parts that it changes.
_CHUNK = 5_000


class StateWrites(StateReads):
    """The writing half of a storage or a transaction. Arguments are checked and encoded before anything is locked."""

    @abstractmethod
    def _write(self, change: Callable[[Draft], T]) -> T:
        """Make the next state by ``change`` and keep it, or keep nothing when it raises."""

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
        name, key = check_namespace(namespace), check_key(key)
        stored, text = encode_value(value), encode_metadata(metadata)
        check_ttl(ttl)
        check_version(if_version)
        return self._write(
            lambda draft: draft.put(name, key, stored, text, overwrite=overwrite, ttl=ttl, if_version=if_version)
        )

    def delete(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None) -> bool:
        name, key = check_namespace(namespace), check_key(key)
        check_version(if_version)
        return self._write(lambda draft: draft.remove(name, key, if_version))

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
        errors: dict[tuple[str, str], StorageError] = {}
        written = 0
        with self.transaction() as tx:
            assert isinstance(tx, StateWrites)
            items = _encoded(entries, check_namespace(namespace), metadata, ttl, errors)
            # The items are drawn between the writes: what gives them may use the storage itself.
            while chunk := list(islice(items, _CHUNK)):
                written += tx._write(lambda draft, chunk=chunk: draft.put_items(chunk, overwrite, errors))  # type: ignore[misc]
            if errors and atomic:
                raise BatchError(errors)
        return BatchResult(written, errors)

    def delete_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> int:
        name = check_namespace(namespace)
        with self.transaction() as tx:
            assert isinstance(tx, StateWrites)
            wanted = check_keys(keys)
            return tx._write(lambda draft: sum(draft.remove(name, key) for key in wanted))

    def clear(self, *, namespace: Namespace | None = None) -> int:
        name = None if namespace is None else check_namespace(namespace)
        return self._write(lambda draft: draft.clear(name))

    def set_metadata(
        self,
        key: str,
        metadata: dict[str, Any],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        merge: bool = True,
    ) -> int:
        name, key = check_namespace(namespace), check_key(key)
        if metadata is None:
            raise InvalidValue("metadata is a dict, not None")
        given = metadata.copy() if encode_metadata(metadata) else {}
        return self._write(lambda draft: draft.set_metadata(name, key, given, merge))

    def create_namespace(
        self,
        name: Namespace,
        *,
        metadata: dict[str, Any] | None = None,
        exist_ok: bool = False,
        track_changes: bool = False,
    ) -> None:
        full, text, given = check_namespace(name), encode_metadata(metadata), metadata is not None
        self._write(
            lambda draft: draft.create_namespace(full, text, given=given, exist_ok=exist_ok, tracked=track_changes)
        )

    def delete_namespace(self, name: Namespace, *, recursive: bool = False) -> int:
        full = check_namespace(name)
        return self._write(lambda draft: draft.delete_namespace(full, recursive))

    def create_index(self, namespace: Namespace, index: Index, *, name: str | None = None) -> str:
        full = check_namespace(namespace)
        return self._write(lambda draft: draft.create_index(full, index, name))

    def drop_index(self, namespace: Namespace, name: str) -> bool:
        full = check_namespace(namespace)
        return self._write(lambda draft: draft.drop_index(full, name))

    def _restore(self, entries: Iterable[Entry]) -> int:
        return self._write(lambda draft: draft.restore(entries))


def _encoded(
    entries: Entries,
    namespace: str,
    metadata: dict[str, Any] | None,
    ttl: float | None,
    errors: dict[tuple[str, str], StorageError],
) -> Iterator[EncodedItem]:
    """The items as stored, each encoded when it is drawn: the caller may change it before the next."""
    check_ttl(ttl)
    plain = metadata is None and ttl is None
    encoded: EncodedItem
    for position, item in enumerate(batch_pairs(entries)):
        name, key = namespace, None
        try:
            if plain and item.__class__ is tuple and len(item) == 2:
                key = item[0]
                encoded = name, check_key(key), encode_value(item[1]), None, None
            else:
                read = read_batch_item(item, position, namespace, metadata, ttl, errors)
                if read is None:
                    continue
                name, key = read.namespace, read.key
                encoded = name, key, encode_value(read.value), encode_metadata(read.metadata), read.ttl
        except InvalidInput as error:
            errors[name, key if isinstance(key, str) else f"item {position}"] = error
        else:
            yield encoded
