"""sqlite-vec's vec0 table, loaded into apsw: the stdlib module cannot load extensions everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw
import sqlite_vec

from ..vector_data import DIMENSIONS, Chosen, Floats, key_of, metadata_of
from .rival import VectorRival

_CREATE = f"""CREATE VIRTUAL TABLE IF NOT EXISTS vectors USING vec0(
embedding float[{DIMENSIONS}] distance_metric=cosine,
half integer, twentieth integer, twohundredth integer, +text text)"""
_INSERT = "INSERT INTO vectors (rowid, embedding, half, twentieth, twohundredth, text) VALUES (?, ?, ?, ?, ?, ?)"
_SEARCH = "SELECT rowid, half, twentieth, twohundredth, text FROM vectors WHERE embedding MATCH ? AND k = ?"


class SqliteVec(VectorRival):
    name = "sqlite-vec"
    how = "vec0 in WAL mode, synchronous NORMAL; every vector compared"
    packages = ("sqlite-vec", "apsw")
    shared = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.connection = apsw.Connection(str(folder / "vectors.db"))
        self.connection.enable_load_extension(True)
        self.connection.load_extension(sqlite_vec.loadable_path())
        self.connection.set_busy_timeout(5_000)
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", "NORMAL")
        self.connection.execute(_CREATE)

    def build(self, vectors: Floats) -> None:
        with self.connection:
            self.connection.executemany(_INSERT, (_row(i, vector) for i, vector in enumerate(vectors)))

    def add(self, number: int, vector: Floats) -> None:
        with self.connection:
            self.connection.execute(_INSERT, _row(number, vector))

    def search(self, query: Floats, k: int, chosen: Chosen | None) -> Sequence[tuple[str, dict[str, Any]]]:
        sql = _SEARCH if chosen is None else f"{_SEARCH} AND {chosen.field} = 1"
        rows: Iterable[Any] = self.connection.execute(sql, (query.tobytes(), k))
        return [
            (key_of(number), {"half": half, "twentieth": twentieth, "twohundredth": twohundredth, "text": text})
            for number, half, twentieth, twohundredth, text in rows
        ]

    def close(self) -> None:
        self.connection.close()


def _row(number: int, vector: Floats) -> tuple[Any, ...]:
    metadata = metadata_of(number)
    return number, vector.tobytes(), *(metadata[field] for field in ("half", "twentieth", "twohundredth", "text"))
