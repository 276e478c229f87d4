"""A gate through which every call of a store goes: closing it waits for those inside and turns later ones away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import wraps
from inspect import isfunction
from types import TracebackType
from typing import Any, TypeVar

from ...errors import StorageClosed

T = TypeVar("T")


class Gate:
    """Counts the calls inside. A call made from within another one is part of it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._own = threading.local()
        self.closed = False

    def __enter__(self) -> None:
        depth = getattr(self._own, "depth", 0)
        if depth == 0:
            with self._condition:
                if self.closed:
                    raise StorageClosed("the agent store is shutting down or closed: operation rejected")
                self._inside += 1
        self._own.depth = depth + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.depth -= 1
        if self._own.depth == 0:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    def close(self, patience: float) -> bool:
        """Turn later calls away and wait, at most ``patience`` seconds, for those inside; whether all have left."""
        deadline = time.monotonic() + patience
        own = 1 if getattr(self._own, "depth", 0) else 0
        with self._condition:
            self.closed = True
            while self._inside > own:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._condition.wait(left)
        return True


def gated(*open_anyway: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: every public method passes ``self._gate``, but for those named."""

    def wrap_class(store: type[T]) -> type[T]:
        for owner in store.__mro__[:-1]:
            for name, method in vars(owner).copy().items():
                is_public = not name.startswith("_") and name not in open_anyway
                # The first owner of a name in the order of resolution is the one that counts.
                if is_public and isfunction(method) and getattr(store, name) is method:
                    setattr(store, name, _through(method))
        return store

    return wrap_class


def _through(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._gate:
            return method(self, *args, **kwargs)

    return call
