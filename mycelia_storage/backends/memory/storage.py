"""The memory backend itself: the committed state is a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...states.state import State
from ...states.storage import StateStorage
from .settings import MemorySettings
from .state import MemoryState


class MemoryStorageBackend(StateStorage):
    """The contract in memory; gone when the process ends. The model that other backends are compared with.

    Options are those of :class:`MemorySettings`, as keywords or in one mapping.
    """

    backend_name = "memory"

    def __init__(self, config: Mapping[str, Any] | None = None, **options: Any) -> None:
        self._start(MemorySettings.read(config, options))
        self._committed: State = MemoryState()
        self._start_sweeping()

    def _state(self) -> State:
        self.check_open()
        return self._committed

    def _base(self) -> State:
        return self._committed

    def _keep(self, state: State, touched: set[str]) -> None:
        self._committed = state

    def _let_go(self) -> None:
        self._committed = MemoryState()
