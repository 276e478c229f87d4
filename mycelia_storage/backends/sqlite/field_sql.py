"""Fields and their indexes as SQL over ``storage_entries``.

Every field becomes two scalar expressions, and an index over a field holds exactly these, so that the planner finds it:

=====  ======================================================================================
RANK   0 null, 1 boolean, 2 number, 3 string, 4 list or object, 5 missing; never NULL
VALUE  the SQL value: NULL for null and missing, 1 or 0 for booleans, JSON text for rank 4
=====  ======================================================================================

``$key`` and the times are plain columns with a rank known beforehand. A field index is

    ``CREATE INDEX name ON storage_entries (rank1, value1, rank2, value2, ..., key) WHERE namespace = 'literal'``

and queries spell the namespace as the same literal, since a partial index is not used under a bound one.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from ...errors import InvalidInput
from ...field_paths import FieldPath, parse_path
from ...indexes import FieldIndex
from ...ranks import CONTAINER, NUMBER, STRING

#: Roots that are columns of the table, and the rank of what they hold.
COLUMNS: Final = {"key": STRING, "created_at": NUMBER, "updated_at": NUMBER}


def create_index_sql(sql_name: str, namespace: str, index: FieldIndex) -> list[str]:
    """The statements that build a field index. Raises InvalidFilter, InvalidInput.

    A unique index ends in a column that is NULL, and so never equal, where any field holds a list or an object; the
    values of null and missing fields are NULL already.
    """
    paths = [parse_path(path) for path in index.paths]
    for path in paths:
        if not is_visible(path):
            raise InvalidInput(f"a field name with NUL cannot be indexed: {str(path)!r}")
    columns = [column for path in paths for column in index_columns(path)]
    if index.unique:
        scalars = " AND ".join(f"{rank_sql(path)} < {CONTAINER}" for path in paths if path.root not in COLUMNS)
        columns.append(f"CASE WHEN {scalars or '1'} THEN 1 END")
    else:
        columns.append("key")
    unique = "UNIQUE " if index.unique else ""
    name = '"' + sql_name.replace('"', '""') + '"'
    where = f"namespace = {quote(namespace)}"
    return [f"CREATE {unique}INDEX {name} ON storage_entries ({', '.join(columns)}) WHERE {where}"]


def index_columns(path: FieldPath) -> tuple[str, ...]:
    """The expressions that an index over ``path`` holds: RANK and VALUE, or a column alone."""
    return (path.root,) if path.root in COLUMNS else (rank_sql(path), value_sql(path))


def quote(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def is_visible(path: FieldPath) -> bool:
    """Whether SQLite can look up the path: it cuts the names of members at NUL."""
    return not any(isinstance(segment, str) and "\0" in segment for segment in path.segments)


def json_path_sql(path: FieldPath) -> str:
    """SQLite's JSON path to the field, as an SQL literal."""
    text = "$"
    for segment in path.segments:
        if isinstance(segment, str):
            text += f".{json.dumps(segment, ensure_ascii=False)}"
        else:
            text += f"[{segment}]" if segment >= 0 else f"[#{segment}]"
    return quote(text)


def document_sql(path: FieldPath, table: str = "") -> str:
    """The JSON that the path looks into, or NULL. Bytes must not reach JSON functions, which read BLOBs as JSONB.

    ``table`` with its dot is for places where another ``value`` is nearer; an index may not name its table.
    """
    if path.root == "value":
        return f"CASE WHEN typeof({table}value)='text' THEN {table}value END"
    return f"{table}metadata" if path.segments else f"coalesce({table}metadata,'{{}}')"


@lru_cache(maxsize=1024)
def rank_sql(path: FieldPath) -> str:
    """RANK."""
    if path.root in COLUMNS:
        return str(COLUMNS[path.root])
    return (
        f"CASE json_type({document_sql(path)},{json_path_sql(path)})"
        " WHEN 'null' THEN 0 WHEN 'true' THEN 1 WHEN 'false' THEN 1 WHEN 'integer' THEN 2 WHEN 'real' THEN 2"
        " WHEN 'text' THEN 3 WHEN 'array' THEN 4 WHEN 'object' THEN 4 ELSE 5 END"
    )


@lru_cache(maxsize=1024)
def value_sql(path: FieldPath) -> str:
    """VALUE."""
    return path.root if path.root in COLUMNS else f"json_extract({document_sql(path)},{json_path_sql(path)})"
