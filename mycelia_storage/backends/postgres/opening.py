"""Where the server is, and connecting to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ...errors import InvalidConfig
from ...migrations import Migrator
from . import journal
from .driver_errors import cannot_connect
from .pool import Link
from .rows import Row
from .settings import PostgresSettings

if TYPE_CHECKING:
    from .embedded import EmbeddedServer


class Address:
    """The server of a storage: libpq's, or one of its own that is started here and stopped by :meth:`close`."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._server: EmbeddedServer | None = None
        dsn = settings.url
        if dsn.partition(":")[0].endswith("+embedded"):
            from .embedded import EmbeddedServer, read_embedded_url

            folder, query = read_embedded_url(dsn)
            if query:
                raise InvalidConfig(f"the url of an embedded server takes options of ours alone, not {query!r}")
            self._server = EmbeddedServer(folder)
            dsn = self._server.dsn
        try:
            self._parameters: dict[str, Any] = conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            raise InvalidConfig("the url cannot be read; write postgresql://user@host/database?option=value") from None

    @property
    def shown(self) -> str:
        """The address for messages: no password."""
        found = self._parameters
        host = found.get("host") or found.get("hostaddr") or "the default host"
        user = f"{found['user']}@" if found.get("user") else ""
        port = f":{found['port']}" if found.get("port") else ""
        return f"{user}{host}{port}/{found.get('dbname') or ''}"

    def connect(self, enter: str | None = None) -> Link:
        """A new connection. Raises BackendUnavailable, StorageBusy where the server has none left."""
        settings = self._settings
        if self._server is not None:
            self._server.ensure_running()
            self._parameters = conninfo_to_dict(self._server.dsn)
        extra: dict[str, Any] = {
            "connect_timeout": max(1, round(settings.connect_timeout)),
            "application_name": settings.application_name,
            "client_encoding": "utf8",
        }
        options = [self._parameters.get("options") or ""]
        if settings.prepare:
            # Else a statement over hash partitions is planned at every call, for four fifths of its time.
            options.insert(0, "-c plan_cache_mode=force_generic_plan")
        if settings.statement_timeout is not None:
            options.append(f"-c statement_timeout={max(1, int(settings.statement_timeout * 1000))}")
        extra["options"] = " ".join(filter(None, options))
        try:
            connection: psycopg.Connection[Row] = psycopg.connect(
                **{**self._parameters, **extra}, autocommit=True, prepare_threshold=5 if settings.prepare else None
            )
        except psycopg.Error as error:
            raise cannot_connect(error, self.shown) from error
        return Link(connection, settings.prepare, enter)

    def close(self) -> None:
        """End the use of a server of one's own."""
        if self._server is not None:
            self._server.close()


@contextmanager
def open_migrator(options: Mapping[str, Any]) -> Iterator[Migrator]:
    """The library's own migrations for the storage that these options open; nothing is migrated yet."""
    settings = PostgresSettings.read(options, {})
    address = Address(settings)
    try:
        link = address.connect()
        try:
            yield journal.migrator_of(link, settings.schema, settings.partitions)
        finally:
            link.close()
    finally:
        address.close()
