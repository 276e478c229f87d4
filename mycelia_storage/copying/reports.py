"""What a copy tells afterwards."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Differences that a report names; it counts all.
NAMED_MISMATCHES: Final = 20

# Single keys that are remembered because they differ. Those beyond are only counted.
_REMEMBERED: Final = 100_000


class Mismatch(NamedTuple):
    """One thing that is not in the destination as it is in the source. ``key`` is None for a namespace or index."""

    namespace: str
    key: str | None
    problem: str

    def __str__(self) -> str:
        place = f"namespace {self.namespace!r}" if self.key is None else f"key {self.key!r} in {self.namespace!r}"
        return f"{place}: {self.problem}"


class CopyReport(NamedTuple):
    """What a copy did. ``entries`` were in the source, ``verified`` of them compared equal afterwards."""

    namespaces: int
    entries: int
    verified: int
    mismatch_count: int
    mismatches: list[Mismatch]
    """The first of them."""
    written: int
    """Entries sent to the destination; one that changed while it was copied counts each time."""
    removed: int
    """Entries deleted from the destination: deleted in the source meanwhile, or surplus under ``mirror``."""
    one_moment: bool
    """Whether the destination holds the source as it was at one moment, not each page at its own."""
    tracking: list[str]
    """Namespaces of the source whose change tracking this copy turned on. It stays on."""

    @property
    def ok(self) -> bool:
        """Whether nothing differed."""
        return self.mismatch_count == 0


class Findings:
    """What differs so far. A key that is set right later is taken out again."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], str] = {}
        self.versions: dict[tuple[str, str], int] = {}
        """Of such a key, the newest version that the source is known to have had."""
        self.places: dict[tuple[str, str], str] = {}
        self.reasons: dict[tuple[str, str], str] = {}
        self.uncounted = 0

    def key(self, namespace: str, key: str, problem: str, version: int | None = None) -> None:
        """Note that an entry differs; a reason found earlier says more than that something does."""
        name = namespace, key
        if len(self.keys) < _REMEMBERED or name in self.keys:
            self.keys[name] = self.reasons.get(name, problem)
            self.versions[name] = max(self.versions.get(name, 0), version or 0)
        else:
            self.uncounted += 1

    def settled(self, namespace: str, key: str) -> None:
        """Note that an entry is as it should be."""
        self.keys.pop((namespace, key), None)
        self.reasons.pop((namespace, key), None)
        self.versions.pop((namespace, key), None)

    def forget(self, namespace: str) -> None:
        """The namespace is not copied any more."""
        self.keys = {name: problem for name, problem in self.keys.items() if name[0] != namespace}
        self.places = {name: problem for name, problem in self.places.items() if name[0] != namespace}

    def place(self, namespace: str, subject: str, problem: str | None) -> None:
        """Note what is wrong with ``subject`` of a namespace; None takes it back."""
        if problem is None:
            self.places.pop((namespace, subject), None)
        else:
            self.places[namespace, subject] = problem

    def compare_anew(self) -> None:
        """A comparison of everything begins: what was found on the way becomes the reason of what it finds."""
        self.reasons, self.keys, self.uncounted = self.keys, {}, 0

    @property
    def differing(self) -> int:
        """How many entries differ."""
        return len(self.keys) + self.uncounted

    def __len__(self) -> int:
        return self.differing + len(self.places)

    def first(self) -> list[Mismatch]:
        """The first of them, namespaces before keys."""
        found = [Mismatch(namespace, None, problem) for (namespace, _), problem in self.places.items()]
        for (namespace, key), problem in self.keys.items():
            if len(found) >= NAMED_MISMATCHES:
                break
            found.append(Mismatch(namespace, key, problem))
        return found[:NAMED_MISMATCHES]
