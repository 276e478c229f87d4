"""The standard library's sqlite3 with the floor's statements, settings and codec."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from . import statements as sql
from .engine import Engine

NAMESPACE = "bench"


class StdlibSqlite3(Engine):
    name = "sqlite3"
    durability = "WAL, synchronous NORMAL"
    packages = ("orjson",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.connection = sqlite3.connect(folder / "sqlite3.db", isolation_level=None, check_same_thread=False)
        for setting in sql.SETTINGS:
            self.connection.execute(setting).fetchall()
        self.connection.execute(sql.SCHEMA)
        self._execute = self.connection.execute

    def get(self, key: str) -> Any:
        row = self._execute(sql.GET, (NAMESPACE, key)).fetchone()
        return None if row is None else orjson.loads(row[0])

    def get_entry(self, key: str) -> Any:
        row = self._execute(sql.GET_ENTRY, (NAMESPACE, key)).fetchone()
        return None if row is None else (row[0], orjson.loads(row[1]), *row[2:])

    def has(self, key: str) -> bool:
        return self._execute(sql.HAS, (NAMESPACE, key)).fetchone() is not None

    def set(self, key: str, value: dict[str, Any]) -> None:
        now = time.time_ns() // 1000
        self._execute(sql.SET, (NAMESPACE, key, orjson.dumps(value).decode(), None, now // 1000, now))

    def delete(self, key: str) -> bool:
        return self._execute(sql.DELETE, (NAMESPACE, key)).rowcount == 1

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        now = time.time_ns() // 1000
        self._execute("BEGIN IMMEDIATE")
        self.connection.executemany(
            sql.SET, ((NAMESPACE, key, orjson.dumps(value).decode(), None, now // 1000, now) for key, value in pairs)
        )
        self._execute("COMMIT")

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        rows = self._execute(sql.GET_MANY, (NAMESPACE, orjson.dumps(keys).decode()))
        return {key: orjson.loads(value) for key, value in rows}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        return [key for (key,) in self._execute(sql.LIST, (NAMESPACE, prefix, sql.prefix_end(prefix)))]

    def scan(self) -> Iterator[Any]:
        for row in self._execute(sql.SCAN, (NAMESPACE,)):
            yield (row[0], orjson.loads(row[1]), *row[2:])

    def create_index(self, field: str) -> None:
        self._execute(sql.CREATE_INDEX.format(field))

    def query(self, field: str, value: Any) -> Sequence[Any]:
        rows = self._execute(sql.QUERY.format(field), (NAMESPACE, value))
        return [(row[0], orjson.loads(row[1]), *row[2:]) for row in rows]

    def newest(self, prefix: str, count: int) -> Sequence[Any]:
        rows = self._execute(sql.NEWEST, (NAMESPACE, prefix, sql.prefix_end(prefix), count))
        return [orjson.loads(value) for (value,) in rows]

    def update_metadata(self, key: str, changes: dict[str, Any]) -> None:
        now = time.time_ns() // 1000
        self._execute("BEGIN IMMEDIATE")
        (old,) = self._execute(sql.GET_METADATA, (NAMESPACE, key)).fetchone()
        merged = changes if old is None else {**orjson.loads(old), **changes}
        self._execute(sql.SET_METADATA, (NAMESPACE, key, orjson.dumps(merged).decode(), now // 1000, now))
        self._execute("COMMIT")

    def close(self) -> None:
        self.connection.close()
