"""Storages on one PostgreSQL schema, and a connection of the superuser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import psycopg

    from mycelia_storage.backends.postgres import PostgresStorageBackend
    from tests.postgres_server import PostgresSchemas


@pytest.fixture
def open_one(postgres_schemas: PostgresSchemas) -> Iterator[Callable[..., PostgresStorageBackend]]:
    """Opens storages on one schema, and closes them."""
    from mycelia_storage.backends.postgres import PostgresStorageBackend

    schema = postgres_schemas.new()
    opened: list[PostgresStorageBackend] = []

    def open_more(**options: Any) -> PostgresStorageBackend:
        opened.append(PostgresStorageBackend(**{"url": postgres_schemas.url, "schema": schema, **options}))
        return opened[-1]

    yield open_more
    for storage in opened:
        storage.close()


@pytest.fixture
def admin(postgres_dsn: str) -> Iterator[psycopg.Connection]:
    """The superuser's connection."""
    import psycopg

    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        yield connection
