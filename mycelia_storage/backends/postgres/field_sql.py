"""Fields and their indexes as SQL over ``storage_entries``.

Every field becomes three expressions, never NULL, and an index over it holds exactly these, so that the planner finds
it:

======  ===========================================================================================
RANK    0 null, 1 boolean, 2 number, 3 string, 4 list or object, 5 missing
NUMBER  numeric: the number; 1 or 0 for booleans; 0 for the rest
START   text COLLATE "C": the first :data:`START_LENGTH` characters of a string; '' for the rest
======  ===========================================================================================

and a fourth that no index holds, because an index row has at most 2,704 bytes:

======  ===========================================================================================
WHOLE   text COLLATE "C": the string; the JSON text of a list or object, in its own order; else ''
======  ===========================================================================================

They look into ``document`` and ``metadata_document``: see :mod:`.documents`. ``$key`` and the times are plain columns
with a rank known beforehand. A field index is

    ``CREATE INDEX name ON storage_entries (rank1, number1, start1, rank2, ..., key)``
    ``WHERE namespace = 'literal' AND tenant = 'literal'``

and queries spell namespace and tenant as the same literals, since a partial index is not used under bound ones. A
query that asks for keys spells the tenant as :func:`hidden` does: a field index ends in the key, and before the planner
has statistics it takes going through all of one for as cheap as a look into the primary key.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from ...field_paths import FieldPath, parse_path
from ...indexes import FieldIndex
from ...ranks import NUMBER, STRING
from .documents import write_string

#: Characters; four bytes each at most.
START_LENGTH: Final = 64

#: Roots that are columns of the table, and the rank of what they hold.
COLUMNS: Final = {"key": STRING, "created_at": NUMBER, "updated_at": NUMBER}

#: Index rows of more fields could outgrow 2,704 bytes: with the key of up to 1,024 bytes, and without.
_MAX_FIELDS_WITH_KEY: Final = 5
_MAX_FIELDS: Final = 8


def create_index_sql(
    sql_name: str, namespace: str, index: FieldIndex, *, tenant: str = "", table: str = "storage_entries"
) -> list[str]:
    """The statements that build a field index; to be run without parameters. Raises InvalidFilter for a bad path.

    The index serves queries alone: it is never UNIQUE, which PostgreSQL could not keep over hash partitions. It holds
    the first :data:`_MAX_FIELDS` fields. ``table`` is the partition of the namespace where there are partitions.
    """
    paths = [parse_path(path) for path in index.paths]
    columns = [column for path in paths[:_MAX_FIELDS] for column in index_columns(path)]
    if len(paths) <= _MAX_FIELDS_WITH_KEY and "key" not in columns:
        columns.append("key")
    where = f"namespace = {quote(namespace)} AND tenant = {quote(tenant)}"
    return [f"CREATE INDEX {quote_name(sql_name)} ON {quote_name(table)} ({', '.join(columns)}) WHERE {where}"]


def index_columns(path: FieldPath) -> tuple[str, ...]:
    """What an index over ``path`` holds: RANK, NUMBER and START, or a column alone."""
    if path.root in COLUMNS:
        return (path.root,)
    return (f"({rank_sql(path)})", f"({number_sql(path)})", f"({start_sql(path)})")


def quote(text: str) -> str:
    """A string as an SQL literal, however the server reads backslashes."""
    doubled = text.replace("'", "''")
    return "E'" + doubled.replace("\\", "\\\\") + "'" if "\\" in text else f"'{doubled}'"


def hidden(tenant: str) -> str:
    """A tenant such that no field index is used: the planner does not see that it is the index's."""
    return f"(SELECT {quote(tenant)})"


def quote_name(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def has_position(path: FieldPath) -> bool:
    """Whether the path goes into a list."""
    return any(segment.__class__ is int for segment in path.segments)


@lru_cache(maxsize=1024)
def field_sql(path: FieldPath) -> str:
    """The field as jsonb; NULL where it is missing.

    ``jsonb -> 0`` would also take a number or string for a list of one, so positions go by a path in strict mode.
    """
    if path.root == "value":
        document = "document"
    else:
        document = "metadata_document" if path.segments else "coalesce(metadata_document, '{}'::jsonb)"
    if has_position(path):
        return f"jsonb_path_query_first({document}, {quote(_json_path(path))}, '{{}}', true)"
    return "".join([document, *(f" -> {quote(write_string(str(name)))}" for name in path.segments)])


def _json_path(path: FieldPath) -> str:
    text = "strict $"
    for segment in path.segments:
        if isinstance(segment, str):
            text += "." + json.dumps(write_string(segment), ensure_ascii=False)
        elif segment >= 0:
            text += f"[{segment}]"
        else:
            text += "[last]" if segment == -1 else f"[last - {-segment - 1}]"
    return text


@lru_cache(maxsize=1024)
def rank_sql(path: FieldPath) -> str:
    """RANK."""
    if path.root in COLUMNS:
        return str(COLUMNS[path.root])
    return (
        f"CASE jsonb_typeof({field_sql(path)}) WHEN 'number' THEN 2 WHEN 'string' THEN 3 WHEN 'boolean' THEN 1"
        " WHEN 'null' THEN 0 WHEN 'array' THEN 4 WHEN 'object' THEN 4 ELSE 5 END"
    )


@lru_cache(maxsize=1024)
def number_sql(path: FieldPath) -> str:
    """NUMBER."""
    field = field_sql(path)
    return (
        f"CASE jsonb_typeof({field}) WHEN 'number' THEN ({field})::numeric"
        f" WHEN 'boolean' THEN ({field})::boolean::integer ELSE 0 END"
    )


@lru_cache(maxsize=1024)
def text_sql(path: FieldPath) -> str:
    """The string; '' for the rest."""
    if path.root == "key":
        return "key"
    field = field_sql(path)
    return f"""(CASE jsonb_typeof({field}) WHEN 'string' THEN ({field}) #>> '{{}}' ELSE '' END COLLATE "C")"""


@lru_cache(maxsize=1024)
def start_sql(path: FieldPath) -> str:
    """START."""
    return f"left({text_sql(path)}, {START_LENGTH})"


@lru_cache(maxsize=1024)
def whole_sql(path: FieldPath) -> str:
    """WHOLE. jsonb has its own order of names, so the text of lists and objects is cut out of the stored text.

    To find it, ``json`` has to read the names, and refuses an escaped NUL: U+FFFF stands in for that meanwhile.
    """
    field = field_sql(path)
    stored = "convert_from(value, 'UTF8')" if path.root == "value" else "coalesce(metadata, '{}')"
    if path.segments:
        nul, stand_in = quote("\\u0000"), quote("\\uFFFF")
        steps = "".join(
            f" -> {segment}" if isinstance(segment, int) else f" -> {quote(segment.replace(chr(0), chr(0xFFFF)))}"
            for segment in path.segments
        )
        stored = f"replace((replace({stored}, {nul}, {stand_in})::json{steps})::text, {stand_in}, {nul})"
    return (
        f"(CASE jsonb_typeof({field}) WHEN 'string' THEN ({field}) #>> '{{}}'"
        f""" WHEN 'array' THEN {stored} WHEN 'object' THEN {stored} ELSE '' END COLLATE "C")"""
    )
