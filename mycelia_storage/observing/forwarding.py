"""A storage that forwards the whole contract to another one and lets an observer see every call.

What is observed is the call that the user made: what a backend does to carry it out is its own. A generator (``scan``,
``watch``) is one call from its first step to its end; the time between two steps belongs to the caller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from inspect import Parameter, signature
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar, cast

from ..contract import StorageBackend, Transaction
from ..errors import InvalidInput
from ..names import check_namespace

P = ParamSpec("P")
R = TypeVar("R")

_Method = Callable[Concatenate[Any, P], R]


class Call(NamedTuple):
    """What was called. ``namespace`` is None for a call that is about none or all of them."""

    operation: str
    namespace: str | None
    key: str | None
    transaction: str | None
    """The id of the transaction in which it was called."""


class Observation(ABC):
    """One call under way."""

    def working(self) -> AbstractContextManager[Any]:
        """Entered while the storage works on it: once, or for each step of a generator."""
        return nullcontext()

    @abstractmethod
    def end(self, error: BaseException | None, rows: int | None) -> None:
        """It returned, or raised ``error``. ``rows``: entries read, written or deleted, None where that says nothing.

        A generator that its caller closed early has ended without error.
        """


class Observer(ABC):
    """Sees calls. One observer serves many threads."""

    @abstractmethod
    def begin(self, call: Call) -> Observation:
        """A call begins."""


# What a result says about rows.
_ROWS: Final[dict[str, Callable[[Any], int]]] = {
    "get_entry": lambda entry: int(entry is not None),
    "set": lambda _: 1,
    "has": int,
    "delete": int,
    "get_many": len,
    "get_across": lambda answer: sum(map(len, answer.values())),
    "set_many": lambda result: int(result.written),
    "delete_many": int,
    "restore": int,
    "list": len,
    "query": len,
    "count": int,
    "clear": int,
    "set_metadata": lambda _: 1,
    "delete_namespace": int,
    "list_namespaces": len,
    "list_indexes": len,
    "follow": len,
    "follow_keys": len,
    "search_text": len,
    "search_vectors": len,
    "has_near": int,
    "query_sql": lambda answer: len(answer.rows),
    "changes": lambda page: len(page.changes),
}

# Whose first parameter ``name`` is a namespace.
_OF_NAMESPACES: Final = ("create_namespace", "delete_namespace", "get_namespace")


def _observed(method: _Method[P, R]) -> _Method[P, R]:
    """The forwarding form of a contract method."""
    operation = method.__name__
    rows_of = _ROWS.get(operation)
    namespace_at = _argument(method, "name" if operation in _OF_NAMESPACES else "namespace")
    key_at = _argument(method, "key")

    @wraps(method)
    def call(self: _Observed, /, *args: P.args, **kwargs: P.kwargs) -> R:
        inner = getattr(self._inner, operation)
        called = Call(operation, _name(namespace_at(args, kwargs)), key_at(args, kwargs), self._transaction_id)
        observation = self._observer.begin(called)
        try:
            with observation.working():
                result: R = inner(*args, **kwargs)
        except BaseException as error:
            observation.end(error, None)
            raise
        if isinstance(result, Transaction):
            result = cast(R, self._wrap(result))
        observation.end(None, None if rows_of is None else rows_of(result))
        return result

    call.__isabstractmethod__ = False  # type: ignore[attr-defined]
    return call


def _observed_steps(method: _Method[P, Iterator[R]]) -> _Method[P, Iterator[R]]:
    """The same for a method whose result is drawn step by step."""
    operation = method.__name__
    namespace_at = _argument(method, "namespace")

    @wraps(method)
    def call(self: _Observed, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        called = Call(operation, _name(namespace_at(args, kwargs)), None, self._transaction_id)
        try:
            steps = getattr(self._inner, operation)(*args, **kwargs)
        except BaseException as error:
            self._observer.begin(called).end(error, None)
            raise
        return _steps(self._observer, called, steps)

    call.__isabstractmethod__ = False  # type: ignore[attr-defined]
    return call


def _steps(observer: Observer, called: Call, steps: Iterator[R]) -> Iterator[R]:
    observation = observer.begin(called)
    rows = 0
    failed: BaseException | None = None
    try:
        while True:
            with observation.working():
                try:
                    step = next(steps)
                except StopIteration:
                    return
            rows += 1
            yield step
    except GeneratorExit:
        raise
    except BaseException as error:
        failed = error
        raise
    finally:
        close = getattr(steps, "close", None)
        if close is not None:
            close()
        observation.end(failed, rows)


def _argument(method: Callable[..., Any], name: str) -> Callable[[Any, Any], Any]:
    """A function that finds a parameter's value among the arguments of a call."""
    parameters = list(signature(method).parameters.values())[1:]
    for place, parameter in enumerate(parameters):
        if parameter.name == name:
            default = None if parameter.default is Parameter.empty else parameter.default
            if parameter.kind is Parameter.KEYWORD_ONLY:
                return lambda _, kwargs: kwargs.get(name, default)
            return lambda args, kwargs: args[place] if len(args) > place else kwargs.get(name, default)
    return lambda _, __: None


def _name(namespace: Any) -> str | None:
    if namespace is None:
        return None
    try:
        return check_namespace(namespace)
    except InvalidInput:
        return None  # the call itself says what is wrong


class _Observed:
    """The methods that a storage and a transaction have in common."""

    _inner: Any
    _observer: Observer
    _transaction_id: str | None = None

    def _watch_over(self, inner: StorageBackend, observer: Observer) -> None:
        self._inner = inner
        self._observer = observer
        self.backend_name = inner.backend_name
        self.supports_transactions = inner.supports_transactions
        self.supports_query = inner.supports_query
        self.supports_metadata = inner.supports_metadata

    @property
    def transactions_span_namespaces(self) -> bool:
        return bool(self._inner.transactions_span_namespaces)

    @property
    def sql_dialect(self) -> Any:
        return self._inner.sql_dialect

    def __getattr__(self, name: str) -> Any:
        # What a backend has beyond the contract: its settings, path, ...
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def _wrap(self, transaction: Transaction) -> Transaction:
        return ObservedTransaction(transaction, self._observer)

    get = _observed(StorageBackend.get)
    get_entry = _observed(StorageBackend.get_entry)
    set = _observed(StorageBackend.set)
    has = _observed(StorageBackend.has)
    delete = _observed(StorageBackend.delete)
    get_many = _observed(StorageBackend.get_many)
    get_across = _observed(StorageBackend.get_across)
    set_many = _observed(StorageBackend.set_many)
    delete_many = _observed(StorageBackend.delete_many)
    restore = _observed(StorageBackend.restore)
    list = _observed(StorageBackend.list)
    scan = _observed_steps(StorageBackend.scan)
    query = _observed(StorageBackend.query)
    count = _observed(StorageBackend.count)
    clear = _observed(StorageBackend.clear)
    get_metadata = _observed(StorageBackend.get_metadata)
    set_metadata = _observed(StorageBackend.set_metadata)
    create_namespace = _observed(StorageBackend.create_namespace)
    delete_namespace = _observed(StorageBackend.delete_namespace)
    list_namespaces = _observed(StorageBackend.list_namespaces)
    get_namespace = _observed(StorageBackend.get_namespace)
    transaction = _observed(StorageBackend.transaction)
    begin_transaction = _observed(StorageBackend.begin_transaction)
    create_index = _observed(StorageBackend.create_index)
    drop_index = _observed(StorageBackend.drop_index)
    list_indexes = _observed(StorageBackend.list_indexes)
    search_text = _observed(StorageBackend.search_text)
    search_vectors = _observed(StorageBackend.search_vectors)
    has_near = _observed(StorageBackend.has_near)
    query_sql = _observed(StorageBackend.query_sql)
    changes = _observed(StorageBackend.changes)
    watch = _observed_steps(StorageBackend.watch)
    scan_prefixes = _observed_steps(StorageBackend.scan_prefixes)
    follow = _observed(StorageBackend.follow)
    follow_keys = _observed(StorageBackend.follow_keys)
    component_migrator = _observed(StorageBackend.component_migrator)
    ping = _observed(StorageBackend.ping)
    get_status = _observed(StorageBackend.get_status)
    check = _observed(StorageBackend.check)
    backup = _observed(StorageBackend.backup)
    optimize = _observed(StorageBackend.optimize)
    close = _observed(StorageBackend.close)

    _run_transaction: Any = _observed(StorageBackend.run_transaction)

    def run_transaction(self, function: Callable[..., R], /, *args: Any, attempts: int = 10, **kwargs: Any) -> R:
        def observed(tx: Transaction) -> R:
            return function(self._wrap(tx), *args, **kwargs)

        return cast(R, self._run_transaction(observed, attempts=attempts))

    # What the contract's own methods and copies use of each other; not calls of a user.

    def _begin(self, read_only: bool, isolation: str, bound: bool) -> Transaction:
        return self._wrap(self._inner._begin(read_only, isolation, bound))

    def _transaction(self, id: str) -> Transaction:
        return self._wrap(self._inner._transaction(id))

    def _last_seq(self) -> int:
        return int(self._inner._last_seq())

    def _wait_for_commit(self, seconds: float) -> None:
        self._inner._wait_for_commit(seconds)


class ObservedStorage(_Observed, StorageBackend):
    """``inner`` with every call seen by ``observer``. It owns ``inner``: closing it closes that."""

    def __init__(self, inner: StorageBackend, observer: Observer) -> None:
        self._watch_over(inner, observer)

    commit = _observed(StorageBackend.commit)
    rollback = _observed(StorageBackend.rollback)


class ObservedTransaction(_Observed, Transaction):
    """The same of a transaction, a savepoint or a snapshot; its calls carry its id."""

    def __init__(self, inner: Transaction, observer: Observer) -> None:
        self._watch_over(inner, observer)
        self.id = self._transaction_id = inner.id

    commit = _observed(Transaction.commit)
    rollback = _observed(Transaction.rollback)

    @property
    def is_active(self) -> bool:
        return bool(self._inner.is_active)

    @property
    def finished(self) -> bool:
        return bool(self._inner.finished)
