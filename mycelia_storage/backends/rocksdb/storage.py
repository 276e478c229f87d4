"""The RocksDB storage: an open database, its states, and care for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from typing import Any, Final

from ...contract import Status
from ...errors import (
    InvalidInput,
    StorageClosed,
    StorageError,
    StorageReadOnly,
)
from ...names import DEFAULT_NAMESPACE
from ...states.state import State
from ...states.turn import Claim, WriterTurn
from . import folder, forks, layout, vector_codes
from .engine import Database, Frozen
from .settings import RocksDBSettings
from .single_calls import SingleCalls
from .state import RocksDBState
from .view import View

_CLOSED: Final = "the storage is closed"
_IN_CHILD: Final = (
    "this storage was opened before a fork and stays the parent's: RocksDB serves one process, and not the child of one"
)


class RocksDBStorageBackend(SingleCalls):
    """Storage in a folder of one process, by RocksDB.

    ``config`` is a mapping of options or the folder's path; keyword options add to it
    (:class:`~mycelia_storage.backends.rocksdb.settings.RocksDBSettings` lists them all).

    Raises InvalidConfig, StorageBusy (open elsewhere, in this process or another), ForeignDatabase, SchemaTooNew,
    StorageCorrupt, StorageReadOnly.
    """

    backend_name = "rocksdb"
    settings: RocksDBSettings

    _log_slack = 1_000

    def __init__(self, config: Mapping[str, Any] | str | Path | None = None, **options: Any) -> None:
        settings = RocksDBSettings.open(config, options)
        self.path = settings.db_path
        self._start(settings)
        self._closed_text = _CLOSED
        self._lock = self._turn.lock
        self._plain = {}
        folder.prepare_folder(self.path, settings.read_only)
        self._open_database()
        forks.watch(self)
        if not settings.read_only:
            self._start_sweeping()

    def _open_database(self) -> None:
        self._db = Database(self.settings)
        self._fetch, self._put = self._db.rdict.get, self._db.rdict.__setitem__
        try:
            self._adopt()
        except BaseException:
            self._db.close()
            raise

    def _open_again(self) -> None:
        """Go on after a failed write, when there is room again. Open snapshots end. Called in the writer's turn."""
        with self._turn.changed:
            folder.check_room(self.path)
            self._plain.clear()
            self._nearest.clear()  # what was committed without a log may be gone
            self._db.close()
            self._open_database()

    def _adopt(self) -> None:
        """Make a new database ready, or learn what an existing one holds."""
        if self._db.get(layout.VERSION) is None:
            if next(self._db.items(b"", b"\xff"), None) is not None:
                raise StorageError(f"the database in {self.path!r} has rows, yet not the row that says its layout")
            if self.settings.read_only:
                raise InvalidInput(f"the storage at {self.path!r} was never written; there is nothing to read")
            state = RocksDBState(View(self._db))
            state.new_space(DEFAULT_NAMESPACE)
            state.view.put(layout.VERSION, layout.NUMBER.pack(layout.FORMAT))
            self._db.write((), state.rows_to_write())
        clock = self._db.get(layout.CLOCK)
        self._versions_below = 0 if clock is None else int(layout.NUMBER.unpack(clock)[0])
        self.clock.observe(self._versions_below)
        state = RocksDBState(View(self._db))
        self._newest_seq, self._newest_lost = state.last_seq, state.lost_through

    # -- states ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        self.check_open()
        return RocksDBState(View(Frozen(self._db)))

    def _base(self) -> State:
        return RocksDBState(View(self._db), self._newest_seq, self._newest_lost)

    def _keep(self, state: State, touched: set[str]) -> None:
        assert isinstance(state, RocksDBState)
        self._forget_plain(state, touched)
        rows, wiped = list(state.rows_to_write()), state.view.wiped
        if rows or wiped:
            self._write_rows(wiped, rows)
            self._newest_seq, self._newest_lost = state.last_seq, state.lost_through

    def write_beside(self, ranges: list[tuple[bytes, bytes]], rows: list[tuple[bytes, bytes | None]]) -> None:
        """Write what is no part of a state, in the writer's turn: the ranges go, then the rows come."""
        try:
            self._db.write(ranges, rows)
        except StorageError:
            self._plain.clear()  # the next write goes the long way, which opens the database anew
            raise

    def _claim(self, timeout: float) -> Claim:
        self.check_open()
        if self.settings.read_only:
            raise StorageReadOnly(f"the storage {self.path!r} was opened read-only")
        claim = super()._claim(timeout)
        if self._db.failure is not None:
            try:
                self._open_again()
            except BaseException:
                self._turn.give_up(claim)
                raise
        return claim

    def check_open(self) -> None:
        if self.is_closed:
            raise StorageClosed(self._closed_text)

    # -- care ------------------------------------------------------------------------------------------------------

    def _sweep(self, timeout: float) -> None:
        super()._sweep(timeout)
        # Each part waits for its turn, among writers who come without a pause.
        vector_codes.save_due(self, self.settings.busy_timeout / 1000)

    def close(self) -> None:
        try:
            if not (self.is_closed or self.settings.read_only):
                with suppress(StorageError):  # codes can be made again
                    vector_codes.save_due(self, 0)
        finally:
            super().close()

    def get_status(self) -> Status:
        status = super().get_status()
        settings, problem = self.settings, status.last_error
        if self._db.failure is not None:
            problem = str(self._db.failure)
        background = self._db.size_of("background-errors")
        if problem is None and background:
            problem = f"RocksDB met {background} errors in the background; its LOG file in {self.path!r} names them"
        tables = self._db.size_of("total-sst-files-size")
        logs = sum(_size(file) for file in Path(self.path).glob("*.log"))
        details = status.details | {
            "path": self.path,
            "synchronous": settings.synchronous.upper(),
            "read_only": settings.read_only,
            "memory_bytes": self._db.size_of("cur-size-all-mem-tables"),
        }
        return status._replace(
            healthy=problem is None,
            size_bytes=tables,
            wal_bytes=logs,
            schema_version=layout.FORMAT,
            last_error=problem,
            details=details,
        )

    def optimize(self) -> None:
        self._refuse_inside_bound()
        if not self.settings.read_only:
            vector_codes.catch_up(self)
        super().optimize()
        self._db.compact()

    def checkpoint(self, path: str | Path) -> None:
        """A copy of the storage as of now in a new folder, which opens as a storage; takes next to no time and space
        on the same file system, where tables are hard links.

        Raises InvalidInput (the path exists), StorageError.
        """
        self.check_open()
        target = Path(path)
        if target.exists():
            raise InvalidInput(f"{str(target)!r} exists")
        partial = target.with_name(f".{target.name}.{token_hex(4)}.partial")
        try:
            self._db.checkpoint(partial)
            partial.chmod(0o700)
            folder.write_mark(partial)
            partial.rename(target)
        except OSError as error:
            raise StorageError(f"the checkpoint {str(target)!r} failed: {error.strerror}") from error
        finally:
            rmtree(partial, ignore_errors=True)

    def _let_go(self) -> None:
        self._plain.clear()
        self._db.close()

    def abandon(self) -> list[object]:
        """In the child of a fork: refuse everything from now on. What must be kept for good."""
        held = self._db.inner()
        self._open.clear()
        self._turn, self._bound = WriterTurn(), threading.local()
        self._lock = self._turn.lock
        self.is_closed, self._closed_text = True, _IN_CHILD
        self._fetch = self._put = self._refuse
        return held

    def _refuse(self, *_: object) -> Any:
        raise StorageClosed(self._closed_text)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
