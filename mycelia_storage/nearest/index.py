"""What one process knows of one vector index: which entry is at which position, and how to find the near ones.

It covers the log of the index up to ``seq`` and takes up what was committed after that before a search. A view that
sees less, or writes of its own besides, gets the entries that differ told apart (:class:`Difference`), so nothing
uncommitted ever enters it.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from ..errors import StorageError
from ..filters import key_prefix_of, split_key_prefix
from ..indexes import VectorIndex
from ..similarity import to_matrix
from .columns import Columns
from .hnsw import Graph
from .key_ranges import KeyRanges
from .resident import Resident
from .scan import ScanCodes, load_faiss
from .settings import VectorSettings
from .source import FieldRow, VectorSource

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..filters import Filter
    from .resident import Mask

#: Changes remembered for views older than the index.
_REMEMBERED: Final = 10_000

#: How far behind an index may be when an uncommitted view is searched.
_FAR_BEHIND: Final = 1_000

#: Entries that a view may see otherwise before it is searched without the index.
_MOST_DIFFERENT: Final = 5_000

_ADDED_AT_ONCE: Final = 8_000

#: Vectors on which is seen how far codes are off.
_SAMPLED: Final = 128

#: Vectors added to a graph at a time while others wait for it.
_LINKED_AT_ONCE: Final = 32

# magic, ids, bytes of the list of ids, bytes of the codes, crc of the list and of which are alive
_IDS: Final = struct.Struct("<4sQQQI")
_MAGIC: Final = b"MyNJ"


class Difference(NamedTuple):
    """How what a view sees differs from what the index covers."""

    ids: set[Any]
    """These entries are to be looked up in the view."""
    all: bool
    """Whether the view sees none but those."""


class _Ids(NamedTuple):
    """What saved codes stand for."""

    ids: list[Any]
    alive: Mask
    end: int
    """Where they end and the codes begin."""
    codes_end: int


def _read_ids(data: bytes) -> _Ids | None:
    import numpy

    if len(data) < _IDS.size:
        return None
    magic, count, size, codes_size, crc = _IDS.unpack_from(data)
    listed = _IDS.size + size
    end = listed + count
    if magic != _MAGIC or len(data) < end or zlib.crc32(memoryview(data)[_IDS.size : end]) != crc:
        return None
    ids: list[Any] = orjson.loads(memoryview(data)[_IDS.size : listed])
    alive = numpy.frombuffer(data, dtype=numpy.uint8, count=count, offset=listed) != 0
    return _Ids(ids, alive, end, end + codes_size) if len(ids) == count else None


def saved_ids(data: bytes) -> set[Any] | None:
    """The entries that :meth:`NearestIndex.to_bytes` has codes of, or None if it cannot be read."""
    listed = _read_ids(data)
    return (
        None if listed is None else {id for id, alive in zip(listed.ids, listed.alive.tolist(), strict=True) if alive}
    )


class NearestIndex:
    """The state of one index in one process. Methods are called with :attr:`lock` held."""

    def __init__(self, declared: VectorIndex, settings: VectorSettings) -> None:
        self.declared = declared
        self.settings = settings
        self.lock = threading.RLock()
        self.saved_seq = self.saved_links = 0
        #: Whether codes that were saved are of no use any more, however few changes they lack.
        self.saved_in_vain = False
        self._refit_at = 0
        self._farthest: dict[float, float] = {}
        self._farthest_of: tuple[Any, int] = (None, 0)
        self._builder: threading.Thread | None = None
        self._reset()

    def _reset(self) -> None:
        import numpy

        self.seq = -1
        self.ids: list[Any] = []
        self.vectors: Resident | ScanCodes = Resident(self.declared)
        self.graph: Graph | None = None
        self._position: dict[Any, int] = {}
        self._alive: NDArray[numpy.bool_] = numpy.zeros(64, dtype=bool)
        self._columns = Columns()
        self._ranges = KeyRanges()
        self._recent: deque[tuple[int, Any]] = deque(maxlen=_REMEMBERED)
        self._recent_from = -1

    # -- catching up -----------------------------------------------------------------------------------------------

    def meet(self, source: VectorSource, seq: int) -> Difference | None:
        """Take up what was committed, and say how the view at ``seq`` differs. None: search without the index."""
        if source.committed and seq > self.seq:
            self._catch_up(source, seq)
        elif seq > self.seq + _FAR_BEHIND or self.seq < 0:
            with source.committed_view() as view:
                if view is not None and view.position().seq > self.seq:
                    self._catch_up(view, view.position().seq)
        if seq == self.seq:
            return Difference(set(), False)
        if self.seq < 0:
            return None
        if seq > self.seq:
            changed = source.changed(self.seq)
            if changed is None or len(changed.ids) > _MOST_DIFFERENT:
                return None
            return Difference(set(changed.ids), changed.cleared)
        if seq < self._recent_from:
            return None
        different = {id for at, id in self._recent if at > seq}
        return None if len(different) > _MOST_DIFFERENT else Difference(different, False)

    def _catch_up(self, source: VectorSource, seq: int) -> None:
        changed = source.changed(self.seq) if self.seq >= 0 else None
        if changed is None or changed.cleared:
            self._load(source)
            changed = source.changed(self.seq) if self.seq >= 0 else None
        if changed is None or changed.cleared or self._is_overgrown(len(changed.ids)):
            self._rebuild(source, seq)
            return
        ids = list(dict.fromkeys(changed.ids))
        for start in range(0, len(ids), 1_000):
            self._take_up(source, ids[start : start + 1_000])
        self._remember(changed.ids, seq)
        self.seq = seq
        self._change_kind(source)

    def _load(self, source: VectorSource) -> None:
        saved = source.load_codes(self.seq)
        if saved is not None and not self.load(*saved):
            self.saved_in_vain = True

    def load(self, seq: int, data: bytes) -> bool:
        """Begin anew with what :meth:`to_bytes` gave at ``seq``; False if it cannot be read, and nothing is changed."""
        import numpy

        listed = _read_ids(data) if load_faiss() is not None else None
        if listed is None:
            return False
        codes = ScanCodes.from_bytes(self.declared, data[listed.end : listed.codes_end])
        if codes is None or codes.count != len(listed.ids):
            return False
        self._reset()
        self.ids, self._alive = listed.ids, listed.alive
        if self._alive.all():
            self._position = dict(zip(self.ids, range(len(self.ids)), strict=True))
        else:
            self._position = {self.ids[at]: at for at in numpy.flatnonzero(self._alive).tolist()}
        self.vectors = codes
        self.graph = Graph.from_bytes(self.declared, codes, data[listed.codes_end :])
        self.saved_links = 0 if self.graph is None else self.graph.count
        self.seq = self.saved_seq = self._recent_from = seq
        return True

    def to_bytes(self) -> bytes:
        """The codes with the entries that they stand for; ids are JSON data."""
        import numpy

        assert isinstance(self.vectors, ScanCodes)
        ids = orjson.dumps(self.ids)
        alive = self._alive[: len(self.ids)].astype(numpy.uint8).tobytes()
        codes = self.vectors.to_bytes()
        graph = b"" if self.graph is None else self.graph.to_bytes()
        crc = zlib.crc32(alive, zlib.crc32(ids))
        return b"".join((_IDS.pack(_MAGIC, len(self.ids), len(ids), len(codes), crc), ids, alive, codes, graph))

    def _is_overgrown(self, more: int) -> bool:
        """Whether most positions would stand for nothing."""
        dead = len(self.ids) - len(self._position)
        return dead + more > 1_000 and dead > len(self._position)

    def _rebuild(self, source: VectorSource, seq: int) -> None:
        """Begin anew with all vectors."""
        self._reset()
        pages = source.all_vectors()
        first: list[tuple[Any, bytes]] = []
        for page in pages:
            first += page
            if self._wants_codes(len(first)):
                break
        if self._wants_codes(len(first)):
            # A sample in order of keys may be one-sided: codes fitted to the first vectors are made anew if so.
            self.vectors = ScanCodes.fitted(self.declared, self._matrix(first))
        self._add(first)
        self._add_pages(pages)
        self.seq = self._recent_from = seq
        if isinstance(self.vectors, ScanCodes) and self.vectors.has_drifted():
            self._refit(source)

    def _refit(self, source: VectorSource) -> None:
        """Make the codes anew, for vectors as they are now, from a sample of all."""
        sample = self.ids[:: max(1, len(self.ids) // 20_000)]
        rows: list[tuple[Any, bytes]] = []
        for start in range(0, len(sample), 1_000):
            rows += source.vectors(sample[start : start + 1_000])
        if not rows:
            return
        codes = ScanCodes.fitted(self.declared, self._matrix(rows))
        self.saved_in_vain = True
        seq, recent, recent_from = self.seq, self._recent, self._recent_from
        self._reset()
        self.vectors = codes
        self._add_pages(source.all_vectors())
        self.seq, self._recent, self._recent_from = seq, recent, recent_from

    def _change_kind(self, source: VectorSource) -> None:
        if isinstance(self.vectors, Resident):
            if self._wants_codes(len(self._position)):
                self._rebuild(source, self.seq)
        elif self.vectors.has_drifted() and self._worth_refitting():
            self._refit(source)

    def _worth_refitting(self) -> bool:
        """Whether refitting is due: not again before the number of vectors has grown by a tenth."""
        due = len(self.ids) >= self._refit_at
        if due:
            self._refit_at = len(self.ids) * 11 // 10
        return due

    def is_too_large(self, total: int) -> bool:
        """Whether so many vectors are better read at each search, as no codes can stand for them."""
        return load_faiss() is None and total * self.declared.dimensions > self.settings.largest_resident

    def _wants_codes(self, count: int) -> bool:
        return count * self.declared.dimensions > self.settings.resident_size and load_faiss() is not None

    def _take_up(self, source: VectorSource, ids: Sequence[Any]) -> None:
        import numpy

        gone = [at for id in ids if (at := self._position.pop(id, None)) is not None]
        self._alive[numpy.array(gone, dtype=numpy.int64)] = False
        page = source.vectors(ids)
        fields = dict(source.fields([id for id, _ in page])) if self._columns or self._ranges else {}
        self._add(page, fields)

    def _add(self, page: Sequence[tuple[Any, bytes]], fields: dict[Any, FieldRow] | None = None) -> None:
        import numpy

        if not page:
            return
        start, end = len(self.ids), len(self.ids) + len(page)
        if end > len(self._alive):
            larger = numpy.zeros(max(end, 2 * len(self._alive)), dtype=bool)
            larger[:start] = self._alive[:start]
            self._alive = larger
        self._alive[start:end] = True
        matrix = self._matrix(page)
        self.vectors.add(matrix)
        if self.graph is not None and self.graph.count == start and len(page) <= _LINKED_AT_ONCE:
            self.graph.add(matrix)
        ids = [id for id, _ in page]
        self.ids += ids
        self._position.update(zip(ids, range(start, end), strict=True))
        if self._columns:
            for id in ids:
                self._columns.append((fields or {}).get(id))
        if self._ranges:
            if fields is None or not all(id in fields for id in ids):
                self._ranges = KeyRanges()  # whose keys these are is not known
            else:
                for at, id in enumerate(ids, start):
                    self._ranges.append(at, fields[id].key)

    def _add_pages(self, pages: Iterable[list[tuple[Any, bytes]]]) -> None:
        gathered: list[tuple[Any, bytes]] = []
        for page in pages:
            gathered += page
            if len(gathered) >= _ADDED_AT_ONCE:
                self._add(gathered)
                gathered = []
        self._add(gathered)

    def _matrix(self, page: Sequence[tuple[Any, bytes]]) -> Any:
        return to_matrix([vector for _, vector in page], self.declared.dimensions)

    def _remember(self, ids: Sequence[Any], seq: int) -> None:
        if len(ids) >= _REMEMBERED:
            self._recent.clear()
            self._recent_from = seq
            return
        for at, id in zip(range(seq - len(ids) + 1, seq + 1), ids, strict=True):
            if len(self._recent) == _REMEMBERED:
                self._recent_from = self._recent[0][0]
            self._recent.append((at, id))

    def farthest(self, source: VectorSource, least: float) -> float | None:
        """The distance within which the codes of all vectors lie whose cosine with a query is ``least`` or more; None
        where too few vectors can be read to tell.
        """
        codes = self.vectors
        assert isinstance(codes, ScanCodes)
        known, count = self._farthest_of
        if known is not codes or codes.count > 2 * count:
            self._farthest, self._farthest_of = {}, (codes, codes.count)
        if least not in self._farthest:
            rows = source.vectors(self.ids[:: max(1, len(self.ids) // _SAMPLED)])
            if len(rows) < _SAMPLED // 2:
                return None
            self._farthest[least] = codes.farthest(self._matrix(rows), least)
        return self._farthest[least]

    # -- the graph -------------------------------------------------------------------------------------------------

    def link(self, source: VectorSource) -> None:
        """Have the graph built or extended by a thread of its own, if the index is declared with one and it is due."""
        linked = 0 if self.graph is None else self.graph.count
        due = len(self.ids) >= self.settings.linked_from and linked < len(self.ids) * 9 // 10
        if self.declared.index == "hnsw" and due and isinstance(self.vectors, ScanCodes) and self._builder is None:
            self._builder = threading.Thread(target=self._link, args=(source,), name="mycelia-hnsw", daemon=True)
            self._builder.start()

    def _link(self, source: VectorSource) -> None:
        try:
            with self.lock:
                ids, codes, graph = self.ids, self.vectors, self.graph
            assert isinstance(codes, ScanCodes)
            attached = graph is not None
            graph = graph or Graph(self.declared, codes)
            while graph.count < len(ids):
                part = ids[graph.count : graph.count + _LINKED_AT_ONCE]
                with source.committed_view() as view:
                    found = {} if view is None else dict(view.vectors(part))
                # Those no longer there are dead positions: anything may stand for them.
                blank = next(iter(found.values()), None) or bytes(4 * self.declared.dimensions - 1) + b"\x3f"
                matrix = self._matrix([(id, found.get(id, blank)) for id in part])
                if not attached:
                    graph.add(matrix)
                with self.lock:
                    if self.ids is not ids or view is None:
                        return
                    if attached and graph.count + len(part) <= len(ids):
                        graph.add(matrix)
            with self.lock:
                if self.ids is ids:
                    self.graph = graph
        except StorageError:
            pass  # closed meanwhile, or busy: a later search tries again
        finally:
            self._builder = None

    # -- positions -------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many vectors it covers."""
        return len(self._position)

    def ids_covered(self) -> Iterable[Any]:
        """The entries that it covers."""
        return self._position.keys()

    def fits(self, id: Any, vector: bytes) -> bool:
        """Whether what it holds of an entry is this vector, as far as codes can tell."""
        import numpy

        only = self.positions([id])
        matrix = self._matrix([(id, vector)])
        if isinstance(self.vectors, Resident):
            return bool((self.vectors.rows(numpy.flatnonzero(only)) == matrix).all())
        return self.vectors.holds(matrix, only)

    def positions(self, ids: Iterable[Any]) -> Mask:
        """A mask of those of ``ids`` that it covers."""
        import numpy

        found = numpy.zeros(len(self.ids), dtype=bool)
        at = [position for id in ids if (position := self._position.get(id)) is not None]
        found[numpy.array(at, dtype=numpy.int64)] = True
        return found

    def allowed(self, source: VectorSource, condition: Filter | None, different: set[Any]) -> Mask | None:
        """Where a search may look, None for everywhere. ``different`` are entries to leave out."""
        count = len(self.ids)
        mask = None if len(self._position) == count else self._alive[:count]
        if condition is not None:
            held = self._matching(source, condition)
            mask = held & self._alive[:count]
        if different:
            outside = ~self.positions(different)
            mask = outside & self._alive[:count] if mask is None else mask & outside
        return mask

    def _matching(self, source: VectorSource, condition: Filter) -> Mask:
        by_key, rest = split_key_prefix(condition)
        if by_key is not None:
            within = self._within(source, by_key)
            return within if rest is None else within & self._matching(source, rest)
        missing = self._columns.missing(condition)
        current = source.committed and source.position().seq == self.seq
        if missing and current and self._columns.can_hold(missing):
            position = self._position
            rows = ((position[id], row) for id, row in source.fields(None) if id in position)
            self._columns.make(missing, len(self.ids), rows)
        held = self._columns.holds(condition)
        return self.positions(source.matching(condition)) if held is None else held

    def _within(self, source: VectorSource, by_key: Filter) -> Mask:
        """A mask of what a condition on the beginning of keys lets through, dead positions perhaps included."""
        beginning = key_prefix_of(by_key)
        known = self._ranges.mask(beginning, len(self.ids))
        if known is not None:
            return known
        found = self.positions(source.matching(by_key))
        if source.committed and source.position().seq == self.seq:
            self._ranges.keep(beginning, found.nonzero()[0].tolist())
        return found
