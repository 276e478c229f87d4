"""Where a storage's rows are: schema, tenant and locks, written into its SQL.

Statements are constants with names in braces, which :meth:`Place.sql` fills in: ``{s}`` the schema, ``{t}`` the tenant,
``{w}`` the arguments that every writing function begins with, ``{live}`` the condition that an entry has not expired,
``{now}`` the time, ``{numbers}`` the sequence. A ``%`` in names is doubled, as psycopg reads parameters' signs.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: UTC milliseconds, one moment per statement, by the server's clock.
NOW: Final = "floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint"

LIVE: Final = f"(expires_at IS NULL OR expires_at > {NOW})"

_NAME: Final = re.compile(r"%([a-z_]+)%")


class Place:
    """The schema and the tenant, quoted; ``tenant`` is None without tenants."""

    def __init__(self, schema: str, tenant: str | None, busy_timeout: int) -> None:
        self.schema = schema
        self.tenant = tenant
        # 0 would mean no limit.
        self.wait = max(1, busy_timeout)
        digest = hashlib.sha256(f"mycelia\0{schema}\0{tenant or ''}".encode()).digest()
        self.lock = int.from_bytes(digest[:8], "big", signed=True)
        self._names = {
            "s": quote_name(schema).replace("%", "%%"),
            "t": quote_text(tenant or "").replace("%", "%%"),
            "w": f"{self.lock}::bigint, '{self.wait}', {quote_text(tenant or '').replace('%', '%%')}",
            "numbers": quote_text(quote_name(schema) + ".storage_index_ids").replace("%", "%%"),
            "live": LIVE,
            "now": NOW,
        }
        self._texts: dict[str, str] = {}

    def sql(self, statement: str) -> str:
        """The statement with the names filled in."""
        try:
            return self._texts[statement]
        except KeyError:
            text = statement.format_map(self._names)
            self._texts[statement] = text
            return text

    def once(self, statement: str) -> str:
        """The same for a statement made for one query, which is not remembered."""
        return statement.format_map(self._names)

    def plain(self, statement: str) -> bytes:
        """The statement as libpq has it, its parameters numbered."""
        parts = self.sql(statement).split("%s")
        numbered = parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
        return numbered.replace("%%", "%").encode()

    @property
    def enter(self) -> str | None:
        """What makes a transaction the tenant's, for row level security; None without tenants."""
        if self.tenant is None:
            return None
        return f"SELECT set_config('mycelia.tenant', {quote_text(self.tenant)}, true)"

    def begin(self, mode: str, wait: float | None, limit: float) -> str:
        """A script that begins a transaction: "alone", "read only", or an isolation level.

        No statement is long enough to be worth compiling, whatever the server takes a recursion's cost for.
        ``wait`` is what is left of busy_timeout in seconds; ``limit`` the transaction's time limit: the server ends it
        if its client stops answering.
        """
        milliseconds = self.wait if wait is None else max(1, int(wait * 1000))
        idle = min(int(limit * 1000) + 5_000, 2**31 - 1)
        entering = f"; {self.enter}" if self.enter else ""
        gate = f"{quote_name(self.schema)}.storage_gate"
        plain = f"SET LOCAL jit = off; SET LOCAL idle_in_transaction_session_timeout = {idle}"
        local = f"SET LOCAL lock_timeout = {milliseconds}; {plain}"
        if mode == "read only":
            return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {plain}{entering}; SELECT 1"
        if mode == "alone":
            return (
                f"BEGIN ISOLATION LEVEL READ COMMITTED; {local}; LOCK TABLE {gate} IN SHARE MODE; "
                f"SELECT pg_advisory_xact_lock({self.lock}){entering}"
            )
        return f"BEGIN ISOLATION LEVEL {mode}; {local}; LOCK TABLE {gate} IN ROW EXCLUSIVE MODE{entering}"


def fill(template: str, **texts: object) -> str:
    """A statement with every ``%name%`` replaced. The texts may hold anything: :meth:`Place.sql` leaves them alone."""
    return _NAME.sub(lambda name: str(texts[name[1]]).replace("{", "{{").replace("}", "}}"), template)


def quote_name(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """An SQL string, whatever standard_conforming_strings says."""
    quoted = text.replace("'", "''")
    return " E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'"
