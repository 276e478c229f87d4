"""sqlite-utils: a table of key and value, the value a dict that the library writes as JSON. Indexes through its SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.db import NotFoundError

from . import statements as sql
from .engine import Engine


class SqliteUtils(Engine):
    name = "sqlite-utils"
    durability = "WAL, synchronous NORMAL"
    packages = ("sqlite-utils",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.database = Database(folder / "table.db")
        self.database.enable_wal()
        self.database.conn.execute("PRAGMA synchronous = NORMAL")
        self.table: Any = self.database.table("entries")
        self.table.create({"key": str, "value": str}, pk="key")

    def get(self, key: str) -> Any:
        try:
            return json.loads(self.table.get(key)["value"])
        except NotFoundError:
            return None

    def has(self, key: str) -> bool:
        return bool(self.table.count_where("key = ?", [key]))

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.table.upsert({"key": key, "value": value}, pk="key")

    def delete(self, key: str) -> None:
        self.table.delete(key)

    def set_many(self, pairs: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self.table.upsert_all(({"key": key, "value": value} for key, value in pairs), pk="key")

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        marks = ",".join("?" * len(keys))
        return {row["key"]: json.loads(row["value"]) for row in self.table.rows_where(f"key in ({marks})", keys)}

    def list_prefix(self, prefix: str) -> Sequence[str]:
        bounds = [prefix, sql.prefix_end(prefix)]
        rows = self.table.rows_where("key >= ? and key < ?", bounds, select="key", order_by="key")
        return [row["key"] for row in rows]

    def scan(self) -> Iterator[Any]:
        for row in self.table.rows_where(order_by="key"):
            yield row["key"], json.loads(row["value"])

    def create_index(self, field: str) -> None:
        self.database.execute(f"create index field_{field} on entries (json_extract(value, '$.{field}'))")

    def query(self, field: str, value: Any) -> Sequence[Any]:
        rows = self.table.rows_where(f"json_extract(value, '$.{field}') = ?", [value])
        return [(row["key"], json.loads(row["value"])) for row in rows]

    def close(self) -> None:
        self.database.close()
