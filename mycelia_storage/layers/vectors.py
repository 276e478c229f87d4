"""Vectors under keys, with JSON metadata, found by similarity.

=========================  =====================================================================
``<namespace>``            key -> the vector as bytes (little-endian float32); the metadata is
                           the entry's
index ``vector:<metric>``  a VectorIndex over the namespace, kept up in each entry's transaction
=========================  =====================================================================

Given a transaction instead of a storage, a ``Vectors`` joins it. In filters a bare name is a field of the metadata:
``where("lang") == "en"``; ``$key``, ``$created_at`` and ``$updated_at`` reach the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..contract import BatchResult, SearchHit, StorageBackend
from ..errors import (
    BatchError,
    EmbeddingMismatch,
    IndexNotFound,
    InvalidInput,
    InvalidValue,
    StorageError,
    StorageReadOnly,
)
from ..filters import FilterInput
from ..indexes import Metric, VectorIndex, VectorSearch
from ..names import Namespace, check_key, check_namespace
from ..similarity import VectorInput, to_vector
from .field_names import metadata_field, rename_fields
from .transacting import in_transaction

if TYPE_CHECKING:
    from ..similarity import Floats


@dataclass(frozen=True)
class StoredVector:
    """A vector as stored."""

    key: str
    metadata: dict[str, Any]
    version: int
    data: bytes = field(repr=False)
    """Little-endian float32."""

    @property
    def vector(self) -> Floats:
        """The numbers, float32, shape (dimensions,); read-only."""
        return _numbers(self.data)


@dataclass(frozen=True)
class Match:
    """A vector that a search found."""

    key: str
    score: float
    """More is nearer: cosine, dot product, or minus the Euclidean distance."""
    metadata: dict[str, Any]
    data: bytes = field(repr=False)

    @property
    def vector(self) -> Floats:
        """The numbers, float32, shape (dimensions,); read-only."""
        return _numbers(self.data)


class Matches(list[Match]):
    """What a search found, nearest first, ties in order of key. ``plan`` says how it was done."""

    def __init__(self, matches: Iterable[Match], plan: dict[str, Any]) -> None:
        super().__init__(matches)
        self.plan = plan


@dataclass(frozen=True)
class VectorStats:
    """A namespace of vectors at a glance."""

    namespace: str
    vectors: int
    index: VectorIndex

    @property
    def size_bytes(self) -> int:
        """What the vectors themselves take."""
        return 4 * self.vectors * self.index.dimensions


class Vectors:
    """A namespace of vectors of one kind."""

    def __init__(
        self,
        storage: StorageBackend,
        namespace: Namespace = "vectors",
        dimensions: int = 384,
        metric: Metric = "cosine",
        *,
        m: int = 16,
        ef_construction: int = 200,
        ef: int = 50,
        max_vectors: int = 1_000_000,
        index: VectorSearch = "scan",
    ) -> None:
        """Open the namespace, making it and its index if need be.

        An existing index keeps its ``m``, ``ef_construction``, ``ef``, ``max_vectors`` and ``index``; :meth:`rebuild`
        makes it anew with those given here. Raises EmbeddingMismatch when it has other dimensions or another metric.
        """
        self.storage = storage
        self.namespace = check_namespace(namespace)
        self._wanted = VectorIndex(dimensions, metric, m, ef_construction, ef, max_vectors, index)
        self.index = self._open()

    def _open(self) -> VectorIndex:
        wanted = self._wanted
        existing = [
            index for index in self.storage.list_indexes(self.namespace).values() if isinstance(index, VectorIndex)
        ]
        for index in existing:
            if index.dimensions == wanted.dimensions and index.metric == wanted.metric:
                return index
        if existing:
            held = existing[0]
            raise EmbeddingMismatch(
                f"namespace {self.namespace!r} holds {held.dimensions}-dimensional vectors compared by {held.metric}, "
                f"not {wanted.dimensions}-dimensional ones compared by {wanted.metric}: those need another namespace"
            )
        try:
            self.storage.create_index(self.namespace, wanted)
        except StorageReadOnly:
            pass  # nothing is there to be found
        return wanted

    # -- writing ---------------------------------------------------------------------------------------------------

    def add(
        self,
        key: str,
        vector: VectorInput,
        metadata: dict[str, Any] | None = None,
        *,
        ttl: float | None = None,
        overwrite: bool = True,
        if_version: int | None = None,
    ) -> int:
        """Store a vector (numbers, an array, or bytes of float32) and return its version.

        Raises InvalidValue for another number of dimensions, NaN, infinity, and under cosine for all zeros; IndexFull
        beyond ``max_vectors``; KeyExists (``overwrite=False``), VersionConflict (``if_version``).
        """
        return self.storage.set(
            key,
            to_bytes(vector, self.namespace, check_key(key)),
            namespace=self.namespace,
            metadata=metadata,
            ttl=ttl,
            overwrite=overwrite,
            if_version=if_version,
        )

    def add_many(
        self,
        items: Mapping[str, VectorInput] | Iterable[Any],
        *,
        ttl: float | None = None,
        overwrite: bool = True,
        atomic: bool = True,
    ) -> BatchResult:
        """Store many vectors in one transaction, larger than memory too.

        ``items`` is a mapping from key to vector, or (key, vector) pairs, (key, vector, metadata) triples or dicts with
        ``key``, ``vector`` and optionally ``metadata``. Of a key given twice the last wins. ``atomic=True``: one bad
        item writes nothing and raises BatchError; ``atomic=False``: the good ones are written, the others are in
        ``.errors``.
        """
        refused: dict[tuple[str, str], StorageError] = {}
        with self.storage.transaction() as tx:
            found = tx.set_many(
                self._entries(items, refused), namespace=self.namespace, ttl=ttl, overwrite=overwrite, atomic=False
            )
            errors = {**refused, **found.errors}
            if errors and atomic:
                raise BatchError(errors)
        return BatchResult(found.written, errors)

    def _entries(self, items: Any, refused: dict[tuple[str, str], StorageError]) -> Iterator[dict[str, Any]]:
        if isinstance(items, str | bytes) or not isinstance(items, Iterable):
            raise InvalidInput("items are a mapping, or an iterable of (key, vector) pairs")
        for position, item in enumerate(items.items() if isinstance(items, Mapping) else items):
            key: Any = f"item {position}"
            try:
                key, vector, metadata = _read_item(item, position)
                data = to_bytes(vector, self.namespace, check_key(key))
            except InvalidInput as error:
                refused[self.namespace, key if isinstance(key, str) else f"item {position}"] = error
            else:
                yield {"key": key, "value": data, "metadata": metadata}

    def delete(self, key: str) -> bool:
        """Delete a vector; whether it existed."""
        return self.storage.delete(key, namespace=self.namespace)

    def delete_many(self, keys: Iterable[str]) -> int:
        """Delete several in one transaction; how many existed."""
        return self.storage.delete_many(keys, namespace=self.namespace)

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> StoredVector | None:
        """The vector of ``key`` with its metadata, or None."""
        entry = self.storage.get_entry(key, namespace=self.namespace)
        return None if entry is None else StoredVector(entry.key, entry.metadata, entry.version, entry.value)

    def search(
        self,
        query: VectorInput,
        k: int = 10,
        filter: FilterInput | None = None,
        exact: bool | None = None,
        threshold: float | None = None,
    ) -> Matches:
        """The ``k`` vectors nearest to ``query`` of those whose metadata meet ``filter``, nearest first.

        ``exact=True`` compares with every vector. ``threshold`` leaves out scores below it. There are fewer than ``k``
        only if fewer match. Raises InvalidValue, InvalidFilter, InvalidInput.
        """
        if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, int | float)):
            raise InvalidInput("threshold is a score, a number")
        condition = rename_fields(filter, metadata_field)
        try:
            hits = self.storage.search_vectors(
                query,
                namespace=self.namespace,
                limit=k,
                filter=condition,
                exact=exact,
                index=self.index.default_name,
            )
        except IndexNotFound:
            # A read-only storage that never held any; else somebody dropped the index.
            if self.storage.get_namespace(self.namespace) is not None:
                raise
            to_vector(query, self.index)
            return Matches((), {"method": "empty", "vectors": 0})
        kept: Sequence[SearchHit] = hits
        if threshold is not None:
            kept = [hit for hit in hits if hit.score >= threshold]
        return Matches((Match(hit.key, hit.score, hit.metadata, hit.value) for hit in kept), hits.plan)

    def explain(
        self, query: VectorInput, k: int = 10, filter: FilterInput | None = None, exact: bool | None = None
    ) -> dict[str, Any]:
        """How that search is done: the backend's plan (``method`` and what else it can tell) and what was declared."""
        found = self.search(query, k, filter, exact)
        return {
            **found.plan,
            "metric": self.index.metric,
            "dimensions": self.index.dimensions,
            "filtered": filter is not None,
            "found": len(found),
        }

    def count(self, filter: FilterInput | None = None) -> int:
        """How many vectors there are, or match."""
        return self.storage.count(namespace=self.namespace, filter=rename_fields(filter, metadata_field))

    def stats(self) -> VectorStats:
        """What there is, and how it is declared."""
        return VectorStats(self.namespace, self.count(), self.index)

    def rebuild(self) -> None:
        """Drop the index and build it from the vectors with this object's settings, in one transaction."""

        def build(tx: StorageBackend) -> None:
            tx.drop_index(self.namespace, self.index.default_name)
            tx.create_index(self.namespace, self._wanted)

        in_transaction(self.storage, build)
        self.index = self._wanted


def to_bytes(vector: VectorInput, namespace: str, key: str) -> bytes:
    """A vector as it is stored. The index looks at dimensions and numbers; this raises InvalidValue for other data."""
    import numpy

    if isinstance(vector, bytes | bytearray | memoryview):
        return bytes(vector)
    try:
        with numpy.errstate(over="ignore"):
            numbers = numpy.asarray(vector, dtype="<f4")
    except (TypeError, ValueError, OverflowError):
        numbers = None
    if numbers is None or numbers.ndim != 1:
        raise InvalidValue(
            f"the vector of key {key!r} in namespace {namespace!r} is no row of numbers, nor their bytes"
        )
    return numbers.tobytes()


def _read_item(item: Any, position: int) -> tuple[Any, Any, Any]:
    if isinstance(item, Mapping):
        if "key" in item and "vector" in item and not item.keys() - {"key", "vector", "metadata"}:
            return item["key"], item["vector"], item.get("metadata")
    elif isinstance(item, Sequence) and not isinstance(item, str | bytes) and len(item) in (2, 3):
        return item[0], item[1], item[2] if len(item) == 3 else None
    raise InvalidInput(f"item {position} is no (key, vector), (key, vector, metadata) or dict of these")


def _numbers(data: bytes) -> Floats:
    import numpy

    return numpy.frombuffer(data, dtype="<f4")
