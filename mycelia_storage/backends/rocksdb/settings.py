"""The options of the RocksDB backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from ...errors import InvalidConfig
from ...options import resolve_path
from ...states.settings import StateSettings


@dataclass(frozen=True, kw_only=True)
class RocksDBSettings(StateSettings):
    """Every option beside those of all backends over states; camelCase spellings (``dbPath``, ...) are taken too."""

    backend_name: ClassVar[str] = "rocksdb"

    # -- behaviour
    db_path: str = ""
    """The folder of the database; it and those above it are created."""
    base_dir: str | None = None
    """If given, ``db_path`` is taken relative to it and must stay inside, symbolic links resolved."""
    read_only: bool = False
    """Show the state at open, also of a folder that another process writes to. No data is written, but RocksDB keeps
    its own log there, so the folder has to be writable all the same."""
    synchronous: str = "NORMAL"
    """NORMAL: safe against crashes of the process; power loss may undo the newest commits, never damage the folder.
    FULL: a commit survives power loss. OFF: no log is written; what a crash undoes is all since the last flush."""

    # -- performance; most leave this alone
    cache_size: int = 32_768
    """Cache of uncompressed blocks, in KiB."""

    @classmethod
    def open(cls, config: Mapping[str, Any] | str | Path | None, options: dict[str, Any]) -> Self:
        """Settings from a mapping or path and keyword options. Raises InvalidConfig."""
        if isinstance(config, str | Path):
            config = {"db_path": config}
        settings = cls.read(config, options)
        return replace(settings, db_path=resolve_path(settings.db_path, settings.base_dir))

    def check(self) -> None:
        super().check()
        if self.db_path is None or self.db_path == "":
            raise InvalidConfig("the rocksdb backend needs dbPath, the path of the database's folder")
        if not isinstance(self.read_only, bool):
            raise InvalidConfig("read_only is true or false")
        if not isinstance(self.synchronous, str) or self.synchronous.upper() not in ("OFF", "NORMAL", "FULL"):
            raise InvalidConfig("synchronous is OFF, NORMAL or FULL")
        size = self.cache_size
        if not isinstance(size, int) or isinstance(size, bool) or not 64 <= size < 2**31:
            raise InvalidConfig("cache_size is a whole number of at least 64")
