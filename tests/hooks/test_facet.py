"""The original's own usage, ported line by line, and what the facet adds to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mycelia_storage import (
    InvalidConfig,
    InvalidKey,
    KeyExists,
    KeyNotFound,
    NamespaceNotEmpty,
    TransactionError,
    use_memory_storage,
    use_sqlite_storage,
    use_storage,
    where,
)
from mycelia_storage.config import register_backend
from mycelia_storage.hooks import Result, StorageFacet

Story = Callable[[StorageFacet], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def main() -> None:
            if request.param == "memory":
                facet = use_memory_storage({"config": {"storage": {}}})
            else:
                facet = use_sqlite_storage({"config": {"storage": {"dbPath": str(tmp_path / "a.db")}}})
            async with asyncio.timeout(30):
                await story(facet)
                assert (await facet.close()).success

        asyncio.run(main())

    return run


def test_set_get_has_delete(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        assert (await facet.set("user:1", {"name": "Ada"})).success
        result = await facet.get("user:1")
        assert result.success
        assert result.data == {"name": "Ada"}
        assert result["success"] is True
        assert result.to_dict()["data"] == {"name": "Ada"}
        assert (await facet.has("user:1")).exists is True
        assert (await facet.delete("user:1")).success
        assert (await facet.has("user:1")).exists is False
        assert (await facet.delete("user:1")).success
        missing = await facet.get("user:1")
        assert not missing.success
        assert missing.data is None
        assert isinstance(missing.error, KeyNotFound)

    play(story)


def test_options_as_dict_as_keywords_and_mixed(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        await facet.set("k", 1, {"namespace": "users", "metadata": {"a": 1}, "overwrite": False})
        assert (await facet.get("k", namespace="users")).metadata == {"a": 1}
        assert (await facet.get("k", options={"namespace": "users"})).data == 1
        assert not (await facet.get("k")).success
        again = await facet.set("k", 2, {"overwrite": False}, namespace="users")
        assert isinstance(again.error, KeyExists)
        stale = await facet.set("k", 2, {"namespace": "users", "ifVersion": 1})
        assert type(stale.error).__name__ == "VersionConflict"
        # A dict that is the value is no options.
        await facet.set("d", {"namespace": "users"})
        assert (await facet.get("d")).data == {"namespace": "users"}

    play(story)


def test_batches_with_options_of_their_own(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        result = await facet.setMany(
            [
                {"key": "a", "value": 1, "options": {"namespace": "n1", "metadata": {"x": 1}}},
                {"key": "b", "value": 2},
                {"key": "", "value": 3},
                {"key": "c", "value": 4, "options": {"ttl": 60}},
            ],
            {"namespace": "n2"},
        )
        assert not result.success
        assert [type(error) for error in result.errors] == [InvalidKey]
        assert {key: one.success for key, one in result.results.items()} == {"a": True, "b": True, "": False, "c": True}
        assert result.data == 3
        assert (await facet.getMetadata("a", {"namespace": "n1"})).metadata == {"x": 1}
        found = await facet.getMany(["b", "no", "c"], {"namespace": "n2"})
        assert found.success
        assert found.data == {"b": 2, "c": 4}
        assert not found.results["no"].success
        refused = await facet.set_many([("x", 1), ("", 2)], namespace="n3", atomic=True)
        assert not refused.success
        assert not refused.results[""].success
        assert (await facet.count({"namespace": "n3"})).count == 0
        assert (await facet.deleteMany(["b", "c", "no"], {"namespace": "n2"})).deleted == 2

    play(story)


def test_list_query_count_clear(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        await facet.set_many({f"u{n}": {"age": n} for n in range(5)}, namespace="users")
        assert (await facet.list({"namespace": "users", "pattern": "u*", "limit": 2, "offset": 1})).keys == ["u1", "u2"]
        assert (await facet.list("u4", namespace="users")).keys == ["u4"]
        filter = {"field": "age", "operator": "gte", "value": 3}
        result = await facet.query(filter, {"namespace": "users"})
        assert [row["key"] for row in result.results] == ["u3", "u4"]
        assert [row.value for row in result.data] == [{"age": 3}, {"age": 4}]
        whole = await facet.query({"filters": [filter], "sort": "-age", "limit": 1, "namespace": "users"})
        assert [row.key for row in whole.results] == ["u4"]
        assert (await facet.count(namespace="users", filter=where("age") < 2)).count == 2
        bad = await facet.query({"field": "age", "operator": "no"}, {"namespace": "users"})
        assert not bad.success
        assert (await facet.clear({"namespace": "users"})).deleted == 5

    play(story)


def test_metadata_merges(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        await facet.set("k", 1, {"metadata": {"a": 1}})
        assert (await facet.setMetadata("k", {"b": 2})).success
        assert (await facet.getMetadata("k")).metadata == {"a": 1, "b": 2}
        await facet.set_metadata("k", {"c": 3}, {"merge": False})
        assert (await facet.get_metadata("k")).data == {"c": 3}
        assert isinstance((await facet.get_metadata("no")).error, KeyNotFound)

    play(story)


def test_namespaces(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        assert (await facet.createNamespace("n", {"metadata": {"a": 1}})).success
        assert not (await facet.createNamespace("n")).success
        await facet.set("k", 1, {"namespace": "n"})
        assert "n" in (await facet.listNamespaces()).namespaces
        assert isinstance((await facet.deleteNamespace("n")).error, NamespaceNotEmpty)
        assert (await facet.deleteNamespace("n", {"recursive": True})).deleted == 1
        assert "n" not in (await facet.list_namespaces()).namespaces

    play(story)


def test_transactions_by_id(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        tx = await facet.beginTransaction()
        assert tx.success
        assert tx.transactionId == tx.transaction_id == tx.data
        await facet.set("a", 1, {"transaction": tx.transactionId})
        await facet.setMany([{"key": "b", "value": 2}], {"transactionId": tx.transactionId})
        assert (await facet.get("a", transaction=tx)).data == 1
        assert not (await facet.get("a")).success
        assert (await facet.commit(tx.transactionId)).success
        assert (await facet.get_many(["a", "b"])).data == {"a": 1, "b": 2}
        assert isinstance((await facet.commit(tx.transactionId)).error, TransactionError)

        tx = await facet.begin_transaction({"isolation": "SERIALIZABLE"})
        await facet.delete("a", {"transaction": tx.transactionId})
        assert (await facet.rollback(tx.transactionId)).success
        assert (await facet.has("a")).exists
        unknown = await facet.set("a", 1, {"transaction": "tx_unknown"})
        assert isinstance(unknown.error, TransactionError)

    play(story)


def test_status_and_properties(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        await facet.set("k", 1)
        status = await facet.getStatus()
        assert status.healthy is True
        assert status.entries == status.data.entries == 1
        assert facet.supports_transactions is facet.supports_query is facet.supports_metadata is True
        assert facet._storage_backend.backend_name == status.backend
        assert isinstance(facet._config, Mapping)

    play(story)


def test_wrong_calls_raise(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        with pytest.raises(TypeError, match="namespce"):
            await facet.get("k", {"namespce": "users"})
        with pytest.raises(TypeError, match="nope"):
            await facet.set("k", 1, nope=1)
        with pytest.raises(TypeError):
            await facet.get()
        with pytest.raises(TypeError):
            await facet.get("k", {}, {})

    play(story)


def test_use_after_close_is_a_result(play: Callable[[Story], None]) -> None:
    async def story(facet: StorageFacet) -> None:
        await facet.close()
        assert type((await facet.get("k")).error).__name__ == "StorageClosed"

    play(story)


def test_data_survives_a_reopen(tmp_path: Path) -> None:
    ctx = {"config": {"storage": {"backend": "sqlite", "options": {"dbPath": str(tmp_path / "d" / "s.db")}}}}

    async def write() -> None:
        facet = use_storage(ctx)
        await facet.set("k", {"a": [1]}, {"metadata": {"m": 1}})
        await facet.close()

    async def read() -> Result:
        facet = use_storage(ctx)
        try:
            result: Result = await facet.get("k")
            return result
        finally:
            await facet.close()

    asyncio.run(write())
    result = asyncio.run(read())
    assert (result.data, result.metadata) == ({"a": [1]}, {"m": 1})


# -- contexts ----------------------------------------------------------------------------------------------------------


def backend_of(facet: StorageFacet) -> str:
    asyncio.run(facet.close())
    return facet._storage_backend.backend_name


def test_every_form_of_context(tmp_path: Path) -> None:
    options = {"dbPath": str(tmp_path / "a.db")}
    nested = {"backend": "sqlite", "options": options}
    for ctx in (
        {"config": {"storage": nested}},
        {"storage": nested},
        SimpleNamespace(config=SimpleNamespace(storage=nested)),
        SimpleNamespace(storage=nested),
        {"storage": {"backend": "auto", "options": options}},
        {"storage": f"sqlite:///{options['dbPath']}"},
    ):
        assert backend_of(use_storage(ctx)) == "sqlite"
    assert backend_of(use_sqlite_storage({"storage": options})) == "sqlite"
    assert backend_of(use_sqlite_storage({"storage": nested})) == "sqlite"
    assert backend_of(use_storage({"storage": {"backend": "memory"}})) == "memory"
    assert backend_of(use_storage({})) == "memory"
    assert backend_of(use_memory_storage()) == "memory"


@pytest.mark.parametrize("storage", [7, {"backend": "sqlite", "opts": {}}, {"backend": "no-such"}])
def test_bad_configuration(storage: Any) -> None:
    with pytest.raises(InvalidConfig):
        use_storage({"storage": storage})


def test_a_hook_refuses_the_configuration_of_another_backend() -> None:
    with pytest.raises(InvalidConfig):
        use_memory_storage({"storage": {"backend": "sqlite", "options": {"dbPath": "x.db"}}})


def test_a_plug_in_backend() -> None:
    from mycelia_storage import MemoryStorageBackend

    register_backend("test-plug-in", lambda **options: MemoryStorageBackend(**options))
    assert backend_of(use_storage({"storage": {"backend": "test-plug-in"}})) == "memory"


def test_results_cannot_be_changed_and_nest_into_dicts() -> None:
    result = Result(data=1, results={"a": Result(error=KeyNotFound("n", "a"))})
    with pytest.raises(AttributeError):
        result.data = 2
    with pytest.raises(AttributeError):
        _ = result.nothing
    assert result.to_dict()["results"]["a"]["success"] is False
    assert result
    assert not result.results["a"]
