"""The rules of arguments that many methods of the contract take; each check raises InvalidInput."""

from __future__ import annotations

from typing import Final

from .errors import InvalidInput

_ISOLATIONS: Final = ("serializable", "snapshot", "repeatable read", "read committed")


def check_isolation(isolation: str) -> str:
    """The level in its normal form. Raises InvalidInput."""
    level = isolation.lower().replace("_", " ").replace("-", " ") if isinstance(isolation, str) else isolation
    if level not in _ISOLATIONS:
        raise InvalidInput(f"isolation is one of {', '.join(_ISOLATIONS)}")
    return level


def check_page(limit: int | None, offset: int = 0) -> None:
    """Raise InvalidInput unless both are whole numbers of at least 0 (limit may be None)."""
    for name, number in (("limit", limit), ("offset", offset)):
        if number is None and name == "limit":
            continue
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise InvalidInput(f"{name} is a whole number of at least 0")


def check_limit(limit: int) -> int:
    """The number of hits wanted. Raises InvalidInput unless it is a whole number of at least 0."""
    if limit is None:
        raise InvalidInput("limit is a whole number of at least 0")
    check_page(limit)
    return limit


def check_text(text: str) -> str:
    """The text of a query. Raises InvalidInput for what is no string."""
    if not isinstance(text, str):
        raise InvalidInput(f"a text query is a string, not {type(text).__name__}")
    return text


def check_ttl(ttl: float | None) -> float | None:
    """Raise InvalidInput unless ``ttl`` is None or a finite number over 0."""
    if ttl is None:
        return None
    if not isinstance(ttl, int | float) or isinstance(ttl, bool) or not 0 < ttl < 1e12:
        raise InvalidInput("ttl is a number of seconds over 0")
    return ttl


def check_version(if_version: int | None) -> int | None:
    """Raise InvalidInput unless ``if_version`` is None or a whole number of at least 0."""
    if if_version is None:
        return None
    if not isinstance(if_version, int) or isinstance(if_version, bool) or if_version < 0:
        raise InvalidInput("if_version is a version, or 0 for a key that must not exist")
    return if_version
