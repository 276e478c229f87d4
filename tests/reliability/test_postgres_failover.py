"""The primary dies under load, its synchronous standby takes over: no acknowledged write is lost."""

from __future__ import annotations

from .failover_campaign import run_round


def test_no_acknowledged_write_is_lost_and_writers_go_on() -> None:
    outcome = run_round(3, threads=3, seconds=0.5)
    assert outcome.acknowledged > 3
