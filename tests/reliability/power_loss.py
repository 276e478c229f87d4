"""Power cuts on paper: what the disk may hold when the current goes at any moment.

A VFS records every write, truncation, deletion and sync while a story is written. A power cut is a place in that
recording. What a file's last sync before it covers is on the disk; each later write is there, missing, there in part
(whole sectors of 512 bytes) or garbage, as the dice say. The -shm file is memory and is gone. Each such disk is
opened by the backend and held against the model:

============  =====================================================================
synchronous   after a power cut
============  =====================================================================
FULL          every acknowledged step is there
NORMAL        a prefix of the steps is there, whole, and the file is sound
OFF           no promise; the run counts what it finds
============  =====================================================================

    python -m tests.reliability.power_loss --steps 400 --cuts 3000 --seed 7
"""

from __future__ import annotations

import argparse
import pickle
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.errors import StorageError

from .forkserver import ForkServer, Talk
from .story import Model, prepare, step

SECTOR = 512

#: The default before ours takes its place.
SYSTEM_VFS = apsw.vfs_names()[0]

WRITER = "a"

#: (what, file name, offset or size or acknowledged steps, data)
Event = tuple[str, str, int, bytes]


# -- recording, in a child: the VFS becomes the process's default ------------------------------------------------------


class RecordingVFS(apsw.VFS):
    """The system's VFS with a log of what would reach the disk."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        super().__init__("recording", SYSTEM_VFS, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> RecordingFile:  # noqa: N802 - SQLite's name
        return RecordingFile(self.events, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.events.append(("delete", Path(filename).name, 0, b""))


class RecordingFile(apsw.VFSFile):
    """One open file of it. Temporary files have no name and matter to nobody."""

    def __init__(self, events: list[Event], name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.events, self.label = events, Path(path).name if path else ""
        super().__init__(SYSTEM_VFS, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._log("write", offset, bytes(data))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        super().xTruncate(size)
        self._log("truncate", size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._log("sync", 0)

    def _log(self, what: str, number: int, data: bytes = b"") -> None:
        if self.label:
            self.events.append((what, self.label, number, data))


def record(talk: Talk, options: dict[str, Any], seed: int, steps: int, result: str) -> None:
    """Write a story on a recording disk; leave the recording in ``result``."""
    events: list[Event] = []
    recorder = RecordingVFS(events)
    storage = SQLiteStorageBackend(options)
    prepare(storage, WRITER)
    for number in range(steps):
        events.append(("acknowledged", "", number, b""))
        step(seed, WRITER, number).write(storage)
    events.append(("acknowledged", "", steps, b""))
    Path(result).write_bytes(pickle.dumps(events))
    talk.say(len(recorder.events))


# -- replaying -----------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """Files as of their last sync, and what was done to each since then."""

    synced: dict[str, bytes] = field(default_factory=dict)
    pending: dict[str, list[Event]] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Follow the recording by one event."""
        what, name, _, _ = event
        if what == "delete":
            # SQLite deletes a journal to commit, and syncs the folder when it must last; a lost deletion is a hot
            # journal, which the story's WAL mode never has.
            self.synced.pop(name, None)
            self.pending.pop(name, None)
        elif what == "sync":
            self.synced[name] = _apply(self.synced.get(name, b""), self.pending.pop(name, []))
        else:
            self.pending.setdefault(name, []).append(event)

    def after_power_cut(self, rng: random.Random) -> dict[str, bytes]:
        """One of the disks that may be found."""
        mood = rng.choice(["none", "all", "dice", "dice", "dice"])
        found = {}
        for name in self.synced.keys() | self.pending.keys():
            survived = [event for event in self.pending.get(name, []) for event in _fate(event, mood, rng)]
            found[name] = _apply(self.synced.get(name, b""), survived)
        return found


def _fate(event: Event, mood: str, rng: random.Random) -> Iterator[Event]:
    what, name, offset, data = event
    fate = {"none": "dropped", "all": "kept"}.get(mood) or rng.choice(["dropped", "kept", "torn", "garbled"])
    if fate == "kept" or (what != "write" and fate != "dropped"):
        yield event
    elif fate == "torn":
        sectors = range(0, len(data), SECTOR)
        for start in rng.sample(sectors, rng.randint(0, len(sectors))):
            yield what, name, offset + start, data[start : start + SECTOR]
    elif fate == "garbled":
        yield what, name, offset, rng.randbytes(len(data))


def _apply(content: bytes, events: list[Event]) -> bytes:
    if not events:
        return content
    held = bytearray(content)
    for what, _, number, data in events:
        if len(held) < number:
            held.extend(bytes(number - len(held)))
        if what == "truncate":
            del held[number:]
        else:
            held[number : number + len(data)] = data
    return bytes(held)


class Violation(AssertionError):
    """A power cut broke a promise."""


def replay(events: list[Event], folder: Path, *, synchronous: str, seed: int, cuts: int) -> Counter[str]:
    """Judge ``cuts`` power cuts at random places. Raises Violation, except for OFF; what was met."""
    rng = random.Random(seed)
    first = next(place for place, event in enumerate(events) if event[0] == "acknowledged")
    places = sorted(rng.randrange(first, len(events)) for _ in range(cuts))
    models = [Model(WRITER)]
    for number in range(events[-1][2]):
        models.append(models[-1].copy())
        step(seed, WRITER, number).expect(models[-1])
    seen: Counter[str] = Counter()
    disk, acknowledged, place = Disk(), 0, 0
    for cut in places:
        while place <= cut:
            if events[place][0] == "acknowledged":
                acknowledged = events[place][2]
            else:
                disk.take(events[place])
            place += 1
        where = f"seed {seed}, {synchronous}, power cut after event {cut}, {acknowledged} steps acknowledged"
        seen["cuts"] += 1
        for name, content in disk.after_power_cut(rng).items():
            (folder / name).write_bytes(content)
        try:
            kept = _judge(folder / "story.db", models[: acknowledged + 2], synchronous, where)
        except (StorageError, Violation) as error:
            if synchronous != "OFF":
                raise Violation(f"{where}: {error}") from error
            seen["damaged"] += 1
        else:
            if kept < acknowledged:
                seen["cuts that lost acknowledged steps"] += 1
                if synchronous == "FULL":
                    raise Violation(f"{where}: only {kept} are there")
        for old in folder.glob("story.db*"):
            old.unlink()
    return seen


def _judge(path: Path, models: list[Model], synchronous: str, where: str) -> int:
    """How many steps are there. Raises Violation when no number of whole steps explains the file."""
    with closing(SQLiteStorageBackend({"dbPath": str(path), "synchronous": synchronous})) as storage:
        report = storage.check()
        if not report.ok:
            raise Violation(f"{where}: check() says {report.problems}")
        found = Model.read(storage, WRITER)
    for kept in range(len(models) - 1, -1, -1):
        if not models[kept].differences(found):
            return kept
    raise Violation(f"{where}: no prefix of the steps explains the file; {models[-2].differences(found)}")


def run_power_loss(folder: Path, *, synchronous: str, steps: int, cuts: int, seed: int) -> Counter[str]:
    """Record a story and cut the power ``cuts`` times. Raises Violation; what was met."""
    recording, disks = folder / f"recording-{synchronous}", folder / f"disks-{synchronous}"
    recording.mkdir()
    disks.mkdir()
    options = {"dbPath": str(recording / "story.db"), "synchronous": synchronous}
    result = folder / f"events-{synchronous}"
    with ForkServer() as server:
        server.run("power_loss:record", options=options, seed=seed, steps=steps, result=str(result))
    events: list[Event] = pickle.loads(result.read_bytes())
    return replay(events, disks, synchronous=synchronous, seed=seed, cuts=cuts)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Cut the power at random places of a recorded run.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--cuts", type=int, default=3000, help="for each of FULL, NORMAL and OFF")
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock")
    arguments = parser.parse_args()
    seed = time.time_ns() % 2**32 if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        for synchronous in ("FULL", "NORMAL", "OFF"):
            seen = run_power_loss(
                Path(folder), synchronous=synchronous, steps=arguments.steps, cuts=arguments.cuts, seed=seed
            )
            print(f"{synchronous:7}", ", ".join(f"{count} {name}" for name, count in seen.items()))


if __name__ == "__main__":
    main()
