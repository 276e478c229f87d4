"""The options that every backend over states has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from ..errors import InvalidConfig
from ..options import normalise_options


@dataclass(frozen=True, kw_only=True)
class StateSettings:
    """Every option; camelCase spellings (``busyTimeout``, ...) are taken too."""

    backend_name: ClassVar[str]

    transaction_timeout: float = 60.0
    """Seconds after which an open transaction is rolled back."""
    busy_timeout: int = 5000
    """Milliseconds to wait for the write lock before StorageBusy."""
    sweep_interval: float = 60.0
    """Seconds between two sweeps of expired entries and old changes."""
    change_retention: int = 100_000
    """Changes kept per namespace."""
    change_retention_age: float | None = None
    """Seconds that a change is kept; None: no limit by age."""
    vectors_compared: int = 2_500_000
    """Size of a vector index, in vectors times dimensions, up to which all vectors are compared with each query, from a
    copy of them all in one piece; larger ones are searched by codes. Without faiss every index is compared."""
    vectors_linked: int = 10_000
    """Vectors from which an index declared with ``index="hnsw"`` gets its graph."""
    vectors_rescored: int = 100
    """How many candidates found by codes are ranked by their vectors at a time, for up to ten hits."""

    @classmethod
    def read(cls, config: Mapping[str, Any] | None, options: dict[str, Any]) -> Self:
        """Settings from a mapping and keyword options, which win. Raises InvalidConfig."""
        if config is not None and not isinstance(config, Mapping):
            raise InvalidConfig(f"a configuration is a mapping, not {type(config).__name__}")
        known, name = [field.name for field in fields(cls)], cls.backend_name
        settings = cls(**(normalise_options(config or {}, known, name) | normalise_options(options, known, name)))
        settings.check()
        return settings

    def check(self) -> None:
        """Raise InvalidConfig for what no option may be."""
        for name, least in (
            ("busy_timeout", 0),
            ("change_retention", 1),
            ("vectors_compared", 0),
            ("vectors_linked", 1),
            ("vectors_rescored", 1),
        ):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or not least <= number < 2**31:
                raise InvalidConfig(f"{name} is a whole number of at least {least}")
        for name in ("transaction_timeout", "sweep_interval", "change_retention_age"):
            seconds = getattr(self, name)
            if name == "change_retention_age" and seconds is None:
                continue
            if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < 1e9:
                raise InvalidConfig(f"{name} is a number of seconds over 0")
