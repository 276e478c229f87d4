"""A process that watches changes, beside processes that make them."""

from __future__ import annotations

from mycelia_storage.backends.sqlite import SQLiteStorageBackend

from .forkserver import Talk

NAMESPACE = "watched"


def write_changes(talk: Talk, path: str, writer: int, count: int) -> None:
    """Make ``count`` tracked changes, in transactions of one to three."""
    storage = SQLiteStorageBackend({"dbPath": path})
    talk.say("ready")
    talk.wait()
    number = 0
    while number < count:
        with storage.transaction() as tx:
            for _ in range(min(1 + number % 3, count - number)):
                tx.set(f"{writer}-{number:04}", number, namespace=NAMESPACE)
                number += 1
    storage.close()


def read_consistently(talk: Talk, path: str) -> None:
    """Read pairs in snapshots until told to stop; say how many and how many were torn."""
    storage = SQLiteStorageBackend({"dbPath": path})
    talk.say("ready")
    reads = torn = 0
    while True:
        with storage.transaction(read_only=True) as snapshot:
            left = snapshot.get("left", namespace="pair")
            right = snapshot.get("right", namespace="pair")
        reads += 1
        torn += left != right
        if left == -1:
            break
    talk.say({"reads": reads, "torn": torn})
    storage.close()


def write_pairs(talk: Talk, path: str, count: int) -> None:
    """Write equal pairs; the last is -1."""
    storage = SQLiteStorageBackend({"dbPath": path})
    for number in [*range(count), -1]:
        with storage.transaction() as tx:
            tx.set("left", number, namespace="pair")
            tx.set("right", number, namespace="pair")
    talk.say("written")
    storage.close()


def watch_changes(talk: Talk, path: str, since: int) -> None:
    """Watch from a cursor and say each change, until killed."""
    storage = SQLiteStorageBackend({"dbPath": path})
    talk.say("watching")
    for change in storage.watch(namespace=NAMESPACE, since=since):
        talk.say([change.seq, change.key])
