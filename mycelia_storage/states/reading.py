"""The reads of the contract, written once over a state: that of the storage, or of a transaction."""

from __future__ import annotations

import builtins
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..contract import (
    PAGE,
    ChangePage,
    CheckReport,
    Entry,
    NamespaceInfo,
    SearchHits,
    Status,
    StorageBackend,
    check_limit,
    check_page,
    check_text,
    pick_index,
)
from ..errors import InvalidInput, InvalidKey
from ..filters import FilterInput, SortInput, parse_filter, parse_sort
from ..indexes import Index, VectorIndex
from ..names import DEFAULT_NAMESPACE, Namespace, check_key, check_namespace
from ..nearest.search import search
from ..patterns import check_pattern, compile_pattern, is_prefix_pattern, literal_prefix, prefix_end
from ..similarity import VectorInput, to_vector
from ..values import decode_value
from .state import State
from .texts import search_text
from .vectors import StateVectors

if TYPE_CHECKING:
    from .storage import StateStorage

_CHANGES_A_PAGE = 1_000


class StateReads(StorageBackend):
    """The reading half of a storage, a transaction or a snapshot."""

    @abstractmethod
    def _state(self) -> State:
        """The state to read. Raises StorageClosed, and in a transaction what its end demands."""

    @abstractmethod
    def _whole_storage(self) -> StateStorage:
        """The storage itself."""

    @abstractmethod
    def _shows_committed(self) -> bool:
        """Whether nothing is seen here but what has been committed."""

    def get(self, key: str, default: Any = None, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Any:
        row = self._state().live_row(check_namespace(namespace), check_key(key))
        return default if row is None else decode_value(row.value)

    def get_entry(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> Entry | None:
        name, key = check_namespace(namespace), check_key(key)
        row = self._state().live_row(name, key)
        return None if row is None else row.entry(name, key)

    def has(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE) -> bool:
        return self._state().live_row(check_namespace(namespace), check_key(key)) is not None

    def get_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> dict[str, Any]:
        name = check_namespace(namespace)
        wanted = [check_key(key) for key in keys]
        state = self._state()
        rows = ((key, state.live_row(name, key)) for key in wanted)
        return {key: decode_value(row.value) for key, row in rows if row is not None}

    def list(
        self,
        pattern: str | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int | None = None,
        offset: int = 0,
        after: str | None = None,
    ) -> list[str]:
        name = check_namespace(namespace)
        check_page(limit, offset)
        # Of a prefix the range alone decides.
        matches = None if pattern is None or is_prefix_pattern(check_pattern(pattern)) else compile_pattern(pattern)
        low, high = _range("" if pattern is None else literal_prefix(pattern), None, None, after, False)
        keys = self._state().live_keys(name, low, high)
        found = keys if matches is None else filter(matches, keys)
        return list(islice(found, offset, None if limit is None else offset + limit))

    def scan(
        self,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        prefix: str = "",
        start: str | None = None,
        end: str | None = None,
        after: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        name = check_namespace(namespace)
        check_page(limit)
        low, high = _range(prefix, start, end, after, reverse)
        self._state()
        return self._scan(name, low, high, reverse, limit)

    def _scan(self, name: str, low: str | None, high: str | None, reverse: bool, limit: int | None) -> Iterator[Entry]:
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            # Nothing that could hold the state outlives this call.
            page = list(islice(self._state().live_entries(name, low, high, reverse=reverse), size))
            yield from page
            if len(page) < size:
                return
            if limit is not None:
                limit -= size
            if reverse:
                high = page[-1].key
            else:
                low = _just_after(page[-1].key)

    def query(
        self,
        filter: FilterInput | None = None,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        sort: SortInput | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> builtins.list[Entry]:
        name = check_namespace(namespace)
        condition, order = parse_filter(filter), parse_sort(sort)
        check_page(limit, offset)
        found = self._state().select(name, condition, order)
        return list(islice(found, offset, None if limit is None else offset + limit))

    def count(self, *, namespace: Namespace = DEFAULT_NAMESPACE, filter: FilterInput | None = None) -> int:
        name, condition = check_namespace(namespace), parse_filter(filter)
        return self._state().count(name, condition)

    def search_text(
        self,
        text: str,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int = 10,
        filter: FilterInput | None = None,
        index: str | None = None,
    ) -> SearchHits:
        name, condition, query = check_namespace(namespace), parse_filter(filter), check_text(text)
        return search_text(self._state(), query, name, check_limit(limit), condition, index)

    def search_vectors(
        self,
        vector: VectorInput,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        limit: int = 10,
        filter: FilterInput | None = None,
        exact: bool | None = None,
        index: str | None = None,
    ) -> SearchHits:
        name, condition = check_namespace(namespace), parse_filter(filter)
        check_limit(limit)
        storage, state = self._whole_storage(), self._state()
        space = state.space(name)
        label, declared = pick_index({} if space is None else space.indexes, VectorIndex, name, index)
        assert space is not None
        query = to_vector(vector, declared)
        source = StateVectors(storage, state, space, label, self._shows_committed())
        return search(source, storage.nearest_index(name, declared), query, limit, condition, exact)

    def list_namespaces(self, *, prefix: Namespace | None = None) -> builtins.list[str]:
        if prefix is None:
            return list(self._state().names())
        return self._state().family(check_namespace(prefix))

    def get_namespace(self, name: Namespace) -> NamespaceInfo | None:
        space = self._state().space(check_namespace(name))
        return None if space is None else space.info()

    def list_indexes(self, namespace: Namespace) -> dict[str, Index]:
        space = self._state().space(check_namespace(namespace))
        return {} if space is None else dict(sorted(space.indexes.items()))

    def changes(
        self, *, namespace: Namespace | None = None, since: int | None = None, limit: int | None = None
    ) -> ChangePage:
        name = None if namespace is None else check_namespace(namespace)
        check_page(limit)
        if since is not None and (not isinstance(since, int) or isinstance(since, bool) or since < 0):
            raise InvalidInput("a cursor is a whole number of at least 0")
        return self._state().change_page(name, since, _CHANGES_A_PAGE if limit is None else limit)

    def _last_seq(self) -> int:
        return self._state().last_seq

    def get_status(self) -> Status:
        state = self._state()
        entries, namespaces = state.count_all()
        return Status(True, self.backend_name, entries, namespaces, 0, 0, 0, None, {"last_seq": state.last_seq})

    def check(self) -> CheckReport:
        problems = list(self._state().problems())
        return CheckReport(not problems, problems)


def _range(
    prefix: str, start: str | None, end: str | None, after: str | None, reverse: bool
) -> tuple[str | None, str | None]:
    """The lowest key (inclusive) and the highest (exclusive) that a scan may meet; None where nothing bounds it."""
    if not isinstance(prefix, str):
        raise InvalidKey(f"a prefix is a string, not {type(prefix).__name__}")
    lows = [_check_bound(prefix), _check_bound(start)]
    highs = [prefix_end(prefix) if prefix else None, _check_bound(end)]
    after = _check_bound(after)
    if after is not None:
        if reverse:
            highs.append(after)
        else:
            lows.append(_just_after(after))
    return (
        max((low for low in lows if low is not None), default=None),
        min((high for high in highs if high is not None), default=None),
    )


def _check_bound(bound: str | None) -> str | None:
    return bound if bound is None or bound == "" else check_key(bound)


def _just_after(key: str) -> str:
    """The bound that ``key`` is below and every later key is not: no key holds NUL."""
    return key + "\0"
