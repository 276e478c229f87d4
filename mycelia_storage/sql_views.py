"""Views: what read-only SQL sees of namespaces, said without SQL, for ``query_sql`` of the contract.

A view is a table made of a namespace: a row for each entry that has not expired, or, with ``each``, for each member of
a list in it. Columns have a source and a kind:

================================  ======================================================================
source                            is
================================  ======================================================================
``("key",)``                      the key
``("value",)``                    the whole value
``("value", "a", "b")``           the field ``b`` of the field ``a`` of the value
``("metadata", ...)``             the same of the metadata
``("created_at",)``               a time of the entry in UTC milliseconds; so ``("updated_at",)``
``("each",)``                     the member, where the view has ``each``
================================  ======================================================================

A field that is missing or JSON null is NULL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from .errors import InvalidInput

Kind = Literal["text", "integer", "real", "boolean", "json", "bytes"]

Parameter = None | bool | int | float | str | bytes

#: A statement longer than this, in characters, is refused.
LONGEST_SQL: Final = 100_000
MOST_ROWS: Final = 100_000
MOST_SECONDS: Final = 600.0
#: Bytes that the rows of an answer may take, by the length of their texts and blobs.
MOST_BYTES: Final = 64 * 2**20

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PLAIN: Final = frozenset({("key",), ("created_at",), ("updated_at",), ("each",)})


@dataclass(frozen=True)
class SqlColumn:
    """A column of a view."""

    name: str
    source: tuple[str, ...]
    kind: Kind = "text"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.kind not in get_args(Kind):
            raise InvalidInput(f"{self.name!r} is no column of a view")
        _check_source(self.source)


@dataclass(frozen=True)
class SqlView:
    """A namespace as a table. ``each``: the source of a list, whose members are the rows then."""

    namespace: str
    columns: tuple[SqlColumn, ...]
    each: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.each is not None:
            _check_source(self.each)
        if self.each is None and any(column.source == ("each",) for column in self.columns):
            raise InvalidInput("only a view with each has its members as a column")


class SqlRows(NamedTuple):
    """What a query answered. ``truncated``: there are rows beyond the limit."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: bool


def _check_source(source: tuple[str, ...]) -> None:
    if source not in _PLAIN and (not source or source[0] not in ("value", "metadata")):
        raise InvalidInput(f"{source!r} is no source of a column")


def check_query(
    sql: str, parameters: Sequence[Any], views: Mapping[str, SqlView], limit: int, timeout: float
) -> tuple[Parameter, ...]:
    """The parameters as a tuple. Raises InvalidInput for arguments that no backend takes."""
    if not isinstance(sql, str) or not sql.strip() or len(sql) > LONGEST_SQL or "\0" in sql:
        raise InvalidInput(f"SQL is a text of at most {LONGEST_SQL} characters, without NUL")
    _check_text(sql, "SQL")
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence):
        raise InvalidInput("the parameters of SQL are a sequence")
    for value in parameters:
        whole = isinstance(value, int) and -(2**63) <= value < 2**63
        if not whole and not (value is None or isinstance(value, float | str | bytes)):
            raise InvalidInput("a parameter of SQL is null, a boolean, a 64-bit integer, a float, a string or bytes")
        if isinstance(value, str):
            _check_text(value, "a parameter of SQL")
    for name in views:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is no name of a view")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MOST_ROWS:
        raise InvalidInput(f"limit is a whole number from 0 to {MOST_ROWS}")
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= MOST_SECONDS:
        raise InvalidInput(f"timeout is a number of seconds over 0 and up to {MOST_SECONDS:g}")
    return tuple(parameters)


def _check_text(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} contains a lone surrogate") from None


def size_of(row: tuple[Any, ...]) -> int:
    """About how many bytes a row takes."""
    return sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
