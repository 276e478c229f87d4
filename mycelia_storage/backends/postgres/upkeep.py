"""What the background thread does for a schema of a server: see :mod:`mycelia_storage.upkeep`.

Sweeps of several processes do not get in each other's way: each takes the entries that no other is at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import StorageError
from ...upkeep import Upkeep
from . import graphs, physical

if TYPE_CHECKING:
    from .backend import PostgresStorageBackend

SWEEP: Final = "SELECT {s}.storage_sweep({w}, %s)"
PRUNE: Final = "SELECT {s}.storage_prune({w}, %s, %s)"
_ANY_EXPIRED: Final = """SELECT 1 FROM {s}.storage_entries
WHERE tenant = {t} AND expires_at IS NOT NULL AND expires_at <= {now} LIMIT 1"""
_ANY_CHANGES: Final = "SELECT 1 FROM {s}.storage_changes WHERE tenant = {t} LIMIT 1"
_FOLD: Final = "SELECT {s}.storage_fold({w})"
_ANY_SUMS: Final = "SELECT 1 FROM {s}.storage_sums WHERE tenant = {t} LIMIT 1"
_NOW: Final = "SELECT {now}"

_SWEEP_AT_ONCE: Final = 500


class PostgresUpkeep(Upkeep["PostgresStorageBackend"]):
    """The thread of one PostgreSQL storage; it also closes idle connections and drops what is left of indexes."""

    def look_after(self, storage: PostgresStorageBackend) -> None:
        for session in list(storage._sessions):
            session.expire()
        for pool in storage._pools():
            pool.close_idle()

    def _go_on(self, storage: PostgresStorageBackend) -> bool:
        """Between two steps of long work: what may not wait is done; whether to go on."""
        self.look_after(storage)
        return not self._stop.is_set()

    def sweep_up(self, storage: PostgresStorageBackend) -> None:
        while storage._rows(_ANY_EXPIRED, ()):
            if not storage._call(SWEEP, (_SWEEP_AT_ONCE,)):
                break
        if storage._rows(_ANY_CHANGES, ()):
            age = storage.settings.change_retention_age
            older = None if age is None else storage._rows(_NOW, ())[0][0] - int(age * 1000)
            storage._call(PRUNE, (storage.settings.change_retention, older))
        if storage._rows(_ANY_SUMS, ()):
            storage._call(_FOLD, ())
            graphs.grow(storage, lambda: self._go_on(storage))
        try:
            storage._with_link(lambda link: physical.drop_orphans(link, storage._place))
        except StorageError as error:
            storage._last_error = f"dropping an index: {error}"
