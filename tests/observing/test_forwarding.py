"""The observed storage: the whole contract is forwarded, and every call is seen once."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, isfunction, signature
from itertools import islice
from typing import Any
from unittest.mock import create_autospec

import pytest

from mycelia_storage import FieldIndex, MemoryStorageBackend, StorageBackend, Transaction, copy_storage, where
from mycelia_storage.errors import InvalidNamespace, KeyNotFound, StorageReadOnly, VersionConflict
from mycelia_storage.observing import ObservedStorage, ObservedTransaction
from mycelia_storage.testing import OpenStorage, StorageContract

from .recorder import Recorder


class TestObservedMemory(StorageContract):
    """The contract holds through the observation."""

    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        return lambda **options: ObservedStorage(MemoryStorageBackend(**options), Recorder())


def public_methods(contract: type) -> list[str]:
    """Whatever the contract offers to its users, whenever it was added."""
    return sorted(
        name
        for kind in contract.__mro__
        for name, member in vars(kind).items()
        if isfunction(member) and not name.startswith("_")
    )


FORWARDED = [(StorageBackend, ObservedStorage, name) for name in public_methods(StorageBackend)] + [
    (Transaction, ObservedTransaction, name) for name in sorted(set(public_methods(Transaction)))
]


#: run_transaction forwards a function of its own, that has the transaction observed.
FORWARDED_AS_GIVEN = [case for case in FORWARDED if case[2] != "run_transaction"]


@pytest.mark.parametrize(
    ("contract", "observed", "name"), FORWARDED_AS_GIVEN, ids=lambda item: getattr(item, "__name__", item)
)
def test_every_method_is_forwarded_and_observed(
    contract: type[StorageBackend], observed: Callable[..., StorageBackend], name: str
) -> None:
    inner = create_autospec(contract, instance=True)
    inner.id = "tx"
    if name in ("scan", "scan_prefixes", "watch"):
        getattr(inner, name).return_value = iter(["a", "b"])
    recorder = Recorder()
    storage = observed(inner, recorder)
    positional, named = [], {}
    for parameter in list(signature(getattr(contract, name)).parameters.values())[1:]:
        if parameter.kind is Parameter.KEYWORD_ONLY:
            named[parameter.name] = f"given {parameter.name}"
        else:
            positional.append(f"given {parameter.name}")
    result = getattr(storage, name)(*positional, **named)
    if name in ("scan", "scan_prefixes", "watch"):
        assert list(result) == ["a", "b"]
    else:
        assert result is getattr(inner, name).return_value
    getattr(inner, name).assert_called_once_with(*positional, **named)
    assert recorder.operations == [name]
    assert len(inner.method_calls) == 1
    (seen,) = recorder.seen
    assert seen.error is None
    if "namespace" in signature(getattr(contract, name)).parameters:
        assert seen.call.namespace == "given namespace"
    assert seen.call.transaction == ("tx" if contract is Transaction else None)


@pytest.mark.parametrize(("contract", "observed", "name"), FORWARDED, ids=lambda item: getattr(item, "__name__", item))
def test_every_failure_is_observed(
    contract: type[StorageBackend], observed: Callable[..., StorageBackend], name: str
) -> None:
    inner = create_autospec(contract, instance=True)
    inner.id = "tx"
    getattr(inner, name).side_effect = KeyNotFound("n", "k")
    recorder = Recorder()
    parameters = list(signature(getattr(contract, name)).parameters.values())[1:]
    required = [parameter for parameter in parameters if parameter.default is Parameter.empty]
    named = {parameter.name: object() for parameter in required if parameter.kind is Parameter.KEYWORD_ONLY}
    positional = [object() for _ in required[len(named) :]]
    with pytest.raises(KeyNotFound):
        getattr(observed(inner, recorder), name)(*positional, **named)
    assert [(seen.call.operation, seen.error) for seen in recorder.seen] == [(name, KeyNotFound)]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def storage(recorder: Recorder) -> Any:
    with ObservedStorage(MemoryStorageBackend(), recorder) as storage:
        yield storage


def test_rows_namespaces_and_keys(storage: ObservedStorage, recorder: Recorder) -> None:
    storage.set("a", 1, namespace=("users", "x/y"))
    storage.set_many({"b": 1, "c": 2})
    storage.get_many(["b", "nothing"])
    storage.get_entry("nothing")
    storage.list("b*")
    storage.query(where("$key") == "b")
    storage.count()
    storage.delete("nothing")
    storage.list_namespaces()
    storage.clear()
    seen = [(seen.call.operation, seen.call.namespace, seen.call.key, seen.rows) for seen in recorder.seen]
    assert seen == [
        ("set", "users/x~1y", "a", 1),
        ("set_many", "default", None, 2),
        ("get_many", "default", None, 1),
        ("get_entry", "default", "nothing", 0),
        ("list", "default", None, 1),
        ("query", "default", None, 1),
        ("count", "default", None, 2),
        ("delete", "default", "nothing", 0),
        ("list_namespaces", None, None, 2),
        ("clear", None, None, 3),
    ]


def test_what_happens_in_transactions_is_observed_with_their_id(storage: ObservedStorage, recorder: Recorder) -> None:
    with storage.transaction() as tx:
        tx.set("a", 1)
        with tx.transaction() as inner:
            inner.set("b", 1)
    handle = storage.begin_transaction(read_only=True)
    handle.get("a")
    with pytest.raises(StorageReadOnly):
        handle.set("a", 2)
    storage.rollback(handle.id)
    assert [(seen.call.operation, seen.call.transaction) for seen in recorder.seen] == [
        ("transaction", None),
        ("set", tx.id),
        ("transaction", tx.id),
        ("set", inner.id),
        ("commit", inner.id),
        ("commit", tx.id),
        ("begin_transaction", None),
        ("get", handle.id),
        ("set", handle.id),
        ("rollback", None),
    ]


def test_an_exception_in_a_block_is_seen_as_its_rollback(storage: ObservedStorage, recorder: Recorder) -> None:
    with pytest.raises(LookupError), storage.transaction() as tx:  # noqa: PT012
        tx.set("a", 1)
        raise LookupError
    assert recorder.operations == ["transaction", "set", "rollback"]
    assert not storage.has("a")


def test_a_function_run_in_a_transaction_gets_an_observed_one(storage: ObservedStorage, recorder: Recorder) -> None:
    def work(tx: StorageBackend, value: int, *, key: str) -> int:
        return tx.set(key, value)

    version = storage.run_transaction(work, 7, key="k")
    assert storage.get_entry("k")[2:5:2] == (7, version)  # type: ignore[index]
    with storage.transaction() as tx:
        tx.run_transaction(work, 8, key="k")
    assert recorder.operations == [
        *("set", "run_transaction", "get_entry"),
        *("transaction", "set", "run_transaction", "commit"),
    ]


def test_a_scan_is_one_call_to_its_end(storage: ObservedStorage, recorder: Recorder) -> None:
    storage.set_many({f"{number}": number for number in range(3)})
    recorder.seen.clear()
    scan = storage.scan()
    next(scan)
    assert recorder.seen == []
    assert recorder.at_work == 0
    assert len(list(scan)) == 2
    (seen,) = recorder.seen
    assert (seen.call.operation, seen.rows, seen.worked) == ("scan", 3, 4)


def test_a_scan_or_watch_closed_early_has_ended(storage: ObservedStorage, recorder: Recorder) -> None:
    storage.create_namespace("n", track_changes=True)
    storage.set_many({f"{number}": number for number in range(3)}, namespace="n")
    recorder.seen.clear()
    for generator in (storage.scan(namespace="n"), storage.watch(namespace="n", since=0)):
        assert len(list(islice(generator, 2))) == 2
        generator.close()  # type: ignore[attr-defined]
    assert [(seen.call.operation, seen.rows, seen.error) for seen in recorder.seen] == [
        ("scan", 2, None),
        ("watch", 2, None),
    ]


def test_errors_of_arguments_are_observed(storage: ObservedStorage, recorder: Recorder) -> None:
    with pytest.raises(InvalidNamespace):
        storage.scan(namespace="")
    with pytest.raises(InvalidNamespace):
        storage.get("k", namespace=["a"])  # type: ignore[arg-type]
    with pytest.raises(VersionConflict):
        storage.set("k", 1, if_version=7)
    assert [seen.error for seen in recorder.seen] == [InvalidNamespace, InvalidNamespace, VersionConflict]


def test_what_a_backend_has_beyond_the_contract_is_there(storage: ObservedStorage) -> None:
    assert storage.settings.transaction_timeout == 60
    assert storage.backend_name == "memory"
    with pytest.raises(AttributeError):
        storage.no_such_thing  # noqa: B018


def test_observed_storages_are_copied_like_others(storage: ObservedStorage) -> None:
    storage.set_many({f"{number}": number for number in range(100)}, namespace="n")
    storage.create_index("n", FieldIndex("x"))
    with ObservedStorage(MemoryStorageBackend(), Recorder()) as other:
        assert copy_storage(storage, other, catch_up=True).ok
        assert list(other.scan(namespace="n")) == list(storage.scan(namespace="n"))
