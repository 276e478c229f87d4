"""``python -m bench.startup``: import of the package and opening of an existing database, each in a fresh process."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from .report import machine, versions, write_json

_TIMED: Final = """
import sys, time
{before}
started = time.perf_counter()
{timed}
print((time.perf_counter() - started) * 1000)
"""
_OPEN: Final = "storage = SQLiteStorageBackend(sys.argv[1])"

#: What is timed, after what.
STEPS: Final = {
    "import mycelia_storage": ("", "import mycelia_storage"),
    "import of the SQLite backend": ("", "from mycelia_storage import SQLiteStorageBackend"),
    "import of the memory backend": ("", "from mycelia_storage import MemoryStorageBackend"),
    "import of the driver alone (apsw, orjson)": ("", "import apsw, orjson"),
    "open of an existing database": ("from mycelia_storage import SQLiteStorageBackend", _OPEN),
    "open and first get": ("from mycelia_storage import SQLiteStorageBackend", f"{_OPEN}; storage.get('k')"),
    "a second open in one process": (
        f"from mycelia_storage import SQLiteStorageBackend; {_OPEN}; storage.close()",
        _OPEN,
    ),
}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = str(Path(folder) / "startup.db")
        fill = "from mycelia_storage import SQLiteStorageBackend; import sys\n"
        fill += "with SQLiteStorageBackend(sys.argv[1]) as s: s.set_many((f'k{i}', {'i': i}) for i in range(20000))"
        _python(fill, path)
        figures: dict[str, list[float]] = {step: [] for step in STEPS}
        for _ in range(options.rounds):
            for step, (before, timed) in STEPS.items():
                figures[step].append(float(_python(_TIMED.format(before=before, timed=timed), path)))
    times = {step: round(median(taken), 3) for step, taken in figures.items()}
    print("| step | ms |\n|---|---:|")
    for step, taken in times.items():
        print(f"| {step} | {taken:.2f} |")
    written = {
        "machine": machine(),
        "versions": versions(["apsw", "orjson"]),
        "rounds": options.rounds,
        "milliseconds": times,
    }
    if options.out:
        write_json(options.out, written)
    return written


def _python(code: str, path: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    return done.stdout


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a JSON file; the published one is bench/results/startup.json")
    return parser


if __name__ == "__main__":
    main()
