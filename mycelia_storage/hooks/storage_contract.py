"""What a facet must be: :func:`enforce` looks at its face, :func:`verify` at what it does.

Both report everything that is wrong at once, as ContractBroken. A facet of another maker passes if it has the
snake_case methods of :class:`mycelia_storage.hooks.facet.StorageFacet` and takes options as keywords or as ``options``.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import uuid4

from ..errors import InvalidInput, KeyNotFound

#: Method -> the arguments it takes by place, and the options it knows.
METHODS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "get": (("key",), ("namespace", "transaction")),
    "set": (("key", "value"), ("namespace", "metadata", "overwrite", "ttl", "if_version", "transaction")),
    "has": (("key",), ("namespace", "transaction")),
    "delete": (("key",), ("namespace", "transaction")),
    "get_many": (("keys",), ("namespace", "transaction")),
    "set_many": (("entries",), ("namespace", "metadata", "overwrite", "ttl", "transaction")),
    "delete_many": (("keys",), ("namespace", "transaction")),
    "list": (("pattern",), ("namespace", "limit", "offset", "transaction")),
    "query": (("filter",), ("namespace", "sort", "limit", "offset", "transaction")),
    "count": ((), ("namespace", "filter", "transaction")),
    "clear": ((), ("namespace", "transaction")),
    "get_metadata": (("key",), ("namespace", "transaction")),
    "set_metadata": (("key", "metadata"), ("namespace", "merge", "transaction")),
    "create_namespace": (("name",), ("metadata",)),
    "delete_namespace": (("name",), ("recursive",)),
    "list_namespaces": ((), ("prefix",)),
    "begin_transaction": ((), ("read_only", "isolation")),
    "commit": (("transaction_id",), ()),
    "rollback": (("transaction_id",), ()),
    "get_status": ((), ()),
    "close": ((), ()),
}

#: Property -> the type of its value.
PROPERTIES: Final[Mapping[str, type]] = {
    "supports_transactions": bool,
    "supports_query": bool,
    "supports_metadata": bool,
    "_storage_backend": object,
    "_config": Mapping,
}


class ContractBroken(InvalidInput):
    """A facet is not what the contract asks for; ``problems`` has each thing in a sentence."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("this facet breaks the storage contract: " + "; ".join(problems))
        self.problems = problems


def enforce(facet: object) -> None:
    """Check methods, signatures and properties. Raises ContractBroken."""
    problems = [problem for name in METHODS if (problem := _method_problem(facet, name))]
    for name, kind in PROPERTIES.items():
        value = getattr(facet, name, None)
        if value is None:
            problems.append(f"property {name} is missing")
        elif not isinstance(value, kind):
            problems.append(f"property {name} is {type(value).__name__}, not {kind.__name__}")
    if problems:
        raise ContractBroken(problems)


async def verify(facet: Any) -> None:
    """Check what the methods do, in a namespace of its own that is removed afterwards. Raises ContractBroken.

    Begins with :func:`enforce`. An exception out of a method counts as a problem: StorageErrors are to be results.
    """
    enforce(facet)
    scratch = f"storage-contract-{uuid4().hex}"
    problems: list[str] = []
    try:
        for check in _CHECKS:
            try:
                await check(facet, scratch)
            except AssertionError as failure:
                problems.append(f"{_title(check)}: {failure}")
            except Exception as error:
                problems.append(f"{_title(check)}: {type(error).__name__} was raised: {error}")
    finally:
        await facet.delete_namespace(scratch, recursive=True)
    names = (await facet.list_namespaces(prefix=scratch)).namespaces
    if names:
        problems.append(f"delete_namespace left {names}")
    if problems:
        raise ContractBroken(problems)


def _method_problem(facet: object, name: str) -> str | None:
    method = getattr(facet, name, None)
    if method is None:
        return f"method {name} is missing"
    if not callable(method):
        return f"{name} is no method"
    if not inspect.iscoroutinefunction(method):
        return f"method {name} is not async"
    places, options = METHODS[name]
    signature = inspect.signature(method)
    parameters = signature.parameters
    try:
        signature.bind(*places)
    except TypeError as error:
        return f"{name}({', '.join(places)}) cannot be called: {error}"
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    missing = [option for option in options if option not in parameters]
    return f"{name}() does not take {', '.join(missing)}" if missing else None


# -- behaviour -------------------------------------------------------------------------------------------------------

_Check = Callable[[Any, str], Awaitable[None]]


def _title(check: _Check) -> str:
    return str(getattr(check, "__name__", check)).strip("_").replace("_", " ")


def _expect(condition: object, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


async def _values_come_back(facet: Any, scratch: str) -> None:
    values: tuple[Any, ...] = (None, True, 0, -1.5, "ä\0", [1, [2]], {"a": {"b": []}}, b"\x00\xff")
    for value in values:
        _expect((await facet.set("value", value, namespace=scratch)).success, f"set of {value!r} fails")
        result = await facet.get("value", namespace=scratch)
        same = result.success and result.data == value and type(result.data) is type(value)
        _expect(same, f"{value!r} does not come back equal")
    await facet.delete("value", namespace=scratch)


async def _missing_keys_are_results(facet: Any, scratch: str) -> None:
    result = await facet.get("missing", namespace=scratch)
    refused = not result.success and result.data is None and isinstance(result.error, KeyNotFound)
    _expect(refused, "get of a missing key is not success=False with KeyNotFound")
    _expect((await facet.has("missing", namespace=scratch)).exists is False, "has of a missing key is not False")
    _expect((await facet.delete("missing", namespace=scratch)).success, "delete of a missing key is an error")
    for method in (facet.get_metadata("missing", namespace=scratch), facet.set("", 1, namespace=scratch)):
        _expect(not (await method).success, "a storage error is not a result")


async def _overwrite_and_metadata(facet: Any, scratch: str) -> None:
    await facet.set("m", 1, namespace=scratch, metadata={"a": 1})
    second = await facet.set("m", 2, namespace=scratch, overwrite=False)
    _expect(not second.success, "overwrite=False overwrites")
    await facet.set_metadata("m", {"b": 2}, namespace=scratch)
    result = await facet.get_metadata("m", namespace=scratch)
    _expect(result.metadata == {"a": 1, "b": 2}, "set_metadata does not merge")
    await facet.delete("m", namespace=scratch)


async def _batches(facet: Any, scratch: str) -> None:
    entries = [{"key": f"b{n}", "value": n, "options": {"namespace": scratch, "metadata": {"n": n}}} for n in range(3)]
    result = await facet.set_many(entries)
    _expect(result.success and set(result.results) == {"b0", "b1", "b2"}, "set_many does not report each key")
    _expect((await facet.list("b*", namespace=scratch)).keys == ["b0", "b1", "b2"], "list does not give the keys")
    found = await facet.get_many(["b2", "no", "b0"], namespace=scratch)
    _expect(found.data == {"b2": 2, "b0": 0}, "get_many does not give those that exist")
    _expect((await facet.count(namespace=scratch)).count == 3, "count is wrong")
    filter = {"field": "$metadata.n", "operator": "gte", "value": 1}
    queried = await facet.query(filter, namespace=scratch)
    _expect([entry.key for entry in queried.results] == ["b1", "b2"], "query does not filter")
    await facet.delete_many(["b0", "b1", "b2"], namespace=scratch)
    _expect((await facet.list(namespace=scratch)).keys == [], "delete_many leaves keys")


async def _patterns_are_literal(facet: Any, scratch: str) -> None:
    for key in ("a%b", "axb", "A%b"):
        await facet.set(key, 1, namespace=scratch)
    _expect((await facet.list("a%b", namespace=scratch)).keys == ["a%b"], "% or case is not literal in a pattern")
    await facet.delete_many(["a%b", "axb", "A%b"], namespace=scratch)


async def _namespaces_are_apart(facet: Any, scratch: str) -> None:
    await facet.set("k", 1, namespace=scratch + "/below")
    _expect(not (await facet.get("k", namespace=scratch)).success, "a namespace shows the keys of one below it")
    _expect(not (await facet.delete_namespace(scratch)).success, "a namespace that is not empty is deleted")


async def _transactions(facet: Any, scratch: str) -> None:
    for finish, kept in ((facet.commit, True), (facet.rollback, False)):
        begun = await facet.begin_transaction()
        _expect(begun.success, "begin_transaction fails")
        id = begun.transaction_id
        try:
            await facet.set("t", 1, namespace=scratch, transaction=id)
            inside = await facet.has("t", namespace=scratch, transaction=id)
            outside = await facet.has("t", namespace=scratch)
        finally:
            finished = await finish(id)
        _expect(inside.exists, "a transaction does not see its own write")
        _expect(not outside.exists, "a write is visible before its commit")
        _expect(finished.success, "a transaction cannot be finished")
        _expect((await facet.has("t", namespace=scratch)).exists is kept, "commit or rollback does not do its work")
        _expect(not (await finish(id)).success, "a finished transaction can be finished again")
        await facet.delete("t", namespace=scratch)


_CHECKS: Final[tuple[_Check, ...]] = (
    _values_come_back,
    _missing_keys_are_results,
    _overwrite_and_metadata,
    _batches,
    _patterns_are_literal,
    _namespaces_are_apart,
    _transactions,
)
