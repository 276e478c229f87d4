"""The floor: the statements on raw apsw, cached and kept, with the same JSON codec. No checks, no locks, one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import orjson

from . import statements as sql
from .engine import Engine

NAMESPACE = "bench"


class Floor(Engine):
    name = "floor"
    durability = "WAL, synchronous NORMAL"
    packages = ("apsw", "orjson")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.connection = apsw.Connection(str(folder / "floor.db"))
        for setting in sql.SETTINGS:
            self.connection.execute(setting).fetchall()
        self.connection.execute(sql.SCHEMA)
        self._execute: Callable[..., Any] = self.connection.cursor().execute
        self._executemany = self.connection.cursor().executemany

    def get(self, key: str) -> Any:
        row = self._execute(sql.GET, (NAMESPACE, key)).fetchone()
        return None if row is None else orjson.loads(row[0])

    def get_entry(self, key: str) -> Any:
        row = self._execute(sql.GET_ENTRY, (NAMESPACE, key)).fetchone()
        return None if row is None else _decoded(row)

    def has(self, key: str) -> bool:
        return self._execute(sql.HAS, (NAMESPACE, key)).fetchone() is not None

    def set(self, key: str, value: dict[str, Any]) -> None:
        now = time.time_ns() // 1000
        self._execute(sql.SET, (NAMESPACE, key, orjson.dumps(value).decode(), None, now // 1000, now))

    def delete(self, key: str) -> bool:
        self._execute(sql.DELETE, (NAMESPACE, key))
        return self.connection.changes() == 1

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        now = time.time_ns() // 1000
        self._execute("BEGIN IMMEDIATE")
        self._executemany(
            sql.SET, ((NAMESPACE, key, orjson.dumps(value).decode(), None, now // 1000, now) for key, value in pairs)
        )
        self._execute("COMMIT")

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        rows = self._execute(sql.GET_MANY, (NAMESPACE, orjson.dumps(keys).decode())).fetchall()
        return {key: orjson.loads(value) for key, value in rows}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        return [key for (key,) in self._execute(sql.LIST, (NAMESPACE, prefix, sql.prefix_end(prefix))).fetchall()]

    def scan(self) -> Iterator[Any]:
        for row in self._execute(sql.SCAN, (NAMESPACE,)):
            yield _decoded(row)

    def create_index(self, field: str) -> None:
        self.connection.execute(sql.CREATE_INDEX.format(field))

    def query(self, field: str, value: Any) -> Sequence[Any]:
        return [_decoded(row) for row in self._execute(sql.QUERY.format(field), (NAMESPACE, value)).fetchall()]

    def track_changes(self) -> None:
        """Nothing: the measure for a tracked write is the plain one."""

    def newest(self, prefix: str, count: int) -> Sequence[Any]:
        rows = self._execute(sql.NEWEST, (NAMESPACE, prefix, sql.prefix_end(prefix), count)).fetchall()
        return [orjson.loads(value) for (value,) in rows]

    def update_metadata(self, key: str, changes: dict[str, Any]) -> None:
        now = time.time_ns() // 1000
        self._execute("BEGIN IMMEDIATE")
        ((old,),) = self._execute(sql.GET_METADATA, (NAMESPACE, key)).fetchall()
        merged = changes if old is None else {**orjson.loads(old), **changes}
        self._execute(sql.SET_METADATA, (NAMESPACE, key, orjson.dumps(merged).decode(), now // 1000, now))
        self._execute("COMMIT")

    def close(self) -> None:
        self.connection.close()


def _decoded(row: Sequence[Any]) -> tuple[Any, ...]:
    key, value, metadata, version, created_at, updated_at, expires_at = row
    return (
        key,
        orjson.loads(value),
        {} if metadata is None else orjson.loads(metadata),
        version,
        created_at,
        updated_at,
        expires_at,
    )
