"""A PostgreSQL server of one's own: ``postgres+embedded:///path`` runs it from a wheel, in a folder.

====================  ===========================================================================================
in the folder
====================  ===========================================================================================
``data``              the server's data
``log``               what the server says
``turn``              locked by whoever starts or stops the server
``users``             locked, shared, by every user of the server as long as it uses it
``.s.PGSQL.5432``     the server's only door, in a private temporary folder if the path is too long for a socket
====================  ===========================================================================================

All processes that open the folder share one server. The first user starts it and the last to close stops it: the
kernel drops the lock of a user that was killed, so nothing is counted wrongly. If *all* were killed, a small process
beside the server (:mod:`.server_watcher`) stops it within seconds. It listens on no network address; the folder and
the socket are private to the user who made them, and nobody is asked for a password. A copy of the folder is a backup
only when no server runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote, unquote, urlencode

from ...errors import BackendUnavailable, InvalidConfig, StorageClosed
from .server_programs import find_programs, hand_over, let_pass, run_program

logger = logging.getLogger("mycelia_storage.postgres")

SCHEME: Final = "postgres+embedded"

_USER: Final = "postgres"
_DATABASE: Final = "postgres"
_SOCKET: Final = ".s.PGSQL.5432"
_MAX_SOCKET_PATH: Final = 100  # bytes; Linux takes 107, macOS 103
_PLAIN: Final = re.compile(r"/[A-Za-z0-9/._-]+")  # libpq splits host at commas, the server its folders too
_PATIENCE: Final = 120  # seconds for a start, which may have to recover from a crash, or a stop
_ORPHANS: Final = 20  # seconds for the processes of a killed server to notice
_NO_PID: Final = 2**22  # one more than the largest pid of Linux

#: A server beside the program it serves: modest memory, whole durability.
_SETTINGS: Final = {"listen_addresses": "", "unix_socket_permissions": "0700", "shared_buffers": "64MB"}

#: One thread of this process starts or stops servers at a time; ``turn`` keeps out other processes.
_mutex = threading.Lock()


def read_embedded_url(url: str) -> tuple[Path, str]:
    """The folder and the query text of ``postgres+embedded:///relative`` or ``////absolute``. Raises InvalidConfig."""
    scheme, _, rest = url.partition(":")
    body, _, query = rest.partition("?")
    path = unquote(body[3:])
    if scheme.lower() not in (SCHEME, "postgresql+embedded") or not body.startswith("///") or not path.strip("/"):
        raise InvalidConfig(f"write {SCHEME}:///relative/folder or {SCHEME}:////absolute/folder instead of {url!r}")
    if "\0" in path or "#" in rest:
        raise InvalidConfig(f"a storage URL holds no NUL and no fragment: {url!r}")
    return Path(path), query


class EmbeddedServer:
    """One use of the server in ``folder``, which is made if it is missing and started if nobody did.

    ``dsn`` is what libpq takes. ``settings`` are configuration parameters of the server, such as
    ``{"fsync": "off"}``; those of the first user count while the server runs. Threads may share it. A forked child
    has a use of its own. Raises BackendUnavailable if the wheel is missing or the server does not start.
    """

    def __init__(self, folder: Path | str, *, settings: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder).absolute()
        self._settings = {**_SETTINGS, **(settings or {})}
        version = self.folder / "data" / "PG_VERSION"
        self._programs = find_programs(*([int(version.read_text())] if version.exists() else []))
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BackendUnavailable(f"the folder {self.folder} cannot be made: {error.strerror}") from error
        hand_over(self.folder)
        let_pass(self._programs)
        with _turn(self.folder):
            self._users = _take_part(self.folder)
            try:
                self._start()
            except BaseException:
                os.close(self._users)
                raise
        self._leave = weakref.finalize(self, _leave, self.folder, self._programs, self._users, os.getpid())
        _open_servers.add(self)

    @property
    def dsn(self) -> str:
        """Where the server is now, as a URL for libpq; it may change when the server has been started anew."""
        host = _socket_folder(self.folder)
        if host is None:
            raise BackendUnavailable(f"the PostgreSQL server in {self.folder} is not running")
        return f"postgresql:///{_DATABASE}?{urlencode({'host': host, 'user': _USER}, quote_via=quote)}"

    def ensure_running(self) -> None:
        """Start the server again if it died. Raises StorageClosed after close, BackendUnavailable."""
        if not self._leave.alive:
            raise StorageClosed(f"the embedded server in {self.folder} has been closed")
        with _turn(self.folder):
            self._start()

    def close(self) -> None:
        """End this use; the last one stops the server and waits for that. Closing twice does no harm."""
        _open_servers.discard(self)
        self._leave()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        data = self.folder / "data"
        give_up = time.monotonic() + _PATIENCE
        while not _answers(self.folder):
            if not data.exists():
                self._initialise(data)
            _disown_dead_server(data)
            if _control(self.folder, self._programs, "status") != 0:
                self._launch()
                return
            # Its starter was killed before it answered, or it is dying.
            if time.monotonic() > give_up:
                raise BackendUnavailable(f"PostgreSQL in {self.folder} does not answer: {_last_words(self.folder)}")
            time.sleep(0.05)

    def _launch(self) -> None:
        place = _choose_socket_folder(self.folder)
        try:
            self._try_to_launch(place)
        except BaseException:
            _remove_socket_folder(self.folder, place)
            raise

    def _try_to_launch(self, place: Path) -> None:
        settings = {**self._settings, "unix_socket_directories": str(place)}
        options = " ".join(shlex.quote(f"--{name}={value}") for name, value in settings.items())
        give_up = time.monotonic() + _ORPHANS
        while _control(self.folder, self._programs, "start", "-l", "log", "-o", options) != 0:
            told = _last_words(self.folder)
            if "shared memory block" not in told or time.monotonic() > give_up:
                raise BackendUnavailable(f"PostgreSQL does not start in {self.folder}: {told}")
            time.sleep(0.2)  # processes of a killed server are still on their way out
        self._set_watcher()

    def _set_watcher(self) -> None:
        lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        if sys.executable and not getattr(sys, "frozen", False):  # a frozen program would start itself
            script = Path(__file__).with_name("server_watcher.py")
            arguments = ("-I", "-S", str(script), str(self.folder), lines[0])
            try:
                code = run_program(Path(sys.executable), *arguments, as_server=False)
            except BackendUnavailable:
                code = -1
            if code:
                logger.warning("%s: nobody will stop the server if all its users are killed", self.folder)

    def _initialise(self, data: Path) -> None:
        """Make the data folder, whole or not at all."""
        draft = self.folder / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        quick = ("--no-sync",) if self._settings.get("fsync") == "off" else ()
        done = run_program(
            self._programs / "initdb",
            *("-D", str(draft), "-U", _USER, "--auth=trust", "--encoding=UTF8", "--no-locale", *quick),
        )
        if done != 0:
            raise BackendUnavailable(f"initdb fails in {self.folder} with exit code {done}: is the disk full?")
        draft.rename(data)

    def _use_in_child(self) -> None:
        """After a fork the lock is the parent's: take one of one's own."""
        self._leave.detach()
        os.close(self._users)
        self._users = _take_part(self.folder)
        self._leave = weakref.finalize(self, _leave, self.folder, self._programs, self._users, os.getpid())


def _leave(folder: Path, programs: Path, users: int, owner: int) -> None:
    if os.getpid() != owner:
        return
    with _turn(folder):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)  # granted to the only user left
        except BlockingIOError:
            pass
        else:
            place = _socket_folder(folder)
            _control(folder, programs, "stop", "-m", "fast")
            if place is not None:
                _remove_socket_folder(folder, Path(place))
        finally:
            os.close(users)


def _control(folder: Path, programs: Path, *arguments: str) -> int:
    """``pg_ctl``. It pastes -D into a shell command, hence the path by environment and a relative log."""
    wait = () if arguments[0] == "status" else ("-w", "-t", str(_PATIENCE))
    return run_program(
        programs / "pg_ctl", *arguments, *wait, folder=folder, environment={"PGDATA": str(folder / "data")}
    )


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    if not folder.is_dir():  # it was removed under us: there is nothing left to agree about
        yield
        return
    with _mutex:
        turn = os.open(folder / "turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield
        finally:
            os.close(turn)


def _take_part(folder: Path) -> int:
    users = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(users, fcntl.LOCK_SH)
    return users


def _socket_folder(folder: Path) -> str | None:
    """The folder of the server's socket, which it notes in the fifth line of its pid file."""
    try:
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    return lines[4] if len(lines) > 4 and lines[4] else None


def _answers(folder: Path) -> bool:
    place = _socket_folder(folder)
    if place is None:
        return False
    # The pid file has a line "ready" once connections are taken; the socket tells whether the file is a dead server's.
    ready = (folder / "data" / "postmaster.pid").read_text().rstrip().endswith("ready")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        try:
            door.connect(f"{place}/{_SOCKET}")
        except OSError:
            return False
    return ready


def _disown_dead_server(data: Path) -> None:
    """Let a start pass that PostgreSQL would refuse because the pid of a dead server is a zombie or another program's.

    Both are usual in containers. Only the pid is taken out of the pid file: with the rest, PostgreSQL makes sure that
    no process of the dead server is left. Where there is no /proc, nothing is done.
    """
    path = data / "postmaster.pid"
    try:
        pid, _, rest = path.read_text().partition("\n")
        name, _, status = Path(f"/proc/{int(pid)}/stat").read_text().partition("(")[2].rpartition(")")
    except (OSError, ValueError):
        return
    if name != "postgres" or status.split()[0] in ("Z", "X"):
        (data.parent / f"{_SOCKET}.lock").unlink(missing_ok=True)
        if (place := _socket_folder(data.parent)) is not None:
            _remove_socket_folder(data.parent, Path(place))
        path.write_text(f"{_NO_PID}\n{rest}")


def _choose_socket_folder(folder: Path) -> Path:
    if _PLAIN.fullmatch(str(folder)) and len(f"{folder}/{_SOCKET}".encode()) <= _MAX_SOCKET_PATH:
        return folder
    root = tempfile.gettempdir()
    suitable = _PLAIN.fullmatch(root) and len(root) < _MAX_SOCKET_PATH - 40
    place = Path(tempfile.mkdtemp(prefix="mycelia-", dir=root if suitable else "/tmp"))
    hand_over(place)
    return place


def _remove_socket_folder(folder: Path, place: Path) -> None:
    if place != folder:
        shutil.rmtree(place, ignore_errors=True)


def _last_words(folder: Path) -> str:
    try:
        lines = (folder / "log").read_text(errors="replace").splitlines()
    except OSError:
        return "it left no log"
    told = [line for line in lines if "FATAL" in line or "PANIC" in line] or lines
    return told[-1] if told else "its log is empty"


_open_servers: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()


def _in_child() -> None:
    global _mutex
    _mutex = threading.Lock()
    for server in list(_open_servers):
        server._use_in_child()


os.register_at_fork(after_in_child=_in_child)
