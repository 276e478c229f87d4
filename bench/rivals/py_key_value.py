"""py-key-value's disk (diskcache) and RocksDB stores. No query, no metadata, no listing of keys.

Its interface is asynchronous but these two stores never wait for anything, so each coroutine is driven by hand to its
end: the cost of an event loop is left out, in the rival's favour.
"""

from __future__ import annotations

import warnings
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from key_value.aio.stores.base import BaseContextManagerStore

from .engine import Engine

COLLECTION = "bench"


def _done(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    work.close()
    raise RuntimeError("the store waited for something")


class _KeyValue(Engine):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = self.open(folder)

    def open(self, folder: Path) -> BaseContextManagerStore:
        raise NotImplementedError

    def get(self, key: str) -> Any:
        return _done(self.store.get(key, collection=COLLECTION))

    def set(self, key: str, value: dict[str, Any]) -> None:
        _done(self.store.put(key, value, collection=COLLECTION))

    def delete(self, key: str) -> None:
        _done(self.store.delete(key, collection=COLLECTION))

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        keys, values = zip(*pairs, strict=True)
        _done(self.store.put_many(keys, values, collection=COLLECTION))

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        values = _done(self.store.get_many(list(keys), collection=COLLECTION))
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def close(self) -> None:
        _done(self.store.close())


class KeyValueDisk(_KeyValue):
    name = "keyvalue-disk"
    durability = "WAL, synchronous NORMAL"
    packages = ("py-key-value-aio", "diskcache")

    def open(self, folder: Path) -> BaseContextManagerStore:
        from key_value.aio.stores.disk import DiskStore

        return DiskStore(directory=folder)


class KeyValueRocksDB(_KeyValue):
    name = "keyvalue-rocksdb"
    durability = "log written, not synced"
    packages = ("py-key-value-aio", "rocksdict")

    def open(self, folder: Path) -> BaseContextManagerStore:
        from key_value.aio.stores.rocksdb import RocksDBStore

        with warnings.catch_warnings():
            # It says that its interface may still change.
            warnings.filterwarnings("ignore", message="A configured store is unstable")
            return RocksDBStore(path=folder)
