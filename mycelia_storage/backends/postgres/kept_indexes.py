"""What a namespace's indexes want kept of each entry that is written, beside PostgreSQL's own: prints of unique
indexes (:mod:`.uniques`), terms of text indexes, vectors of vector indexes (:mod:`.vector_rows`).

The client works them out and sends them along with the entry; schema/postgres/0003_search.up.sql keeps them. A
namespace without such an index is written without looking here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from ...contract import Entry
from ...errors import IndexFull, InvalidValue
from ...field_paths import FieldPath, parse_path
from ...indexes import FieldIndex, TextIndex, VectorIndex, index_from_json
from ...similarity import check_vector
from ...text import occurrences
from .rows import Row
from .uniques import fingerprint, parse_index
from .vector_rows import RealArray, kept_vectors, to_array


class KeptText(NamedTuple):
    """A text index by its number."""

    index_id: int
    declared: TextIndex
    fields: tuple[tuple[FieldPath, float], ...]

    def words(self, entry: Entry) -> tuple[int, str, str]:
        """The number of terms of an entry, the terms, and how often it holds each; both with blanks between."""
        kept = occurrences(((path.read(entry), weight) for path, weight in self.fields), self.declared.language)
        return kept.length, " ".join(kept.terms), " ".join(map(repr, kept.terms.values()))


class KeptVector(NamedTuple):
    """A vector index by its number."""

    index_id: int
    name: str
    declared: VectorIndex


class KeptIndexes(NamedTuple):
    """These indexes of a namespace; ``generation`` changes whenever they do, and is 0 without any."""

    generation: int = 0
    uniques: tuple[tuple[int, tuple[FieldPath, ...]], ...] = ()
    texts: tuple[KeptText, ...] = ()
    vectors: tuple[KeptVector, ...] = ()

    @property
    def searched(self) -> bool:
        """Whether there is a text or vector index."""
        return bool(self.texts or self.vectors)

    def prints(self, entry: Entry) -> tuple[list[int], list[bytes]]:
        """The ids of the unique indexes that the entry takes part in, and its prints."""
        ids: list[int] = []
        prints: list[bytes] = []
        for index_id, paths in self.uniques:
            print = fingerprint(paths, entry)
            if print is not None:
                ids.append(index_id)
                prints.append(print)
        return ids, prints

    def words(self, entry: Entry) -> tuple[list[int], list[int], list[str], list[str]]:
        """The text indexes, and of the entry its length, terms and their numbers in each."""
        found = [text.words(entry) for text in self.texts]
        lengths, terms, numbers = [[words[part] for words in found] for part in range(3)]
        return [text.index_id for text in self.texts], lengths, terms, numbers  # type: ignore[return-value]

    def check(self, entry: Entry) -> None:
        """Raise InvalidValue unless the value is a vector that every vector index takes."""
        for vector in self.vectors:
            check_vector(entry.value, vector.declared, entry.namespace, entry.key)

    def takes(self, entry: Entry) -> bool:
        """Whether :meth:`check` raises nothing."""
        try:
            self.check(entry)
        except InvalidValue:
            return False
        return True

    def embeddings(self, entry: Entry) -> tuple[list[int], list[int], list[int], RealArray]:
        """The vector indexes, how many each holds at most, and of the checked entry the states and vectors in each."""
        import numpy

        kept = [kept_vectors([entry.value], vector.declared) for vector in self.vectors]
        states = [int(state[0]) for _, state in kept]
        whole = numpy.concatenate([matrix for matrix, _ in kept]) if kept else numpy.empty(0, dtype=numpy.float32)
        ids, most = (
            [vector.index_id for vector in self.vectors],
            [vector.declared.max_vectors for vector in self.vectors],
        )
        return ids, most, states, to_array(whole)

    def full(self, namespace: str) -> IndexFull:
        """The error for a key too many."""
        tightest = min(self.vectors, key=lambda vector: vector.declared.max_vectors)
        most = tightest.declared.max_vectors
        return IndexFull(f"index {tightest.name!r} of namespace {namespace!r} holds at most {most:,} vectors")


def read_kept(rows: Iterable[Row]) -> KeptIndexes:
    """From rows of the namespace's generation and an index's number, name and declaration."""
    generation = 0
    uniques: list[tuple[int, tuple[FieldPath, ...]]] = []
    texts: list[KeptText] = []
    vectors: list[KeptVector] = []
    for found, index_id, name, declaration in rows:
        generation = found
        index: Any = None if declaration is None else index_from_json(orjson.loads(declaration))
        if isinstance(index, FieldIndex) and index.unique:
            uniques.append((index_id, parse_index(index)))
        elif isinstance(index, TextIndex):
            texts.append(keep_text(index_id, index))
        elif isinstance(index, VectorIndex):
            vectors.append(KeptVector(index_id, name, index))
    return KeptIndexes(generation, tuple(uniques), tuple(texts), tuple(vectors)) if generation else KeptIndexes()


def keep_text(index_id: int, index: TextIndex) -> KeptText:
    """A text index with its paths read."""
    return KeptText(index_id, index, tuple((parse_path(path), weight) for path, weight in index.fields))
