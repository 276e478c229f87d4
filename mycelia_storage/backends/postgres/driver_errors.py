"""The one table from PostgreSQL's and psycopg's errors to ours. The cause is always kept.

Messages give the server's SQLSTATE and its first line, never its DETAIL, which shows values, and never the password.
"""

from __future__ import annotations

from typing import Final

import psycopg

from ...errors import (
    BackendUnavailable,
    CommitUnknown,
    InvalidInput,
    StorageBusy,
    StorageClosed,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageReadOnly,
    TransactionError,
    UniqueViolation,
)

#: By SQLSTATE, or its class of two characters; the longer one wins.
_TABLE: Final[dict[str, tuple[type[StorageError], str]]] = {
    "08": (BackendUnavailable, "the connection to the server failed"),
    "0A000": (StorageError, "the server cannot do this"),
    "22": (InvalidInput, "the server refused a value"),
    "23505": (UniqueViolation, "a unique index already holds these values"),
    "25006": (StorageReadOnly, "the server takes no writes (a standby, or default_transaction_read_only)"),
    "25P02": (TransactionError, "the transaction has failed"),
    "25P03": (TransactionError, "the server ended the transaction, which was idle past its time limit"),
    "25P04": (TransactionError, "the server ended the transaction, which was past its time limit"),
    "28": (BackendUnavailable, "the server refused the user or password"),
    "3D000": (BackendUnavailable, "there is no such database"),
    "3F000": (StorageError, "there is no such schema"),
    "40001": (StorageBusy, "the write conflicts with a concurrent one; run it again"),
    "40P01": (StorageBusy, "two writers waited for each other; run it again"),
    "42501": (
        StorageReadOnly,
        "the role lacks a privilege: it needs USAGE on the schema and SELECT, INSERT, UPDATE, DELETE on its tables and"
        " USAGE on its sequence; with row level security, the storage's tenant is not the row's",
    ),
    "42P01": (StorageError, "a table of the storage is missing"),
    "42883": (StorageError, "a function of the storage is missing"),
    "53100": (StorageFull, "the server's disk is full"),
    "53200": (StorageError, "the server is out of memory"),
    "53300": (StorageBusy, "the server has no connection left"),
    "53400": (StorageFull, "a limit of the server's configuration is exceeded"),
    "54": (InvalidInput, "the entry exceeds a limit of the server"),
    "55P03": (StorageBusy, "another writer held the lock for longer than busy_timeout"),
    "57014": (StorageBusy, "the statement was cancelled, or exceeded statement_timeout"),
    "57P": (BackendUnavailable, "the server is shutting down, starting, or ended the connection"),
    "58030": (StorageError, "the server had an I/O error"),
    "XX001": (StorageCorrupt, "the database is damaged"),
    "XX002": (StorageCorrupt, "an index of the database is damaged"),
}

_CONNECTING: Final = {
    "28": "check the user, the password (URL, PGPASSWORD or ~/.pgpass) and pg_hba.conf",
    "3D000": "create the database, or correct its name in the url",
    "53300": "lower pool_max_size or raise max_connections",
}


def translate(error: Exception, about: str = "") -> StorageError:
    """Our error for one of psycopg's; ``about`` says which namespace and key."""
    where = f" ({about})" if about else ""
    state = getattr(error, "sqlstate", None) or ""
    found = _TABLE.get(state) or _TABLE.get(state[:3]) or _TABLE.get(state[:2])
    if found is not None:
        kind, text = found
        return kind(f"{text}{where} [{state}]")
    if isinstance(error, psycopg.OperationalError) and not state:
        return BackendUnavailable(f"the connection to the server was lost{where}")
    if isinstance(error, psycopg.InterfaceError):
        return StorageClosed(f"the connection is closed{where}")
    return StorageError(f"PostgreSQL failed{where}: {_message(error)} [{state or type(error).__name__}]")


def unknown_outcome(about: str = "") -> CommitUnknown:
    """The error for a write whose connection was lost before its answer came."""
    where = f" ({about})" if about else ""
    return CommitUnknown(
        f"the connection was lost before the commit was confirmed; it may or may not have happened{where}"
    )


def cannot_connect(error: Exception, address: str) -> StorageError:
    """Our error for a connection that did not come about."""
    state = getattr(error, "sqlstate", None) or ""
    line = _message(error)
    if not state:  # libpq does not pass the SQLSTATE of a failed connection on
        for sign, guess in (
            ("authentication failed", "28"),
            ("no password supplied", "28"),
            ("no pg_hba.conf entry", "28"),
            ("role ", "28"),
            ("database ", "3D000"),
            ("too many clients", "53300"),
            ("remaining connection slots", "53300"),
        ):
            if sign in line:
                state = guess
                break
    hint = _CONNECTING.get(state) or _CONNECTING.get(state[:2]) or "see that the server runs there and accepts you"
    kind = StorageBusy if state == "53300" else BackendUnavailable
    return kind(f"cannot connect to PostgreSQL at {address}: {line}; {hint}")


def _message(error: Exception) -> str:
    diagnostic = getattr(error, "diag", None)
    text = (diagnostic.message_primary if diagnostic is not None else None) or str(error)
    # One line for each host that was tried; libpq's advice below it is indented.
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("\t")]
    return "; ".join(lines) or type(error).__name__
