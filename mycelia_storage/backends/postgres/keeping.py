"""Keeping what text and vector indexes want of many entries at once, inside a transaction that writes them.

Words travel as arrays, and so do a few vectors; many vectors by COPY into a temporary table, from which one statement
takes them: to make and drop that takes as long as some dozen vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ...contract import Entry
from .kept_indexes import KeptIndexes, KeptText, KeptVector
from .vector_rows import LOOSE, copy_data, kept_vectors, to_array

if TYPE_CHECKING:
    from .transactions import PostgresTransaction

_DROP_TEXTS: Final = """WITH old AS (
  DELETE FROM {s}.storage_texts AS x USING unnest(%s::text[]) AS b (key)
  WHERE x.index_id = %s AND x.key = b.key COLLATE "C" RETURNING x.entry, x.length, x.terms
), cut AS (
  DELETE FROM {s}.storage_postings AS p USING old, unnest(string_to_array(old.terms, ' ')) AS held (term)
  WHERE p.index_id = %s AND p.term = held.term AND p.entry = old.entry
) SELECT count(*), coalesce(sum(length), 0) FROM old"""
_ADD_TEXTS: Final = """WITH new AS (
  INSERT INTO {s}.storage_texts (tenant, index_id, key, length, terms, numbers)
  SELECT {t}, %s, b.key, b.length, b.terms, b.numbers
  FROM unnest(%s::text[], %s::integer[], %s::text[], %s::text[]) AS b (key, length, terms, numbers)
  RETURNING entry, length, terms, numbers
), made AS (
  INSERT INTO {s}.storage_postings (tenant, index_id, term, entry, number, length)
  SELECT {t}, %s, held.term, new.entry, held.number, new.length
  FROM new, unnest(string_to_array(new.terms, ' '), string_to_array(new.numbers, ' ')::float8[]) AS held (term, number)
  ORDER BY held.term, new.entry
) SELECT count(*), coalesce(sum(length), 0) FROM new"""
_ADD: Final = "SELECT {s}.storage_add({t}, %s, %s, %s)"
SUMS: Final = """SELECT coalesce(sum(entries), 0)::bigint, coalesce(sum(length), 0)::bigint
FROM {s}.storage_sums WHERE index_id = %s"""

_MAKE_STAGE: Final = """CREATE TEMP TABLE IF NOT EXISTS mycelia_vectors (
key text COLLATE "C", state smallint, embedding real[]) ON COMMIT DROP;
ALTER TABLE pg_temp.mycelia_vectors ALTER COLUMN embedding SET STORAGE EXTERNAL; TRUNCATE pg_temp.mycelia_vectors"""
_COPY: Final = "COPY pg_temp.mycelia_vectors (key, state, embedding) FROM STDIN (FORMAT BINARY)"
_LARGE_BEFORE: Final = """SELECT count(*) FROM pg_temp.mycelia_vectors AS b
JOIN {s}.storage_vectors AS v ON v.index_id = %s AND v.key = b.key WHERE v.state = 2"""
# The tenant is hidden, so that no field index is used to find the entry (field_sql.py).
_EXPIRES: Final = """CROSS JOIN LATERAL (
    SELECT expires_at FROM {s}.storage_entries
    WHERE namespace = %s AND tenant = (SELECT {t}) AND key = b.key COLLATE "C" OFFSET 0
  ) AS e"""
_TAKE_OVER: Final = """ON CONFLICT (index_id, key) DO UPDATE
    SET state = excluded.state, expires_at = excluded.expires_at, embedding = excluded.embedding
  RETURNING v.xmax = 0 AS is_new, v.state"""
_KEEP_VECTORS: Final = f"""WITH kept AS (
  INSERT INTO {{s}}.storage_vectors AS v (tenant, index_id, key, state, expires_at, embedding)
  SELECT {{t}}, %s, b.key, b.state, e.expires_at, b.embedding FROM pg_temp.mycelia_vectors AS b {_EXPIRES}
  {_TAKE_OVER}
) SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE state = 2) FROM kept"""
_KEEP_FEW: Final = f"""WITH large AS (
  SELECT count(*) AS number FROM {{s}}.storage_vectors WHERE index_id = %s AND key = ANY (%s::text[]) AND state = 2
), kept AS (
  INSERT INTO {{s}}.storage_vectors AS v (tenant, index_id, key, state, expires_at, embedding)
  SELECT {{t}}, %s, b.key, b.state, e.expires_at, sent.numbers[(b.ordinal - 1) * sent.size + 1 : b.ordinal * sent.size]
  FROM (SELECT %s::real[] AS numbers, %s::integer AS size) AS sent,
  unnest(%s::text[], %s::smallint[]) WITH ORDINALITY AS b (key, state, ordinal) {_EXPIRES}
  {_TAKE_OVER}
) SELECT {{s}}.storage_add({{t}}, %s, found.new, found.always - large.number) FROM large, (
  SELECT count(*) FILTER (WHERE is_new) AS new, count(*) FILTER (WHERE state = 2) AS always FROM kept
) AS found"""
_MAKE_ROOM: Final = "SELECT {s}.storage_make_room({t}, %s)"

#: Up to so many vectors travel as arrays.
_FEW: Final = 20


def keep_entries(steps: PostgresTransaction, namespace: str, known: KeptIndexes, entries: Sequence[Entry]) -> None:
    """Keep of entries just written what the namespace's text and vector indexes want. Each key is there once, and a
    vector index has checked its value."""
    for text in known.texts:
        keep_texts(steps, text, entries)
    for vector in known.vectors:
        keep_vectors(steps, namespace, vector, entries)


def keep_texts(steps: PostgresTransaction, text: KeptText, entries: Sequence[Entry], fresh: bool = False) -> None:
    """Keep the words of entries; ``fresh``: the index has none of them yet."""
    index_id = text.index_id
    gone = lost = 0
    if not fresh:
        gone, lost = steps.run(_DROP_TEXTS, ([entry.key for entry in entries], index_id, index_id), None)[0]
    rows = [(entry.key, *text.words(entry)) for entry in entries]
    held = [row for row in rows if row[1]]
    came = gained = 0
    if held:
        keys, lengths, terms, numbers = map(list, zip(*held, strict=True))
        came, gained = steps.run(_ADD_TEXTS, (index_id, keys, lengths, terms, numbers, index_id), None)[0]
    steps.run(_ADD, (index_id, came - gone, int(gained) - int(lost)), None)


def keep_vectors(
    steps: PostgresTransaction, namespace: str, vector: KeptVector, entries: Sequence[Entry], state: int = LOOSE
) -> None:
    """Keep the vectors of entries, those that fit a graph in that state."""
    import numpy

    index_id = vector.index_id
    matrix, states = kept_vectors([entry.value for entry in entries], vector.declared)
    states = numpy.where(states == LOOSE, state, states)
    keys, numbers = [entry.key for entry in entries], states.tolist()
    if len(entries) <= _FEW:
        sent = (to_array(matrix), matrix.shape[1], keys, numbers, namespace)
        steps.run(_KEEP_FEW, (index_id, keys, index_id, *sent, index_id), None)
        return
    steps.script(_MAKE_STAGE)
    steps.copy_data(_COPY, copy_data(keys, numbers, matrix))
    large = 0
    if steps.run(SUMS, (index_id,))[0][1]:
        large = steps.run(_LARGE_BEFORE, (index_id,))[0][0]
    new, always = steps.run(_KEEP_VECTORS, (index_id, namespace))[0]
    steps.run(_ADD, (index_id, new, always - large))


def room_left(steps: PostgresTransaction, known: KeptIndexes) -> int:
    """How many new keys every vector index has room for; a negative number is how many there are too many."""
    return min(
        vector.declared.max_vectors - int(steps.run(SUMS, (vector.index_id,), None)[0][0]) for vector in known.vectors
    )


def sweep_namespace(steps: PostgresTransaction, namespace: str) -> None:
    """Remove the expired entries of a namespace."""
    steps.run(_MAKE_ROOM, (namespace,))
