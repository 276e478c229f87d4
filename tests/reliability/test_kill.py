"""200 kills of a writing process (the long form: ``python -m tests.reliability.kill_campaign``).

``KILL_CYCLES`` and ``KILL_SEED`` in the environment change length and seed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from .kill_campaign import run_campaign

CYCLES = int(os.environ.get("KILL_CYCLES", "200"))
SEED = int(os.environ.get("KILL_SEED", time.time_ns() % 2**32))


def test_a_killed_writer_loses_nothing_acknowledged_and_tears_nothing(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # shown when it fails; every message has it too
    seen = run_campaign(CYCLES, SEED, tmp_path)
    assert seen["kills"] == CYCLES
    # The campaign would prove nothing if the kills came at harmless moments or the steps were few.
    assert seen["step pair"] + seen["step counter"] >= CYCLES
    if CYCLES >= 100:
        assert seen["migrations killed"] > 0
        assert seen["backups killed"] > 0
        assert seen["survivors"] > 0
