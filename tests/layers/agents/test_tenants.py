"""Tenants by row level security on PostgreSQL: agent stores of two tenants on one schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest

from mycelia_storage.errors import InvalidConfig
from mycelia_storage.layers.agents import AgentStore

from .people import ADA, AGENT, HALL, NOBODY, World

if TYPE_CHECKING:
    from mycelia_storage.backends.postgres import PostgresStorageBackend

SCHEMA = "agent_tenants"


@pytest.fixture
def role_url(postgres_dsn: str) -> Iterator[str]:
    """A role of its own that owns the schema: neither superuser nor BYPASSRLS."""
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE agents_app LOGIN; CREATE SCHEMA {SCHEMA} AUTHORIZATION agents_app")
        try:
            yield postgres_dsn.replace("user=postgres", "user=agents_app")
        finally:
            admin.execute("SET client_min_messages = error")
            admin.execute(f"DROP SCHEMA {SCHEMA} CASCADE; DROP OWNED BY agents_app; DROP ROLE agents_app")


def open_tenant(url: str, tenant: str) -> PostgresStorageBackend:
    from mycelia_storage.backends.postgres import PostgresStorageBackend

    return PostgresStorageBackend(url=url, schema=SCHEMA, tenant=tenant)


def test_two_tenants_share_a_schema_and_nothing_else(role_url: str, postgres_dsn: str) -> None:
    with open_tenant(role_url, "acme") as acme, open_tenant(role_url, "blue") as blue:
        for storage, name in ((acme, "acme"), (blue, "blue")):
            store = AgentStore(storage, AGENT)
            world = World(store)
            world.say(name, id=NOBODY)
            store.set_cache("k", name)
            store.log(body={"n": name}, entity_id=ADA, room_id=HALL, type="x")
        for storage, name in ((acme, "acme"), (blue, "blue")):
            store = AgentStore(storage, AGENT)
            assert [each.text for each in store.get_memories("messages", room_id=HALL)] == [name]
            assert store.get_memory_by_id(NOBODY).text == name  # type: ignore[union-attr]
            assert store.get_cache("k") == name
            assert [log.body["n"] for log in store.get_logs(entity_id=ADA)] == [name]
            assert store.count_memories(HALL, False, "messages") == 1
        assert AgentStore(blue, AGENT).delete_agent(AGENT)
        assert AgentStore(acme, AGENT).count_memories(HALL, False, "messages") == 1
        # By hand, over the same role: without its tenant there is nothing to read.
        with psycopg.connect(role_url, autocommit=True) as own:
            count = own.execute(f"SELECT count(*) FROM {SCHEMA}.storage_entries").fetchone()
            assert count == (0,)
        with pytest.raises(InvalidConfig, match="superuser"):
            open_tenant(postgres_dsn, "acme")
