"""Glob patterns over keys: ``*`` any run, ``?`` one character, everything else literal, case-sensitive, whole key."""

from __future__ import annotations

import re
from collections.abc import Callable

from .errors import InvalidInput


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A test for keys. Raises InvalidInput for anything but a string.

    >>> compile_pattern("a[1]*?")("a[1]b")
    True
    """
    check_pattern(pattern)
    first, *rest = [re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", pattern)]
    if not rest:
        expression = first
    else:
        # Each literal run is taken at its leftmost place and never moved (an atomic group), so no backtracking.
        middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
        expression = f"{first}{middle}.*{rest[-1]}"
    fullmatch = re.compile(expression, re.DOTALL).fullmatch
    return lambda key: fullmatch(key) is not None


def check_pattern(pattern: object) -> str:
    """Return the pattern, or raise InvalidInput for what is no string."""
    if not isinstance(pattern, str):
        raise InvalidInput(f"a pattern is a string, not {type(pattern).__name__}")
    return pattern


def literal_prefix(pattern: str) -> str:
    """The part before the first wildcard.

    >>> literal_prefix("conv-26/D1:*")
    'conv-26/D1:'
    """
    check_pattern(pattern)
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def is_prefix_pattern(pattern: str) -> bool:
    """Whether the pattern is a literal prefix and one ``*``, so that the range alone decides."""
    return pattern.endswith("*") and len(literal_prefix(pattern)) == len(pattern) - 1


def to_like(pattern: str) -> str:
    r"""The LIKE pattern with escape ``\`` that matches at least the same keys (LIKE folds ASCII case)."""
    literal = re.sub(r"[%_\\]", lambda found: "\\" + found[0], pattern)
    return literal.replace("*", "%").replace("?", "_")


def prefix_end(prefix: str) -> str | None:
    """The smallest string above every string with that prefix, by UTF-8 bytes; None where there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[at])
        if point < 0x10FFFF:
            point = 0xE000 if point == 0xD7FF else point + 1
            return prefix[:at] + chr(point)
    return None
