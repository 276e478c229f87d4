"""Ids: UUIDs of version 7 in their text form, rising strictly within a process, so that they sort by creation."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from typing import Any, Final
from uuid import UUID

from .errors import InvalidField

NIL = str(UUID(int=0))

_USUAL: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A new id: 48 bits of milliseconds, then a counter that starts at random in each millisecond, then chance."""
    global _last
    with _lock:
        # The millisecond and 12 bits below it make one number that only rises; half of the counter is left to rise in.
        now = (time.time_ns() // 1_000_000 << 12) | secrets.randbelow(1 << 11)
        _last = max(_last + 1, now)
        moment = _last
    high = (moment >> 12 << 16) | 0x7000 | (moment & 0xFFF)
    return str(UUID(int=(high << 64) | (0b10 << 62) | secrets.randbits(62)))


def as_id(given: Any, field: str = "id") -> str:
    """An id in its text form, from a string or a UUID. Raises InvalidField."""
    if given.__class__ is str and _USUAL.fullmatch(given):
        return str(given)
    if isinstance(given, UUID):
        return str(given)
    if isinstance(given, str):
        try:
            return str(UUID(given))
        except ValueError:
            pass
    raise InvalidField(field, "is no UUID")


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
