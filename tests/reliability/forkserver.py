"""Child processes for a few milliseconds each.

A helper process imports the package once, opens no storage, and forks a child for each request. The child runs one
function of this folder and writes lines to a pipe that nobody else holds, so its end of file is the child's death.
A dead child stays a zombie until :meth:`Child.end` collects it, so its process id cannot be another process's.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "tests.reliability"

#: A child that says nothing for so many seconds is taken for hung.
PATIENCE = 60.0


class Talk:
    """The child's side: what a function run by :class:`ForkServer` gets first."""

    def __init__(self, out: int, into: int) -> None:
        self._out, self._into = out, into

    def say(self, line: object) -> None:
        """Write one line of JSON, at once and whole (a pipe keeps up to 4,096 bytes together)."""
        data = json.dumps(line).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]

    def wait(self) -> str:
        """Block until the parent calls :meth:`Child.tell`; what it told."""
        data = b""
        while not data.endswith(b"\n"):
            piece = os.read(self._into, 4096)
            if not piece:
                os._exit(0)  # the parent is gone
            data += piece
        return data.decode().rstrip("\n")


class Child:
    """The parent's side of one child."""

    def __init__(self, server: ForkServer, pid: int, out: int, into: int) -> None:
        self.pid = pid
        self._server, self._out, self._into = server, out, into
        self._unread = b""
        self._ended = False

    def line(self, timeout: float = PATIENCE) -> Any:
        """The next line that the child said, or None when it is dead. Raises what the child's function raised."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            if not select.select([self._out], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError(f"child {self.pid} said nothing for {timeout} s")
            piece = os.read(self._out, 65536)
            if not piece:
                return None
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        said = json.loads(line)
        if isinstance(said, dict) and "raised" in said:
            raise ChildFailed(said["raised"])
        return said

    def ready(self) -> bool:
        """Whether :meth:`line` has something to return without waiting."""
        return b"\n" in self._unread or bool(select.select([self._out], [], [], 0)[0])

    def lines(self) -> list[Any]:
        """All lines until the child's end."""
        said = []
        while (line := self.line()) is not None:
            said.append(line)
        return said

    def tell(self, text: str) -> None:
        """Send one line to :meth:`Talk.wait`."""
        os.write(self._into, text.encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL. The child may be dead already, but it is still ours."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """Close the pipes, wait for the child and return its exit status (negative: the signal)."""
        if self._ended:
            return 0
        self._ended = True
        os.close(self._into)
        os.close(self._out)
        return self._server.collect(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.kill()
            self.end()


class ChildFailed(AssertionError):
    """A child's function raised; the text is its traceback."""


class ForkServer:
    """Starts children. Use with ``with``."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", f"{PACKAGE}.forkserver", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            )
        self._socket = ours

    def start(self, function: str, **arguments: Any) -> Child:
        """Run ``"module:function"`` of this package as ``function(talk, **arguments)`` in a new process."""
        from_child, out = os.pipe()
        into, to_child = os.pipe()
        request = json.dumps({"run": function, "arguments": arguments}).encode()
        socket.send_fds(self._socket, [request], [out, into])
        os.close(out)
        os.close(into)
        return Child(self, int(self._answer()), from_child, to_child)

    def run(self, function: str, **arguments: Any) -> list[Any]:
        """Start, wait for the end, return what was said. Raises ChildFailed, also when a signal ended it."""
        with self.start(function, **arguments) as child:
            said = child.lines()
            status = child.end()
        if status:
            raise ChildFailed(f"{function} ended with status {status}")
        return said

    def collect(self, pid: int) -> int:
        """Wait for a child in the server, which is its parent."""
        self._socket.send(json.dumps({"collect": pid}).encode())
        return int(self._answer())

    def _answer(self) -> bytes:
        answer = self._socket.recv(4096)
        if not answer:
            raise ChildFailed("the fork server died")
        return answer

    def close(self) -> None:
        """End the helper process."""
        self._socket.close()
        self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(channel: socket.socket) -> None:
    import mycelia_storage.backends.rocksdb
    import mycelia_storage.backends.sqlite  # noqa: F401 - so that children need not

    while True:
        data, fds, _, _ = socket.recv_fds(channel, 65536, 2)
        if not data:
            return
        request = json.loads(data)
        if "collect" in request:
            _, status = os.waitpid(request["collect"], 0)
            channel.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        module, _, name = request["run"].partition(":")
        function = getattr(import_module(f"{PACKAGE}.{module}"), name)
        pid = os.fork()
        if pid == 0:
            channel.close()
            _run(function, Talk(*fds), request["arguments"])
        for fd in fds:
            os.close(fd)
        channel.send(str(pid).encode())


def _run(function: Callable[..., None], talk: Talk, arguments: dict[str, Any]) -> None:
    try:
        function(talk, **arguments)
    except BaseException:
        talk.say({"raised": traceback.format_exc()})
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        _serve(given)
