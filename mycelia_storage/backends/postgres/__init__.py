"""The PostgreSQL backend."""

from __future__ import annotations

from .backend import PostgresStorageBackend
from .settings import PostgresSettings

__all__ = ["PostgresSettings", "PostgresStorageBackend"]
