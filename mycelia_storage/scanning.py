"""The reading methods of the contract in terms of ``scan``: what they mean, whatever stores the entries.

Each looks at every entry of the namespace that its pattern or its filter's beginning of keys leaves.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from .answers import Entry, EntryList, Keys, SearchHit, SearchHits
from .arguments import check_limit, check_page, check_text
from .field_paths import parse_path
from .filters import FilterInput, SortInput, key_prefix_of, match, parse_filter, parse_sort
from .indexes import SearchIndex, TextIndex, VectorIndex, pick_index
from .names import Namespace, check_namespace
from .patterns import compile_pattern, literal_prefix
from .similarity import VectorInput, best, scores, to_matrix, to_vector
from .text import occurrences, query_terms, rank

if TYPE_CHECKING:
    from .contract import StorageBackend

#: Entries that are read at a time.
PAGE: Final = 500


def list_keys(
    storage: StorageBackend,
    pattern: str | None,
    namespace: Namespace,
    limit: int | None,
    offset: int,
    after: str | None,
) -> Keys:
    """The keys that match ``pattern``, in order."""
    check_page(limit, offset)
    prefix = "" if pattern is None else literal_prefix(pattern)
    matches = None if pattern is None else compile_pattern(pattern)
    keys: Keys = []
    if limit == 0:
        return keys
    for entry in storage.scan(namespace=namespace, prefix=prefix, after=after):
        if matches is None or matches(entry.key):
            if offset:
                offset -= 1
                continue
            keys.append(entry.key)
            if len(keys) == limit:
                break
    return keys


def query(
    storage: StorageBackend,
    filter: FilterInput | None,
    namespace: Namespace,
    sort: SortInput | None,
    limit: int | None,
    offset: int,
) -> EntryList:
    """The entries that match ``filter``, in the order of ``sort`` or else of their keys."""
    condition, order = parse_filter(filter), parse_sort(sort)
    check_page(limit, offset)
    found = [entry for entry in storage.scan(namespace=namespace) if condition is None or match(condition, entry)]
    if order:
        found = order.sorted(found)
    return found[offset:] if limit is None else found[offset : offset + limit]


def count(storage: StorageBackend, namespace: Namespace, filter: FilterInput | None) -> int:
    """How many entries match."""
    condition = parse_filter(filter)
    return sum(condition is None or match(condition, entry) for entry in storage.scan(namespace=namespace))


def search_text(
    storage: StorageBackend,
    text: str,
    namespace: Namespace,
    limit: int,
    filter: FilterInput | None,
    index: str | None,
) -> SearchHits:
    """The entries that fit the words of ``text`` best, every entry's words being counted anew."""
    declared = _declared(storage, namespace, index, TextIndex)
    condition = parse_filter(filter)
    query = query_terms(check_text(text), declared.language)
    fields = [(parse_path(path), weight) for path, weight in declared.fields]
    held = {}
    entries: dict[str, Entry] = {}
    for entry in storage.scan(namespace=namespace):
        kept = occurrences(((path.read(entry), weight) for path, weight in fields), declared.language)
        if kept.length:
            held[entry.key] = kept
            if condition is None or match(condition, entry):
                entries[entry.key] = entry
    ranked = rank(query, held)
    found = best(((key, score) for key, score in ranked.items() if key in entries), check_limit(limit))
    hits = (SearchHit(key, score, entries[key]) for key, score in found)
    return SearchHits(hits, method="scan", entries=len(held))


def search_vectors(
    storage: StorageBackend,
    vector: VectorInput,
    namespace: Namespace,
    limit: int,
    filter: FilterInput | None,
    index: str | None,
) -> SearchHits:
    """The entries nearest to ``vector``, which is compared with all of them."""
    declared = _declared(storage, namespace, index, VectorIndex)
    condition, query = parse_filter(filter), to_vector(vector, declared)
    check_limit(limit)
    best_yet: list[Entry] = []
    scored: dict[str, float] = {}
    seen = 0
    held = storage.scan(namespace=namespace, prefix=key_prefix_of(condition))
    entries = (entry for entry in held if condition is None or match(condition, entry))
    while page := list(islice(entries, PAGE)):
        seen += len(page)
        matrix = to_matrix([entry.value for entry in page], declared.dimensions)
        scored.update(zip((entry.key for entry in page), scores(matrix, query, declared.metric).tolist(), strict=True))
        kept = {key for key, _ in best(scored.items(), limit)}
        best_yet = [entry for entry in (*best_yet, *page) if entry.key in kept]
        scored = {entry.key: scored[entry.key] for entry in best_yet}
    found = {entry.key: entry for entry in best_yet}
    hits = (SearchHit(key, score, found[key]) for key, score in best(scored.items(), limit))
    return SearchHits(hits, method="exact", vectors=seen)


def _declared(storage: StorageBackend, namespace: Namespace, name: str | None, kind: type[SearchIndex]) -> SearchIndex:
    return pick_index(storage.list_indexes(namespace), kind, check_namespace(namespace), name)[1]
