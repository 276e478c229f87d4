"""UUIDs as elizaOS has them: any 8-4-4-4-12 hex digits, whatever version they claim; stored in lower case.

The nil UUID and those of version 0, which :func:`string_to_uuid` makes, are legal; braces, ``urn:uuid:`` and missing
hyphens are not.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from ...errors import InvalidValue

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
#: What JavaScript's encodeURIComponent leaves as it is, beside letters and digits.
_UNESCAPED: Final = "-_.!~*'()"


def new_uuid() -> str:
    """A random UUID."""
    return str(uuid4())


def as_uuid(text: object) -> str:
    """``text`` in lower case. Raises InvalidValue unless it has the shape of a UUID.

    >>> as_uuid("06DF3CF3-6C0C-0449-9C80-87E36D1EA8F6")
    '06df3cf3-6c0c-0449-9c80-87e36d1ea8f6'
    """
    if isinstance(text, str) and _UUID.fullmatch(text):
        return text.lower()
    raise InvalidValue("invalid UUID format: a UUID is 8-4-4-4-12 hex digits with hyphens")


def validate_uuid(text: object) -> str | None:
    """``text`` in lower case, or None unless it has the shape of a UUID."""
    return text.lower() if isinstance(text, str) and _UUID.fullmatch(text) else None


def string_to_uuid(text: str | int) -> str:
    """The UUID that stands for an id of another system: a UUID as it is, else one made of its SHA-1.

    >>> string_to_uuid("test")
    'a94a8fe5-ccb1-0ba6-9c4c-0873d391e987'
    """
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise TypeError(f"string_to_uuid takes a string or a whole number, not {type(text).__name__}")
    known = validate_uuid(text)
    if known is not None:
        return known
    try:
        escaped = quote(text, safe=_UNESCAPED)
    except UnicodeEncodeError:
        raise InvalidValue("a text with a lone surrogate has no UUID") from None
    digest = bytearray(hashlib.sha1(escaped.encode(), usedforsecurity=False).digest()[:16])
    digest[6] &= 0x0F
    digest[8] = digest[8] & 0x3F | 0x80
    shown = digest.hex()
    return f"{shown[:8]}-{shown[8:12]}-{shown[12:16]}-{shown[16:20]}-{shown[20:]}"


def create_unique_uuid(agent_id: str, base: str | int) -> str:
    """The UUID of an external id for one agent: other agents get other UUIDs for it. An agent's own id is itself."""
    agent_id = as_uuid(agent_id)
    if isinstance(base, str) and validate_uuid(base) == agent_id:
        return agent_id
    return string_to_uuid(f"{base}:{agent_id}")
