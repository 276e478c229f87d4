"""A turn: one write transaction of the store, with its sequence numbers, its clock and its log rows.

``sequence/log`` holds ``{"seq", "clock", "gone"}``. Each transaction reads it first and writes it last, so turns follow
one another, sequence numbers have no gap and rise in the order of commits on every backend. A stamp is the clock
(hybrid: above every stamp ever seen here) in 16 hex digits, a dot, and the instance: stamps order as text.
"""

from __future__ import annotations

import time
from typing import Any, Final

from ...contract import Entry, Transaction
from .entities import LogRecord
from .kinds import Entity, Event
from .layout import LOG_KEY, Layout, log_key

_GONE: Any = object()

#: Up to so many rows are set one by one: a batch costs as much as they do before it begins.
_FEW: Final = 8


def now_ms() -> int:
    """The time in UTC milliseconds, at least 0."""
    return max(0, time.time_ns() // 1_000_000)


class Turn:
    """One write transaction. What is put lies in a buffer until :meth:`flush`; ``get`` sees it, scans need a flush."""

    def __init__(self, tx: Transaction, layout: Layout, instance: str, via: str | None = None) -> None:
        self.tx = tx
        self.layout = layout
        self.instance = instance
        self.via = via
        """The peer whose changes are being applied."""
        self.now = now_ms()
        row = tx.get(LOG_KEY, namespace=layout.sequence)
        self._row: dict[str, int] = row or {"seq": 0, "clock": 0, "gone": 0}
        self._before = dict(self._row)
        self._buffer: dict[tuple[str, str], dict[str, Any] | Any] = {}

    # -- rows ------------------------------------------------------------------------------------------------------

    def put(self, namespace: str, key: str, value: Any, metadata: dict[str, Any] | None = None) -> None:
        """Store a row."""
        self._buffer[namespace, key] = {"namespace": namespace, "key": key, "value": value, "metadata": metadata}

    def remove(self, namespace: str, key: str) -> None:
        """Delete a row."""
        self._buffer[namespace, key] = _GONE

    def get(self, namespace: str, key: str) -> Any:
        """The value of a row, None if it is missing."""
        held = self._buffer.get((namespace, key))
        if held is None:
            return self.tx.get(key, namespace=namespace)
        return None if held is _GONE else held["value"]

    def has(self, namespace: str, key: str) -> bool:
        """Whether there is such a row."""
        held = self._buffer.get((namespace, key))
        return self.tx.has(key, namespace=namespace) if held is None else held is not _GONE

    def rows(self, namespace: str, prefix: str = "") -> list[Entry]:
        """All rows whose keys start so."""
        self.flush()
        return list(self.tx.scan(namespace=namespace, prefix=prefix))

    def flush(self) -> None:
        """Write what lies in the buffer."""
        gone: dict[str, list[str]] = {}
        for (namespace, key), held in self._buffer.items():
            if held is _GONE:
                gone.setdefault(namespace, []).append(key)
        for namespace, keys in gone.items():
            self.tx.delete_many(keys, namespace=namespace)
        kept: list[dict[str, Any]] = [held for held in self._buffer.values() if held is not _GONE]
        if len(kept) > _FEW:
            self.tx.set_many(kept)
        else:
            for row in kept:
                self.tx.set(row["key"], row["value"], namespace=row["namespace"], metadata=row["metadata"])
        self._buffer = {}

    def finish(self) -> None:
        """Write the rest. Called once, at the end."""
        if self._row != self._before:
            self.put(self.layout.sequence, LOG_KEY, self._row)
        self.flush()

    def mark(self) -> tuple[dict[tuple[str, str], Any], dict[str, int]]:
        """Where the turn stands; the buffer is written first."""
        self.flush()
        return {}, dict(self._row)

    def back_to(self, mark: tuple[dict[tuple[str, str], Any], dict[str, int]]) -> None:
        """Forget what was put since the mark, if nothing has been flushed."""
        self._buffer, self._row = dict(mark[0]), dict(mark[1])

    # -- clock and log ---------------------------------------------------------------------------------------------

    @property
    def sequence(self) -> int:
        """The newest sequence number."""
        return self._row["seq"]

    @property
    def compacted(self) -> int:
        """The log has no rows up to this number."""
        return self._row["gone"]

    def compact_to(self, sequence: int) -> None:
        """Remember that the rows up to here are gone."""
        self._row["gone"] = max(self._row["gone"], sequence)

    def stamp(self) -> str:
        """A stamp above all that were given or seen before."""
        self._row["clock"] = max(self._row["clock"] + 1, time.time_ns() // 1_000)
        return make_stamp(self._row["clock"], self.instance)

    def observe(self, stamp: str) -> None:
        """Make later stamps exceed one from elsewhere."""
        self._row["clock"] = max(self._row["clock"], stamp_clock(stamp))

    def log(
        self,
        entity: Entity,
        id: str,
        collective: str,
        event: Event,
        *,
        was: dict[str, Any] | None = None,
        echo: bool = False,
    ) -> int:
        """Append a log row; its number. ``echo``: the peer being applied is to hear of it too."""
        self._row["seq"] += 1
        sequence = self._row["seq"]
        record = LogRecord(sequence, id, collective, event, self.now, entity, None if echo else self.via, was)
        self.put(self.layout.log, log_key(sequence), record.to_json())
        return sequence

    # -- death -----------------------------------------------------------------------------------------------------

    def bury(self, entity: Entity, id: str, collective: str, died: str | None = None) -> None:
        """Remember that an entity was deleted."""
        old = self.get(self.layout.tombstones, id)
        stamp = died or self.stamp()
        if old is None or old["died"] < stamp:
            self.put(self.layout.tombstones, id, {"entity": str(entity), "collective": collective, "died": stamp})

    def died(self, id: str) -> str:
        """The stamp of an entity's death, "" if it never was deleted."""
        row = self.get(self.layout.tombstones, id)
        return "" if row is None else str(row["died"])


def make_stamp(clock: int, instance: str) -> str:
    """A stamp from microseconds and an instance."""
    return f"{clock:016x}.{instance}"


def stamp_clock(stamp: str) -> int:
    """The microseconds of a stamp, 0 for none."""
    return int(stamp[:16], 16) if stamp else 0
