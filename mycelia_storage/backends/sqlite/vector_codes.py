"""Codes of vector indexes in the database, so that a new process need not make them: derived, and never trusted alone.

They cover the log up to a seq. Part 0 is written last, so codes without it are incomplete and not read. The log behind
them is kept a while for processes that catch up, then forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ...indexes import VectorIndex
from ...nearest.index import NearestIndex
from ...nearest.scan import ScanCodes
from ...nearest.settings import VectorSettings
from .search_upkeep import INDEXES, number_of, read_declaration
from .vector_search import SQLiteVectors

if TYPE_CHECKING:
    from .backend import SQLiteStorageBackend
    from .vector_log import VectorKeeper
    from .writing import EntryWriter

_PART_BYTES: Final = 4_000_000

#: Changes after which codes are saved anew: so many, and a share of all vectors.
_LEAST_CHANGES: Final = 1_000
_SHARE: Final = 16

#: Log rows kept behind the codes, for processes that have not caught up yet.
_KEPT: Final = 10_000

_SAVED: Final = "SELECT coalesce(max(seq), 0) FROM storage_vector_codes WHERE index_number = ? AND part = 0"
# Nothing is written for an index that was dropped meanwhile.
_ADD: Final = """INSERT INTO storage_vector_codes (index_number, seq, part, data)
SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM storage_vector_log WHERE index_number = ?1)
ON CONFLICT (index_number, seq, part) DO UPDATE SET data = excluded.data"""
_FORGET_OTHERS: Final = "DELETE FROM storage_vector_codes WHERE index_number = ?1 AND (seq <> ?2 OR part >= ?3)"
_FORGET_LOG: Final = """DELETE FROM storage_vector_log WHERE index_number = ?1 AND seq < ?2
AND seq < (SELECT max(seq) FROM storage_vector_log WHERE index_number = ?1)"""
_NAMESPACES: Final = "SELECT name FROM storage_namespaces WHERE track_changes & 2 ORDER BY name"


def save_due(storage: SQLiteStorageBackend, *, make: bool = False) -> None:
    """Save the codes that have changed enough since they were; ``make``: also those of indexes not yet searched."""
    if make:
        _make_all(storage)
    for (number, _), index in list(storage._nearest.items()):
        with index.lock:
            if not isinstance(index.vectors, ScanCodes):
                continue
            seq, linked = index.seq, 0 if index.graph is None else index.graph.count
            (saved,) = storage._rows(_SAVED, (number,))[0]
            index.saved_seq = max(index.saved_seq, saved)
            least = max(_LEAST_CHANGES, index.count // _SHARE)
            wanted = index.saved_in_vain or not index.saved_seq
            if seq - index.saved_seq < least and linked - index.saved_links < least and not wanted:
                continue
            data = index.to_bytes()
        _save(storage, number, seq, data)
        index.saved_seq, index.saved_links, index.saved_in_vain = seq, linked, False


def _make_all(storage: SQLiteStorageBackend) -> None:
    """Bring every vector index of this process up to date."""
    for (namespace,) in storage._rows(_NAMESPACES, ()):
        for _, declaration, sql_name in storage._rows(INDEXES, (namespace,)):
            declared = read_declaration(declaration)
            if isinstance(declared, VectorIndex):
                catch_up(storage, namespace, number_of(sql_name), declared)


def catch_up(storage: SQLiteStorageBackend, namespace: str, number: int, declared: VectorIndex) -> NearestIndex:
    """What this process knows of an index, brought up to the newest commit."""
    index = storage._nearest_index(number, declared)
    with storage._committed_vectors(namespace, number) as source, index.lock:
        index.meet(source, source.position().seq)
    return index


def problems_of_codes(keeper: VectorKeeper) -> Iterator[str]:
    """What is wrong with saved codes, caught up with the log, in sentences. ``keeper.run`` shows one state."""
    source = SQLiteVectors(keeper.run, keeper.namespace, keeper.number, True)
    saved = source.load_codes(0)
    if saved is None:
        return
    index = NearestIndex(keeper.index, VectorSettings(0))
    if not index.load(*saved):
        return  # of another version, or damaged: made anew when they are needed
    index.meet(source, source.position().seq)
    rows = {id for page in source.all_vectors() for id, _ in page}
    covered = set(index.ids_covered())
    if rows - covered:
        yield f"its codes lack {len(rows - covered)} vectors"
    wrong = sum(
        not index.fits(id, vector) for id, vector in source.vectors(sorted(rows & covered)[:: len(rows) // 200 + 1])
    )
    if wrong:
        yield f"{wrong} of its codes are not those of their vectors"


def _save(storage: SQLiteStorageBackend, number: int, seq: int, data: bytes) -> None:
    parts = [data[start : start + _PART_BYTES] for start in range(0, len(data), _PART_BYTES)]
    for part in range(len(parts) - 1, -1, -1):
        row = (number, seq, part, parts[part])
        storage._change(lambda writer, row=row: writer.rows(_ADD, row))  # type: ignore[misc]

    def forget(writer: EntryWriter) -> None:
        writer.rows(_FORGET_OTHERS, (number, seq, len(parts)))
        writer.rows(_FORGET_LOG, (number, seq - _KEPT))

    storage._change(forget)
