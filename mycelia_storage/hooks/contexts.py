"""From a context to a facet: where the configuration stands in it, and which backend it names.

A context is a mapping or an object that has the configuration as ``config.storage``, or else as ``storage``. The
part found there is for :func:`use_storage` a backend and its options (or a URL or path, as
:mod:`mycelia_storage.config` reads them), for the two others the options alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import find_backend, open_storage
from ..errors import InvalidConfig
from .facet import StorageFacet


def use_storage(ctx: object = None) -> StorageFacet:
    """The facet of the storage that the context configures; ``auto`` and plug-ins included.

    Without any configuration it is ``auto``. Raises InvalidConfig, BackendUnavailable.
    """
    found = _configuration(ctx)
    if found is None:
        found = {}
    if not isinstance(found, str | Path | Mapping):
        raise InvalidConfig(f"the storage of a context is a mapping, URL or path, not {type(found).__name__}")
    return StorageFacet(open_storage(found), dict(found) if isinstance(found, Mapping) else {"url": str(found)})


def use_sqlite_storage(ctx: object = None) -> StorageFacet:
    """The facet of a SQLite file; the context has its options: ``{"storage": {"dbPath": "./data/storage.db"}}``."""
    return _use("sqlite", ctx)


def use_memory_storage(ctx: object = None) -> StorageFacet:
    """The facet of a storage in memory."""
    return _use("memory", ctx)


def _use(backend: str, ctx: object) -> StorageFacet:
    options = _configuration(ctx)
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise InvalidConfig(f"the storage of a context is a mapping of options, not {type(options).__name__}")
    # What use_storage reads is understood as well, so that one context serves all three.
    if "options" in options or "backend" in options:
        if options.get("backend", backend) not in (backend, "auto"):
            raise InvalidConfig(f"this context is for the backend {options['backend']!r}, not {backend!r}")
        unknown = [repr(name) for name in options if name not in ("backend", "options")]
        if unknown:
            raise InvalidConfig(f"beside backend and options there is {', '.join(unknown)}")
        options = options.get("options") or {}
    return StorageFacet(find_backend(backend)(**options), dict(options))


def _configuration(ctx: object) -> Any:
    config = _part(ctx, "config")
    found = None if config is None else _part(config, "storage")
    return _part(ctx, "storage") if found is None else found


def _part(whole: object, name: str) -> Any:
    return whole.get(name) if isinstance(whole, Mapping) else getattr(whole, name, None)
