"""What ``check`` asks of text and vector indexes: that they keep of every entry what it has, and of no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from ...contract import EntryList
from ...errors import InvalidValue
from ...similarity import check_vector
from .change_log import Rows
from .kept_indexes import KeptText, KeptVector
from .reading import PostgresReads
from .vector_rows import ALWAYS, kept_vectors

_PAGE: Final = 1_000

_ORPHANS: Final = """SELECT k.key FROM {s}.%table% AS k WHERE k.index_id = %s AND NOT EXISTS (
SELECT 1 FROM {s}.storage_entries AS e WHERE e.namespace = %s AND e.tenant = {t} AND e.key = k.key) LIMIT 20"""
_TEXTS: Final = """SELECT key, length, terms, numbers FROM {s}.storage_texts
WHERE index_id = %s AND key = ANY (%s::text[])"""
_TEXT_SUMS: Final = """SELECT (SELECT count(*) FROM {s}.storage_texts WHERE index_id = %s),
(SELECT coalesce(sum(length), 0)::bigint FROM {s}.storage_texts WHERE index_id = %s)"""
_POSTINGS: Final = """SELECT count(*) FROM (
  SELECT t.entry, held.term, held.number, t.length FROM {s}.storage_texts AS t,
  unnest(string_to_array(t.terms, ' '), string_to_array(t.numbers, ' ')::float8[]) AS held (term, number)
  WHERE t.index_id = %s
) AS a FULL JOIN (SELECT * FROM {s}.storage_postings WHERE index_id = %s) AS b USING (entry, term)
WHERE a.number IS DISTINCT FROM b.number OR a.length IS DISTINCT FROM b.length"""
_VECTORS: Final = """SELECT key, state, expires_at, embedding::real[] FROM {s}.storage_vectors
WHERE index_id = %s AND key = ANY (%s::text[])"""
_VECTOR_SUMS: Final = """SELECT (SELECT count(*) FROM {s}.storage_vectors WHERE index_id = %s),
(SELECT count(*) FROM {s}.storage_vectors WHERE index_id = %s AND state = 2)"""
_SUMS: Final = """SELECT coalesce(sum(entries), 0)::bigint, coalesce(sum(length), 0)::bigint
FROM {s}.storage_sums WHERE index_id = %s"""


def check_text(reads: PostgresReads, namespace: str, name: str, text: KeptText) -> Iterator[str]:
    """Every disagreement of a text index in a sentence."""
    rows, index_id = reads._rows, text.index_id
    about = f"text index {name!r} of namespace {namespace!r}"
    for page in _pages(reads.scan(namespace=namespace)):
        held = {key: tuple(rest) for key, *rest in rows(_TEXTS, (index_id, [entry.key for entry in page]))}
        for entry in page:
            words = text.words(entry)
            if held.get(entry.key) != (words if words[0] else None):
                yield f"{about} disagrees with the entry {entry.key!r}"
    if rows(_POSTINGS, (index_id, index_id))[0][0]:
        yield f"the postings of {about} disagree with its texts"
    yield from _check_rest(rows, about, "storage_texts", _TEXT_SUMS, namespace, index_id)


def check_vectors(reads: PostgresReads, namespace: str, name: str, vector: KeptVector) -> Iterator[str]:
    """Every disagreement of a vector index in a sentence."""
    import numpy

    rows, index_id, index = reads._rows, vector.index_id, vector.declared
    about = f"vector index {name!r} of namespace {namespace!r}"
    for page in _pages(reads.scan(namespace=namespace)):
        held = {key: rest for key, *rest in rows(_VECTORS, (index_id, [entry.key for entry in page]))}
        for entry in page:
            try:
                check_vector(entry.value, index, namespace, entry.key)
            except InvalidValue as error:
                yield str(error)
                continue
            matrix, states = kept_vectors([entry.value], index)
            found: Any = held.get(entry.key)
            if (
                found is None
                or (found[0] == ALWAYS) != (states[0] == ALWAYS)
                or found[1] != entry.expires_at
                or not numpy.allclose(numpy.asarray(found[2], dtype=numpy.float32), matrix[0], rtol=1e-5, atol=1e-12)
            ):
                yield f"{about} disagrees with the entry {entry.key!r}"
    yield from _check_rest(rows, about, "storage_vectors", _VECTOR_SUMS, namespace, index_id)


def _check_rest(rows: Rows, about: str, table: str, sums: str, namespace: str, index_id: int) -> Iterator[str]:
    for (key,) in rows(_ORPHANS.replace("%table%", table), (index_id, namespace)):
        yield f"{about} holds the key {key!r}, which has no entry"
    if rows(sums, (index_id, index_id)) != rows(_SUMS, (index_id,)):
        yield f"the sums of {about} are wrong"


def _pages(entries: Iterable[Any]) -> Iterator[EntryList]:
    left = iter(entries)
    while page := list(islice(left, _PAGE)):
        yield page
