"""The SQLite backend: one WAL-mode file through apsw.

``settings`` what can be configured · ``connections`` how a connection is opened · ``reading`` and ``writing`` the
contract's reads and writes on one connection, ``statements`` the SQL of writes · ``backend`` the storage: a reader a
thread, one writer · ``transactions`` · ``change_log`` · ``upkeep`` what the background thread does · ``care`` status,
check, backup · ``filter_sql`` and ``field_sql`` filters as SQL · ``search_upkeep`` text and vector indexes in each
write: ``text_blocks``, ``text_postings``, ``text_waiting``, ``text_search`` for texts · ``journal`` migrations ·
``driver_errors`` the one table of apsw's errors.
"""

from .backend import SQLiteStorageBackend

__all__ = ["SQLiteStorageBackend"]
