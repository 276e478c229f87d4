"""Simulated power cuts: the only test that tells FULL, NORMAL and OFF apart (a SIGKILL spares the page cache)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .power_loss import Disk, run_power_loss

SEED = 20_261_121


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_a_power_cut_never_damages_the_file_and_under_full_loses_nothing(tmp_path: Path, synchronous: str) -> None:
    print(f"seed {SEED}")
    seen = run_power_loss(tmp_path, synchronous=synchronous, steps=60, cuts=120, seed=SEED)
    assert seen["cuts"] == 120
    # NORMAL may lose the newest steps; if no cut did, the simulation lost its teeth.
    assert (seen["cuts that lost acknowledged steps"] > 0) == (synchronous == "NORMAL")


def test_only_synced_writes_are_sure_to_survive() -> None:
    disk = Disk()
    disk.take(("write", "f", 0, b"aaaa"))
    disk.take(("sync", "f", 0, b""))
    disk.take(("write", "f", 2, b"bb"))
    assert disk.synced == {"f": b"aaaa"}
    disk.take(("truncate", "f", 3, b""))
    disk.take(("sync", "f", 0, b""))
    assert disk.synced == {"f": b"aab"}
