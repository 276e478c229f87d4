"""The writes that storage and transaction carry out alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from ...indexes import Index
from ...names import DEFAULT_NAMESPACE, Namespace, check_key, check_namespace
from ...values import encode_metadata
from .reading import SQLiteReads
from .writing import EntryWriter

T = TypeVar("T")


class SimpleWrites(SQLiteReads):
    """Metadata, namespaces, indexes and ``clear``."""

    @abstractmethod
    def _change(self, work: Callable[[EntryWriter], T], *, small: bool = False) -> T:
        """Run ``work``, whole or not at all; ``small``: it writes a row or two."""

    def clear(self, *, namespace: Namespace | None = None) -> int:
        name = None if namespace is None else check_namespace(namespace)
        return self._change(lambda writer: writer.clear(name))

    def set_metadata(
        self,
        key: str,
        metadata: dict[str, Any],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        merge: bool = True,
    ) -> int:
        name, key = check_namespace(namespace), check_key(key)
        given = encode_metadata(metadata)
        return self._change(lambda writer: writer.set_metadata(name, key, metadata, given, merge), small=True)

    def create_namespace(
        self,
        name: Namespace,
        *,
        metadata: dict[str, Any] | None = None,
        exist_ok: bool = False,
        track_changes: bool = False,
    ) -> None:
        checked, stored = check_namespace(name), None if metadata is None else encode_metadata(metadata) or "{}"
        self._change(lambda writer: writer.create_namespace(checked, stored, exist_ok, track_changes), small=True)

    def delete_namespace(self, name: Namespace, *, recursive: bool = False) -> int:
        checked = check_namespace(name)
        return self._change(lambda writer: writer.delete_namespace(checked, recursive))

    def create_index(self, namespace: Namespace, index: Index, *, name: str | None = None) -> str:
        checked = check_namespace(namespace)
        return self._change(lambda writer: writer.create_index(checked, index, name))

    def drop_index(self, namespace: Namespace, name: str) -> bool:
        checked = check_namespace(namespace)
        return self._change(lambda writer: writer.drop_index(checked, name))
