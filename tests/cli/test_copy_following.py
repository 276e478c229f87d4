"""``copy --catch-up`` and ``copy --follow``."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mycelia_storage import SQLiteStorageBackend


def test_catch_up_turns_tracking_on_and_says_so(run, run_on) -> None:
    run.ok("set", "users", "k", "1")
    other = run_on("other.db")
    result = run("copy", str(run.db), str(other.db), "--catch-up")
    assert result.exit_code == 0
    assert "Change tracking was turned on in SRC and stays on: default, users." in result.stderr
    with SQLiteStorageBackend(str(run.db)) as source, SQLiteStorageBackend(str(other.db)) as destination:
        assert [storage.get_namespace("users").track_changes for storage in (source, destination)] == [True, False]


def test_mirror_deletes_what_the_source_does_not_have(run, run_on) -> None:
    run.ok("set", "users", "k", "1")
    other = run_on("other.db")
    other.ok("set", "users", "mine", "1")
    report = json.loads(run.ok("copy", str(run.db), str(other.db), "--mirror", "--json"))
    assert (report["removed"], report["written"]) == (1, 1)
    assert other.lines("list", "users") == ["k"]


def test_follow_for_some_seconds(run, run_on) -> None:
    run.ok("set", "users", "k", "1")
    run.ok("copy", str(run.db), str(run_on("other.db").db), "--seconds", "0.1")
    assert run_on("other.db").lines("get", "users", "k") == [1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_follow_ends_on_a_signal_after_a_last_catch_up(tmp_path: Path, number: signal.Signals) -> None:
    with SQLiteStorageBackend(str(tmp_path / "a.db")) as source, SQLiteStorageBackend(str(tmp_path / "b.db")) as other:
        source.set("k", 0)
        command = [sys.executable, "-m", "mycelia_storage.cli", "copy", source.path, other.path, "--follow", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                give_up = time.monotonic() + 30
                source.set("k", 1)
                while other.get("k") != 1:
                    assert time.monotonic() < give_up
                    assert process.poll() is None
                    time.sleep(0.01)
                process.send_signal(number)
                for last in range(2, 50):
                    source.set("k", last)
                printed, said = process.communicate(timeout=30)
            finally:
                process.kill()
        assert process.returncode == 0, said
        assert b"catching up for the last time" in said
        report = json.loads(printed)
        assert report["mismatches"] == []
        assert report["one_moment"] is True
