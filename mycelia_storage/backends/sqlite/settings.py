"""The options of the SQLite backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...errors import InvalidConfig
from ...options import normalise_options, resolve_path

IN_MEMORY = ":memory:"


@dataclass(frozen=True, kw_only=True)
class SQLiteSettings:
    """Every option; the sources' camelCase spellings (``dbPath``, ``busyTimeout``, ...) are taken too."""

    # -- behaviour
    db_path: str
    """The database file; its folder is created. ``:memory:`` is a private temporary file, gone at close."""
    base_dir: str | None = None
    """If given, ``db_path`` is taken relative to it and must stay inside, symbolic links resolved."""
    read_only: bool = False
    migrate: bool = True
    """Bring an older file up to date at open; False raises MigrationError instead."""
    synchronous: str = "NORMAL"
    """NORMAL: safe against crashes of the process; power loss may undo the newest commits, never damage the file.
    FULL: a commit survives power loss. OFF: power loss may damage the file."""
    busy_timeout: int = 5000
    """Milliseconds to wait for the write lock before StorageBusy."""
    transaction_timeout: float = 60.0
    """Seconds after which an open transaction is rolled back."""
    sweep_interval: float = 60.0
    """Seconds between two sweeps of expired entries and old changes."""
    change_retention: int = 100_000
    """Changes kept per namespace."""
    change_retention_age: float | None = None
    """Seconds that a change is kept; None: no limit by age."""
    debug: bool | str = False
    """Log every statement to the logger ``mycelia_storage.sqlite``; ``"values"`` logs what is bound, too."""

    # -- performance; most leave these alone
    wal_mode: bool = True
    prepare_cache_size: int = 100
    """Prepared statements kept per connection."""
    checkpoint_pages: int = 1000
    """WAL pages after which a commit moves them into the main file."""
    cache_size: int = 16_384
    """Page cache per connection, in KiB."""
    mmap_size: int = 0
    """Bytes of the file that readers map into memory: fewer system calls for reads all over a large file, such as those
    of vector searches. Should others cut the file short meanwhile, the process gets a signal instead of an error."""
    vectors_compared: int = 2_500_000
    """Size of a vector index, in vectors times dimensions, up to which all vectors are kept in memory and compared;
    larger ones are searched by codes. Without faiss every index is compared."""
    vectors_linked: int = 10_000
    """Vectors from which an index declared with ``index="hnsw"`` gets its graph."""
    vectors_rescored: int = 100
    """How many candidates found by codes are ranked by their vectors at a time, for up to ten hits."""

    @classmethod
    def read(cls, config: Mapping[str, Any] | str | Path | None, options: dict[str, Any]) -> SQLiteSettings:
        """Settings from a mapping or path and keyword options. Raises InvalidConfig."""
        given: dict[str, Any] = {}
        if isinstance(config, Mapping):
            given.update(config)
        elif isinstance(config, str | Path):
            given["db_path"] = config
        elif config is not None:
            raise InvalidConfig(f"a configuration is a mapping or a path, not {type(config).__name__}")
        known = {field.name: field.type for field in fields(cls)}
        merged = normalise_options(given, known, "sqlite")
        merged.update(normalise_options(options, known, "sqlite"))
        if merged.get("db_path") is None:
            raise InvalidConfig("the sqlite backend needs dbPath, the path of the database file")
        in_memory = str(merged["db_path"]) == IN_MEMORY
        merged["db_path"] = IN_MEMORY if in_memory else resolve_path(merged["db_path"], merged.get("base_dir"))
        if merged.get("base_dir") is not None:
            merged["base_dir"] = str(merged["base_dir"])
        settings = cls(**merged)
        settings._check()
        return settings

    def _check(self) -> None:
        for name in ("read_only", "migrate", "wal_mode"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidConfig(f"{name} is true or false")
        if not (isinstance(self.debug, bool) or self.debug == "values"):
            raise InvalidConfig('debug is true, false or "values"')
        if not isinstance(self.synchronous, str) or self.synchronous.upper() not in ("OFF", "NORMAL", "FULL"):
            raise InvalidConfig("synchronous is OFF, NORMAL or FULL")
        for name, least in (
            ("busy_timeout", 0),
            ("prepare_cache_size", 1),
            ("change_retention", 1),
            ("checkpoint_pages", 1),
            ("cache_size", 64),
            ("mmap_size", 0),
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
