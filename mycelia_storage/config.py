"""Configuration to storage: a URL, a path, a mapping or the environment opens a backend.

==============================================  =====================================================
configuration                                   opens
==============================================  =====================================================
``sqlite:///a.db``, ``sqlite:////var/a.db``     a file by relative or absolute path, percent-decoded
``sqlite:///:memory:``                          a private database, gone at close
``rocksdb:///folder``, ``rocksdb:////var/f``    a folder by relative or absolute path, percent-decoded
``memory:`` or ``memory://``                    the memory backend
``postgresql://user@host/database``             a schema of a PostgreSQL database; ``postgres://`` is the same
``postgres+embedded:///folder``                 the same on a server of one's own, run from a wheel
``sharded:?shard=a.db&shard=b.db``              one storage over several; a shard is anything in this table
``sharded:///shards.json``                      the same with its options, ``{"shards": [...], ...}``, in a file
``postgresql+shards:///?shard=h1/d&shard=h2/d`` the same, ``postgresql://`` before every shard without a scheme
``NAME://...``                                  the plug-in NAME, which gets the whole URL as ``url=``
any other text, or a ``Path``                   the SQLite file of that path
``{"backend": "sqlite", "options": {...}}``     that backend; no backend named is ``auto``
``{"storage": {...}}``                          the mapping inside
None                                            what the environment variable ``MYCELIA_DB`` holds
==============================================  =====================================================

The query of a URL that is not a plug-in's holds options, ``?busyTimeout=100&read_only=true``: ``true`` and ``false``
are booleans, numbers are numbers, the rest is text. What the postgres backend does not know goes to libpq. The address
of a shard there is percent-encoded where it holds ``&``, ``#`` or ``%``.

``auto`` is sqlite if ``dbPath`` is given and apsw is installed. Otherwise it is memory, without the options that only
a file has; if that loses a ``dbPath``, a warning is logged.

A backend plug-in is an entry point of the group ``mycelia_storage.backends``: a name and a class or function that
takes the options as keywords and returns a StorageBackend. :func:`register_backend` does the same inside a process.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from .contract import StorageBackend
from .errors import BackendUnavailable, InvalidConfig
from .options import camel_case, nearest

logger = logging.getLogger("mycelia_storage.config")

ENVIRONMENT_VARIABLE: Final = "MYCELIA_DB"
ENTRY_POINTS: Final = "mycelia_storage.backends"
AUTO: Final = "auto"

BackendFactory = Callable[..., StorageBackend]
Config = str | Path | Mapping[str, Any] | None

# Name -> module, class, what to install. Found without entry points, so that an uninstalled checkout works.
_BUILT_IN: Final = {
    "memory": ("mycelia_storage.backends.memory", "MemoryStorageBackend", "mycelia-storage"),
    "postgres": ("mycelia_storage.backends.postgres", "PostgresStorageBackend", "'mycelia-storage[postgres]'"),
    "rocksdb": ("mycelia_storage.backends.rocksdb", "RocksDBStorageBackend", "mycelia-storage[rocksdb]"),
    "sharded": ("mycelia_storage.backends.sharded", "ShardedStorageBackend", "mycelia-storage"),
    "sqlite": ("mycelia_storage.backends.sqlite", "SQLiteStorageBackend", "apsw"),
}
_POSTGRES_SCHEMES: Final = frozenset({"postgres", "postgresql", "postgres+embedded", "postgresql+embedded"})
_FILE_OPTIONS: Final = frozenset(
    {
        "dbPath",
        "baseDir",
        "cacheSize",
        "checkpointPages",
        "debug",
        "migrate",
        "prepareCacheSize",
        "synchronous",
        "walMode",
    }
)

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.*", re.DOTALL)
_NAME: Final = re.compile(r"[a-z][a-z0-9_+.-]*")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT: Final = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.?[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_registered: dict[str, BackendFactory] = {}


def open_storage(config: Config = None, **options: Any) -> StorageBackend:
    """Open the storage that ``config`` describes; see the module's table. Keyword options win over those in ``config``.

    Raises InvalidConfig (bad URL or path, unknown backend or option, nothing configured), BackendUnavailable (a driver
    or plug-in cannot be loaded) and whatever opening the storage raises.
    """
    name, configured = read_config(config)
    merged = _merge(configured, options)
    if name == AUTO:
        name, merged = _choose(merged)
    return find_backend(name)(**merged)


def read_config(config: Config) -> tuple[str, dict[str, Any]]:
    """The backend's name (or ``auto``) and its options as given, nothing opened. Raises InvalidConfig."""
    if config is None:
        config = os.environ.get(ENVIRONMENT_VARIABLE)
        if not config:
            raise InvalidConfig(f"no storage is configured: give a path, URL or mapping, or set {ENVIRONMENT_VARIABLE}")
    if isinstance(config, str):
        return _read_text(config)
    if isinstance(config, Path):
        return "sqlite", {"db_path": _checked_path(str(config))}
    if isinstance(config, Mapping):
        return _read_mapping(config)
    raise InvalidConfig(f"a configuration is a URL, path or mapping, not {type(config).__name__}")


def register_backend(name: str, factory: BackendFactory) -> None:
    """Make ``factory`` known under ``name`` in this process; a later registration of the name replaces an earlier one.

    Raises InvalidConfig for the name of a built-in backend or one that no URL could hold.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidConfig(f"{name!r} is no backend name: lower-case letters, digits and any of _ + . -")
    if name in _BUILT_IN or name == AUTO:
        raise InvalidConfig(f"the backend name {name!r} is taken")
    if not callable(factory):
        raise InvalidConfig(f"the factory of backend {name!r} cannot be called")
    _registered[name] = factory


def find_backend(name: str) -> BackendFactory:
    """The class or function that opens the backend ``name``: built in, registered, or installed as a plug-in.

    Raises InvalidConfig for an unknown name, BackendUnavailable for a known one that cannot be loaded.
    """
    if name in _BUILT_IN:
        return _load_built_in(name)
    if name in _registered:
        return _registered[name]
    plug_ins = _entry_points()
    if name in plug_ins:
        return _load_plug_in(plug_ins[name])
    known = known_backends()
    near = nearest(name, known) if isinstance(name, str) else None
    hint = f"did you mean {near!r}? " if near else ""
    raise InvalidConfig(f"unknown backend {name!r}; {hint}known are {', '.join(known)}")


def known_backends() -> list[str]:
    """The names of all backends that could be opened here, in order; none is loaded."""
    return sorted({*_BUILT_IN, *_registered, *_entry_points()})


# -- reading a configuration ---------------------------------------------------------------------------------------


def _read_text(text: str) -> tuple[str, dict[str, Any]]:
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if colon and (scheme == "sharded" or (scheme.endswith("+shards") and rest.startswith(("//", "?")))):
        return "sharded", _read_shards(scheme.removesuffix("+shards"), rest, text)
    if colon and scheme in _POSTGRES_SCHEMES and rest.startswith("//"):
        return "postgres", {"url": text}
    if colon and scheme in ("memory", "rocksdb", "sqlite"):
        return _read_built_in_url(scheme, rest, text)
    url = _URL.fullmatch(text)
    if url is None:
        return "sqlite", {"db_path": _checked_path(text)}
    # postgres+embedded:// belongs to the plug-in postgres unless one has the longer name.
    family = scheme.partition("+")[0]
    name = family if family != scheme and scheme not in known_backends() else scheme
    return name, {"url": text}


def _read_built_in_url(scheme: str, rest: str, text: str) -> tuple[str, dict[str, Any]]:
    body, _, query = rest.partition("?")
    if "#" in rest:
        raise InvalidConfig(f"a storage URL has no fragment; write # as %23: {text!r}")
    options = _read_query(query, text)
    if scheme == "memory":
        if body not in ("", "//"):
            raise InvalidConfig(f"the memory backend has no path: write memory: instead of {text!r}")
        return scheme, options
    if not body.startswith("///"):
        raise InvalidConfig(f"write {scheme}:///relative.db or {scheme}:////absolute.db instead of {text!r}")
    if any(camel_case(option) == "dbPath" for option in options):
        raise InvalidConfig(f"the path of a {scheme} URL stands before its query: {text!r}")
    return scheme, {"db_path": _checked_path(_decode(body[3:], text)), **options}


def _read_shards(family: str, rest: str, text: str) -> dict[str, Any]:
    """The options of a sharded storage from its URL. ``family`` is the scheme of shards that have none."""
    body, _, query = rest.partition("?")
    text = f"{text.partition(':')[0]}:..."  # for messages: the addresses of shards may hold passwords
    if "#" in rest:
        raise InvalidConfig(f"a storage URL has no fragment; write # as %23: {text!r}")
    parts = query.split("&") if query else []
    given = [_decode(part.partition("=")[2], text) for part in parts if part.startswith("shard=")]
    options = _read_query("&".join(part for part in parts if not part.startswith("shard=")), text)
    if body.startswith("///") and len(body) > 3:
        if given:
            raise InvalidConfig(f"the shards of a sharded URL stand in its file or in its query, not in both: {text!r}")
        return {**_read_json_options(_checked_path(_decode(body[3:], text))), **options}
    if body not in ("", "//", "///") or not given:
        raise InvalidConfig(f"write {family}:?shard=ADDRESS&shard=ADDRESS or sharded:///file.json instead of {text!r}")
    bare = family in ("sharded", "sqlite")
    shards = [shard if bare or "://" in shard else f"{family}://{shard}" for shard in given]
    return {"shards": shards, **options}


def _read_json_options(path: str) -> dict[str, Any]:
    try:
        options = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InvalidConfig(f"cannot read the shards from {path!r}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidConfig(f"{path!r} is not JSON: {error}") from error
    if not isinstance(options, dict) or "shards" not in options:
        raise InvalidConfig(f'{path!r} has no "shards": a list of addresses, or an object of names and addresses')
    return options


def _read_query(query: str, text: str) -> dict[str, Any]:
    if not query:
        return {}
    _decode(query, text)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise InvalidConfig(f"options in a URL are name=value, joined by &: {text!r}") from None
    options: dict[str, Any] = {}
    for name, value in pairs:
        if name in options:
            raise InvalidConfig(f"option {name!r} is given twice in {text!r}")
        options[name] = value if camel_case(name) == "baseDir" else _read_option(value)
    return options


def _read_option(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _read_mapping(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if "storage" in config:
        inner = config["storage"]
        if len(config) > 1 or not isinstance(inner, Mapping):
            raise InvalidConfig('a configuration with "storage" has a mapping there and nothing beside it')
        return _read_mapping(inner)
    for word in config:
        if word not in ("backend", "options"):
            raise InvalidConfig(f'{word!r} is no part of a configuration: it has "backend" and "options"')
    name = config.get("backend", AUTO)
    options = config.get("options")
    if not isinstance(name, str):
        raise InvalidConfig(f"a backend is named by a string, not {type(name).__name__}")
    if options is not None and not isinstance(options, Mapping):
        raise InvalidConfig(f"the options of a backend are a mapping, not {type(options).__name__}")
    return name, dict(options or {})


def _checked_path(path: str) -> str:
    if not path.strip():
        raise InvalidConfig("the path of the database is empty")
    if "\0" in path:
        raise InvalidConfig("a path holds no NUL")
    return path


def _decode(text: str, url: str) -> str:
    try:
        if not _BAD_ESCAPE.search(text):
            return unquote(text, errors="strict")
    except UnicodeDecodeError:
        pass
    raise InvalidConfig(f"a % in a URL is followed by two hex digits, and the bytes are UTF-8: {url!r}")


def _merge(configured: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword options win over configured ones, whichever spelling either uses."""
    overridden = {camel_case(name) for name in options}
    kept = {
        name: v for name, v in configured.items() if not isinstance(name, str) or camel_case(name) not in overridden
    }
    for name in kept:
        if not isinstance(name, str):
            raise InvalidConfig(f"the names of options are strings, not {type(name).__name__}")
    return {**kept, **options}


# -- finding a backend ---------------------------------------------------------------------------------------------


def _choose(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    wants_file = any(camel_case(name) == "dbPath" and value is not None for name, value in options.items())
    if wants_file and find_spec("apsw") is not None:
        return "sqlite", options
    if wants_file:
        logger.warning("apsw is not installed: the storage is kept in memory, nothing is written to dbPath")
    return "memory", {name: value for name, value in options.items() if camel_case(name) not in _FILE_OPTIONS}


def _load_built_in(name: str) -> BackendFactory:
    module, attribute, package = _BUILT_IN[name]
    try:
        factory: BackendFactory = getattr(import_module(module), attribute)
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "mycelia_storage":
            raise  # a defect of this library, not a missing driver
        raise BackendUnavailable(
            f"the {name} backend needs {error.name or package}, which cannot be imported; run: pip install {package}"
        ) from error
    return factory


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points  # reads every installed distribution: only when asked for

    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in _BUILT_IN}


def _load_plug_in(point: Any) -> BackendFactory:
    try:
        factory: BackendFactory = point.load()
    except (ImportError, AttributeError) as error:
        package = point.dist.name if point.dist is not None else point.value
        raise BackendUnavailable(
            f"the backend {point.name!r} of the package {package!r} cannot be loaded: {error}"
        ) from error
    return factory
