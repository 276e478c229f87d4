"""The entries that every engine stores: about 300 bytes of JSON each, the same for the same size on every machine.

Keys are ``conv-0012/turn-0034``, 100 to a conversation, so that a prefix names 100 neighbours. ``group`` and
``cluster`` split the entries alike, 50 to a value; only ``group`` is ever indexed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

SEED: Final = 20_240_613
TURNS: Final = 100
"""Keys with one prefix."""
MATCHES: Final = 50
"""Entries with one value of ``group``."""

# fmt: off
_WORDS: Final = [
    "agent", "answer", "asked", "before", "calls", "clear", "coffee", "decide", "evening", "family", "finds",
    "first", "garden", "happy", "helps", "keeps", "later", "letter", "listen", "little", "market", "memory",
    "morning", "notes", "number", "often", "paint", "people", "places", "plans", "promise", "quiet", "reads",
    "recall", "river", "school", "second", "should", "sister", "storm", "story", "street", "summer", "talks",
    "think", "town", "trail", "travel", "trust", "twice", "under", "visit", "walks", "water", "weeks", "window",
    "winter", "words", "write", "years",
]
# fmt: on


class Dataset:
    """``size`` entries; ``key(i)`` and ``value(i)`` for any i."""

    def __init__(self, size: int) -> None:
        if size < MATCHES:
            raise ValueError(f"a dataset has at least {MATCHES} entries")
        self.size = size
        self.groups = max(1, size // MATCHES)

    def key(self, number: int) -> str:
        return f"conv-{number // TURNS:05d}/turn-{number % TURNS:04d}"

    def missing_key(self, number: int) -> str:
        """A key that is not there, beside one that is."""
        return self.key(number) + "x"

    def prefix(self, number: int) -> str:
        """The prefix of the conversation of entry ``number``."""
        return f"conv-{number // TURNS:05d}/"

    def value(self, number: int, revision: int = 0) -> dict[str, Any]:
        rng = random.Random(SEED + number)
        return {
            "id": number,
            "revision": revision,
            "group": number % self.groups,
            "cluster": number % self.groups,
            "speaker": rng.choice(("Ada", "Grace", "Mary")),
            "session": 1 + number % 19,
            "text": " ".join(rng.choices(_WORDS, k=18)),
            "tags": rng.choices(_WORDS, k=3),
            "score": rng.random(),
            "source": {"channel": rng.choice(_WORDS), "line": rng.randrange(1000), "quoted": None},
        }

    @cached_property
    def keys(self) -> list[str]:
        return [self.key(number) for number in range(self.size)]

    def pairs(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Keys with values, in key order."""
        for number in range(start, self.size if stop is None else stop):
            yield self.key(number), self.value(number)
