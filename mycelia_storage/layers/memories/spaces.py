"""Embedding spaces: which model made the vectors of a namespace, and which is to make them next."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from ...contract import StorageBackend
from ...errors import EmbeddingMismatch, InvalidConfig, InvalidValue, StorageCorrupt
from ...indexes import MOST_DIMENSIONS, VectorIndex
from ...names import check_namespace

STATE_KEY: Final = "spaces"


@dataclass(frozen=True)
class EmbeddingSpace:
    """What makes vectors comparable: one model, one number of dimensions, normalised or not."""

    model: str
    dimensions: int
    normalised: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not 0 < len(self.model) <= 200:
            raise InvalidConfig("the model of an embedding space has a name of 1 to 200 characters")
        number = self.dimensions
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_DIMENSIONS:
            raise InvalidConfig(f"an embedding space has 1 to {MOST_DIMENSIONS:,} dimensions")

    @property
    def name(self) -> str:
        """Its name in namespaces."""
        return f"{self.model}-{self.dimensions}" + ("" if self.normalised else "-raw")

    @property
    def index(self) -> VectorIndex:
        """The declaration of its indexes."""
        return VectorIndex(self.dimensions, "cosine")


@dataclass(frozen=True)
class Spaces:
    """The state of a namespace of memories: see :class:`.reembedding.Reembedding` for how it changes."""

    active: EmbeddingSpace | None = None
    next: EmbeddingSpace | None = None
    cursor: str | None = None
    """The last key that was embedded for ``next``."""
    scanned: bool = False
    """Whether every key has been."""
    retired: tuple[EmbeddingSpace, ...] = ()
    """Spaces whose vectors are still to be deleted."""

    @property
    def written(self) -> list[EmbeddingSpace]:
        """The spaces that hold vectors."""
        return [space for space in (self.active, self.next, *self.retired) if space is not None]


@dataclass(frozen=True)
class Places:
    """The namespaces of one ``Memories``."""

    main: str

    @property
    def history(self) -> str:
        return f"{self.main}/history"

    @property
    def expiries(self) -> str:
        return f"{self.main}/expiries"

    @property
    def state(self) -> str:
        return f"{self.main}/state"

    @property
    def todo(self) -> str:
        return f"{self.main}/todo"

    def of_space(self, space: EmbeddingSpace) -> str:
        """The parent of its two namespaces."""
        return check_namespace(f"{self.main}/spaces/{check_namespace((space.name,))}")

    def text(self, space: EmbeddingSpace) -> str:
        """Where the vectors of texts are."""
        return f"{self.of_space(space)}/text"

    def window(self, space: EmbeddingSpace) -> str:
        """Where the vectors of windows are."""
        return f"{self.of_space(space)}/window"

    def read_state(self, storage: StorageBackend) -> Spaces:
        """The state, empty before the first vector. Raises StorageCorrupt."""
        data = storage.get(STATE_KEY, namespace=self.state)
        if data is None:
            return Spaces()
        try:
            return Spaces(
                _space(data["active"]),
                _space(data["next"]),
                data["cursor"],
                data["scanned"],
                tuple(EmbeddingSpace(**retired) for retired in data["retired"]),
            )
        except (TypeError, KeyError, InvalidConfig):
            raise StorageCorrupt(f"the state of the memories in namespace {self.main!r} is damaged") from None

    def write_state(self, tx: StorageBackend, spaces: Spaces) -> None:
        """Store the state."""
        data: dict[str, Any] = asdict(spaces)
        tx.set(STATE_KEY, {**data, "retired": list(data["retired"])}, namespace=self.state)

    def make_space(self, tx: StorageBackend, space: EmbeddingSpace) -> None:
        """Make the namespaces and indexes of a space."""
        for namespace in (self.text(space), self.window(space)):
            tx.create_index(namespace, space.index)

    def activate(self, tx: StorageBackend, spaces: Spaces, space: EmbeddingSpace) -> Spaces:
        """The state with that space active, as the first vector makes it. Raises EmbeddingMismatch."""
        if spaces.active is None:
            spaces = replace(spaces, active=space)
            self.make_space(tx, space)
            self.write_state(tx, spaces)
        self.require(spaces, space)
        return spaces

    def require(self, spaces: Spaces, space: EmbeddingSpace | None) -> None:
        """Raise EmbeddingMismatch unless vectors of ``space`` can be compared with those that are there."""
        if space is not None and spaces.active is not None and space != spaces.active:
            raise EmbeddingMismatch(
                f"the memories in namespace {self.main!r} are embedded by {spaces.active.name!r}, not by "
                f"{space.name!r}: open them with that model, or without one, and call reembed(...)"
            )


def check_dimensions(data: bytes, space: EmbeddingSpace, namespace: str, key: str) -> bytes:
    """A vector's bytes. Raises InvalidValue for other dimensions; the index looks at the numbers."""
    if len(data) != 4 * space.dimensions:
        raise InvalidValue(
            f"the vector of key {key!r} in namespace {namespace!r} has {len(data) // 4} dimensions, "
            f"and its space {space.dimensions}"
        )
    return data


def _space(data: dict[str, Any] | None) -> EmbeddingSpace | None:
    return None if data is None else EmbeddingSpace(**data)
