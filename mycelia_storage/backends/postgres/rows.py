"""Entries to and from rows: canonical bytes beside the documents that filters see (:mod:`.documents`).

=================  ==========================================================================
column             holds
=================  ==========================================================================
value, is_json     JSON text as UTF-8 and true, or bytes and false
metadata           JSON text, NULL for ``{}``
=================  ==========================================================================
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from ...contract import Entry
from ...errors import StorageCorrupt
from ...values import decode_metadata, decode_value, encode_metadata, encode_value
from .documents import document_text

Row = tuple[Any, ...]

#: The columns that :func:`to_entry` takes, in its order.
COLUMNS: Final = "namespace, key, value, is_json, metadata, version, created_at, updated_at, expires_at"

_loads = orjson.loads
_new_entry = tuple.__new__


#: value, is_json, the value's document, metadata, its document; a document is None where the text itself will do.
Encoded = tuple[bytes, bool, str | None, str | None, str | None]


def encode(value: Any, metadata: Any) -> Encoded:
    """The stored form of a value and its metadata. Raises InvalidValue."""
    stored = encode_value(value)
    extra = extra_document = None
    if metadata is not None:
        extra = encode_metadata(metadata)
        extra_document = None if extra is None else document_text(extra)
    if stored.__class__ is bytes:
        return stored, False, None, extra, extra_document
    return stored.encode(), True, document_text(stored), extra, extra_document  # type: ignore[union-attr,arg-type]


def decode(value: Any, is_json: bool, namespace: str, key: str) -> Any:
    """The value of a row. Raises StorageCorrupt."""
    if not is_json:
        return bytes(value)
    try:
        return _loads(value)
    except ValueError:
        try:
            return decode_value(bytes(value).decode())
        except ValueError as error:
            raise damaged(namespace, key) from error


def decode_extra(metadata: str | None, namespace: str, key: str) -> dict[str, Any]:
    """The metadata of a row. Raises StorageCorrupt."""
    try:
        return decode_metadata(metadata)
    except ValueError as error:
        raise damaged(namespace, key) from error


def damaged(namespace: str, key: str) -> StorageCorrupt:
    """The error for a stored value or metadata that is no JSON."""
    return StorageCorrupt(f"what is stored under key {key!r} in namespace {namespace!r} is damaged")


def to_entry(row: Row) -> Entry:
    """An entry from a row of :data:`COLUMNS`. Raises StorageCorrupt."""
    namespace, key, value, is_json, metadata, *rest = row
    return Entry(namespace, key, decode(value, is_json, namespace, key), decode_extra(metadata, namespace, key), *rest)


def to_entries(rows: list[Row]) -> list[Entry]:
    """Entries from many rows, without a call for each."""
    try:
        return [
            _new_entry(
                Entry,
                (
                    namespace,
                    key,
                    _loads(value) if is_json else bytes(value),
                    {} if metadata is None else _loads(metadata),
                    version,
                    created_at,
                    updated_at,
                    expires_at,
                ),
            )
            for namespace, key, value, is_json, metadata, version, created_at, updated_at, expires_at in rows
        ]
    except orjson.JSONDecodeError:
        return [to_entry(row) for row in rows]


def about(namespace: str, key: str) -> str:
    """How errors name an entry."""
    return f"namespace {namespace!r}, key {key!r}"
