"""A model for tests: a vector of the words of a text, so that texts with common words are near; no download."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from mycelia_storage.layers.memories.embedders import FunctionEmbedder, from_function
from mycelia_storage.text import terms

#: Words that this model takes for one.
SAME = {"dog": "puppi", "hound": "puppi", "automobil": "car", "physician": "doctor"}


def rows_of(dimensions: int, seed: str) -> Callable[[list[str]], np.ndarray]:
    def rows(texts: list[str]) -> np.ndarray:
        return np.array([_row(text, dimensions, seed) for text in texts], dtype=np.float32)

    return rows


def _row(text: str, dimensions: int, seed: str) -> np.ndarray:
    row = np.full(dimensions, 1e-3)
    for word in terms(text, "english"):
        digest = hashlib.sha256(f"{seed} {SAME.get(word, word)}".encode()).digest()
        row += np.random.default_rng(int.from_bytes(digest[:8], "big")).normal(size=dimensions)
    return row / np.linalg.norm(row)


def model(name: str = "words", dimensions: int = 64) -> FunctionEmbedder:
    return from_function(rows_of(dimensions, name), model=name, dimensions=dimensions)
