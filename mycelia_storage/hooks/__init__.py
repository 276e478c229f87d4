"""Hooks: functions that take a context with configuration and return a storage facet.

    facet = use_storage({"config": {"storage": {"backend": "sqlite", "options": {"dbPath": "./data/storage.db"}}}})
    await facet.set("ada", {"age": 36}, {"namespace": "users", "metadata": {"role": "admin"}})
    result = await facet.get("ada", {"namespace": "users"})
    result.success, result.data

The facet is the storage contract for asyncio with the result shape of the JavaScript original, so that code written
for it ports line by line; see :mod:`mycelia_storage.hooks.facet`.
"""

from __future__ import annotations

from . import storage_contract as storage_contract
from .contexts import use_memory_storage, use_sqlite_storage, use_storage
from .facet import StorageFacet
from .results import Result

__all__ = ["Result", "StorageFacet", "storage_contract", "use_memory_storage", "use_sqlite_storage", "use_storage"]
