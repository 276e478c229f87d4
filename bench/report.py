"""Results as JSON data and as a Markdown table."""

from __future__ import annotations

import json
import platform
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from pathlib import Path
from typing import Any

from .measure import Results, middle, ratio
from .rivals import Engine
from .workloads import Workload

FLOOR = "floor"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": model,
        "cores": cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of these distributions, and of the SQLite libraries."""
    found = {"sqlite3 of Python": sqlite3.sqlite_version}
    for package in sorted(set(packages)):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    try:
        import apsw

        found["sqlite of apsw"] = apsw.sqlite_lib_version()
    except ImportError:
        pass
    return found


def summarise(
    results: Results, workloads: Sequence[Workload], engines: Sequence[type[Engine]], floor: str = FLOOR
) -> dict[str, Any]:
    """Per workload and engine: medians in microseconds an operation, and the ratio to the floor of the same run."""
    rows: dict[str, Any] = {}
    for workload in workloads:
        by_engine = results[workload.name]
        cells: dict[str, Any] = {}
        for engine in engines:
            samples = by_engine[engine.name]
            if not samples.cpu:
                cells[engine.name] = None
                continue
            cells[engine.name] = {
                "cpu_us": _rounded(middle(samples.cpu.values())),
                "wall_us": _rounded(middle(samples.wall.values())),
                "ratio": _rounded(ratio(samples, by_engine[floor])) if floor in by_engine else None,
                "rounds": len(samples.cpu),
            }
        rows[workload.name] = {"title": workload.title, "engines": cells}
    return rows


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Indented JSON with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def table(results: Mapping[str, Any], engines: Sequence[str], of: str = "ours", floor: str = FLOOR) -> str:
    """Markdown: CPU microseconds an operation and, in brackets, the ratio to the floor.

    An engine's cell is in bold where it beats ``of``: those are the losses.
    """
    lines = [
        "| operation | " + " | ".join(engines) + " |",
        "|---|" + "---:|" * len(engines),
    ]
    for row in results.values():
        cells = row["engines"]
        measure = (cells.get(of) or {}).get("cpu_us")
        shown = [_cell(name, cells.get(name), measure, of, floor) for name in engines]
        lines.append(f"| {row['title']} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _cell(name: str, cell: Mapping[str, Any] | None, measure: float | None, of: str, floor: str) -> str:
    if cell is None:
        return "\N{EN DASH}"
    text = _figure(cell["cpu_us"])
    if name != floor and cell["ratio"] is not None:
        text += f" ({_figure(cell['ratio'])}x)"
    if name not in (of, floor) and measure is not None and cell["cpu_us"] < measure:
        text = f"**{text}**"
    return text


def _figure(number: float) -> str:
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
