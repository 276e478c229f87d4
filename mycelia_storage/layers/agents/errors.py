"""What goes wrong in this layer alone; everything else is an error of the contract.

StorageError
├── InvalidValue
│   ├── WrongDimension        a vector has another number of dimensions than its embedding space
│   └── TooLarge              content, metadata or a body beyond the limit of a record
├── KeyNotFound
│   └── UnknownRecord         a record refers to a room, entity, world or agent that is not there
├── KeyExists
│   └── DuplicateRecord       a second record of one id or natural key, where the method promises to say so
├── EmbeddingSpaceChanged     the store is bound to another embedding space
└── ForeignAgent              strict mode: the record belongs to another agent
"""

from __future__ import annotations

from ...errors import InvalidValue, KeyExists, KeyNotFound, StorageError


class WrongDimension(InvalidValue):
    """A vector does not fit its embedding space. ``expected`` and ``received`` are numbers of dimensions."""

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(f"the embedding space has {expected} dimensions; received a vector of {received}")
        self.expected = expected
        self.received = received


class TooLarge(InvalidValue):
    """A record's JSON is larger or deeper than allowed; nothing was written."""


class UnknownRecord(KeyNotFound):
    """The record that an id refers to does not exist."""


class DuplicateRecord(KeyExists):
    """The record is there already."""


class EmbeddingSpaceChanged(StorageError):
    """``ensure_embedding_space`` bound this store to another space: open another store for the new one."""


class ForeignAgent(StorageError):
    """In strict mode a store touches the records of its own agent alone."""
