"""What text search means on every backend: which words a text has, and how an entry scores for a query.

**Words.** The text is normalised (NFKD without the combining marks of Latin, Greek and Cyrillic, then NFC) and
case-folded. A word is a run of letters, digits and the marks of scripts that write vowels so; ideographs and kana,
which are written without spaces, are a word each. Words are cut to 64 characters. With ``language="english"`` stop
words go and the others are stemmed (:mod:`.stemming`).

**Score.** Okapi BM25 over weighted fields: an occurrence in a field of weight w counts w; the length of an entry is the
number of terms in all its fields, whatever they weigh (SQLite's FTS5 does the same). With ``n`` entries in the
namespace that hold the term, of ``entries`` in all::

    idf   = ln(1 + (entries - n + 0.5) / (n + 0.5))
    score = sum of idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average_length))

The statistics are the namespace's own and cover all its entries, whatever a filter lets through, expired ones until
they are swept. Entries whose fields hold no word are not counted. A query is the set of its words; of more than 64 the
rarest count, those of equal number in order of their spelling.
"""

from __future__ import annotations

import math
import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from .field_paths import FieldPath, parse_path
from .indexes import TextIndex
from .stemming import stem

K1: Final = 1.2
B: Final = 0.75

#: Longest word kept, in characters.
LONGEST_WORD: Final = 64

#: Most terms of a query that are looked up.
MOST_TERMS: Final = 64

# Ideographs, kana with their marks of length and repetition, and bopomofo. The marks below are those of the scripts of
# South and South-East Asia, Hebrew and Arabic, which Python does not count among the characters of a word.
_SINGLE: Final = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_MARKS: Final = (
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f"
    "\u0951-\u0957\u0962\u0963\u0981-\u0983\u09bc\u09be-\u09cd\u09d7\u0a01-\u0a03\u0a3c-\u0a4d\u0a70\u0a71\u0a81-\u0a83"
    "\u0abc\u0abe-\u0acd\u0b01-\u0b03\u0b3c\u0b3e-\u0b4d\u0b82\u0bbe-\u0bcd\u0c00-\u0c04\u0c3e-\u0c56\u0c81-\u0c83"
    "\u0cbc\u0cbe-\u0cd6\u0d00-\u0d03\u0d3b\u0d3c\u0d3e-\u0d4d\u0dca-\u0ddf\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1"
    "\u0eb4-\u0ebc\u0ec8-\u0ece\u0f71-\u0f84\u102b-\u103e\u1056-\u1059\u17b4-\u17d3"
)
_WORD: Final = re.compile(f"[{_SINGLE}]|(?:(?![{_SINGLE}])[^\\W_]|[{_MARKS}])+")
_ASCII_WORD: Final = re.compile("[0-9a-z]+")
_ACCENTS: Final = re.compile("[\u0300-\u036f]")

ENGLISH_STOP_WORDS: Final = frozenset(
    """a about above after again against all am an and any are aren as at be because been before being below between
    both but by can cannot could couldn d did didn do does doesn doing don down during each few for from further had
    hadn has hasn have haven having he her here hers herself him himself his how i if in into is isn it its itself just
    ll m me might more most mustn my myself no nor not now o of off on once only or other our ours ourselves out over
    own re s same shan she should shouldn so some such t than that the their theirs them themselves then there these
    they this those through to too under until up ve very was wasn we were weren what when where which while who whom
    why will with won would wouldn y you your yours yourself yourselves""".split()  # noqa: SIM905
)


class Occurrences(NamedTuple):
    """What a text index keeps of an entry: how often it holds each term, by weight, and how many terms it has."""

    terms: dict[str, float]
    length: int


def words(text: str) -> list[str]:
    """The words of a text, folded, in order."""
    if text.isascii():
        found = _ASCII_WORD.findall(text.lower())
    else:
        folded = _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).casefold()
        found = _WORD.findall(unicodedata.normalize("NFC", folded))
    return [word[:LONGEST_WORD] for word in found]


def terms(text: str, language: str | None) -> list[str]:
    """The terms of a text in order: its words, for ``"english"`` without stop words and stemmed."""
    if language is None:
        return words(text)
    return [stem(word) for word in words(text) if word not in ENGLISH_STOP_WORDS]


def texts_of(value: Any) -> Iterable[str]:
    """The texts that a field holds: its string, or those of its list. Everything else holds none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for member in value:
            if isinstance(member, str):
                yield member


@lru_cache(maxsize=256)
def fields_of(index: TextIndex) -> tuple[tuple[FieldPath, float], ...]:
    """The fields of an index, parsed, with their weights."""
    return tuple((parse_path(path), weight) for path, weight in index.fields)


def occurrences(fields: Iterable[tuple[Any, float]], language: str | None) -> Occurrences:
    """What is kept of an entry whose fields hold these values, given with their weights."""
    numbers: dict[str, float] = {}
    length = 0
    for value, weight in fields:
        counted: Counter[str] = Counter()
        for text in texts_of(value):
            counted.update(terms(text, language))
        for term, number in counted.items():
            numbers[term] = numbers.get(term, 0.0) + weight * number
            length += number
    return Occurrences(numbers, length)


def query_terms(text: str, language: str | None) -> list[str]:
    """The distinct terms of a query, in order of their spelling."""
    return sorted(set(terms(text, language)))


def rarest(numbers: dict[str, int]) -> list[str]:
    """Of terms with the number of entries that hold each, those that a search looks up: none that nothing holds."""
    held = [(number, term) for term, number in numbers.items() if number]
    return [term for _, term in sorted(held)[:MOST_TERMS]]


def idf(entries: int, holding: int) -> float:
    """The weight of a term that ``holding`` of ``entries`` hold."""
    return math.log(1 + (entries - holding + 0.5) / (holding + 0.5))


def term_score(weight: float, tf: float, length: int, average: float) -> float:
    """What a term of that idf adds to the score of an entry that holds it ``tf`` times."""
    return weight * tf * (K1 + 1) / (tf + K1 * (1 - B + B * length / average))


def rank(query: Iterable[str], held: Mapping[str, Occurrences]) -> dict[str, float]:
    """The score of each key of ``held`` that holds a term of ``query``, rounded to float32."""
    holding = {term: sum(term in kept.terms for kept in held.values()) for term in query}
    looked_up = rarest(holding)
    average = sum(kept.length for kept in held.values()) / len(held) if held else 1.0
    found: dict[str, float] = {}
    for term in looked_up:
        weight = idf(len(held), holding[term])
        for key, kept in held.items():
            tf = kept.terms.get(term)
            if tf is not None:
                found[key] = found.get(key, 0.0) + term_score(weight, tf, kept.length, average)
    return {key: to_float32(score) for key, score in found.items()}


def to_float32(number: float) -> float:
    """The nearest float32: what scores are rounded to, so that the order of summation does not show."""
    return float(_FLOAT32.unpack(_FLOAT32.pack(number))[0])


_FLOAT32: Final = struct.Struct("<f")
