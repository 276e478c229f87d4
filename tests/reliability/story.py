"""A seeded, endless sequence of writes, and the model of what it leaves behind.

Step ``i`` of a story is a function of (seed, i) alone, so the writer and the judge draw the same steps. Each step is
one atomic write of the contract. A storage that a story of ``n`` finished steps was written to must equal the model
after ``n`` steps, or after ``n + 1`` if the writer died before it could tell.

Namespaces of writer ``w``: ``w/plain`` is untracked, ``w/tracked`` logs changes, ``w/bulk`` takes the large batches.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import KeyNotFound

KEYS = [f"k{number}" for number in range(16)]
BULK = 300
TTL = 3600.0


class Undo(Exception):
    """Raised inside a transaction so that it rolls back."""


@dataclass(frozen=True)
class Step:
    """One atomic write. ``write`` does it and returns the versions it gave, by namespace and key."""

    name: str
    write: Callable[[StorageBackend], dict[tuple[str, str], int]]
    expect: Callable[[Model], None]


@dataclass
class Model:
    """What a storage must hold: per namespace, key -> (value, metadata, expires), and the changes logged."""

    writer: str
    entries: dict[str, dict[str, tuple[Any, dict[str, Any], bool]]] = field(default_factory=dict)
    changes: list[tuple[str | None, str]] = field(default_factory=list)

    def set(self, space: str, key: str, value: Any, metadata: dict[str, Any] | None = None, ttl: bool = False) -> None:
        self.entries.setdefault(space, {})[key] = (value, metadata or {}, ttl)
        self._log(space, key, "set")

    def delete(self, space: str, key: str) -> None:
        if self.entries.get(space, {}).pop(key, None) is not None:
            self._log(space, key, "delete")

    def _log(self, space: str, key: str | None, operation: str) -> None:
        if space == "tracked":
            self.changes.append((key, operation))

    def copy(self) -> Model:
        return Model(self.writer, {space: dict(held) for space, held in self.entries.items()}, list(self.changes))

    @classmethod
    def read(cls, storage: StorageBackend, writer: str) -> Model:
        """What ``storage`` holds of a writer, as the model would."""
        found = cls(writer)
        for space in ("plain", "tracked", "bulk"):
            found.entries[space] = {
                entry.key: (entry.value, entry.metadata, entry.expires_at is not None)
                for entry in storage.scan(namespace=f"{writer}/{space}")
            }
        found.changes = [(change.key, change.operation) for change in read_changes(storage, f"{writer}/tracked")]
        return found

    def differences(self, found: Model) -> list[str]:
        """How what was found differs from this model, in sentences; empty when it does not."""
        sentences = []
        for space in ("plain", "tracked", "bulk"):
            held, wanted = found.entries.get(space, {}), self.entries.get(space, {})
            wrong = sorted(key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key))
            if wrong:
                sentences.append(f"{self.writer}/{space}: {len(wrong)} keys differ: {wrong[:5]}")
        if found.changes != self.changes:
            sentences.append(
                f"{self.writer}: {len(found.changes)} changes are logged, not {len(self.changes)}, or others"
            )
        return sentences


def read_changes(storage: StorageBackend, namespace: str) -> Iterator[Any]:
    """All kept changes of a namespace."""
    since = None
    while True:
        page = storage.changes(namespace=namespace, since=since)
        yield from page.changes
        since = page.cursor
        if not page.has_more:
            return


def prepare(storage: StorageBackend, writer: str) -> None:
    """What every writer does first. Repeating it changes nothing."""
    storage.create_namespace(f"{writer}/tracked", track_changes=True, exist_ok=True)


def step(seed: int, writer: str, number: int) -> Step:
    """Step ``number`` of the story."""
    rng = random.Random(f"{seed}/{writer}/{number}")
    kind = rng.choices(list(_KINDS), weights=[weight for weight, _ in _KINDS.values()])[0]
    return _KINDS[kind][1](rng, writer, number)


# -- the kinds of steps ------------------------------------------------------------------------------------------------


def _value(rng: random.Random, number: int) -> Any:
    size = rng.choice([5, 80, 300, 3000, 20_000])
    if rng.random() < 0.2:
        return rng.randbytes(size)
    return {"step": number, "text": "x" * size, "tags": [rng.randrange(100) for _ in range(3)]}


def _set(rng: random.Random, writer: str, number: int) -> Step:
    space, key, value = rng.choice(["plain", "tracked"]), rng.choice(KEYS), _value(rng, number)
    metadata = {"step": number} if rng.random() < 0.5 else None
    ttl = rng.random() < 0.2

    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        name = f"{writer}/{space}"
        return {(name, key): storage.set(key, value, namespace=name, metadata=metadata, ttl=TTL if ttl else None)}

    return Step("set", write, lambda model: model.set(space, key, value, metadata, ttl))


def _set_many(rng: random.Random, writer: str, number: int) -> Step:
    items = [
        (rng.choice(["plain", "tracked"]), key, _value(rng, number)) for key in rng.sample(KEYS, rng.randint(2, 12))
    ]

    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        storage.set_many({"namespace": f"{writer}/{space}", "key": key, "value": value} for space, key, value in items)
        return {}

    def expect(model: Model) -> None:
        for space, key, value in items:
            model.set(space, key, value)

    return Step("set_many", write, expect)


def _of_number(number: int) -> Any:
    """What a step stores that has no more to say than a number."""
    return number


def _number_in(value: Any) -> int:
    """The number in what :func:`_of_number` gave."""
    return int(value)


def _pair(_rng: random.Random, writer: str, number: int) -> Step:
    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        with storage.transaction() as tx:
            left = tx.set("left", _of_number(number), namespace=f"{writer}/plain")
            right = tx.set("right", _of_number(number), namespace=f"{writer}/tracked")
        return {(f"{writer}/plain", "left"): left, (f"{writer}/tracked", "right"): right}

    def expect(model: Model) -> None:
        model.set("plain", "left", _of_number(number))
        model.set("tracked", "right", _of_number(number))

    return Step("pair", write, expect)


def _counter(_rng: random.Random, writer: str, number: int) -> Step:
    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        name = f"{writer}/tracked"
        transaction = storage.begin_transaction()
        held = transaction.get("counter", namespace=name)
        count = 1 if held is None else _number_in(held) + 1
        version = transaction.set("counter", _of_number(count), namespace=name)
        transaction.set(f"log-{count:06}", _of_number(number), namespace=name)
        storage.commit(transaction.id)
        return {(name, "counter"): version}

    def expect(model: Model) -> None:
        held = model.entries.get("tracked", {}).get("counter")
        count = (_number_in(held[0]) if held else 0) + 1
        model.set("tracked", "counter", _of_number(count))
        model.set("tracked", f"log-{count:06}", _of_number(number))

    return Step("counter", write, expect)


def _delete(rng: random.Random, writer: str, _number: int) -> Step:
    space, keys = rng.choice(["plain", "tracked"]), rng.sample(KEYS, rng.choice([1, 1, 1, 6]))

    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        if len(keys) == 1:
            storage.delete(keys[0], namespace=f"{writer}/{space}")
        else:
            storage.delete_many(keys, namespace=f"{writer}/{space}")
        return {}

    def expect(model: Model) -> None:
        for key in keys:
            model.delete(space, key)

    return Step("delete", write, expect)


def _set_metadata(rng: random.Random, writer: str, number: int) -> Step:
    space, key, merge = rng.choice(["plain", "tracked"]), rng.choice(KEYS), rng.random() < 0.7

    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        name = f"{writer}/{space}"
        try:
            return {(name, key): storage.set_metadata(key, {"noted": number}, namespace=name, merge=merge)}
        except KeyNotFound:
            return {}

    def expect(model: Model) -> None:
        held = model.entries.get(space, {}).get(key)
        if held:
            value, metadata, ttl = held
            model.set(space, key, value, {**(metadata if merge else {}), "noted": number}, ttl)

    return Step("set_metadata", write, expect)


def _undone(_rng: random.Random, writer: str, number: int) -> Step:
    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        try:
            with storage.transaction() as tx:
                tx.set("never", _of_number(number), namespace=f"{writer}/tracked")
                tx.clear(namespace=f"{writer}/plain")
                raise Undo
        except Undo:
            return {}

    return Step("undone", write, lambda _: None)


def _half_undone(_rng: random.Random, writer: str, number: int) -> Step:
    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        with storage.transaction() as tx:
            tx.set("outer", _of_number(number), namespace=f"{writer}/tracked")
            try:
                with tx.transaction() as inner:
                    inner.set("never", _of_number(number), namespace=f"{writer}/tracked")
                    raise Undo
            except Undo:
                pass
        return {}

    return Step("half undone", write, lambda model: model.set("tracked", "outer", _of_number(number)))


def _bulk(rng: random.Random, writer: str, number: int) -> Step:
    value = _value(rng, number)

    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        pairs = ((f"b{place:05}", value) for place in range(BULK))
        storage.set_many(pairs, namespace=f"{writer}/bulk")
        return {}

    def expect(model: Model) -> None:
        for place in range(BULK):
            model.set("bulk", f"b{place:05}", value)

    return Step("bulk", write, expect)


def _clear_bulk(_rng: random.Random, writer: str, _number: int) -> Step:
    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        storage.clear(namespace=f"{writer}/bulk")
        return {}

    return Step("clear", write, lambda model: model.entries.setdefault("bulk", {}).clear())


def _optimize(_rng: random.Random, _writer: str, _number: int) -> Step:
    def write(storage: StorageBackend) -> dict[tuple[str, str], int]:
        storage.optimize()
        return {}

    return Step("optimize", write, lambda _: None)


_KINDS: dict[str, tuple[int, Callable[[random.Random, str, int], Step]]] = {
    "set": (24, _set),
    "set_many": (10, _set_many),
    "pair": (12, _pair),
    "counter": (12, _counter),
    "delete": (10, _delete),
    "set_metadata": (8, _set_metadata),
    "undone": (5, _undone),
    "half undone": (5, _half_undone),
    "bulk": (6, _bulk),
    "clear": (2, _clear_bulk),
    "optimize": (3, _optimize),
}
