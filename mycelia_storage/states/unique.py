"""What a unique index compares."""

from __future__ import annotations

from typing import Any

from ..contract import Entry
from ..field_paths import MISSING, parse_path
from ..filters import identity
from ..indexes import FieldIndex


def unique_text(index: FieldIndex, entry: Entry) -> str | None:
    """The field values of ``entry`` that a unique index compares, as text; None when the entry takes no part.

    Two texts are equal exactly when all the values are equal as JSON.
    """
    parts = []
    for path in index.paths:
        found: Any = parse_path(path).read(entry)
        if found is MISSING or found.__class__ not in (bool, int, float, str):
            return None
        if found.__class__ is float and found.is_integer():
            found = int(found)
        parts.append(identity(found))
    return repr(parts)
