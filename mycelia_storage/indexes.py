"""Index declarations. An index belongs to one namespace and is kept up in the transaction of each entry.

A declaration is plain data: :func:`index_to_json` and :func:`index_from_json` carry it into a backend's catalogue and
back. A new kind of index is a frozen dataclass with a ``kind`` listed in ``_KINDS``; a backend that cannot keep a
kind refuses it in ``create_index``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .errors import InvalidInput


@dataclass(frozen=True)
class FieldIndex:
    """An index over one or more field paths, serving query, sort and count.

    ``paths`` is a path or a sequence of paths as filters spell them (``"age"``, ``"user.name"``, ``"$metadata.lang"``).
    A query uses it through its leading paths, as in any relational database.

    ``unique=True`` refuses a second entry with the same values. Only entries whose every path holds a boolean, a
    number or a string take part: a missing field, null, list or object never collides.
    """

    kind: ClassVar[str] = "field"

    paths: tuple[str, ...]
    unique: bool = False

    def __init__(self, paths: str | list[str] | tuple[str, ...], unique: bool = False) -> None:
        given = (paths,) if isinstance(paths, str) else tuple(paths)
        if not given or not all(isinstance(path, str) and path for path in given):
            raise InvalidInput("FieldIndex takes a field path or several")
        object.__setattr__(self, "paths", given)
        object.__setattr__(self, "unique", bool(unique))

    @property
    def default_name(self) -> str:
        """The name that ``create_index`` gives it when none is given."""
        return ",".join(self.paths)


Index = FieldIndex

_KINDS: dict[str, type[FieldIndex]] = {FieldIndex.kind: FieldIndex}


def index_to_json(index: Index) -> dict[str, Any]:
    """The declaration as JSON data with its ``kind``."""
    return {"kind": index.kind, "paths": list(index.paths), "unique": index.unique}


def index_from_json(data: dict[str, Any]) -> Index:
    """The declaration that :func:`index_to_json` wrote. Raises InvalidInput for an unknown kind."""
    kind = _KINDS.get(data.get("kind", ""))
    if kind is None:
        raise InvalidInput(f"unknown kind of index {data.get('kind')!r}")
    return kind(data["paths"], unique=data["unique"])
