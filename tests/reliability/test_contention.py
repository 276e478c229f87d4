"""Writers in 8 processes x 4 threads: no lost update, no error. Waits are printed, not asserted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .contention import run_contention


@pytest.mark.parametrize("options", [{}, {"walMode": False}], ids=["wal", "rollback journal"])
def test_no_update_is_lost_and_no_writer_sees_an_error(tmp_path: Path, options: dict[str, Any]) -> None:
    rounds = 12 if options else 30
    outcome = run_contention(tmp_path, processes=8, threads=4, rounds=rounds, options=options)
    print(outcome)
    assert outcome.errors == []
    assert outcome.lost == 0
    assert outcome.writes == 8 * 4 * rounds
