"""Index declarations. An index belongs to one namespace and is kept up in the transaction of each entry.

A declaration is plain data: :func:`index_to_json` and :func:`index_from_json` carry it into a backend's catalogue and
back. A new kind of index is a frozen dataclass with a ``kind`` listed in ``_KINDS``; a backend that cannot keep a
kind refuses it in ``create_index``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Literal, TypeVar, get_args

from .errors import IndexNotFound, InvalidInput
from .field_paths import parse_path

Metric = Literal["cosine", "l2", "dot"]
VectorSearch = Literal["scan", "hnsw"]
Language = Literal["english"]

MOST_DIMENSIONS: Final = 16_000


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


@dataclass(frozen=True)
class TextIndex:
    """A full-text index, serving ``search_text``: BM25 over fields with weights (:mod:`mycelia_storage.text`).

    ``fields`` is a field path, several, or a mapping from path to weight (over 0; 1 where none is given). A field
    that holds a string, or a list of strings, is searched; anything else holds no text.

    ``language="english"`` leaves out stop words and stems the others; None keeps every word as it is.
    """

    kind: ClassVar[str] = "text"

    fields: tuple[tuple[str, float], ...]
    language: Language | None = "english"

    def __init__(
        self,
        fields: str | list[str] | tuple[Any, ...] | Mapping[str, float] = "$value",
        language: Language | None = "english",
    ) -> None:
        given = {fields: 1.0} if isinstance(fields, str) else fields
        if not isinstance(given, Mapping):
            given = dict([tuple(field) if isinstance(field, tuple | list) else (field, 1.0) for field in given])
        if not given:
            raise InvalidInput("TextIndex takes a field path or several")
        for path, weight in given.items():
            parse_path(path)
            if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight <= 1_000:
                raise InvalidInput(f"the weight of text field {path!r} is a number over 0 and up to 1,000")
        if language is not None and language not in get_args(Language):
            raise InvalidInput('language is "english" or None')
        object.__setattr__(self, "fields", tuple((path, float(weight)) for path, weight in given.items()))
        object.__setattr__(self, "language", language)

    @property
    def default_name(self) -> str:
        """The name that ``create_index`` gives it when none is given."""
        return "text:" + ",".join(path for path, _ in self.fields)


@dataclass(frozen=True)
class VectorIndex:
    """An index over vectors, serving ``search_vectors``. Every entry of its namespace is one.

    The value of an entry is a vector as bytes: ``dimensions`` little-endian float32 numbers, all finite, for cosine
    not all zero. Any other value raises InvalidValue; a new key beyond ``max_vectors`` raises IndexFull.

    ``metric`` says what a score is, larger being nearer: the ``"cosine"`` of the angle, the ``"dot"`` product, or
    minus the Euclidean distance for ``"l2"``.

    ``index="scan"``, the default, keeps a short code of each vector, goes through all codes and then ranks the best by
    the vectors themselves. ``"hnsw"`` builds a graph in the background, for millions of vectors: ``m`` links a
    vector, ``ef_construction`` and ``ef`` candidates while building and searching. They do nothing with ``"scan"``, and
    a backend may use the kind of index that it has.
    """

    kind: ClassVar[str] = "vector"

    dimensions: int
    metric: Metric = "cosine"
    m: int = 16
    ef_construction: int = 200
    ef: int = 50
    max_vectors: int = 1_000_000
    index: VectorSearch = "scan"

    def __post_init__(self) -> None:
        for name, most in (
            ("dimensions", MOST_DIMENSIONS),
            ("m", 100),
            ("ef_construction", 10_000),
            ("ef", 10_000),
            ("max_vectors", 2**31 - 1),
        ):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= most:
                raise InvalidInput(f"{name} of a vector index is a whole number from 1 to {most:,}")
        if self.metric not in get_args(Metric):
            raise InvalidInput(f"metric of a vector index is one of {', '.join(get_args(Metric))}")
        if self.index not in get_args(VectorSearch):
            raise InvalidInput(f"index of a vector index is one of {', '.join(get_args(VectorSearch))}")

    @property
    def default_name(self) -> str:
        """The name that ``create_index`` gives it when none is given."""
        return f"vector:{self.metric}"


Index = FieldIndex | TextIndex | VectorIndex

_KINDS: Final[dict[str, type[FieldIndex] | type[TextIndex] | type[VectorIndex]]] = {
    kind.kind: kind for kind in (FieldIndex, TextIndex, VectorIndex)
}


def index_to_json(index: Index) -> dict[str, Any]:
    """The declaration as JSON data with its ``kind``."""
    data: dict[str, Any] = {"kind": index.kind}
    for field in fields(index):
        value = getattr(index, field.name)
        data[field.name] = (
            [list(member) if isinstance(member, tuple) else member for member in value]
            if isinstance(value, tuple)
            else value
        )
    return data


def index_from_json(data: dict[str, Any]) -> Index:
    """The declaration that :func:`index_to_json` wrote. Raises InvalidInput for an unknown kind."""
    kind = _KINDS.get(data.get("kind", ""))
    if kind is None:
        raise InvalidInput(f"unknown kind of index {data.get('kind')!r}")
    try:
        return kind(**{name: value for name, value in data.items() if name != "kind"})
    except TypeError as error:
        raise InvalidInput(f"not a declaration of a {kind.__name__}") from error


SearchIndex = TypeVar("SearchIndex", TextIndex, VectorIndex)


def pick_index(
    declared: Mapping[str, Index], kind: type[SearchIndex], namespace: str, name: str | None
) -> tuple[str, SearchIndex]:
    """The name and declaration of the index that a search uses. Raises IndexNotFound, InvalidInput."""
    found = {label: index for label, index in declared.items() if isinstance(index, kind)}
    if name is not None:
        if name not in found:
            raise IndexNotFound(f"namespace {namespace!r} has no {kind.kind} index {name!r}")
        return name, found[name]
    if not found:
        raise IndexNotFound(f"namespace {namespace!r} has no {kind.kind} index: create_index makes one")
    if len(found) > 1:
        raise InvalidInput(f"namespace {namespace!r} has several {kind.kind} indexes: name one of {', '.join(found)}")
    return next(iter(found.items()))
