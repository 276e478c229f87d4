"""A log line for every call of a store: method, milliseconds, rows, outcome; never a value.

    store = logged_store(store)
    # create_memory 0.412 ms ok
    # get_memories 0.240 ms ok rows=50

What the storage underneath does is logged by :func:`mycelia_storage.observing.logged`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sized
from typing import Any, Final

from .store import AgentStore

_QUIET: Final = frozenset({"transaction"})


class LoggedStore:
    """``store`` with its calls logged. Everything else, attributes and errors included, is the store's own."""

    def __init__(self, store: Any, logger: logging.Logger, level: int) -> None:
        self._store = store
        self._logger = logger
        self._level = level

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._store, name)
        if name.startswith("_") or name in _QUIET or not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                result = found(*args, **kwargs)
            except BaseException as error:
                self._note(name, begun, type(error).__name__, None)
                raise
            self._note(name, begun, "ok", _rows(result))
            return result

        return call

    def __enter__(self) -> LoggedStore:
        self._store.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._store.__exit__(*error)

    def _note(self, method: str, begun: float, outcome: str, rows: int | None) -> None:
        level = self._level if outcome == "ok" else max(self._level, logging.WARNING)
        if not self._logger.isEnabledFor(level):
            return
        seconds = time.perf_counter() - begun
        counted = "" if rows is None else f" rows={rows}"
        fields = {"agent_method": method, "agent_duration": seconds, "agent_outcome": outcome, "agent_rows": rows}
        self._logger.log(level, "%s %.3f ms %s%s", method, seconds * 1000, outcome, counted, extra=fields)


def logged_store(
    store: AgentStore | LoggedStore, *, logger: logging.Logger | None = None, level: int = logging.DEBUG
) -> Any:
    """``store`` with every call logged to ``logger``, "mycelia_storage.agents" unless given. A call that raises is a
    warning. A store that is logged already is returned as it is.
    """
    if isinstance(store, LoggedStore):
        return store
    return LoggedStore(store, logger or logging.getLogger("mycelia_storage.agents"), level)


def _rows(result: Any) -> int | None:
    if isinstance(result, bool | str) or result is None:
        return None
    if isinstance(result, int):
        return result
    return len(result) if isinstance(result, Sized) else 1
