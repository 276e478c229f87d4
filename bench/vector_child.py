"""One vector store in a process of its own, told what to do in lines of JSON; :class:`Child` is the other end.

``python -m bench.vector_child NAME FOLDER VECTORS QUERIES``
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from .vector_data import K, filter_named, metadata_of, number_of
from .vector_rivals import VectorRival, load


class ChildFailed(Exception):
    """A store could not do what it was told; the message is the last of what it said."""


class Child:
    """The process of one store."""

    def __init__(self, name: str, folder: Path, vectors: Path, asked: Path, log: Path) -> None:
        self.name = name
        self._log = log
        self._errors = log.open("w")
        command = [sys.executable, "-m", "bench.vector_child", name, str(folder), str(vectors), str(asked)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
        )

    def tell(self, **command: Any) -> dict[str, Any]:
        """What it answers. Raises ChildFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"failed": self._last_words()}
        if "failed" in answer:
            raise ChildFailed(answer["failed"])
        return dict(answer)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {self._process.poll()}"

    def close(self) -> None:
        """End it; what it opened is closed first."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


class Server:
    """The store's side."""

    def __init__(self, name: str, folder: Path, vectors: Path, asked: Path) -> None:
        self._kind = load(name)
        self._folder = folder
        self._vectors = numpy.load(vectors, mmap_mode="r")
        self._asked = numpy.load(asked)
        self._base = _memory()
        self._rival: VectorRival | None = None

    @property
    def rival(self) -> VectorRival:
        if self._rival is None:
            self._rival = self._kind(self._folder)
        return self._rival

    def describe(self) -> dict[str, Any]:
        kind = self._kind
        return {"how": kind.how, "packages": kind.packages, "persistent": kind.persistent, "shared": kind.shared}

    def build(self, count: int, added: int) -> dict[str, Any]:
        """Load ``count`` vectors until the first search has its answer, then add ``added`` more one by one."""
        rival = self.rival
        begun = time.perf_counter()
        rival.build(self._vectors[:count])
        rival.search(self._asked[0], K, None)
        built = time.perf_counter() - begun
        times = []
        for number in range(count, count + added):
            times.append(self.add(number)["wall_us"])
        rival.finish()
        return {"build_s": built, "added_us": times}

    def open(self) -> dict[str, Any]:
        """Milliseconds from the imports to the first answer."""
        begun, cpu = time.perf_counter(), time.process_time()
        rival = self.rival
        opened = time.perf_counter() - begun
        rival.search(self._asked[0], K, None)
        return {
            "open_ms": opened * 1e3,
            "first_ms": (time.perf_counter() - begun) * 1e3,
            "cpu_ms": (time.process_time() - cpu) * 1e3,
        }

    def search(self, filter: str, queries: list[int]) -> dict[str, Any]:
        rival, chosen = self.rival, filter_named(filter)
        asked = self._asked
        wall, cpu, found = [], [], []
        whole = time.process_time_ns()
        for query in queries:
            vector = asked[query]
            begun_cpu, begun = time.thread_time_ns(), time.perf_counter_ns()
            hits = rival.search(vector, K, chosen)
            wall.append((time.perf_counter_ns() - begun) / 1e3)
            cpu.append((time.thread_time_ns() - begun_cpu) / 1e3)
            found.append(hits)
        whole = time.process_time_ns() - whole
        numbers = []
        for hits in found:
            numbers.append([number_of(key) for key, _ in hits])
            for number, (_, metadata) in zip(numbers[-1], hits, strict=True):
                if dict(metadata) != metadata_of(number):
                    raise ChildFailed(f"{self._kind.name} gave number {number} other metadata")
                if chosen is not None and not chosen.holds(number):
                    raise ChildFailed(f"{self._kind.name} gave number {number}, which the filter excludes")
        return {"wall_us": wall, "cpu_us": cpu, "process_cpu_us": whole / 1e3, "found": numbers, "plan": rival.plan()}

    def add(self, number: int) -> dict[str, Any]:
        vector = numpy.array(self._vectors[number])
        begun = time.perf_counter_ns()
        self.rival.add(number, vector)
        return {"wall_us": (time.perf_counter_ns() - begun) / 1e3}

    def find(self, number: int) -> dict[str, Any]:
        """Whether a search for that vector finds it, and how long it takes."""
        vector = numpy.array(self._vectors[number])
        begun_cpu, begun = time.thread_time_ns(), time.perf_counter_ns()
        hits = self.rival.search(vector, K, None)
        wall, cpu = time.perf_counter_ns() - begun, time.thread_time_ns() - begun_cpu
        return {"wall_us": wall / 1e3, "cpu_us": cpu / 1e3, "stale": number not in [number_of(key) for key, _ in hits]}

    def memory(self) -> dict[str, Any]:
        """Megabytes over those after the imports: resident, and what of it is no file's."""
        return {name: (now - self._base[name]) / 1e6 for name, now in _memory().items()}

    def close(self) -> None:
        if self._rival is not None:
            self._rival.close()


def _memory() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if " kB" in rest
    }
    return {"rss": 1024 * kilobytes["VmRSS"], "anonymous": 1024 * kilobytes["RssAnon"]}


def main() -> None:
    """Answer until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    name, folder, vectors, asked = sys.argv[1:]
    server: Server | None = None
    try:
        for line in sys.stdin:
            command = json.loads(line)
            try:
                server = server or Server(name, Path(folder), Path(vectors), Path(asked))
                method: Callable[..., dict[str, Any]] = getattr(server, command.pop("do"))
                answer = method(**command)
            except Exception as error:
                answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
            out.write(json.dumps(answer) + "\n")
            out.flush()
    finally:
        if server is not None:
            server.close()


if __name__ == "__main__":
    main()
