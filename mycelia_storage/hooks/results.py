"""What a facet's methods return: success, data, error, and by name what the original calls the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..contract import Entry
from ..errors import StorageError


class Result(Mapping[str, Any]):
    """The outcome of one call. Reads as attributes and as a mapping; true when it succeeded.

    >>> result = Result(data=["a"], keys=["a"])
    >>> result.success, result.keys, result["data"]
    (True, ['a'], ['a'])
    """

    __slots__ = ("_fields",)
    _fields: dict[str, Any]

    def __init__(self, *, error: StorageError | None = None, data: Any = None, **named: Any) -> None:
        object.__setattr__(self, "_fields", {"success": error is None, "data": data, "error": error, **named})

    @property
    def success(self) -> bool:
        """Whether there is no error."""
        return self._fields["error"] is None

    @property
    def error(self) -> StorageError | None:
        """The error instead of which the contract's method would have raised."""
        error: StorageError | None = self._fields["error"]
        return error

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dict; results inside become dicts as well."""
        return {name: _plain(value) for name, value in self._fields.items()}

    def __getattribute__(self, name: str) -> Any:
        # A field wins over a method of Mapping: result.keys is the list of keys that the original returns.
        if not name.startswith("_"):
            fields = object.__getattribute__(self, "_fields")
            if name in fields:
                return fields[name]
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a result cannot be changed")

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __bool__(self) -> bool:
        return self._fields["error"] is None

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Result({', '.join(f'{name}={value!r}' for name, value in self._fields.items())})"


class FacetEntry(Entry):
    """An entry whose fields can also be asked for by name: ``entry["key"]``."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            if index not in self._fields:
                raise KeyError(index)
            return getattr(self, index)
        return super().__getitem__(index)


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, FacetEntry):
        return value._asdict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
