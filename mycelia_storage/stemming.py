"""English stemming by Porter's algorithm ("An algorithm for suffix stripping", Program 14.3, 1980), frozen.

Stems are stored in text indexes and must stay the same for ever and on every backend, so the algorithm is here and not
in a library that goes on improving. Porter's two later changes are in it, as in SQLite's ``porter`` tokenizer, with
which a test compares it: ``bli`` becomes ``ble`` and ``logi`` becomes ``log``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_STEP_2: Final = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("logi", "log"),
)  # fmt: skip
_STEP_3: Final = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
)  # fmt: skip
_STEP_4: Final = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip


def _shape(word: str) -> str:
    """The word with ``v`` for each vowel and ``c`` for each consonant; ``y`` after a consonant is a vowel."""
    shape = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and shape.endswith("c"))
        shape += "v" if vowel else "c"
    return shape


def _measure(stem: str) -> int:
    """How many vowel-consonant sequences it has."""
    return _shape(stem).count("vc")


def _ends_in_double_consonant(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "c"


def _ends_short(word: str) -> bool:
    """Whether it ends consonant-vowel-consonant, the last one none of w, x, y."""
    return _shape(word)[-3:] == "cvc" and word[-1] not in "wxy"


def _step_1(word: str) -> str:
    """Plurals, ``-ed``, ``-ing`` and a final y."""
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    else:
        for suffix in ("ed", "ing"):
            stem = word.removesuffix(suffix)
            if stem != word and "v" in _shape(stem):
                if stem.endswith(("at", "bl", "iz")) or (_measure(stem) == 1 and _ends_short(stem)):
                    word = stem + "e"
                elif _ends_in_double_consonant(stem) and stem[-1] not in "lsz":
                    word = stem[:-1]
                else:
                    word = stem
                break
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    return word


def _replace(word: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """The first pair whose suffix the longest match gives, applied where something stands before it."""
    found = max((pair for pair in pairs if word.endswith(pair[0])), key=lambda pair: len(pair[0]), default=None)
    if found is None:
        return word
    stem = word[: -len(found[0])]
    return stem + found[1] if _measure(stem) > 0 else word


def _step_4(word: str) -> str:
    suffix = max((suffix for suffix in _STEP_4 if word.endswith(suffix)), key=len, default="")
    stem = word[: len(word) - len(suffix)]
    if not suffix or _measure(stem) <= 1 or (suffix == "ion" and not stem.endswith(("s", "t"))):
        return word
    return stem


def _step_5(word: str) -> str:
    if word.endswith("e"):
        stem = word[:-1]
        if _measure(stem) > 1 or (_measure(stem) == 1 and not _ends_short(stem)):
            word = stem
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of a lower-case word. What is not made of the letters a to z alone stays as it is."""
    if len(word) < 3 or not word.isascii() or not word.isalpha():
        return word
    return _step_5(_step_4(_replace(_replace(_step_1(word), _STEP_2), _STEP_3)))
