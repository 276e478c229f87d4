"""The fields of records: what each kind of field takes, and how it is cleaned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from ...errors import InvalidValue
from .ids import as_uuid
from .plain_json import check_object, clean_json, clean_text, time_of

Check = Callable[[Any, str], Any]

# A day after 1970 and the spring of 1973: whoever means one of these times gave seconds of today.
_SECONDS_FROM: Final = 100_000_000
_SECONDS_TO: Final = 100_000_000_000
_LATEST: Final = 100_000_000_000_000


def check_time(value: Any, about: str) -> int:
    """Milliseconds since 1970. Raises InvalidValue for what is no whole number, or was hardly meant as such."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue(f"{about} is a whole number of milliseconds, not {type(value).__name__}")
    if _SECONDS_FROM <= value < _SECONDS_TO:
        raise InvalidValue(f"{about} is in milliseconds; the number given looks like seconds")
    if not 0 <= value < _LATEST:
        raise InvalidValue(f"{about} is in milliseconds since 1970; the number given lies beyond the year 5000")
    return value


def check_id(value: Any, about: str) -> str:
    """A UUID in lower case. Raises InvalidValue naming the field."""
    try:
        return as_uuid(value)
    except InvalidValue:
        raise InvalidValue(f"{about}: invalid UUID format (8-4-4-4-12 hex digits)") from None


def check_text(value: Any, about: str) -> str:
    """A string, cleaned."""
    if not isinstance(value, str):
        raise InvalidValue(f"{about} is a string, not {type(value).__name__}")
    return clean_text(value)


def check_flag(value: Any, about: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"{about} is true or false, not {type(value).__name__}")
    return value


def _strings(value: Any, about: str) -> list[str]:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise InvalidValue(f"{about} is a list of strings")
    return [check_text(member, about) for member in value]


def _list(value: Any, about: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise InvalidValue(f"{about} is a list, not {type(value).__name__}")
    found: list[Any] = clean_json(value, about)
    return found


def check_text_or_list(value: Any, about: str) -> Any:
    return check_text(value, about) if isinstance(value, str) else _list(value, about)


def check_content(value: Any, about: str) -> Any:
    return check_text(value, about) if isinstance(value, str) else check_object(value, about)


def check_vector(value: Any, about: str) -> tuple[float, ...]:
    if getattr(value, "ndim", None) == 1 and hasattr(value, "tolist"):
        value = tuple(value.tolist())  # an array gives its numbers at once for a tenth of what they cost one by one
    if value.__class__ is tuple and {*map(type, value)} == {float}:
        return cast("tuple[float, ...]", value)
    try:
        return tuple(float(number) for number in value)
    except (TypeError, ValueError):
        raise InvalidValue(f"{about} is a sequence of numbers") from None


def check_iso_time(value: Any, about: str) -> int:
    return time_of(value) if isinstance(value, str) else check_time(value, about)


def check_float(value: Any, about: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidValue(f"{about} is a number, not {type(value).__name__}")
    return float(value)


def optional(check: Check) -> dict[str, Any]:
    return {"check": check, "optional": True}


ID: Final = {"check": check_id}
OPTIONAL_ID: Final = optional(check_id)
TIME: Final = {"check": check_time}
OPTIONAL_TIME: Final = optional(check_time)
TEXT: Final = {"check": check_text}
OPTIONAL_TEXT: Final = optional(check_text)
OBJECT: Final = {"check": check_object}
LIST: Final = {"check": _list}
STRINGS: Final = {"check": _strings}
FLAG: Final = {"check": check_flag}
