"""The dump format: a storage, or one namespace of it, as JSON lines that load back with nothing lost.

::

    {"kind": "header", "format": "mycelia-storage-dump", "version": 1, "created_at": ..., "namespaces": 2}
    {"kind": "namespace", "namespace": "users", "metadata": {}, "track_changes": false}
    {"kind": "entry", "namespace": "users", "key": "ada", "value": {"age": 36}, "metadata": {}, "version": ...,
     "created_at": ..., "updated_at": ..., "expires_at": null}
    {"kind": "index", "namespace": "users", "name": "age", "index": {"kind": "field", "paths": ["age"], ...}}
    ... the next namespace ...
    {"kind": "end", "entries": 1}

Bytes stand in ``value_base64`` instead of ``value``. Applied from top to bottom the lines rebuild the storage: the
indexes of a namespace follow its entries, so that each is built once. A file without its last line was cut off. The
change log is not part of a dump: a tracked namespace begins a new one.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from errno import ENOSPC
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from .contract import Entry, StorageBackend
from .errors import InvalidInput, NamespaceNotFound, StorageError, StorageFull
from .indexes import Index, index_from_json, index_to_json

FORMAT: Final = "mycelia-storage-dump"
VERSION: Final = 1

_ENTRY_LINE: Final = b'{"kind":"entry"'


class Header(NamedTuple):
    """The first line: how many namespaces follow."""

    namespaces: int


class NamespaceLine(NamedTuple):
    """A namespace; its entries follow."""

    namespace: str
    metadata: dict[str, Any]
    track_changes: bool


class IndexLine(NamedTuple):
    """An index of a namespace whose entries came before."""

    namespace: str
    name: str
    declaration: Index


class End(NamedTuple):
    """The last line: how many entries came."""

    entries: int


DumpLine = Header | NamespaceLine | Entry | IndexLine | End


def dump_lines(storage: StorageBackend, namespaces: Sequence[str] | None = None) -> Iterator[bytes]:
    """The lines of a dump, each with its newline; all namespaces or those named, as of one moment.

    ``storage`` should be a snapshot, or entries written meanwhile may be in or not. Raises NamespaceNotFound.
    """
    names = storage.list_namespaces() if namespaces is None else namespaces
    yield _line(
        {
            "kind": "header",
            "format": FORMAT,
            "version": VERSION,
            "created_at": time.time_ns() // 1_000_000,
            "namespaces": len(names),
        }
    )
    entries = 0
    for name in names:
        info = storage.get_namespace(name)
        if info is None:
            raise NamespaceNotFound(f"no namespace {name!r}")
        yield _line(
            {
                "kind": "namespace",
                "namespace": info.name,
                "metadata": info.metadata,
                "track_changes": info.track_changes,
            }
        )
        for entry in storage.scan(namespace=name):
            entries += 1
            yield _line({"kind": "entry", "namespace": entry.namespace, **entry_to_json(entry)})
        for index_name, index in storage.list_indexes(name).items():
            yield _line({"kind": "index", "namespace": info.name, "name": index_name, "index": index_to_json(index)})
    yield _line({"kind": "end", "entries": entries})


def write_dump(
    snapshot: StorageBackend,
    path: str | Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the dump of a snapshot to ``path``, readable by its owner alone: the ``backup`` of a backend without files.

    Refuses an existing path unless ``overwrite``; a failure leaves nothing of it, and the old file as it was.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial") if overwrite else target
    try:
        file = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise InvalidInput(f"{str(target)!r} exists; overwrite=True replaces it") from None
    except OSError as error:
        raise StorageError(f"the backup to {str(target)!r} failed: {error}") from error
    try:
        with file:
            _dump(snapshot, file, progress)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            partial.replace(target)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            kind = StorageFull if error.errno == ENOSPC else StorageError
            raise kind(f"the backup to {str(target)!r} failed: {error}") from error
        raise


def _dump(snapshot: StorageBackend, file: BinaryIO, progress: Callable[[int, int], None] | None) -> None:
    total, done = snapshot.get_status().entries, 0
    for line in dump_lines(snapshot):
        file.write(line)
        if line.startswith(_ENTRY_LINE):
            done += 1
            if progress is not None and done % 1_000 == 0:
                progress(min(done, total), total)
    if progress is not None:
        progress(done, done)


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """An entry as JSON data, without its namespace; bytes become ``value_base64``."""
    value = entry.value
    shown = {"value_base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else {"value": value}
    return {
        "key": entry.key,
        **shown,
        "metadata": entry.metadata,
        "version": entry.version,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
        "expires_at": entry.expires_at,
    }


def json_line(data: Any) -> bytes:
    """Compact JSON text. Also of what only files of the original hold: escaped lone surrogates."""
    try:
        return orjson.dumps(data)
    except TypeError:
        return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def is_dump_header(data: Any) -> bool:
    """Whether this parsed line begins a dump."""
    return isinstance(data, dict) and data.get("kind") == "header" and data.get("format") == FORMAT


def parse_dump_line(data: Any) -> DumpLine:
    """The meaning of a parsed line. Raises InvalidInput."""
    if not isinstance(data, dict):
        raise InvalidInput("no line of a dump: not an object")
    kind = data.get("kind")
    if kind == "header":
        if data.get("version") != VERSION:
            raise InvalidInput(f"a dump of format version {data.get('version')!r}; this library reads {VERSION}")
        return Header(_take(data, "namespaces", int))
    if kind == "namespace":
        return NamespaceLine(
            _take(data, "namespace", str), _take(data, "metadata", dict), _take(data, "track_changes", bool)
        )
    if kind == "entry":
        return _parse_entry(data)
    if kind == "index":
        declaration = _take(data, "index", dict)
        try:
            index = index_from_json(declaration)
        except (KeyError, TypeError):
            raise InvalidInput("the declaration of an index is incomplete") from None
        return IndexLine(_take(data, "namespace", str), _take(data, "name", str), index)
    if kind == "end":
        return End(_take(data, "entries", int))
    raise InvalidInput(f"no line of a dump: kind {kind!r}")


def _parse_entry(data: dict[str, Any]) -> Entry:
    if "value_base64" in data:
        try:
            value: Any = base64.b64decode(_take(data, "value_base64", str), validate=True)
        except binascii.Error as error:
            raise InvalidInput(f"value_base64 is not base64: {error}") from None
    elif "value" in data:
        value = data["value"]
    else:
        raise InvalidInput("an entry without value")
    return Entry(
        _take(data, "namespace", str),
        _take(data, "key", str),
        value,
        _take(data, "metadata", dict),
        _take(data, "version", int),
        _take(data, "created_at", int),
        _take(data, "updated_at", int),
        None if data.get("expires_at") is None else _take(data, "expires_at", int),
    )


def _take(data: dict[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if type(value) is not kind:
        raise InvalidInput(f"the {data['kind']} line has no good {name}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise InvalidInput(f"the {name} of the {data['kind']} line is out of range")
    return value


def _line(data: dict[str, Any]) -> bytes:
    return json_line(data) + b"\n"
