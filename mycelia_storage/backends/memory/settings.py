"""The options of the memory backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...states.settings import StateSettings


@dataclass(frozen=True, kw_only=True)
class MemorySettings(StateSettings):
    """Those that every backend over states has; camelCase spellings (``busyTimeout``, ...) are taken too."""

    backend_name: ClassVar[str] = "memory"
