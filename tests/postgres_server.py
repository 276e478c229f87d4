"""PostgreSQL servers for tests, from the wheel: private, in a temporary folder, gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

from mycelia_storage.backends.postgres.embedded import EmbeddedServer

#: Settings for tests of anything but durability.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

_numbers = count(1)


@contextmanager
def temporary_server(settings: dict[str, str] | None = None) -> Iterator[EmbeddedServer]:
    """A server in a folder of its own under the temporary folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mycelia-pg-"))
    try:
        with EmbeddedServer(folder / "server", settings=FAST if settings is None else settings) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def fresh_schema(dsn: str) -> Iterator[str]:
    """The DSN again, with an empty schema as the search path; the schema is dropped at the end.

    A schema costs about a millisecond, a database of its own about fifty.
    """
    name = f"t{next(_numbers)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    try:
        yield f"{dsn}&options={quote(f'-csearch_path={name}')}"
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute(f"DROP SCHEMA {name} CASCADE")


class PostgresSchemas:
    """Schemas for storages, each empty when it is given out; emptied and given out again, since making one anew takes
    ten times as long.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._free: list[str] = []
        self._used: list[str] = []

    def new(self) -> str:
        """The name of a schema with nothing in it."""
        name = self._free.pop() if self._free else f"storage_{next(_numbers)}"
        self._used.append(name)
        return name

    def take_back(self) -> None:
        """Empty what was given out. The storages are closed."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in self._used:
                found = connection.execute("SELECT to_regclass(%s)", (f"{name}.schema_version",)).fetchone()
                if found is not None and found[0] is not None:
                    self._empty(connection, name)
                    self._free.append(name)
        self._used = []

    def _empty(self, connection: psycopg.Connection, name: str) -> None:
        own = connection.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND starts_with(indexname, 'mycelia_ix_')", (name,)
        ).fetchall()
        orders = [f"DROP INDEX {name}.{index}" for (index,) in own]
        made = connection.execute("SELECT to_regclass(%s)", (f"{name}.storage_vectors",)).fetchone()
        later = ("vectors",) if made is not None and made[0] is not None else ()
        tables = ", ".join(f"{name}.storage_{table}" for table in (*_TABLES, *later))
        connection.execute("; ".join([*orders, f"TRUNCATE {tables}", f"SELECT {name}.storage_enter('')"]))


_TABLES = ("entries", "namespaces", "changes", "indexes", "unique", "state", "texts", "postings", "sums")
