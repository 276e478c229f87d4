"""The vector benchmarks as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .report import _figure

_FILTERS = ("50 %", "5 %", "0.5 %")


def table(found: Mapping[str, Any], of: str = "ours") -> str:
    """One line a store. Bold: better than ours; for a search only where recall is at least as high as ours."""
    ours = found["stores"].get(of, {})
    lines = [
        "| store | build s | add µs | search ms p50 / p99 | recall | 50 % ms | 5 % ms | 0.5 % ms | first ms | MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    left_out = []
    for name, store in found["stores"].items():
        if "left_out" in store:
            left_out.append(f"{name} left out: {store['left_out']}")
            continue
        plain = store["search"]["all"]
        cells = [
            name,
            _plain(store, ours, "build_s"),
            _plain(store, ours, "add_p50_us"),
            _searched(store, ours, "all", f"{_figure(plain['p50_ms'])} / {_figure(plain['p99_ms'])}"),
            f"{plain['recall']:.3f}",
            *(_filtered(store, ours, name) for name in _FILTERS),
            _plain(store, ours, "first_result_ms"),
            _plain(store, ours, "memory_mb"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    floor = found.get("floor")
    if floor:
        lines += ["", *_floor_lines(floor)]
    written = {name: store["after_write"] for name, store in found["stores"].items() if "after_write" in store}
    if written:
        lines += ["", "| search right after another process wrote | ms p50 / p99 | stale |", "|---|---:|---:|"]
        for name, figures in written.items():
            shown = f"{_figure(figures['p50_ms'])} / {_figure(figures['p99_ms'])}"
            lines.append(f"| {name} | {shown} | {figures['stale']} of {figures['writes']} |")
    return "\n".join([*lines, *([""] if left_out else []), *left_out])


def _floor_lines(floor: Mapping[str, Any]) -> list[str]:
    lines = [
        "| ours to bare faiss on the same codes | CPU ms, bare | CPU ms, ours | ratio by CPU | ratio by the clock |"
        " ranked by vectors |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in floor.items():
        bare, ours = (_figure(row[f"{who}_cpu_p50_us"] / 1e3) for who in ("bare", "ours"))
        ratios = f"{row['ratio_cpu']:.2f} | {row['ratio_wall']:.2f}"
        lines.append(f"| {name} | {bare} | {ours} | {ratios} | {row['rescored']:.0f} |")
    return lines


def _plain(store: Mapping[str, Any], ours: Mapping[str, Any], figure: str) -> str:
    if figure not in store:
        return "\N{EN DASH}"
    text = _figure(store[figure])
    return f"**{text}**" if store is not ours and figure in ours and store[figure] < ours[figure] else text


def _filtered(store: Mapping[str, Any], ours: Mapping[str, Any], filter: str) -> str:
    found = store["search"][filter]
    text = _figure(found["p50_ms"])
    if found["recall"] < 0.9995:
        text += f" (recall {found['recall']:.2f}" + (f", {found['short']} short" if found["short"] else "") + ")"
    return _searched(store, ours, filter, text)


def _searched(store: Mapping[str, Any], ours: Mapping[str, Any], filter: str, text: str) -> str:
    if store is ours or "search" not in ours:
        return text
    found, mine = store["search"][filter], ours["search"][filter]
    better = found["p50_ms"] < mine["p50_ms"] and found["recall"] >= mine["recall"] - 0.0005
    return f"**{text}**" if better else text
