"""Embedded, namespaced key-value storage for AI agents.

>>> from mycelia_storage import MemoryStorageBackend, where
>>> with MemoryStorageBackend() as storage:
...     version = storage.set("ada", {"age": 36}, namespace="users")
...     [entry.key for entry in storage.query(where("age") >= 18, namespace="users")]
['ada']

Names are loaded when first used, so that importing the package loads no driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio import AsyncStorage as AsyncStorage
    from .backends.memory import MemoryStorageBackend as MemoryStorageBackend
    from .backends.postgres import PostgresStorageBackend as PostgresStorageBackend
    from .backends.rocksdb import RocksDBStorageBackend as RocksDBStorageBackend
    from .backends.sharded import ShardedStorageBackend as ShardedStorageBackend
    from .backends.sqlite import SQLiteStorageBackend as SQLiteStorageBackend
    from .config import open_storage as open_storage
    from .contract import (
        BatchResult as BatchResult,
        Change as Change,
        ChangePage as ChangePage,
        CheckReport as CheckReport,
        Entry as Entry,
        NamespaceInfo as NamespaceInfo,
        SearchHit as SearchHit,
        SearchHits as SearchHits,
        Status as Status,
        StorageBackend as StorageBackend,
        Transaction as Transaction,
    )
    from .copying import CopyReport as CopyReport, Follower as Follower, copy_storage as copy_storage
    from .errors import *  # noqa: F403
    from .filters import Filter as Filter, match as match, where as where
    from .hooks import (
        use_memory_storage as use_memory_storage,
        use_sqlite_storage as use_sqlite_storage,
        use_storage as use_storage,
    )
    from .indexes import FieldIndex as FieldIndex, TextIndex as TextIndex, VectorIndex as VectorIndex
    from .observing import logged as logged, traced as traced

__version__ = "0.1.0"

_HOMES = {
    "aio": ("AsyncStorage",),
    "backends.memory": ("MemoryStorageBackend",),
    "backends.rocksdb": ("RocksDBStorageBackend",),
    "backends.sharded": ("ShardedStorageBackend",),
    "backends.sqlite": ("SQLiteStorageBackend",),
    "config": ("open_storage",),
    "contract": (
        "BatchResult",
        "Change",
        "ChangePage",
        "CheckReport",
        "Entry",
        "NamespaceInfo",
        "SearchHit",
        "SearchHits",
        "Status",
        "StorageBackend",
        "Transaction",
    ),
    "copying": ("CopyReport", "Follower", "copy_storage"),
    "errors": (
        "BackendUnavailable",
        "BatchError",
        "CommitUnknown",
        "CursorExpired",
        "EmbeddingMismatch",
        "ForeignDatabase",
        "IndexFull",
        "IndexNotFound",
        "InvalidConfig",
        "InvalidFilter",
        "InvalidInput",
        "InvalidKey",
        "InvalidNamespace",
        "InvalidValue",
        "KeyExists",
        "KeyNotFound",
        "MigrationError",
        "NamespaceExists",
        "NamespaceNotEmpty",
        "NamespaceNotFound",
        "SchemaTooNew",
        "SqlRefused",
        "SqlTimeout",
        "SqlUnavailable",
        "StorageBusy",
        "StorageClosed",
        "StorageCorrupt",
        "StorageError",
        "StorageFull",
        "StorageReadOnly",
        "TransactionError",
        "TransactionExpired",
        "UniqueViolation",
        "VersionConflict",
    ),
    "filters": ("Filter", "match", "where"),
    "hooks": ("use_memory_storage", "use_sqlite_storage", "use_storage"),
    "indexes": ("FieldIndex", "TextIndex", "VectorIndex"),
    "observing": ("logged", "traced"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [*_HOME_OF, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "PostgresStorageBackend":  # not in __all__: its driver is an extra
        from .config import find_backend

        return find_backend("postgres")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
