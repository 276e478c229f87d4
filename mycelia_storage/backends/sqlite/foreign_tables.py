"""Reads the tables of a SQLite file that another application made, row by row, and never writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from ...errors import StorageError
from .driver_errors import translate

_TABLES: Final = """SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"""


class ForeignRows:
    """The rows of one table, as mappings from column to value; read anew each time."""

    def __init__(self, path: str, table: str) -> None:
        self._path = path
        self._table = table

    def __iter__(self) -> Iterator[dict[str, Any]]:
        name = self._table.replace('"', '""')
        connection = _open(self._path)
        try:
            cursor = connection.cursor()
            for row in cursor.execute(f'SELECT * FROM "{name}"'):
                columns = [column for column, _ in cursor.get_description()]
                yield dict(zip(columns, row, strict=True))
        except apsw.Error as error:
            raise translate(error, self._path) from error
        finally:
            connection.close()


def read_tables(path: str | Path) -> dict[str, ForeignRows]:
    """The tables of the file by name. Raises StorageError for a missing file, StorageCorrupt for no database."""
    if not Path(path).is_file():
        raise StorageError(f"there is no file {str(path)!r}")
    connection = _open(str(path))
    try:
        return {name: ForeignRows(str(path), name) for (name,) in connection.execute(_TABLES)}
    except apsw.Error as error:
        raise translate(error, str(path)) from error
    finally:
        connection.close()


def _open(path: str) -> apsw.Connection:
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    except apsw.Error as error:
        raise translate(error, path) from error
    return connection
