"""What a store of experiences raises, besides the errors of its storage.

StorageError
├── ExperienceError
│   ├── ValidationError (also InvalidInput, ValueError)
│   │   ├── RequiredField
│   │   ├── InvalidField
│   │   ├── ContentTooLarge
│   │   ├── TooManyItems
│   │   └── DimensionMismatch           a vector, a query, the store or a peer has another number of dimensions
│   ├── NotFound (also KeyError)
│   ├── EmbeddingProviderMismatch       the store's vectors come from another model
│   ├── EmbeddingError                  an insight without a vector, or an embedder that failed
│   ├── CursorTooOld (also CursorExpired)   log rows after the cursor were compacted
│   ├── ReadOnly (also StorageReadOnly)
│   ├── SchemaMismatch                  the store was written by another version of this layer
│   └── SyncError
│       ├── TransportError
│       │   ├── SyncTimeout
│       │   └── ConnectionLost
│       ├── NotAuthorized               no token, or a wrong one
│       ├── HandshakeRefused
│       ├── ProtocolVersionMismatch
│       ├── InvalidPayload              a frame or a change that is not what it claims to be
│       ├── PayloadTooLarge
│       └── MissingDependency           a change needs an entity that is not there
"""

from __future__ import annotations

from ...errors import CursorExpired, InvalidInput, StorageError, StorageReadOnly


class ExperienceError(StorageError):
    """The root of this layer's own errors."""


class ValidationError(ExperienceError, InvalidInput):
    """An argument breaks a rule; nothing was written."""


class RequiredField(ValidationError):
    """A field that must be given is missing or empty."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} is required")
        self.field = field


class InvalidField(ValidationError):
    """A field breaks its rule."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


class ContentTooLarge(ValidationError):
    """Content over its limit; both in bytes."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"content has {size:,} bytes, and {most:,} are allowed")
        self.size = size
        self.most = most


class TooManyItems(ValidationError):
    """A list over its limit."""

    def __init__(self, field: str, count: int, most: int) -> None:
        super().__init__(f"{field} has {count} items, and {most} are allowed")
        self.field = field
        self.count = count
        self.most = most


class DimensionMismatch(ValidationError):
    """A vector of another dimension."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"the dimension is {got}, and {expected} was expected")
        self.expected = expected
        self.got = got


class NotFound(ExperienceError, KeyError):
    """No such collective, experience, relation, insight or activity."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"{kind} {id} not found")
        self.kind = kind
        self.id = id

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class EmbeddingProviderMismatch(ExperienceError):
    """The vectors of the store, or of a peer, come from another model: they cannot be compared."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"the vectors come from {got!r}, and {expected!r} was expected")
        self.expected = expected
        self.got = got


class EmbeddingError(ExperienceError):
    """There is no vector, and none could be made."""


class CursorTooOld(ExperienceError, CursorExpired):
    """Log rows after this sequence number are gone: read the entities again, or resynchronise."""

    def __init__(self, since: int, compacted: int) -> None:
        super().__init__(f"the log after {since} is gone up to {compacted}")
        self.since = since
        self.compacted = compacted


class ReadOnly(ExperienceError, StorageReadOnly):
    """A write through a store opened read-only."""

    def __init__(self) -> None:
        super().__init__("the store of experiences is in read-only mode")


class SchemaMismatch(ExperienceError):
    """The store was written by a version of this layer that this one does not know."""


class SyncError(ExperienceError):
    """Two stores could not exchange what they hold."""


class TransportError(SyncError):
    """The peer could not be reached, or answered with an error of its own."""


class SyncTimeout(TransportError):
    """The peer did not answer in time."""


class ConnectionLost(TransportError):
    """The connection could not be made, or broke."""


class NotAuthorized(SyncError):
    """The peer wants a valid token."""


class HandshakeRefused(SyncError):
    """The peer will not synchronise with this store."""


class ProtocolVersionMismatch(SyncError):
    """The peer speaks another version; ``got`` is None for what is no frame at all."""

    def __init__(self, expected: int, got: int | None) -> None:
        super().__init__(f"protocol version {expected} was expected, not {'none' if got is None else got}")
        self.expected = expected
        self.got = got


class InvalidPayload(SyncError):
    """A frame or change that cannot be read."""


class PayloadTooLarge(SyncError):
    """A frame over the limit; both in bytes."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"a frame of {size:,} bytes, and {most:,} are allowed")
        self.size = size
        self.most = most


class MissingDependency(SyncError):
    """A change refers to an entity that is neither here nor known to be deleted."""
