"""The engines by name. An adapter's module is imported only when its engine runs, so a missing rival costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from .engine import Engine as Engine, Unsupported as Unsupported

_HOMES: Final = {
    "floor": "floor:Floor",
    "ours": "ours:Ours",
    "memory": "memory:Memory",
    "dict": "bare_dict:BareDict",
    "sqlite3": "stdlib_sqlite3:StdlibSqlite3",
    "diskcache": "disk_cache:DiskCache",
    "keyvalue-disk": "py_key_value:KeyValueDisk",
    "keyvalue-rocksdb": "py_key_value:KeyValueRocksDB",
    "langgraph": "langgraph_store:LangGraph",
    "sqlite-utils": "sqlite_utils_table:SqliteUtils",
    "lmdb": "lmdb_env:Lmdb",
    "rocksdict": "rocks_dict:RocksDict",
    "rocksdb-floor": "rocksdb_floor:RocksDBFloor",
    "ours-rocksdb": "ours_rocksdb:OursRocksDB",
    "ours-postgres": "ours_postgres:OursPostgres",
}

ENGINES: Final = tuple(_HOMES)


def load(name: str) -> type[Engine]:
    """The adapter of that name. Raises KeyError for an unknown one, ImportError when the engine is not installed."""
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)  # type: ignore[no-any-return]
