"""The contract, kept by the PostgreSQL backend on a server of its own."""

from __future__ import annotations

import pytest

from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.testing import OpenStorage, StorageContract
from tests.postgres_server import PostgresSchemas


class TestPostgres(StorageContract):
    @pytest.fixture
    def open_storage(self, postgres_schemas: PostgresSchemas) -> OpenStorage:
        def open_new(**options: object) -> StorageBackend:
            return PostgresStorageBackend(postgres_schemas.url, schema=postgres_schemas.new(), **options)

        return open_new
