"""Writers, readers and a mover that is killed: nothing acknowledged is lost, and nobody reads what is no longer true.

Each writer has keys of its own in every namespace and knows what they hold; all writers count up counters that they
share. While they are at it, another process adds a shard and moves namespaces to it, is killed at a random moment, and
is started again until it comes to its end. A writer reads back after each step, so a read from the wrong shard shows;
a shared counter that falls shows it too. In the end every key is compared with what its writer knows, and every counter
with the sum of what the writers counted.

    python -m tests.reliability.sharded_moves --rounds 200 --seed 7
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mycelia_storage.backends.sharded import ShardedStorageBackend
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import CommitUnknown, StorageBusy

from .forkserver import ForkServer, Talk

TOPS = [f"agent{number}" for number in range(12)]
KEYS = 12
FILLERS = 3_000

#: Seconds. So short that leases run out and are renewed all the time.
LEASE, SETTLE = 0.05, 0.6


class Hand:
    """One writer: ``known`` is what its keys hold, ``counted`` what it has added to each counter."""

    def __init__(self, storage: StorageBackend, seed: int, name: str) -> None:
        self.storage = storage
        self.name = name
        self.rng = random.Random(f"{seed} {name}")
        self.known: dict[tuple[str, str], Any] = {}
        self.counted: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.steps = 0
        self.slowest = 0.0

    def step(self) -> None:
        """One write and what can be read after it."""
        self.steps += 1
        begun = time.monotonic()
        namespace = self.rng.choice(TOPS) + self.rng.choice(["", "", "/below", f"/{self.rng.randrange(3)}"])
        keys = [f"{self.name}{self.rng.randrange(KEYS)}" for _ in range(self.rng.randint(1, 4))]
        kind = self.rng.choice(["set", "set", "set", "delete", "batch", "count", "count", "swap", "transaction"])
        self._until_known(kind, namespace, keys)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.done[kind] += 1
        for key in keys:
            got = self.storage.get(key, namespace=namespace)
            expected = self.known.get((namespace, key))
            assert got == expected, f"{namespace}/{key} is {got}, not {expected} (after {kind}, step {self.steps})"
        self._look_at_counter(self.rng.choice(TOPS))

    def _until_known(self, kind: str, namespace: str, keys: list[str]) -> None:
        while True:
            try:
                getattr(self, f"_{kind}")(namespace, keys)
                return
            except StorageBusy:
                self.done["busy"] += 1  # nothing was written
            except CommitUnknown:
                self.done["unknown"] += 1
                assert kind not in ("batch", "count", "transaction"), "a transaction looks before it commits"
                for key in keys:
                    value = self.storage.get(key, namespace=namespace)
                    self.known[namespace, key] = value

    def _set(self, namespace: str, keys: list[str]) -> None:
        self.storage.set(keys[0], self.steps, namespace=namespace)
        self.known[namespace, keys[0]] = self.steps

    def _delete(self, namespace: str, keys: list[str]) -> None:
        existed = self.storage.delete(keys[0], namespace=namespace)
        assert existed == (self.known.get((namespace, keys[0])) is not None)
        self.known[namespace, keys[0]] = None

    def _swap(self, namespace: str, keys: list[str]) -> None:
        """Compare-and-set; nobody else writes this key, so it succeeds."""
        entry = self.storage.get_entry(keys[0], namespace=namespace)
        self.storage.set(keys[0], self.steps, namespace=namespace, if_version=0 if entry is None else entry.version)
        self.known[namespace, keys[0]] = self.steps

    def _batch(self, namespace: str, keys: list[str]) -> None:
        self.storage.set_many([(key, [self.steps, key]) for key in keys], namespace=namespace)
        self.known |= {(namespace, key): [self.steps, key] for key in keys}

    def _transaction(self, namespace: str, keys: list[str]) -> None:
        with self.storage.transaction() as tx:
            for key in keys:
                tx.set(key, self.steps, namespace=namespace)
        self.known |= {(namespace, key): self.steps for key in keys}

    def _count(self, namespace: str, keys: list[str]) -> None:
        top = namespace.partition("/")[0]
        with self.storage.transaction() as tx:
            tx.set("counter", tx.get("counter", 0, namespace=top) + 1, namespace=top)
        self.counted[top] += 1

    def _look_at_counter(self, top: str) -> None:
        value = self.storage.get("counter", 0, namespace=top)
        assert value >= self.seen[top], f"the counter of {top} fell from {self.seen[top]} to {value}"
        self.seen[top] = value

    def told(self) -> dict[str, Any]:
        """What it knows, as JSON data."""
        known = [[namespace, key, value] for (namespace, key), value in self.known.items()]
        facts = {"known": known, "counted": self.counted, "done": self.done, "slowest": self.slowest}
        return facts | {"steps": self.steps}


def judge(storage: StorageBackend, told: list[dict[str, Any]]) -> None:
    """Compare a storage with what all its writers know. Raises AssertionError."""
    counted: Counter[str] = Counter()
    expected: dict[tuple[str, str], Any] = {}
    for facts in told:
        counted.update(facts["counted"])
        expected |= {(namespace, key): value for namespace, key, value in facts["known"] if value is not None}
    for top in TOPS:
        if counted[top]:
            expected[top, "counter"] = counted[top]
    found = {
        (entry.namespace, entry.key): entry.value
        for name in storage.list_namespaces()
        for entry in storage.scan(namespace=name)
    }
    wrong = sorted(place for place in {*found, *expected} if found.get(place) != expected.get(place))
    assert not wrong, f"{len(wrong)} differ: {[(p, found.get(p), expected.get(p)) for p in wrong[:5]]}"
    assert storage.check().problems == []


def judge_places(storage: ShardedStorageBackend) -> None:
    """Every shard has what is its own, and nothing else."""
    table = storage._router.view.table
    assert not table.is_moving
    for name, shard in storage._router.shards.items():
        for namespace in shard.list_namespaces():
            top = namespace.partition("/")[0]
            if top in TOPS:
                assert table.owner(top) == name, f"shard {name} has {namespace}"


# -- processes -----------------------------------------------------------------------------------------------------


def write_on(talk: Talk, shards: list[str], seed: int, writer: str) -> None:
    """Write until told to stop; then say what is known."""
    with ShardedStorageBackend(shards, busy_timeout=30_000) as storage:
        hand = Hand(storage, seed, writer)
        stop = threading.Event()

        def listen() -> None:
            talk.wait()
            stop.set()

        threading.Thread(target=listen, daemon=True).start()
        talk.say("ready")
        while not stop.is_set():
            hand.step()
        talk.say(hand.told())


def move_to(talk: Talk, shards: list[str], added: str) -> None:
    """Add a shard and move what belongs there."""
    with ShardedStorageBackend(shards, busy_timeout=30_000) as storage:
        talk.say("open")
        storage.add_shard(added)
        talk.say("added")
        report = storage.rebalance(progress=lambda *_: talk.say("moving"))
        talk.say([move._asdict() for move in report.moves])


class Campaign:
    """Rounds of adding a shard under writers; ``seen`` counts what was met.

    ``address(name)`` is where a new, empty shard of a name is; by default a file in ``folder``.
    """

    def __init__(
        self, folder: Path, server: ForkServer, seed: int, address: Callable[[str], str] | None = None
    ) -> None:
        self.folder, self.server, self.seed = folder, server, seed
        self.address = address or (lambda name: str(folder / f"{name}.db"))
        self.rng = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.fences: list[float] = []

    def round(self, number: int, *, writers: int = 2, kills: int = 6) -> None:
        """Add a shard under writing processes; the mover is killed so many times before it may finish."""
        *shards, added = [self.address(f"{number}-{shard}") for shard in "abcd"]
        with ShardedStorageBackend(shards, lease=LEASE, settle=SETTLE) as storage:
            for top in TOPS:
                storage.set_many(((f"filler{n}", "x" * 100) for n in range(FILLERS)), namespace=f"{top}/filled")
        seed = self.rng.getrandbits(32)
        children = [
            self.server.start("sharded_moves:write_on", shards=shards, seed=seed, writer=w) for w in "pqrs"[:writers]
        ]
        try:
            for child in children:
                assert child.line() == "ready"
            for _ in range(kills):
                self._move(shards, added, self.rng.choice([None, "added", *range(1, 30)]))
            self._move(shards, added, "end")
            for child in children:
                child.tell("stop")
            told = [self._last_line(child) for child in children]
        finally:
            for child in children:
                child.__exit__(None, None, None)
        with closing(ShardedStorageBackend([*shards, added])) as storage:
            for top in TOPS:
                assert storage.count(namespace=f"{top}/filled") == FILLERS
                assert storage.delete_namespace(f"{top}/filled", recursive=True) == FILLERS
            judge(storage, told)
            judge_places(storage)
        for facts in told:
            self.seen.update({f"step {kind}": count for kind, count in facts["done"].items()})
        self.slowest = max(facts["slowest"] for facts in told)
        for file in self.folder.glob(f"{number}-*"):
            file.unlink()

    def _move(self, shards: list[str], added: str, until: str | int | None) -> None:
        """Run the mover "end": to its end, None: for a moment, "added": until then and a little longer, or until it has
        told so often of its progress."""
        with self.server.start("sharded_moves:move_to", shards=shards, added=added) as child:
            if until == "end":
                report = self._last_line(child)
                self.seen["moves finished"] += len(report)
                self.fences += [move["fenced"] for move in report]
                return
            if until is None:
                time.sleep(self.rng.uniform(0, 0.3))
            else:
                seen = 0
                while seen != until:
                    line = child.line()
                    if line is None or isinstance(line, list):
                        self.seen["finished before its death"] += 1
                        break
                    seen = line if line == until else seen + 1 if line == "moving" and until != "added" else seen
                time.sleep(
                    self.rng.choice([0, self.rng.uniform(0, 0.02), self.rng.uniform(0, SETTLE) * (until == "added")])
                )
            child.kill()
            self.seen["movers killed"] += 1

    def _last_line(self, child: Any) -> Any:
        lines = child.lines()
        assert lines, "the child died by itself"
        return lines[-1]


def run(rounds: int, seed: int, folder: Path, say: Callable[[str], object] = lambda _: None) -> Campaign:
    """So many rounds; the campaign with what was seen."""
    with ForkServer() as server:
        campaign = Campaign(folder, server, seed)
        for number in range(rounds):
            campaign.round(number)
            say(f"round {number}: {dict(campaign.seen)}, slowest step {campaign.slowest:.3f} s")
    return campaign


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as folder:
        ended = run(arguments.rounds, arguments.seed, Path(folder), lambda line: print(line, flush=True))
    fences = sorted(ended.fences)
    print(f"fences: {len(fences)}, median {fences[len(fences) // 2] * 1000:.1f} ms, longest {fences[-1] * 1000:.1f} ms")
    sys.exit(0)
