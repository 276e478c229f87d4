"""Names of configuration options: one spelling inside, two accepted outside.

Inside, every option is snake_case (``busy_timeout``). The sources' camelCase (``busyTimeout``) is accepted for each
of them, and nothing else is: ``BusyTimeout`` is as unknown as ``bussy_timeout``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .errors import InvalidConfig


def normalise_options(options: Mapping[str, Any], known: Iterable[str], backend_name: str) -> dict[str, Any]:
    """``options`` under their snake_case names, values untouched; a mapping of options serves as ``known``.

    Raises InvalidConfig for an unknown option, naming the nearest known one, and for an option given in both
    spellings.

    >>> normalise_options({"dbPath": "a.db", "read_only": True}, ["db_path", "read_only"], "sqlite")
    {'db_path': 'a.db', 'read_only': True}
    """
    names = list(known)
    spellings = {spelling: name for name in names for spelling in (name, camel_case(name))}
    normal: dict[str, Any] = {}
    for given, value in options.items():
        name = spellings.get(given) if isinstance(given, str) else None
        if name is None:
            raise InvalidConfig(f"unknown option {given!r} of the {backend_name} backend{_hint(given, spellings)}")
        if name in normal:
            raise InvalidConfig(f"option {name!r} is given twice, as {name!r} and as {camel_case(name)!r}")
        normal[name] = value
    return normal


def camel_case(name: str) -> str:
    """The camelCase spelling of a snake_case name.

    >>> camel_case("prepare_cache_size")
    'prepareCacheSize'
    """
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def resolve_path(path: Any, base_dir: Any = None) -> str:
    """The absolute path that the options ``db_path`` and ``base_dir`` mean. Raises InvalidConfig for no path, and for
    one that leads out of ``base_dir``, symbolic links resolved.
    """
    if isinstance(path, Path):
        path = str(path)
    if not isinstance(path, str) or not path.strip():
        raise InvalidConfig("dbPath is a non-empty path")
    if "\0" in path or (isinstance(base_dir, str) and "\0" in base_dir):
        raise InvalidConfig("a path holds no NUL")
    if base_dir is None:
        return str(Path(path).absolute())
    base = Path(base_dir).resolve()
    full = (base / path).resolve()
    if not full.is_relative_to(base) or full == base:
        raise InvalidConfig(f"dbPath {path!r} leads out of base_dir")
    return str(full)


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like ``given``; capitals and underscores do not count against it."""
    folded: dict[str, str] = {}
    for word in known:
        folded.setdefault(_fold(word), word)
    found = get_close_matches(_fold(given), folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def _hint(given: object, spellings: Mapping[str, str]) -> str:
    if not spellings:
        return "; it has no options"
    if not isinstance(given, str):
        return "; the names of options are strings"
    camel = given != given.lower()
    known = {spelling for spelling, name in spellings.items() if spelling == (camel_case(name) if camel else name)}
    near = nearest(given, sorted(known))
    return f"; did you mean {near!r}?" if near else f"; known are {', '.join(sorted(known))}"


def _fold(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()
