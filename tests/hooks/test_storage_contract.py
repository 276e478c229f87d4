"""enforce and verify accept the facets of this library and name what is wrong with others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage import MemoryStorageBackend, SQLiteStorageBackend, StorageBackend
from mycelia_storage.hooks import Result, StorageFacet, storage_contract
from mycelia_storage.hooks.storage_contract import ContractBroken


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_our_facets_pass_and_the_scratch_goes(kind: str, tmp_path: Path) -> None:
    backend: StorageBackend = MemoryStorageBackend() if kind == "memory" else SQLiteStorageBackend(tmp_path / "a.db")

    async def main() -> None:
        facet = StorageFacet(backend)
        before = (await facet.list_namespaces()).namespaces
        storage_contract.enforce(facet)
        await storage_contract.verify(facet)
        assert (await facet.list_namespaces()).namespaces == before
        assert (await facet.get_status()).entries == 0
        await facet.close()

    asyncio.run(main())


def test_enforce_names_everything_at_once() -> None:
    class Poor:
        supports_query = "yes"

        async def get(self, key: str) -> Result:
            return Result()

        def set(self, key: str, value: Any, **options: Any) -> Result:
            return Result()

        has = None
        delete = 3

    with pytest.raises(ContractBroken) as caught:
        storage_contract.enforce(Poor())
    problems = caught.value.problems
    assert "get() does not take namespace, transaction" in problems
    assert "method set is not async" in problems
    assert "method has is missing" in problems
    assert "delete is no method" in problems
    assert "method begin_transaction is missing" in problems
    assert "property supports_query is str, not bool" in problems
    assert "property _config is missing" in problems
    assert all(problem in str(caught.value) for problem in problems)


class Forgetful(StorageFacet):
    async def set_metadata(self, *args: Any, **kwargs: Any) -> Result:
        return Result()

    async def rollback(self, transaction_id: Any, **kwargs: Any) -> Result:
        result: Result = await self.commit(transaction_id)
        return result


class Raising(StorageFacet):
    async def get(self, key: str, **options: Any) -> Result:
        raise KeyError(key)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Forgetful, ["set_metadata does not merge", "commit or rollback"]), (Raising, ["KeyError was raised"])],
)
def test_verify_names_wrong_behaviour(kind: type[StorageFacet], words: list[str]) -> None:
    async def main() -> None:
        facet = kind(MemoryStorageBackend())
        storage_contract.enforce(facet)
        with pytest.raises(ContractBroken) as caught:
            await storage_contract.verify(facet)
        assert all(word in str(caught.value) for word in words)
        assert (await facet.list_namespaces()).namespaces == ["default"]
        await facet.close()

    asyncio.run(main())
