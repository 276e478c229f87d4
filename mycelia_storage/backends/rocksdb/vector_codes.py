"""Codes of vector indexes in the database, so that the next process need not make them: derived and disposable.

They cover the log of vectors up to a seq. Their parts are written one by one under that seq, in the end the row that
says which codes count, in one batch with the removal of all others; so at any moment either the old codes are whole, or
the new ones are, and parts that a crash left behind go with the next saving.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from ...indexes import VectorIndex
from ...nearest.index import saved_ids
from ...nearest.scan import ScanCodes
from ...states.state import now_ms
from ...states.vectors import committed_vectors, vectors_changed
from . import layout
from .space import RocksDBSpace

if TYPE_CHECKING:
    from .storage import RocksDBStorageBackend

_PART_BYTES: Final = 4_000_000

#: Changes after which codes are saved anew: so many, and a share of all vectors. The log keeps more.
_LEAST_CHANGES: Final = 1_000
_SHARE: Final = 16


def catch_up(storage: RocksDBStorageBackend) -> None:
    """Bring what this process knows of every vector index up to date."""
    state = storage._state()
    for namespace in list(state.names()):
        space = state.space(namespace)
        for declared in {} if space is None else set(space.vector_indexes.values()):
            source = committed_vectors(storage, namespace, declared)
            if source is not None:
                index = storage.nearest_index(namespace, declared)
                with index.lock:
                    index.meet(source, source.position().seq)


class _Codes(NamedTuple):
    """Codes to be saved."""

    storage: RocksDBStorageBackend
    namespace: str
    name: str
    declared: VectorIndex
    seq: int
    timeout: float

    def save(self, data: bytes) -> None:
        """Write parts, then what makes them count."""
        starts = range(0, len(data), _PART_BYTES)
        for part, start in enumerate(starts):
            if not self._write(layout.CODES_PART.pack(self.seq, part), data[start : start + _PART_BYTES]):
                return
        self._write(b"", layout.CODES.pack(self.seq, len(starts), crc32(data)))

    def _write(self, end: bytes, row: bytes) -> bool:
        """Write a row; False if it is of no use any more. With the last one all other codes go."""
        storage, seq = self.storage, self.seq
        claim = storage._claim(self.timeout)  # so no transaction is open that would drop the index but not this row
        try:
            with storage._turn.changed:
                storage.check_open()
                space = storage._base().space(self.namespace)
                if not isinstance(space, RocksDBSpace) or space.indexes.get(self.name) != self.declared:
                    return False
                if not space.vectors_from - 1 <= seq <= space.vectors_through or not storage._turn.holds(claim):
                    return False
                prefix = space.codes_prefix(self.name)
                others = []
                if not end:
                    first, last = prefix + layout.NUMBER.pack(seq), prefix + layout.NUMBER.pack(seq + 1)
                    others = [(prefix + b"\0", first), (last, layout.after(prefix))]
                storage.write_beside(others, [(prefix + end, row)])
                return True
        finally:
            storage._turn.give_up(claim)


def save_due(storage: RocksDBStorageBackend, timeout: float) -> None:
    """Save the codes of indexes searched by this process, if they have changed enough since they were.

    ``timeout``: seconds to wait for other writers, at each part.

    Raises StorageBusy, StorageFull, StorageError.
    """
    for (namespace, declared), index in list(storage._nearest.items()):
        source = committed_vectors(storage, namespace, declared)
        if source is None:
            continue
        assert isinstance(source.space, RocksDBSpace)
        saved = source.space.saved_through(source.name)
        with index.lock:
            index.meet(source, source.position().seq)
            if not isinstance(index.vectors, ScanCodes):
                continue
            seq, linked = index.seq, 0 if index.graph is None else index.graph.count
            least = max(_LEAST_CHANGES, index.count // _SHARE)
            if saved and seq - saved < least and linked - index.saved_links < least:
                continue
            data = index.to_bytes()
        _Codes(storage, namespace, source.name, declared, seq, timeout).save(data)
        index.saved_links = linked


def codes_problems(space: RocksDBSpace) -> Iterator[str]:
    """Whatever is wrong with the codes of a namespace, each in a sentence without the namespace."""
    known = {space.codes_prefix(name) for name in space.vector_indexes}
    prefix = layout.prefix("k", space.name)
    if any(full[: len(prefix) + 4] not in known for full, _ in space.view.items(prefix, layout.after(prefix))):
        yield "there are codes of no vector index"
    for name in space.vector_indexes:
        problem = _problem_of(space, name)
        if problem:
            yield f"the codes of index {name!r} {problem}; optimize() makes them anew"


def _problem_of(space: RocksDBSpace, name: str) -> str | None:
    """How codes that count disagree with the entries."""
    saved = space.saved_codes(name)
    if saved is None:
        return None
    seq, data = saved
    covered = saved_ids(data)
    if covered is None:
        return "are damaged"
    changed = vectors_changed(space, seq)
    if changed is None:
        return None
    later, now = set(changed.ids), now_ms()
    for key, row in space.rows():
        if key not in later and key not in covered and row.is_live(now):
            return f"do not know key {key!r}"
        covered.discard(key)
    return "know entries that are not there" if covered - later else None
