"""A seeded writer: everything that can happen to a source while it is copied. Also a program of its own::

python writing.py FILE SEED STEPS
"""

from __future__ import annotations

import random
import sys
from typing import Any

from mycelia_storage import FieldIndex, SQLiteStorageBackend, StorageBackend
from mycelia_storage.errors import KeyNotFound, NamespaceNotFound, UniqueViolation

# Few, so that the same keys meet again and again.
NAMESPACES = ("default", "a", "a/b", "c")
KEYS = [f"k{number:03}" for number in range(60)] + ["é", "\U0001f600"]


class Writer:
    """Does one random thing after the other to a storage. Times to live are either over at once or long."""

    def __init__(self, storage: StorageBackend, seed: int) -> None:
        self.storage = storage
        self.random = random.Random(seed)

    def fill(self) -> None:
        """Something to begin with."""
        for namespace in NAMESPACES[:3]:
            self.storage.set_many(((key, self._value()) for key in KEYS), namespace=namespace)
        self.storage.create_index("a", FieldIndex("unique", unique=True), name="unique")

    def steps(self, count: int) -> None:
        for _ in range(count):
            try:
                self.step()
            except (KeyNotFound, NamespaceNotFound, UniqueViolation):
                pass

    def step(self) -> None:
        storage, chosen = self.storage, self.random
        namespace, key = chosen.choice(NAMESPACES), chosen.choice(KEYS)
        kind = chosen.random()
        if kind < 0.45:
            storage.set(key, self._value(), namespace=namespace, metadata=chosen.choice([None, {"m": 1}]))
        elif kind < 0.50:
            storage.set(key, self._value(), namespace=namespace, ttl=chosen.choice([0.001, 1000.0]))
        elif kind < 0.65:
            storage.delete(key, namespace=namespace)
        elif kind < 0.75:
            keys = chosen.sample(KEYS, 10)
            storage.set_many({key: self._value() for key in keys}, namespace=namespace)
        elif kind < 0.80:
            storage.delete_many(chosen.sample(KEYS, 10), namespace=namespace)
        elif kind < 0.85:
            if storage.has(key, namespace=namespace):
                storage.set_metadata(key, {"n": chosen.randrange(9)}, namespace=namespace)
        elif kind < 0.88:
            storage.clear(namespace=namespace)
        elif kind < 0.90:
            storage.create_namespace(namespace, metadata={"n": chosen.randrange(9)}, exist_ok=True)
        elif kind < 0.92 and namespace in ("a/b", "c"):
            storage.delete_namespace(namespace, recursive=True)
        elif kind < 0.94:
            storage.create_index(namespace, FieldIndex("plain"), name="plain")
        elif kind < 0.95:
            storage.drop_index(namespace, "plain")
        else:
            self._exchange(namespace)

    def _exchange(self, namespace: str) -> None:
        """Two entries exchange what a unique index holds."""
        first, second = self.random.sample(KEYS, 2)
        with self.storage.transaction() as tx:
            values = tx.get_many([first, second], namespace=namespace)
            if len(values) == 2 and all(isinstance(value, dict) for value in values.values()):
                tx.delete_many([first, second], namespace=namespace)
                tx.set_many({first: values[second], second: values[first]}, namespace=namespace)

    def _value(self) -> Any:
        chosen = self.random
        if chosen.random() < 0.1:
            return chosen.randbytes(chosen.randrange(200))
        return {"plain": chosen.randrange(5), "unique": chosen.randrange(10**9), "x": "x" * chosen.randrange(100)}


if __name__ == "__main__":
    with SQLiteStorageBackend(sys.argv[1]) as opened:
        Writer(opened, int(sys.argv[2])).steps(int(sys.argv[3]))
