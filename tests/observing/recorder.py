"""An observer that remembers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from mycelia_storage.observing import Call, Observation, Observer


class Seen(NamedTuple):
    call: Call
    error: type[BaseException] | None
    rows: int | None
    worked: int
    """How often the storage was at work on it."""


class Recorder(Observer):
    """``seen`` has every call that ended, in the order of their ends; ``begun`` counts them at their beginning."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.begun = 0
        self.at_work = 0

    def begin(self, call: Call) -> Observation:
        self.begun += 1
        return _Recording(self, call)

    @property
    def operations(self) -> list[str]:
        return [seen.call.operation for seen in self.seen]


class _Recording(Observation):
    def __init__(self, recorder: Recorder, call: Call) -> None:
        self._recorder = recorder
        self._call = call
        self._worked = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        self._worked += 1
        self._recorder.at_work += 1
        try:
            yield
        finally:
            self._recorder.at_work -= 1

    def end(self, error: BaseException | None, rows: int | None) -> None:
        kind = None if error is None else type(error)
        self._recorder.seen.append(Seen(self._call, kind, rows, self._worked))
