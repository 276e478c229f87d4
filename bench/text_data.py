"""Texts to remember and questions about them: turns of conversations where those are at hand, else made-up ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from .dataset import SEED
from .vector_data import DIMENSIONS, Floats, conversations_folder, shuffled

_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_TURNS = 2_000
_QUESTIONS = 300


def turns() -> list[dict[str, Any]]:
    """What ``Memories.remember_many`` takes, without vectors: texts of conversations with their sessions."""
    folder = conversations_folder()
    if folder is None:
        return list(_made_turns())
    fields = ("conversation", "session", "speaker", "text", "created_at")
    return [{name: turn[name] for name in fields} for turn in _lines(folder / "turns.jsonl")]


def questions() -> list[str]:
    """What is asked, in the order of :func:`.vector_data.queries`."""
    folder = conversations_folder()
    if folder is None:
        rng = random.Random(SEED + 1)
        return [_sentence(rng, 8) for _ in range(_QUESTIONS)]
    found = [question["question"] for question in _lines(folder / "questions.jsonl")]
    return [found[row] for row in shuffled(len(found))]


def memories(count: int) -> list[dict[str, Any]]:
    """``count`` of them: the turns, then the same again in further conversations, each with a vector of its own."""
    base = turns()
    vectors = _vectors(count)
    found = []
    for number in range(count):
        turn, again = base[number % len(base)], number // len(base)
        name = turn["conversation"] + (f" ({again})" if again else "")
        found.append(turn | {"conversation": name, "vector": vectors[number], "metadata": {"number": number}})
    return found


def texts(count: int) -> Iterator[str]:
    """``count`` texts, none of them twice: halves of two turns each, so that words are as frequent as in the turns."""
    base = [turn["text"].split() for turn in turns()]
    rng = random.Random(SEED + 2)
    for number in range(count):
        one, other = rng.choice(base), rng.choice(base)
        yield " ".join([*one[: (len(one) + 1) // 2], *other[len(other) // 2 :], str(number)])


def _vectors(count: int) -> Floats:
    folder = conversations_folder()
    if folder is None:
        found = numpy.random.default_rng(SEED).standard_normal((count, DIMENSIONS)).astype(numpy.float32)
    else:
        real = numpy.load(folder / "turn_vectors.npy").astype(numpy.float32)
        found = real[numpy.arange(count) % len(real)]
        noise = numpy.random.default_rng(SEED).standard_normal(found.shape).astype(numpy.float32)
        found = found + noise * numpy.float32(0.005)
    unit: Floats = found / numpy.linalg.norm(found, axis=1, keepdims=True)
    return unit


def _made_turns() -> Iterator[dict[str, Any]]:
    rng = random.Random(SEED)
    for number in range(_TURNS):
        yield {
            "conversation": f"c{number // 400}",
            "session": number // 20,
            "speaker": "ab"[number % 2],
            "text": _sentence(rng, rng.randint(5, 40)),
            "created_at": 1_700_000_000_000 + 60_000 * number,
        }


def _sentence(rng: random.Random, length: int) -> str:
    """Made-up words, the n-th of which is about n times as rare as the first."""
    return " ".join(_word(int(rng.paretovariate(0.8)) % 20_000) for _ in range(length))


def _word(number: int) -> str:
    size = len(_SYLLABLES)
    return _SYLLABLES[number % size] + _SYLLABLES[number // size % size] + _SYLLABLES[number // size**2 % size]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)
