"""Every error that mycelia_storage raises.

StorageError
├── InvalidInput (also ValueError)      the caller's argument breaks a rule of the contract
│   ├── InvalidKey
│   ├── InvalidNamespace
│   ├── InvalidValue                    value, metadata or filter operand is not storable data
│   ├── InvalidFilter
│   ├── SqlRefused                      not one plain SELECT over the views, or an error in it
│   └── InvalidConfig                   unknown option, bad path, bad URL
├── KeyNotFound (also KeyError)
├── KeyExists                           overwrite=False met an existing key
├── UniqueViolation                     a unique index already holds these field values
├── IndexNotFound                       a search in a namespace without an index for it
├── IndexFull                           a vector index already holds max_vectors
├── EmbeddingMismatch                   vectors of other dimensions, metric or model than the namespace has
├── VersionConflict                     if_version did not match
├── NamespaceNotFound
├── NamespaceExists
├── NamespaceNotEmpty
├── BatchError                          .errors maps (namespace, key) to the error; nothing was written
├── CursorExpired                       changes older than the cursor are no longer kept
├── TransactionError                    unknown or finished transaction, or use that would wait for itself
│   └── TransactionExpired              it passed its time limit and was rolled back
├── CommitUnknown                       the commit failed in a way that leaves its outcome unknown
├── StorageBusy                         another writer held the lock past busy_timeout; safe to retry
├── StorageReadOnly
├── SqlTimeout                          a read-only SQL query took too long, or its answer is too large
├── SqlUnavailable                      the backend has no SQL
├── StorageFull
├── StorageCorrupt
├── ForeignDatabase                     the file is another application's
├── SchemaTooNew                        the file was written by a newer version of this library
├── MigrationError
├── StorageClosed
└── BackendUnavailable                  a driver or server is missing; names the extra or the address

Messages name namespace and key, never values.
"""

from __future__ import annotations

from collections.abc import Mapping


class StorageError(Exception):
    """The root: ``except StorageError`` catches everything this library raises on purpose."""


class InvalidInput(StorageError, ValueError):
    """An argument breaks a rule of the contract; nothing was read or written."""


class InvalidKey(InvalidInput):
    """A key is empty, too long, not a string, or holds NUL or a lone surrogate."""


class InvalidNamespace(InvalidInput):
    """A namespace breaks the same rules, or ``default`` was to be deleted."""


class InvalidValue(InvalidInput):
    """A value, metadata or operand that would not come back equal from storage."""


class InvalidFilter(InvalidInput):
    """A filter, field path or sort that cannot be understood."""


class InvalidConfig(InvalidInput):
    """An unknown option, a bad option value, path or URL."""


class SqlRefused(InvalidInput):
    """A read-only SQL query that is not one plain SELECT over its views, or is wrong."""


class KeyNotFound(StorageError, KeyError):
    """The operation needs an existing key."""

    def __init__(self, namespace: str, key: str) -> None:
        super().__init__(f"no key {key!r} in namespace {namespace!r}")
        self.namespace = namespace
        self.key = key

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class KeyExists(StorageError):
    """``overwrite=False`` met an existing key."""

    def __init__(self, namespace: str, key: str) -> None:
        super().__init__(f"key {key!r} already exists in namespace {namespace!r}")
        self.namespace = namespace
        self.key = key


class UniqueViolation(StorageError):
    """Another entry of the namespace has the same values for a unique index."""


class IndexNotFound(StorageError):
    """A search needs an index that the namespace does not have."""


class IndexFull(StorageError):
    """The namespace's vector index already holds ``max_vectors``."""


class EmbeddingMismatch(StorageError):
    """The namespace holds vectors of other dimensions, another metric or another model: they cannot be compared."""


class VersionConflict(StorageError):
    """Compare-and-set met another version. ``actual`` is 0 for a missing key."""

    def __init__(self, namespace: str, key: str, expected: int, actual: int) -> None:
        super().__init__(f"key {key!r} in namespace {namespace!r} has version {actual}, not {expected}")
        self.namespace = namespace
        self.key = key
        self.expected = expected
        self.actual = actual


class NamespaceNotFound(StorageError):
    """The namespace does not exist."""


class NamespaceExists(StorageError):
    """``create_namespace`` without ``exist_ok`` met an existing namespace."""


class NamespaceNotEmpty(StorageError):
    """``delete_namespace`` without ``recursive`` met entries or sub-namespaces."""


class BatchError(StorageError):
    """An atomic batch was refused whole. ``errors`` maps (namespace, key) to the error of that item."""

    def __init__(self, errors: Mapping[tuple[str, str], StorageError]) -> None:
        shown = ", ".join(f"{namespace!r}/{key!r}" for namespace, key in list(errors)[:5])
        more = f" and {len(errors) - 5} more" if len(errors) > 5 else ""
        super().__init__(f"nothing was written: {len(errors)} bad entries: {shown}{more}")
        self.errors = dict(errors)


class CursorExpired(StorageError):
    """Changes after this cursor have been pruned: read the entries again, then resume from a new cursor."""


class TransactionError(StorageError):
    """A transaction is unknown or finished, or its use here would wait for itself."""


class TransactionExpired(TransactionError):
    """The transaction passed its time limit and was rolled back."""


class CommitUnknown(StorageError):
    """The commit failed and may or may not be on disk: read back before retrying."""


class StorageBusy(StorageError):
    """Another writer held the lock for longer than busy_timeout. Nothing was written; retry."""


class StorageReadOnly(StorageError):
    """A write through a read-only storage, file or snapshot."""


class SqlTimeout(StorageError):
    """A read-only SQL query passed its time limit, or its answer the limit of size."""


class SqlUnavailable(StorageError):
    """The backend has no SQL."""


class StorageFull(StorageError):
    """The disk (or a configured limit) is full. Nothing was written."""


class StorageCorrupt(StorageError):
    """The file is damaged, or is no database."""


class ForeignDatabase(StorageError):
    """The file is a database of another application; it was not touched."""


class SchemaTooNew(StorageError):
    """The file's schema is newer than this library; it was not touched."""


class MigrationError(StorageError):
    """A migration failed, was edited after it ran, or is needed but not allowed."""


class StorageClosed(StorageError):
    """The storage has been closed."""


class BackendUnavailable(StorageError):
    """A backend's driver or server is missing."""
