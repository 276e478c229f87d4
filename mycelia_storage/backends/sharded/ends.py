"""The two ends of a move as a copy sees them: just the namespaces that move, writes under its token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from ...contract import NamespaceInfo, Status, StorageBackend, Transaction
from ...copying.places import COPIES_NAMESPACE
from . import ledger
from .ledger import RESERVED

#: Where the receiving shard keeps how far a copy has come.
COPIES: Final = f"{RESERVED}/copies"


class _Family:
    """A reader that lists one family of namespaces; everything else is the reader's own."""

    def __init__(self, reader: StorageBackend, top: str) -> None:
        self._reader = reader
        self._top = top

    def __getattr__(self, name: str) -> Any:
        if name in _WRITES:
            raise AssertionError(f"a copy does not {name} at its source")
        return getattr(self._reader, name)

    def list_namespaces(self) -> list[str]:
        return ledger.family(self._reader, self._top)


class Donor(_Family):
    """The shard that a family leaves, to be copied from.

    ``address`` names this move of this family. A copy writes here only to turn change tracking on: ``guard`` begins
    the transaction, ``track`` does it and keeps a note.
    """

    def __init__(
        self,
        shard: StorageBackend,
        top: str,
        address: str,
        guard: Callable[[], Any],
        track: Callable[[StorageBackend, str], None],
    ) -> None:
        super().__init__(shard, top)
        self._address = address
        self._guard = guard
        self._track = track

    def get_status(self) -> Status:
        return Status(True, "shard", 0, 0, 0, 0, 0, None, {"address": self._address})

    @contextmanager
    def transaction(self) -> Iterator[StorageBackend]:
        with self._guard() as (tx, _):
            yield cast(StorageBackend, _Tracking(tx, self._top, self._track))

    def begin_transaction(self, *, read_only: bool) -> Transaction:
        return cast(Transaction, _Family(self._reader.begin_transaction(read_only=read_only), self._top))


class _Tracking(_Family):
    """A transaction of the donor."""

    def __init__(self, tx: StorageBackend, top: str, track: Callable[[StorageBackend, str], None]) -> None:
        super().__init__(tx, top)
        self._track = track

    def create_namespace(self, name: str, *, exist_ok: bool, track_changes: bool) -> None:
        assert exist_ok
        assert track_changes
        self._track(self._reader, name)


class _Inside:
    """A storage or transaction of the receiving shard: the copy's records lie out of the users' sight, and no change
    is tracked before everything has come."""

    def __init__(self, storage: StorageBackend) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("namespace") == COPIES_NAMESPACE:
                kwargs["namespace"] = COPIES
            return method(*args, **kwargs)

        return call

    def get_namespace(self, name: str) -> NamespaceInfo | None:
        info = self._storage.get_namespace(name)
        return None if info is None else info._replace(track_changes=True)

    def create_namespace(self, name: str, *, track_changes: bool = False, **options: Any) -> None:
        self._storage.create_namespace(name, **options)

    def delete_namespace(self, name: str, *, recursive: bool = False) -> int:
        return self._storage.delete_namespace(COPIES if name == COPIES_NAMESPACE else name, recursive=recursive)


class Recipient(_Inside):
    """The shard that a family goes to, to be copied to: every write is in a transaction begun by ``guard``."""

    def __init__(self, shard: StorageBackend, guard: Callable[[], Any]) -> None:
        super().__init__(shard)
        self._guard = guard

    @contextmanager
    def transaction(self) -> Iterator[StorageBackend]:
        with self._guard() as tx:
            yield cast(StorageBackend, _Inside(tx))

    def __getattr__(self, name: str) -> Any:
        if name not in _WRITES:
            return super().__getattr__(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.transaction() as tx:
                return getattr(tx, name)(*args, **kwargs)

        return call

    def create_namespace(self, name: str, **options: Any) -> None:
        with self.transaction() as tx:
            tx.create_namespace(name, **options)

    def delete_namespace(self, name: str, *, recursive: bool = False) -> int:
        with self.transaction() as tx:
            return tx.delete_namespace(name, recursive=recursive)


_WRITES: Final = frozenset(
    {
        "clear",
        "create_index",
        "create_namespace",
        "delete",
        "delete_many",
        "delete_namespace",
        "drop_index",
        "restore",
        "set",
        "set_many",
        "set_metadata",
    }
)
