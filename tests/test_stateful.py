"""Every backend against the memory backend: random operations in a world small enough to collide.

Answers are compared whole, but for versions and times, which only have to rise. Ttl is long throughout: expiry itself
is the contract suite's subject. CI runs the same examples each time; HYPOTHESIS_PROFILE=explore looks for new ones
and prints how to repeat a failure.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.contract import BatchResult, Entry, StorageBackend
from mycelia_storage.errors import BatchError, StorageError
from mycelia_storage.filters import where
from mycelia_storage.indexes import FieldIndex

if TYPE_CHECKING:
    from tests.postgres_server import PostgresSchemas

EXPLORE = os.environ.get("HYPOTHESIS_PROFILE") == "explore"

PROFILE = settings(
    max_examples=2_000 if EXPLORE else 150,
    stateful_step_count=40,
    derandomize=not EXPLORE,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)

KEYS = ["a", "A", "a%", "a_", "ab", "a\\b", "é'\"", "\uffff"]
NAMESPACES = ["default", "n", "n/m", "n%"]
PATTERNS = [None, "*", "a*", "a?", "a%", "*_*", "a\\*", "?", "", "A", "*b"]
FIELDS = ["x", "y.z", "x[0]", "$key", "$metadata.m", '["a.b"]']
VALUES = st.sampled_from(
    [
        None,
        True,
        1,
        1.0,
        0,
        "1",
        "a%",
        b"raw",
        [],
        [1, "1"],
        {},
        {"x": 1},
        {"x": 1.0},
        {"x": True},
        {"x": "1"},
        {"x": "A"},
        {"x": "a"},
        {"x": None},
        {"x": [1, 2]},
        {"x": 2**53 + 1},
        {"x": 2, "y": {"z": "deep"}},
        {"y": {"z": 5}, "a.b": 1},
        {"y": {"z": "x\0"}, "x": -0.0},
    ]
)
METADATA = st.sampled_from([None, {}, {"m": 1}, {"m": "1", "other": [1]}, {"other": {}}])
TTL = st.sampled_from([None, None, 10_000])
OPERANDS = st.sampled_from([None, True, 0, 1, 1.0, "1", "a", "A", "a%", 2**53, 2**53 + 1, [1, 2], {}])
INDEXES = [
    FieldIndex("x"),
    FieldIndex("x", unique=True),
    FieldIndex(["y.z", "x"]),
    FieldIndex("$metadata.m", unique=True),
]

keys = st.sampled_from(KEYS)
namespaces = st.sampled_from(NAMESPACES)
bounds = st.none() | keys
limits = st.none() | st.integers(0, 3)


@st.composite
def filters(draw: st.DrawFn) -> Any:
    field = where(draw(st.sampled_from(FIELDS)))
    operand = draw(OPERANDS)
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return None
    if kind == 1:
        return field.exists(draw(st.booleans()))
    if kind == 2:
        return field.is_in([operand, "1"])
    if kind == 3:
        return ~(field == operand)
    if kind == 4 and isinstance(operand, str):
        return field.starts_with(operand)
    if kind == 5 and isinstance(operand, str | int | float | bool):
        return field.contains(operand)
    if kind == 6:
        return field > operand
    if kind == 7:
        return field <= operand
    if kind == 8:
        return (field != operand) | (where("$key") == "a")
    return field == operand


class Versions(dict[tuple[str, str], int]):
    """The highest version seen of each key."""


class Comparison(RuleBasedStateMachine):
    """The real backend and the model, given the same orders."""

    open_real: Callable[[Path], StorageBackend]
    persistent: bool

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stateful-"))
        self.real = type(self).open_real(self.folder)
        self.model: StorageBackend = MemoryStorageBackend()
        #: Open transactions, the innermost last, of the real backend and of the model.
        self.stack: list[tuple[Any, Any]] = []
        self.versions: list[Versions] = [Versions(), Versions()]

    @property
    def sides(self) -> tuple[StorageBackend, StorageBackend]:
        return self.stack[-1] if self.stack else (self.real, self.model)

    def both(self, call: Callable[[StorageBackend], Any]) -> tuple[Any, Any]:
        """Do the same on both sides and expect the same answer, or the same error."""
        answers = [_answer(call, side) for side in self.sides]
        assert answers[0] == answers[1]
        return answers[0], answers[1]

    def write_one(self, namespace: str, key: str, call: Callable[[StorageBackend, int], Any]) -> None:
        """A write that gives a version: above all that this key had on that side, whatever happened since."""
        outcomes = []
        for place, side in enumerate(self.sides):
            entry = side.get_entry(key, namespace=namespace)
            outcome = _answer(lambda side, entry=entry: call(side, entry.version if entry else 0), side)
            if isinstance(outcome, int):
                assert outcome > self.versions[place].get((namespace, key), 0)
                self.versions[place][namespace, key] = outcome
                outcome = "version"
            outcomes.append(outcome)
        assert outcomes[0] == outcomes[1]

    # -- writes ----------------------------------------------------------------------------------------------------

    @initialize(tracked=st.sampled_from(NAMESPACES))
    def track_one(self, tracked: str) -> None:
        self.both(lambda side: side.create_namespace(tracked, exist_ok=True, track_changes=True))

    @rule(key=keys, namespace=namespaces, value=VALUES, metadata=METADATA, ttl=TTL, overwrite=st.booleans())
    def set(self, key: str, namespace: str, value: Any, metadata: Any, ttl: Any, overwrite: bool) -> None:
        self.write_one(
            namespace,
            key,
            lambda side, _: side.set(key, value, namespace=namespace, metadata=metadata, ttl=ttl, overwrite=overwrite),
        )

    @rule(key=keys, namespace=namespaces, value=VALUES, offset=st.sampled_from([0, 0, 1]), absent=st.booleans())
    def compare_and_set(self, key: str, namespace: str, value: Any, offset: int, absent: bool) -> None:
        self.write_one(
            namespace,
            key,
            lambda side, version: side.set(
                key, value, namespace=namespace, if_version=0 if absent else version + offset
            ),
        )

    @rule(
        key=keys, namespace=namespaces, metadata=METADATA.filter(lambda given: given is not None), merge=st.booleans()
    )
    def set_metadata(self, key: str, namespace: str, metadata: Any, merge: bool) -> None:
        self.write_one(
            namespace, key, lambda side, _: side.set_metadata(key, metadata, namespace=namespace, merge=merge)
        )

    @rule(key=keys, namespace=namespaces)
    def delete(self, key: str, namespace: str) -> None:
        self.both(lambda side: side.delete(key, namespace=namespace))

    @rule(key=keys, namespace=namespaces, right=st.booleans())
    def delete_if_version(self, key: str, namespace: str, right: bool) -> None:
        def delete(side: StorageBackend) -> bool:
            entry = side.get_entry(key, namespace=namespace)
            version = entry.version if entry else 0
            return side.delete(key, namespace=namespace, if_version=version if right else version + 1)

        self.both(delete)

    @rule(
        items=st.lists(
            st.tuples(keys, VALUES | st.just({1}))
            | st.fixed_dictionaries(
                {"key": keys, "value": VALUES}, optional={"namespace": namespaces, "metadata": METADATA}
            )
            | st.just(("", 1)),
            max_size=5,
        ),
        namespace=namespaces,
        atomic=st.booleans(),
        overwrite=st.booleans(),
    )
    def set_many(self, items: list[Any], namespace: str, atomic: bool, overwrite: bool) -> None:
        self.both(lambda side: side.set_many(items, namespace=namespace, atomic=atomic, overwrite=overwrite))

    @rule(wanted=st.lists(keys, max_size=4), namespace=namespaces)
    def delete_many(self, wanted: list[str], namespace: str) -> None:
        self.both(lambda side: side.delete_many(wanted, namespace=namespace))

    @rule(key=keys, namespace=namespaces, value=VALUES, version=st.sampled_from([1, 5, 2**50]))
    def restore(self, key: str, namespace: str, value: Any, version: int) -> None:
        entry = Entry(namespace, key, value, {"m": "restored"}, version, 1000, 2000, None)
        self.both(lambda side: side.restore([entry]))
        for place in range(2):
            self.versions[place].pop((namespace, key), None)  # restore may bring an older version back

    @rule(namespace=st.none() | namespaces)
    def clear(self, namespace: str | None) -> None:
        self.both(lambda side: side.clear(namespace=namespace))

    # -- namespaces, indexes ---------------------------------------------------------------------------------------

    @rule(name=namespaces, metadata=METADATA, exist_ok=st.booleans(), track=st.booleans())
    def create_namespace(self, name: str, metadata: Any, exist_ok: bool, track: bool) -> None:
        self.both(lambda side: side.create_namespace(name, metadata=metadata, exist_ok=exist_ok, track_changes=track))

    @rule(name=namespaces, recursive=st.booleans())
    def delete_namespace(self, name: str, recursive: bool) -> None:
        self.both(lambda side: side.delete_namespace(name, recursive=recursive))

    @rule(namespace=namespaces, index=st.sampled_from(INDEXES), name=st.none() | st.sampled_from(["i", "'j\""]))
    def create_index(self, namespace: str, index: FieldIndex, name: str | None) -> None:
        self.both(lambda side: side.create_index(namespace, index, name=name))

    @rule(namespace=namespaces, name=st.sampled_from(["x", "y.z,x", "$metadata.m", "i", "'j\""]))
    def drop_index(self, namespace: str, name: str) -> None:
        self.both(lambda side: side.drop_index(namespace, name))

    # -- transactions ----------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.stack) < 3)
    @rule(bound=st.booleans())
    def begin(self, bound: bool) -> None:
        real, model = self.sides
        self.stack.append(
            (real.transaction(), model.transaction())
            if bound
            else (real.begin_transaction(), model.begin_transaction())
        )

    @precondition(lambda self: self.stack)
    @rule(commit=st.booleans())
    def end(self, commit: bool) -> None:
        for side in self.stack.pop():
            if commit:
                side.commit()
            else:
                side.rollback()

    @precondition(lambda self: self.stack)
    @rule(namespace=namespaces)
    def look_from_outside(self, namespace: str) -> None:
        assert _shown(self.real.query(namespace=namespace)) == _shown(self.model.query(namespace=namespace))
        assert self.real.list_namespaces() == self.model.list_namespaces()

    @precondition(lambda self: self.persistent and not self.stack)
    @rule()
    def reopen(self) -> None:
        self.real.close()
        self.real = type(self).open_real(self.folder)

    # -- reads -----------------------------------------------------------------------------------------------------

    @rule(namespace=namespaces, pattern=st.sampled_from(PATTERNS), limit=limits, offset=st.integers(0, 2), after=bounds)
    def list(self, namespace: str, pattern: str | None, limit: int | None, offset: int, after: str | None) -> None:
        self.both(lambda side: side.list(pattern, namespace=namespace, limit=limit, offset=offset, after=after))

    @rule(
        namespace=namespaces,
        prefix=st.sampled_from(["", "a", "a%", "a\\", "\uffff"]),
        start=bounds,
        end=bounds,
        after=bounds,
        reverse=st.booleans(),
        limit=limits,
    )
    def scan(self, namespace: str, **arguments: Any) -> None:
        self.both(lambda side: _shown(side.scan(namespace=namespace, **arguments)))

    @rule(
        namespace=namespaces,
        condition=filters(),
        sort=st.sampled_from([None, "x", "-x", [("y.z", "asc"), ("$key", "desc")], "-$metadata.m"]),
        limit=limits,
        offset=st.integers(0, 2),
    )
    def query(self, namespace: str, condition: Any, sort: Any, limit: int | None, offset: int) -> None:
        self.both(
            lambda side: _shown(side.query(condition, namespace=namespace, sort=sort, limit=limit, offset=offset))
        )
        self.both(lambda side: side.count(namespace=namespace, filter=condition))

    @rule(namespace=namespaces, wanted=st.lists(keys, max_size=4))
    def get_many(self, namespace: str, wanted: list[str]) -> None:
        self.both(
            lambda side: [(key, repr(value)) for key, value in side.get_many(wanted, namespace=namespace).items()]
        )
        self.both(lambda side: [side.has(key, namespace=namespace) for key in wanted])
        self.both(lambda side: [side.get_metadata(key, namespace=namespace) for key in wanted])

    @invariant()
    def the_same_namespaces(self) -> None:
        self.both(lambda side: side.list_namespaces())
        for name in NAMESPACES:
            self.both(lambda side, name=name: side.list_namespaces(prefix=name))
            self.both(lambda side, name=name: _without_time(side.get_namespace(name)))
            self.both(lambda side, name=name: list(side.list_indexes(name).items()))

    @invariant()
    def the_same_changes(self) -> None:
        for namespace in (None, *NAMESPACES):
            self.both(lambda side, namespace=namespace: _changes(side, namespace))

    def teardown(self) -> None:
        while self.stack:
            self.end(commit=True)
        try:
            for name in NAMESPACES:
                self.both(lambda side, name=name: _shown(side.scan(namespace=name)))
            for side in self.sides:
                assert side.check().problems == []
        finally:
            self.real.close()
            self.model.close()
            shutil.rmtree(self.folder)


def _answer(call: Callable[[StorageBackend], Any], side: StorageBackend) -> Any:
    """The result, or the error in a form that compares. Of a batch the bad keys: a key may be bad in two ways."""
    try:
        result = call(side)
    except BatchError as error:
        return BatchError, set(error.errors)
    except StorageError as error:
        return type(error)
    return (result.written, set(result.errors)) if isinstance(result, BatchResult) else result


def _shown(entries: Any) -> list[Any]:
    """Entries without versions and times. ``repr`` tells true from 1 from 1.0."""
    return [
        (entry.key, repr(entry.value), entry.metadata, entry.expires_at is not None, entry.created_at == 1000)
        for entry in entries
    ]


def _without_time(info: Any) -> Any:
    return info and info._replace(created_at=0)


def _changes(side: StorageBackend, namespace: str | None) -> list[Any]:
    """The log without clock values. A batch may log a key that it holds twice once, so of a run of sets each key
    counts once."""
    changes = side.changes(namespace=namespace).changes
    seqs = [change.seq for change in changes]
    assert seqs == sorted(set(seqs))
    told = []
    run: set[Any] = set()
    for change in changes:
        if change.operation != "set":
            run.clear()
        elif (change.namespace, change.key) in run:
            continue
        else:
            run.add((change.namespace, change.key))
        told.append((change.namespace, change.key, change.operation))
    return told


class AgainstSQLite(Comparison):
    persistent = True

    @staticmethod
    def open_real(folder: Path) -> StorageBackend:
        return SQLiteStorageBackend({"dbPath": str(folder / "s.db"), "synchronous": "OFF"})


class AgainstItself(Comparison):
    """The memory backend beside itself: finds what differs from one run to the next, and errors in this file."""

    persistent = False

    @staticmethod
    def open_real(folder: Path) -> StorageBackend:  # noqa: ARG004
        return MemoryStorageBackend()


@pytest.mark.parametrize("machine", [AgainstItself, AgainstSQLite])
def test_a_backend_answers_as_the_model_does(machine: type[Comparison]) -> None:
    run_state_machine_as_test(machine, settings=PROFILE)


def test_postgres_answers_as_the_model_does(postgres_schemas: PostgresSchemas) -> None:
    from mycelia_storage.backends.postgres import PostgresStorageBackend

    class AgainstPostgres(Comparison):
        persistent = True

        @staticmethod
        def open_real(folder: Path) -> StorageBackend:
            mark = folder / "schema"  # a folder is a run of the machine
            if not mark.exists():
                postgres_schemas.take_back()
                mark.write_text(postgres_schemas.new())
            return PostgresStorageBackend(postgres_schemas.url, schema=mark.read_text(), busy_timeout=60_000)

    # A step costs some fifty round trips.
    profile = PROFILE if EXPLORE else settings(PROFILE, max_examples=50)
    run_state_machine_as_test(AgainstPostgres, settings=profile)
