"""The postings of one text index, in a sorted map."""

from __future__ import annotations

from collections.abc import Iterator

from ...contract import Entry
from ...indexes import TextIndex
from ...states.ordered import SortedMap
from ...states.texts import text_change


class TextPostings:
    """Term NUL key -> tf and length of the entry, with the statistics."""

    __slots__ = ("_held", "entries", "index", "length")

    def __init__(self, index: TextIndex) -> None:
        self.index = index
        self.entries = self.length = 0
        self._held: SortedMap[str, tuple[float, int]] = SortedMap()

    def fork(self) -> TextPostings:
        """A copy: changes of one are not seen by the other."""
        copy = TextPostings.__new__(TextPostings)
        copy.index, copy.entries, copy.length, copy._held = self.index, self.entries, self.length, self._held.fork()
        return copy

    def change(self, key: str, old: Entry | None, new: Entry | None) -> None:
        """The entry of a key was the one and is the other."""
        change = text_change(self.index, old, new)
        if change is not None:
            for term in change.gone:
                self._held.pop(f"{term}\0{key}")
            for term, tf in change.put.items():
                self._held.put(f"{term}\0{key}", (tf, change.length))
            self.entries += change.more_entries
            self.length += change.more_length

    def of(self, term: str) -> Iterator[tuple[str, float, int]]:
        """The entries that hold a term: key, tf, length, in order of key."""
        start = len(term) + 1
        for full, (tf, length) in self._held.items(f"{term}\0", f"{term}\1"):
            yield full[start:], tf, length

    def equals(self, other: TextPostings) -> bool:
        """Whether both say the same."""
        return (self.entries, self.length) == (other.entries, other.length) and list(self._held.items()) == list(
            other._held.items()
        )
