"""A program: stop an embedded server when all of its users were killed and nobody is left to stop it.

Run as ``python server_watcher.py FOLDER PID`` by whoever starts the server; it needs nothing of this library. It ends
with the server. It looks every two seconds, holding ``turn`` as every starter and stopper does: see :mod:`.embedded`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from pathlib import Path

PAUSE = 2.0
PATIENCE = 120.0


def watch(folder: Path, pid: int) -> None:
    """Wait for the end of the server or of its users."""
    while True:
        time.sleep(PAUSE)
        try:
            with (folder / "turn").open("r+b") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                if not _runs(folder, pid):
                    return
                with (folder / "users").open("r+b") as users:
                    try:
                        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    _stop(folder, pid)
                    return
        except OSError:  # the folder is gone
            return


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / "data" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def _runs(folder: Path, pid: int) -> bool:
    lines = _lines(folder)
    return bool(lines) and lines[0].strip() == str(pid)


def _stop(folder: Path, pid: int) -> None:
    lines = _lines(folder)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    give_up = time.monotonic() + PATIENCE
    while _runs(folder, pid) and time.monotonic() < give_up:
        time.sleep(0.05)
    if len(lines) > 4 and lines[4] and Path(lines[4]) != folder and Path(lines[4]).name.startswith("mycelia-"):
        shutil.rmtree(lines[4], ignore_errors=True)


if __name__ == "__main__":
    if os.fork() == 0:  # nobody waits for the watcher, so it is nobody's child
        os.setsid()
        watch(Path(sys.argv[1]), int(sys.argv[2]))
