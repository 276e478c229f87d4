"""Every operation as a line in a log.

    set namespace='users' 0.041 ms ok rows=1
    get_entry namespace='users' 0.012 ms KeyNotFound transaction=tx_5f...

The fields are on the record as well, for handlers that write JSON: ``storage_operation``, ``storage_namespace``,
``storage_key``, ``storage_transaction``, ``storage_duration`` (seconds), ``storage_outcome``, ``storage_rows``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from ..contract import StorageBackend
from ..errors import (
    BackendUnavailable,
    CommitUnknown,
    InvalidInput,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    TransactionExpired,
)
from .forwarding import Call, Observation, ObservedStorage, Observer

# Errors that tell of the storage's trouble. The others answer a caller: a key exists, a version differs.
_TROUBLE: Final = (BackendUnavailable, CommitUnknown, StorageBusy, StorageCorrupt, StorageFull, TransactionExpired)


def logged(
    storage: StorageBackend,
    *,
    logger: logging.Logger | None = None,
    level: int = logging.DEBUG,
    slow: float | None = None,
    keys: bool = False,
) -> ObservedStorage:
    """``storage`` with every operation logged: name, namespace, milliseconds, outcome, rows. Never a value.

    ``logger``: "mycelia_storage.operations" unless given. ``level`` is that of ordinary lines. Operations that took
    ``slow`` seconds or longer (of a scan, without the time that its caller took between two steps; a watch never) are
    warnings, and so are errors that tell of trouble with the storage or of a defect. ``keys`` adds the key and the
    message of the error, which may name one.

    The result owns ``storage``. Raises InvalidInput for a ``slow`` below 0.
    """
    if slow is not None and not slow >= 0:
        raise InvalidInput("slow is a number of seconds, at least 0")
    return ObservedStorage(storage, _Log(logger or logging.getLogger("mycelia_storage.operations"), level, slow, keys))


class _Log(Observer):
    def __init__(self, logger: logging.Logger, level: int, slow: float | None, keys: bool) -> None:
        self.logger = logger
        self.level = level
        self.slow = slow
        self.keys = keys

    def begin(self, call: Call) -> Observation:
        return _Line(self, call)


class _Line(Observation):
    def __init__(self, log: _Log, call: Call) -> None:
        self._log = log
        self._call = call
        self._seconds = 0.0

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._seconds += time.perf_counter() - begun

    def working(self) -> AbstractContextManager[None]:
        return self._timed()

    def end(self, error: BaseException | None, rows: int | None) -> None:
        log, call = self._log, self._call
        # A watch waits for others: that is no slowness.
        slow = log.slow is not None and self._seconds >= log.slow and call.operation != "watch"
        trouble = isinstance(error, _TROUBLE) or (error is not None and not isinstance(error, StorageError))
        level = max(log.level, logging.WARNING) if slow or trouble else log.level
        if not log.logger.isEnabledFor(level):
            return
        outcome = "ok" if error is None else type(error).__name__
        parts = [call.operation]
        if call.namespace is not None:
            parts.append(f"namespace={call.namespace!r}")
        if log.keys and isinstance(call.key, str):
            parts.append(f"key={call.key!r}")
        parts.append(f"{self._seconds * 1000:.3f} ms {outcome}")
        if rows is not None:
            parts.append(f"rows={rows}")
        if call.transaction is not None:
            parts.append(f"transaction={call.transaction}")
        if slow:
            parts.append("slow")
        if log.keys and error is not None:
            parts.append(f"({error})")
        fields = {
            "storage_operation": call.operation,
            "storage_namespace": call.namespace,
            "storage_key": call.key if log.keys else None,
            "storage_transaction": call.transaction,
            "storage_duration": self._seconds,
            "storage_outcome": outcome,
            "storage_rows": rows,
        }
        log.logger.log(level, "%s", " ".join(parts), extra=fields)
