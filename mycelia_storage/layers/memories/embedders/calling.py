"""What an embedder is, and calling one: its rows are checked before anything is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ....errors import InvalidConfig, InvalidInput, InvalidValue
from ..spaces import EmbeddingSpace


class Embedder(Protocol):
    """Turns texts into vectors of one space. Called from any thread, never inside a transaction."""

    @property
    def space(self) -> EmbeddingSpace:
        """What makes the vectors comparable."""
        ...

    def __call__(self, texts: Sequence[str]) -> Any:
        """A row of ``space.dimensions`` numbers for each text: an array, or lists."""
        ...


class FunctionEmbedder:
    """An embedder of a function, called with ``batch_size`` texts at most."""

    def __init__(self, function: Callable[[list[str]], Any], space: EmbeddingSpace, *, batch_size: int = 256) -> None:
        if not callable(function):
            raise InvalidConfig("an embedder is made of a function from texts to rows")
        self.space = space
        self.batch_size = check_batch_size(batch_size)
        self._function = function

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(texts), self.batch_size):
            batch = list(texts[start : start + self.batch_size])
            made = list(self._function(batch))
            if len(made) != len(batch):
                raise InvalidValue(f"the embedder gave {len(made)} rows for {len(batch)} texts")
            rows += made
        return rows


def from_function(
    function: Callable[[list[str]], Any], *, model: str, dimensions: int, normalised: bool = True, batch_size: int = 256
) -> FunctionEmbedder:
    """An embedder of any function from a list of texts to rows of numbers. ``model`` names what the function is."""
    return FunctionEmbedder(function, EmbeddingSpace(model, dimensions, normalised), batch_size=batch_size)


def embed(embedder: Embedder, texts: Sequence[str]) -> list[bytes]:
    """The vectors of texts as bytes of float32. Raises InvalidValue for what are no vectors of its space."""
    import numpy

    if not texts:
        return []
    space = embedder.space
    made = embedder(texts)
    try:
        rows = numpy.asarray(made, dtype="<f4")
    except (TypeError, ValueError, OverflowError):
        raise InvalidValue(f"the embedder {space.model!r} gave no rows of numbers") from None
    if rows.shape != (len(texts), space.dimensions):
        raise InvalidValue(
            f"the embedder {space.model!r} gave an array of shape {rows.shape}, not {(len(texts), space.dimensions)}"
        )
    if not numpy.isfinite(rows).all() or not rows.any(axis=1).all():
        raise InvalidValue(f"the embedder {space.model!r} gave NaN, infinity or a zero vector")
    return [row.tobytes() for row in rows]


def check_batch_size(size: int) -> int:
    """Raise InvalidInput unless it is a whole number over 0."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidInput("batch_size is a whole number of at least 1")
    return size
