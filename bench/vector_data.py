"""The vectors, queries and metadata of the vector benchmarks, and the right answers.

Where the project's conversations are at hand (see :mod:`bench.recall_quality` for what they are), the vectors are mixes
of two of their sentence embeddings with a little noise and the queries are their questions: as hard to tell apart as
real ones. Elsewhere both come from a seeded mixture of Gaussians.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy
from numpy.typing import NDArray

from .dataset import SEED

Floats = NDArray[numpy.float32]

DIMENSIONS: Final = 384
K: Final = 10
EXTRA: Final = 200
"""Vectors beyond those of the bulk load, to add one by one."""

_PART: Final = 20_000


class Chosen(NamedTuple):
    """A filter: the entries whose number leaves ``1`` when divided, one in ``divisor``."""

    name: str
    field: str
    divisor: int

    def holds(self, numbers: Any) -> Any:
        return numbers % self.divisor == 1


FILTERS: Final[tuple[Chosen | None, ...]] = (
    None,
    Chosen("50 %", "half", 2),
    Chosen("5 %", "twentieth", 20),
    Chosen("0.5 %", "twohundredth", 200),
)


def filter_named(name: str) -> Chosen | None:
    """The filter of that name; "all" is none."""
    return next(chosen for chosen in FILTERS if (chosen.name if chosen else "all") == name)


def key_of(number: int) -> str:
    return f"k{number:07}"


def number_of(key: str) -> int:
    return int(key[1:])


def metadata_of(number: int) -> dict[str, Any]:
    """What is stored beside a vector and comes back with a hit."""
    return {
        "half": number % 2,
        "twentieth": number % 20,
        "twohundredth": number % 200,
        "text": f"memory {number}",
    }


def conversations_folder() -> Path | None:
    """Where the conversations are, or None."""
    given = os.environ.get("MYCELIA_CONVERSATIONS")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data" / "conversations"
    return folder if (folder / "question_vectors.npy").exists() else None


def source_name() -> str:
    """Which of the two it is."""
    return "mixtures of sentence embeddings" if conversations_folder() else "a mixture of Gaussians"


def queries(count: int) -> Floats:
    """Rows of length 1."""
    folder = conversations_folder()
    if folder is None:
        return next(_gaussians(count, SEED + 1))
    found = numpy.load(folder / "question_vectors.npy").astype(numpy.float32)
    return _unit(found[shuffled(len(found))[:count]])


def shuffled(count: int) -> list[int]:
    """The order in which so many questions are asked."""
    order: list[int] = numpy.random.default_rng(SEED).permutation(count).tolist()
    return order


def write_vectors(path: Path, count: int) -> None:
    """A .npy file of ``count`` rows of length 1; made in parts, as a million do not fit everywhere."""
    made = numpy.lib.format.open_memmap(path, mode="w+", dtype=numpy.float32, shape=(count, DIMENSIONS))
    folder = conversations_folder()
    parts = _gaussians(count, SEED) if folder is None else _mixes(folder, count)
    start = 0
    for part in parts:
        made[start : start + len(part)] = part
        start += len(part)
    made.flush()


def _mixes(folder: Path, count: int) -> Iterator[Floats]:
    real = numpy.concatenate([numpy.load(folder / f"{name}_vectors.npy") for name in ("turn", "window")])
    real = real.astype(numpy.float32)
    rng = numpy.random.default_rng(SEED)
    for start in range(0, count, _PART):
        size = min(_PART, count - start)
        one, other = (real[rng.integers(0, len(real), size)] for _ in range(2))
        share = rng.random((size, 1), dtype=numpy.float32)
        noise = rng.standard_normal((size, DIMENSIONS), dtype=numpy.float32) * numpy.float32(0.02)
        yield _unit(share * one + (1 - share) * other + noise)


def _gaussians(count: int, seed: int) -> Iterator[Floats]:
    centres = numpy.random.default_rng(SEED).standard_normal((500, DIMENSIONS), dtype=numpy.float32)
    # A few directions carry most of the spread, as in embeddings of text.
    spread = (1 / numpy.sqrt(1 + numpy.arange(DIMENSIONS) / 8)).astype(numpy.float32)
    rng = numpy.random.default_rng(seed)
    for start in range(0, count, _PART):
        size = min(_PART, count - start)
        near = centres[rng.integers(0, len(centres), size)]
        yield _unit((near + rng.standard_normal((size, DIMENSIONS), dtype=numpy.float32)) * spread)


def _unit(rows: Floats) -> Floats:
    found: Floats = rows / numpy.linalg.norm(rows, axis=1, keepdims=True)
    return found.astype(numpy.float32)


class Truth:
    """The least score of the right answers to each query under each filter, and how many there are."""

    def __init__(self, vectors: Floats, asked: Floats, k: int = K) -> None:
        self._vectors = vectors
        self._asked = asked
        self._least = {}
        self._wanted = {}
        best: dict[str, Floats] = {}
        for start in range(0, len(vectors), _PART):
            scores = asked @ vectors[start : start + _PART].T
            numbers = numpy.arange(start, start + scores.shape[1])
            for chosen in FILTERS:
                name = chosen.name if chosen else "all"
                mine = scores if chosen is None else scores[:, chosen.holds(numbers)]
                mine = mine if name not in best else numpy.hstack((best[name], mine))
                kept = min(k, mine.shape[1])
                best[name] = numpy.partition(mine, mine.shape[1] - kept)[:, mine.shape[1] - kept :] if kept else mine
        for name, scores in best.items():
            self._wanted[name] = scores.shape[1]
            self._least[name] = scores.min(axis=1) if scores.shape[1] else None

    def wanted(self, name: str) -> int:
        """How many hits there must be."""
        return int(self._wanted[name])

    def right(self, name: str, query: int, found: list[int]) -> int:
        """How many of the found are right: as near as the last of the right ones, up to float32's rounding."""
        least = self._least[name]
        if least is None or not found:
            return 0
        rows = numpy.array(sorted(set(found)))
        return int((self._vectors[rows] @ self._asked[query] >= least[query] - 2e-6).sum())
