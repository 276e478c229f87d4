"""What tests everywhere share: one PostgreSQL server per run, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgres_server import PostgresSchemas


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """The address of a running server without durability. Make a place of your own in it: ``postgres_place``."""
    from tests.postgres_server import temporary_server  # psycopg is loaded only by who needs it

    with temporary_server() as server:
        yield server.dsn


@pytest.fixture
def postgres_place(postgres_dsn: str) -> Iterator[str]:
    """An address whose search path is an empty schema of this test's own."""
    from tests.postgres_server import fresh_schema

    with fresh_schema(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def _postgres_schemas(postgres_dsn: str) -> PostgresSchemas:
    from tests.postgres_server import PostgresSchemas

    return PostgresSchemas(postgres_dsn)


@pytest.fixture
def postgres_schemas(_postgres_schemas: PostgresSchemas) -> Iterator[PostgresSchemas]:
    """Empty schemas for storages, on the run's server."""
    yield _postgres_schemas
    _postgres_schemas.take_back()
