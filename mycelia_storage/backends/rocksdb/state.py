"""All of a RocksDB storage at one moment: a view, and the namespaces changed above it."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge

from ...contract import Change, Entry
from ...filters import Filter, Sort
from ...states.state import Row, Space, State, now_ms
from . import layout
from .check import find_problems
from .planning import select
from .space import RocksDBSpace
from .view import View


class RocksDBState(State):
    """Everything stored, at one moment."""

    __slots__ = ("_last_seq", "_lost_through", "changed", "view")

    def __init__(self, view: View, last_seq: int | None = None, lost_through: int | None = None) -> None:
        self.view = view
        #: The namespaces that this state does not have as they are stored; None for those deleted.
        self.changed: dict[str, RocksDBSpace | None] = {}
        self._last_seq = last_seq
        self._lost_through = lost_through

    @property
    def last_seq(self) -> int:
        if self._last_seq is None:
            newest = next(self.view.items(layout.ORDER, layout.after(layout.ORDER), reverse=True), None)
            logged = 0 if newest is None else layout.NUMBER.unpack_from(newest[0], 1)[0]
            self._last_seq = max(logged, self.lost_through)
        return self._last_seq

    @last_seq.setter
    def last_seq(self, seq: int) -> None:
        self._last_seq = seq

    @property
    def lost_through(self) -> int:
        if self._lost_through is None:
            data = self.view.get(layout.LOST)
            self._lost_through = 0 if data is None else int(layout.NUMBER.unpack(data)[0])
        return self._lost_through

    @lost_through.setter
    def lost_through(self, seq: int) -> None:
        if seq != self.lost_through:
            self._lost_through = seq
            self.view.put(layout.LOST, layout.NUMBER.pack(seq))

    def fork(self) -> RocksDBState:
        copy = RocksDBState(self.view.fork(), self._last_seq, self._lost_through)
        copy.changed = self.changed.copy()
        return copy

    def rows_to_write(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Every changed row, None for a deleted one."""
        yield from self.view.changes.items()
        for name, space in self.changed.items():
            if space is not None:
                yield from space.changed_rows()
            else:
                yield layout.NAMESPACES + name.encode(), None
                yield layout.COUNTERS + name.encode(), None

    # -- namespaces ------------------------------------------------------------------------------------------------

    def space(self, name: str) -> RocksDBSpace | None:
        if name not in self.changed:
            return RocksDBSpace.load(name, self.view)
        space = self.changed[name]
        if space is not None and space.view is not self.view:
            space = self.changed[name] = space.bound_to(self.view)
        return space

    def new_space(self, name: str) -> Space:
        dropped_key = b"d" + name.encode()
        dropped = self.view.get(dropped_key)
        if dropped is not None:
            self.view.delete(dropped_key)
        lost = 0 if dropped is None else layout.NUMBER.unpack(dropped)[0]
        space = self.changed[name] = RocksDBSpace(name, self.view, lost)
        return space

    def own_space(self, space: Space) -> Space:
        assert isinstance(space, RocksDBSpace)
        self.changed[space.name] = space  # loaded, or bound to this state's view, for this state alone
        return space

    def drop_space(self, space: Space, lost: int) -> None:
        space.forget_changes([change.seq for change in space.changes()])
        space.empty()
        space.end_vector_log()
        self.changed[space.name] = None
        if lost:
            self.view.put(b"d" + space.name.encode(), layout.NUMBER.pack(lost))

    def names(self, low: str | None = None, high: str | None = None) -> Iterator[str]:
        first = layout.NAMESPACES + (low or "").encode()
        last = layout.after(layout.NAMESPACES) if high is None else layout.NAMESPACES + high.encode()
        stored = (key[1:].decode() for key, _ in self.view.items(first, last))
        if not self.changed:
            yield from stored
            return
        kept = (name for name in stored if name not in self.changed)
        there = (name for name, space in self.changed.items() if space is not None)
        # Code points order as UTF-8 bytes do.
        yield from merge(kept, sorted(name for name in there if name >= (low or "") and (high is None or name < high)))

    def names_with_expired(self, now: int) -> list[str]:
        found: list[str] = []
        place = layout.EXPIRIES
        while row := next(self.view.items(place, layout.after(layout.EXPIRIES)), None):
            name, _, rest = row[0][1:].partition(b"\0")
            if layout.NUMBER.unpack_from(rest)[0] <= now:
                found.append(name.decode())
            place = layout.EXPIRIES + name + b"\x01"
        return found

    # -- entries ---------------------------------------------------------------------------------------------------

    def live_row(self, namespace: str, key: str) -> Row | None:
        data = self.view.get(f"e{namespace}\0{key}".encode())
        if data is None:
            return None
        row = layout.unpack_row(namespace, key, data)
        return row if row.is_live(now_ms()) else None

    def live_keys(self, namespace: str, low: str | None, high: str | None) -> Iterator[str]:
        now, start = now_ms(), len(namespace.encode()) + 2
        expires, expires_at = layout.EXPIRES, layout.NUMBER
        for full, data in self._items(namespace, low, high, False):
            if not data[0] & expires or expires_at.unpack_from(data, 25)[0] > now:
                yield full[start:].decode()

    def live_entries(
        self, namespace: str, low: str | None = None, high: str | None = None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        now, start = now_ms(), len(namespace.encode()) + 2
        for full, data in self._items(namespace, low, high, reverse):
            entry = layout.unpack_entry(namespace, full[start:].decode(), data, now)
            if entry is not None:
                yield entry

    def select(self, namespace: str, condition: Filter | None, order: Sort) -> Iterator[Entry]:
        space = self.space(namespace)
        if space is not None and space.indexes:
            found = select(space, condition, order)
            if found is not None:
                return found
        return super().select(namespace, condition, order)

    def _items(self, namespace: str, low: str | None, high: str | None, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        prefix = layout.prefix("e", namespace)
        first = prefix if low is None else prefix + low.encode()
        return self.view.items(first, layout.after(prefix) if high is None else prefix + high.encode(), reverse)

    # -- changes and care ------------------------------------------------------------------------------------------

    def all_changes(self, after: int) -> Iterator[Change]:
        first = layout.ORDER + layout.NUMBER.pack(after + 1)
        for full, name in self.view.items(first, layout.after(layout.ORDER)):
            data = self.view.get(b"l" + name + b"\0" + full[1:])
            (seq,) = layout.NUMBER.unpack_from(full, 1)
            yield layout.unpack_change(name.decode(), seq, data or b"")

    def release(self) -> None:
        self.view.base.release()

    def problems(self) -> Iterator[str]:
        return find_problems(self)
