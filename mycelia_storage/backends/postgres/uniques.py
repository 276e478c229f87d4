"""Unique indexes: who holds which values.

A unique index is a set of prints in ``storage_unique``: a print is a digest of an entry's values on the index's paths,
such that two entries have the same one exactly when their values are equal as JSON. The client makes it, since jsonb
cannot hold every value, and since dropping an index of PostgreSQL's own would wait for every reader. What is equal:

=======  ===========================================
value    part of the print
=======  ===========================================
boolean  ``b`` and 0 or 1
number   ``n`` and the exact value as a fraction
string   ``s`` and its UTF-8
=======  ===========================================

A part is preceded by its length. Null, lists, objects and missing fields have none, and the entry takes no part.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ...contract import Entry
from ...field_paths import FieldPath, parse_path
from ...indexes import FieldIndex


def parse_index(index: FieldIndex) -> tuple[FieldPath, ...]:
    """The paths of an index. Raises InvalidFilter."""
    return tuple(parse_path(path) for path in index.paths)


def fingerprint(paths: tuple[FieldPath, ...], entry: Entry) -> bytes | None:
    """The print of the entry, None if it takes no part."""
    digest = hashlib.sha256()
    for path in paths:
        part = _part(path.read(entry))
        if part is None:
            return None
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _part(value: Any) -> bytes | None:
    kind: type = value.__class__
    if kind is str:
        return b"s" + str(value).encode("utf-8", "surrogatepass")
    if kind is bool:
        return b"b%d" % bool(value)
    if kind is int:
        return b"n%d/1" % int(value)
    if kind is float:
        over, under = float(value).as_integer_ratio()
        return b"n%d/%d" % (over, under)
    return None
