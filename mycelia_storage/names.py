"""Namespaces and keys: their rules, and composite keys that sort as their parts do.

Rules: non-empty ``str``; no NUL, no lone surrogate; a key has at most 1,024 UTF-8 bytes, a namespace 512. Nothing
is trimmed or folded. ``/`` separates the levels of a namespace.

A tuple of strings names a namespace by its levels. Each segment is escaped, then they are joined by ``/``:

====  =====
in    out
====  =====
``~``  ``~0``
``/``  ``~1``
====  =====

A composite key (:func:`join_key`) is its parts joined by U+0001. Compared by UTF-8 bytes, two such keys order as the
tuples of their parts do, integers before strings:

=============  ==========================================================================
part           encoding
=============  ==========================================================================
int (64 bit)   ``i`` and 16 hex digits of ``n + 2**63``
str            ``s`` and the text, with U+0001 written U+0002 U+0002 and U+0002 written
               U+0002 U+0003
=============  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from .errors import InvalidKey, InvalidNamespace

MAX_KEY_BYTES: Final = 1024
MAX_NAMESPACE_BYTES: Final = 512
DEFAULT_NAMESPACE: Final = "default"

Namespace = str | tuple[str, ...]

#: A part of a composite key.
KeyPart = str | int

# A character takes at most four UTF-8 bytes, so a key this short needs no measuring.
SAFE_KEY_CHARS: Final = MAX_KEY_BYTES // 4

_CACHED_NAMESPACES: Final = 4096
_known: dict[Namespace, str] = {}


def check_key(key: object) -> str:
    """Return ``key`` as a plain ``str``, or raise :exc:`InvalidKey`."""
    if key.__class__ is str and 0 < len(key) <= SAFE_KEY_CHARS and key.isascii() and "\0" not in key:
        return key
    if not isinstance(key, str):
        raise InvalidKey(f"a key is a string, not {type(key).__name__}")
    problem = _problem(key, MAX_KEY_BYTES)
    if problem:
        raise InvalidKey(f"key {key[:40]!r} {problem}")
    return str(key)


def is_key(text: str) -> bool:
    """Whether ``text`` could be a key."""
    return (0 < len(text) <= SAFE_KEY_CHARS and text.isascii() and "\0" not in text) or not _problem(
        text, MAX_KEY_BYTES
    )


def check_keys(keys: Iterable[object]) -> list[str]:
    """Several keys at once, each as :func:`check_key` has it; the usual ones are checked together."""
    checked: list[Any] = list(keys)
    try:
        together = "".join(checked)
        lengths = [*map(len, checked)] or [1]
        if together.isascii() and "\0" not in together and min(lengths) > 0 and max(lengths) <= SAFE_KEY_CHARS:
            return checked
    except TypeError:
        pass
    return [check_key(key) for key in checked]


def check_namespace(namespace: object) -> str:
    """Return the stored form of a namespace given as a string or a tuple of segments.

    Raises :exc:`InvalidNamespace`.
    """
    try:
        return _known[namespace]  # type: ignore[index]
    except (KeyError, TypeError):
        pass
    if isinstance(namespace, str):
        name = str(namespace)
    elif isinstance(namespace, tuple):
        name = _join_segments(namespace)
    else:
        raise InvalidNamespace(f"a namespace is a string or a tuple of strings, not {type(namespace).__name__}")
    problem = _problem(name, MAX_NAMESPACE_BYTES)
    if problem:
        raise InvalidNamespace(f"namespace {name[:40]!r} {problem}")
    if len(_known) >= _CACHED_NAMESPACES:
        _known.clear()
    _known[namespace if isinstance(namespace, tuple) else name] = name
    return name


def is_below(namespace: str, prefix: str) -> bool:
    """Whether ``namespace`` is ``prefix`` or below it (``agents/a1`` never covers ``agents/a10``)."""
    return namespace == prefix or namespace.startswith(prefix + "/")


def join_key(*parts: KeyPart) -> str:
    """A composite key from strings and 64-bit integers; see the module's table. Raises :exc:`InvalidKey`.

    >>> join_key("room", 7) < join_key("room", 12) < join_key("rooms", 1)
    True
    """
    if not parts:
        raise InvalidKey("a composite key has at least one part")
    return check_key("\x01".join(map(_encode_part, parts)))


def key_prefix(*parts: KeyPart) -> str:
    """The prefix that every composite key starting with ``parts`` shares, for ``scan(prefix=...)``."""
    return join_key(*parts) + "\x01"


def split_key(key: str) -> tuple[KeyPart, ...]:
    """The parts of a composite key. Raises :exc:`InvalidKey` for a key that :func:`join_key` did not make.

    >>> split_key(join_key("room", -3, "a"))
    ('room', -3, 'a')
    """
    return tuple(_decode_part(part) for part in check_key(key).split("\x01"))


def _problem(text: str, max_bytes: int) -> str | None:
    if not text:
        return "is empty"
    if "\0" in text:
        return "contains NUL"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "contains a lone surrogate"
    return f"has {size} UTF-8 bytes; at most {max_bytes} are allowed" if size > max_bytes else None


def _join_segments(segments: tuple[object, ...]) -> str:
    encoded = []
    for segment in segments:
        if not isinstance(segment, str) or not segment:
            raise InvalidNamespace("the segments of a namespace are non-empty strings")
        encoded.append(segment.replace("~", "~0").replace("/", "~1"))
    return "/".join(encoded)


def _encode_part(part: object) -> str:
    if isinstance(part, str):
        return "s" + part.replace("\x02", "\x02\x03").replace("\x01", "\x02\x02")
    if isinstance(part, int) and not isinstance(part, bool) and -(2**63) <= part < 2**63:
        return f"i{part + 2**63:016x}"
    raise InvalidKey("the parts of a composite key are strings and 64-bit integers")


def _decode_part(part: str) -> KeyPart:
    kind, body = part[:1], part[1:]
    decoded: KeyPart | None = None
    if kind == "s":
        decoded = body.replace("\x02\x02", "\x01").replace("\x02\x03", "\x02")
    elif kind == "i" and len(body) == 16:
        try:
            decoded = int(body, 16) - 2**63
        except ValueError:
            pass
    # Other spellings of a part (capital hex digits, a lone U+0002) come from elsewhere.
    if decoded is None or _encode_part(decoded) != part:
        raise InvalidKey("this key is not a composite key")
    return decoded
