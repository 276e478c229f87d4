"""The workloads, each written once for every engine. LevelDB's (and RocksDB's) names where they fit.

A workload makes its arguments once a round, the same for every engine; only ``run`` is timed. ``check`` looks at what
came back, after the clock has stopped: an engine that answers wrongly has no time to show.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from .dataset import MATCHES, TURNS, Dataset
from .rivals import Engine

SLICE: Final = 200
"""Point operations of one engine before the next one has its turn."""


class Workload(ABC):
    name: ClassVar[str]
    title: ClassVar[str]
    store: ClassVar[str] = "read"
    """The database it runs on: read, written, tracked, indexed (all hold the dataset) or empty (a fresh one each time).
    Nothing writes to "read" and "indexed", so a read there never pays for a write that came before it."""
    heavy: ClassVar[bool] = False
    """Runs in fewer rounds."""

    @abstractmethod
    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> Any:
        """What ``run`` gets; ``serial`` differs in every round."""

    @abstractmethod
    def run(self, engine: Engine, arguments: Any) -> Any:
        """The timed part."""

    def units(self, arguments: Any) -> int:
        """How many operations that was."""
        return len(arguments)

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        """Whether the answer was right; may look into the engine."""
        return True

    def clean(self, engine: Engine, arguments: Any) -> None:
        """Undo what would make the store grow from round to round; off the clock."""
        return


class ReadRandom(Workload):
    name = "readrandom"
    title = "get"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> list[tuple[str, int]]:
        return [(data.keys[number], number) for number in rng.choices(range(data.size), k=SLICE)]

    def run(self, engine: Engine, arguments: list[tuple[str, int]]) -> Any:
        get = engine.get
        return [get(key) for key, _ in arguments]

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return all(value["id"] == number for value, (_, number) in zip(result, arguments, strict=True))


class ReadEntry(ReadRandom):
    name = "readentry"
    title = "get with metadata"

    def run(self, engine: Engine, arguments: list[tuple[str, int]]) -> Any:
        get_entry = engine.get_entry
        return [get_entry(key) for key, _ in arguments]

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return all(entry is not None for entry in result)


class ReadMissing(Workload):
    name = "readmissing"
    title = "get of a missing key"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> list[str]:
        return [data.missing_key(number) for number in rng.choices(range(data.size), k=SLICE)]

    def run(self, engine: Engine, arguments: list[str]) -> Any:
        get = engine.get
        return [get(key) for key in arguments]

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return result.count(None) == len(arguments)  # type: ignore[no-any-return]


class Has(Workload):
    name = "has"
    title = "has"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> list[str]:
        return [data.keys[number] for number in rng.choices(range(data.size), k=SLICE)]

    def run(self, engine: Engine, arguments: list[str]) -> Any:
        has = engine.has
        return [has(key) for key in arguments]

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return all(result)


class Overwrite(Workload):
    name = "overwrite"
    title = "overwrite"
    store = "written"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> Any:
        numbers = rng.choices(range(data.size), k=SLICE)
        return [(data.keys[number], data.value(number, serial)) for number in numbers]

    def run(self, engine: Engine, arguments: Any) -> None:
        set = engine.set
        for key, value in arguments:
            set(key, value)

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        key, value = arguments[-1]
        return bool(engine.get(key)["revision"] == value["revision"])


class OverwriteTracked(Overwrite):
    name = "overwrite-tracked"
    title = "overwrite, changes tracked"
    store = "tracked"


class ReadWhileWriting(Workload):
    """Reads that follow a write: what an engine must read or check again because the store has changed."""

    name = "readwhilewriting"
    title = "one overwrite, ten gets"
    store = "written"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> Any:
        return [
            (
                data.keys[number],
                data.value(number, serial),
                [data.keys[read] for read in rng.choices(range(data.size), k=10)],
            )
            for number in rng.choices(range(data.size), k=20)
        ]

    def run(self, engine: Engine, arguments: Any) -> Any:
        set, get = engine.set, engine.get
        result = None
        for key, value, reads in arguments:
            set(key, value)
            for read in reads:
                result = get(read)
        return result

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return bool(result["id"] == engine.get(arguments[-1][2][-1])["id"])


class FillRandom(Workload):
    """New keys one by one, in random order and beside existing ones."""

    name = "fillrandom"
    title = "set of a new key"
    store = "written"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> Any:
        numbers = rng.sample(range(data.size), k=min(SLICE, data.size))
        return [(f"{data.keys[number]}+{serial}", data.value(number)) for number in numbers]

    def run(self, engine: Engine, arguments: Any) -> None:
        set = engine.set
        for key, value in arguments:
            set(key, value)

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return engine.get(arguments[0][0]) is not None

    def clean(self, engine: Engine, arguments: Any) -> None:
        for key, _ in arguments:
            engine.delete(key)


class DeleteRandom(Workload):
    """Deletes dataset keys; puts them back off the clock."""

    name = "deleterandom"
    title = "delete"
    store = "written"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> Any:
        numbers = rng.sample(range(data.size), k=min(SLICE, data.size))
        return [(data.keys[number], data.value(number, serial)) for number in numbers]

    def run(self, engine: Engine, arguments: Any) -> None:
        delete = engine.delete
        for key, _ in arguments:
            delete(key)

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return engine.get(arguments[0][0]) is None

    def clean(self, engine: Engine, arguments: Any) -> None:
        engine.set_many(arguments)


class FillBatch(Workload):
    name = "fillbatch"
    title = "set_many, an entry"
    store = "empty"
    heavy = True

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> Any:
        return list(data.pairs(0, min(data.size, 20_000)))

    def run(self, engine: Engine, arguments: Any) -> None:
        engine.set_many(arguments)

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return all(engine.get(arguments[at][0]) == arguments[at][1] for at in (0, -1))


class MultiReadRandom(Workload):
    name = "multireadrandom"
    title = "get_many of 1,000, a key"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> list[str]:
        return [data.keys[number] for number in rng.sample(range(data.size), k=min(1000, data.size))]

    def run(self, engine: Engine, arguments: list[str]) -> Any:
        return engine.get_many(arguments)

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return result.keys() == set(arguments)  # type: ignore[no-any-return]


class ListPrefix(Workload):
    name = "listprefix"
    title = "list of 100 by prefix"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> list[str]:
        return [data.prefix(rng.randrange(data.size)) for _ in range(10)]

    def run(self, engine: Engine, arguments: list[str]) -> Any:
        list_prefix = engine.list_prefix
        return [list_prefix(prefix) for prefix in arguments]

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return all(
            0 < len(keys) <= TURNS and keys[-1].startswith(prefix)
            for prefix, keys in zip(arguments, result, strict=True)
        )


class ReadSequential(Workload):
    name = "readseq"
    title = "scan, an entry"
    heavy = True

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> range:
        return range(data.size)

    def run(self, engine: Engine, arguments: range) -> int:
        seen = 0
        for _entry in engine.scan():
            seen += 1
        return seen

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return bool(result == len(arguments))


class _Query(Workload):
    field: ClassVar[str]
    repeat: ClassVar[int]

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> list[int]:
        return [rng.randrange(data.groups) for _ in range(self.repeat)]

    def run(self, engine: Engine, arguments: list[int]) -> Any:
        query, field = engine.query, self.field
        return [query(field, value) for value in arguments]

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return all(MATCHES <= len(found) < 2 * MATCHES for found in result)


class QueryIndexed(_Query):
    name = "queryindexed"
    title = "query of 50, indexed"
    store = "indexed"
    field = "group"
    repeat = 10


class QueryUnindexed(_Query):
    name = "queryunindexed"
    title = "query of 50, no index"
    field = "cluster"
    repeat = 1
    heavy = True


class Session(Workload):
    """An agent at work, ten turns: append the turn, read the newest ten, look up three facts, note metadata, list."""

    name = "session"
    title = "agent session, a turn"
    store = "written"

    def arguments(self, data: Dataset, rng: random.Random, serial: int) -> Any:
        conversation = f"session-{serial:06d}/"
        return [
            (
                f"{conversation}turn-{turn:04d}",
                data.value(rng.randrange(data.size)),
                [data.keys[number] for number in rng.choices(range(data.size), k=3)],
                conversation,
                {"turns": turn, "last": f"{conversation}turn-{turn:04d}"},
            )
            for turn in range(10)
        ]

    def run(self, engine: Engine, arguments: Any) -> int:
        seen = 0
        first = arguments[0][0]
        for key, value, facts, conversation, metadata in arguments:
            engine.set(key, value)
            engine.newest(conversation, 10)
            for fact in facts:
                engine.get(fact)
            engine.update_metadata(first, metadata)
            seen += len(engine.list_prefix(conversation))
        return seen

    def check(self, engine: Engine, arguments: Any, result: Any) -> bool:
        return bool(result == sum(range(1, len(arguments) + 1)))

    def clean(self, engine: Engine, arguments: Any) -> None:
        for key, *_ in arguments:
            engine.delete(key)


WORKLOADS: Final[Sequence[Workload]] = (
    ReadRandom(),
    ReadEntry(),
    ReadMissing(),
    Has(),
    Overwrite(),
    OverwriteTracked(),
    ReadWhileWriting(),
    FillRandom(),
    DeleteRandom(),
    FillBatch(),
    MultiReadRandom(),
    ListPrefix(),
    ReadSequential(),
    QueryIndexed(),
    QueryUnindexed(),
    Session(),
)
