"""``python -m bench.run``: every workload on every engine, interleaved. Prints the table, writes the JSON."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .dataset import Dataset
from .measure import Contestant, run_rounds
from .report import FLOOR, machine, summarise, table, versions, write_json
from .rivals import ENGINES, Engine, load
from .workloads import WORKLOADS

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run what the command line asks for; the data written."""
    options = _parser().parse_args(arguments)
    workloads = [w for w in WORKLOADS if not options.workloads or w.name in options.workloads]
    engines = list(_available(options.engines or ENGINES))
    data = Dataset(options.entries)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        contestants = [Contestant(engine, Path(folder), data) for engine in engines]
        try:
            results = run_rounds(contestants, workloads, data, options.rounds, _say)
        finally:
            for contestant in contestants:
                contestant.close()
    rows = summarise(results, workloads, engines, options.floor)
    written = {
        "machine": machine(),
        "versions": versions(package for engine in engines for package in engine.packages),
        "entries": options.entries,
        "rounds": options.rounds,
        "floor": options.floor,
        "durability": {engine.name: engine.durability for engine in engines},
        "results": rows,
    }
    print(table(rows, [engine.name for engine in engines], options.of, options.floor))
    if options.out:
        write_json(options.out, written)
    return written


def _available(names: Sequence[str]) -> Sequence[type[Engine]]:
    found = []
    for name in names:
        try:
            found.append(load(name))
        except ImportError as error:
            _say(f"{name} left out: {error}")
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _names(known: Sequence[str]) -> Any:
    def read(text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return names

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--engines", type=_names(ENGINES), help="comma-separated; default: all that are installed")
    parser.add_argument("--floor", choices=ENGINES, default=FLOOR, help="what the ratios are to")
    parser.add_argument("--of", choices=ENGINES, default="ours", help="what is in bold beats this one")
    parser.add_argument("--workloads", type=_names([w.name for w in WORKLOADS]), help="comma-separated; default: all")
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the databases go; default: the temporary folder")
    parser.add_argument("--out", type=Path, help="a JSON file; the published one is bench/results/table.json")
    return parser


if __name__ == "__main__":
    main()
