"""What a migration script does, read from its words: does it destroy data, does it end transactions.

A guard against accidents, not against malice: it reads words, it does not parse. Comments, string literals and quoted
names do not count, but the text between dollar quotes does, since PostgreSQL runs it. Where it errs, it errs towards
refusing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      --[^\n]*                                  # comment to the end of the line
    | /\*.*?(?:\*/|\Z)                          # comment in brackets
    | \b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)         # PostgreSQL string with escapes
    | '(?:[^']|'')*(?:'|\Z)                     # string
    | (?P<name>"(?:[^"]|"")*(?:"|\Z)|`[^`]*`|\[[^\]]*\])
    | \$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$
    | (?P<end>;)
    | (?P<word>\w+)
    """,
    re.VERBOSE | re.DOTALL,
)

_TRANSACTION_WORDS: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "ABORT", "VACUUM"})
_LOSING_DROPS: Final = frozenset({"TABLE", "COLUMN", "SCHEMA", "DATABASE", "OWNED"})
# ALTER TABLE ... DROP takes the column's name without the word COLUMN; these follow DROP without losing data.
_HARMLESS_DROPS: Final = frozenset({"CONSTRAINT", "DEFAULT", "NOT", "IDENTITY", "EXPRESSION"})
_QUOTED: Final = '"'


def destructive_statement(script: str) -> str | None:
    """The first statement that loses data, by its first words, or None.

    Counts DROP TABLE, SCHEMA or DATABASE, ALTER TABLE ... DROP of a column, DELETE without WHERE, and TRUNCATE.
    """
    for words in _statements(script):
        if _is_destructive(words):
            return " ".join(words[:4])
    return None


def transaction_statement(script: str) -> str | None:
    """The first statement that begins or ends a transaction, or cannot run in one, by its first word, or None."""
    in_trigger = False
    for words in _statements(script, dollar_bodies=False):
        if in_trigger:
            in_trigger = words[0] != "END"
        elif words[0] in _TRANSACTION_WORDS:
            return words[0]
        else:
            # Its body holds statements, up to an END that stands alone.
            in_trigger = words[0] == "CREATE" and "TRIGGER" in words[1:3] and "BEGIN" in words
    return None


def _statements(script: str, dollar_bodies: bool = True) -> Iterator[list[str]]:
    words: list[str] = []
    for token in _TOKEN.finditer(script):
        if token["word"]:
            words.append(token["word"].upper())
        elif token["name"]:
            words.append(_QUOTED)
        elif token["body"] and dollar_bodies:
            yield from _statements(token["body"])
        elif token["end"] and words:
            yield words
            words = []
    if words:
        yield words


def _is_destructive(words: list[str]) -> bool:
    altering = words[:2] == ["ALTER", "TABLE"]
    following = [*words[1:], ""]
    for word, after in zip(words, following, strict=True):
        if word == "DROP" and (after in _LOSING_DROPS or (altering and after not in _HARMLESS_DROPS)):
            return True
        if word == "DELETE" and after == "FROM" and "WHERE" not in words:
            return True
        if word == "TRUNCATE" and after != "ON":
            return True
    return False
