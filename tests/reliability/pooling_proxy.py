"""A pooler in transaction mode, such as PgBouncer: what a client may rely on behind it, and no more.

Every transaction of a client gets any of the few server connections, by choice a different one each time; between two
transactions the client has none. A server connection goes back when the server says ReadyForQuery with status I and
nothing that the client has sent is still unanswered. Named prepared statements are noted, since an old PgBouncer
forwards them to a connection that does not know them.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final
from urllib.parse import urlencode

SSL_REQUEST: Final = 80877103
GSS_REQUEST: Final = 80877104
CANCEL_REQUEST: Final = 80877102

Message = tuple[bytes, bytes]


class Server:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.parameters: list[Message] = []
        self.cancel_key = b""


@dataclass
class Client:
    """One connection from a client, and where its messages go at the moment."""

    writer: asyncio.StreamWriter
    server: Server | None = None
    last: Server | None = None
    unanswered: int = 0
    unsynced: bool = False
    pump: asyncio.Task[None] | None = None


@dataclass
class Counts:
    """What happened: transactions, how many came to another connection than the one before, and named statements."""

    transactions: int = 0
    moves: int = 0
    cancels: int = 0
    named: list[str] = field(default_factory=list)


async def _read_message(reader: asyncio.StreamReader) -> Message:
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


def _bytes(message: Message) -> bytes:
    return message[0] + struct.pack("!I", len(message[1]) + 4) + message[1]


class PoolingProxy:
    """The pooler on a loopback port, in a thread of its own. ``socket_folder`` is where the server listens."""

    def __init__(self, socket_folder: str, *, connections: int = 3, seed: int = 1) -> None:
        self.counts = Counts()
        self._path = f"{socket_folder}/.s.PGSQL.5432"
        self._random = random.Random(seed)
        self._most = connections
        self._idle: list[Server] = []
        self._startup = b""
        self._parameters: list[Message] = []
        self._by_key: dict[bytes, Client] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="pooling-proxy")

    def __enter__(self) -> PoolingProxy:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    @property
    def dsn(self) -> str:
        """The address of the pooler."""
        return f"postgresql:///postgres?{urlencode({'host': '127.0.0.1', 'port': self.port, 'user': 'postgres'})}"

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._free = asyncio.Semaphore(self._most)
        listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._idle:
            server.writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        client = Client(writer)
        try:
            if await self._greet(reader, client):
                await self._forward(reader, client)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            if client.pump is not None:
                client.pump.cancel()
            if client.server is not None:  # inside a transaction: the server connection is of no use to others
                client.server.writer.close()
                self._free.release()
            writer.close()
            self._tasks.discard(task)

    async def _greet(self, reader: asyncio.StreamReader, client: Client) -> bool:
        """Answer a client's start; false for a cancel request, which is all that its connection says."""
        while True:
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            (code,) = struct.unpack("!I", body[:4])
            if code in (SSL_REQUEST, GSS_REQUEST):
                client.writer.write(b"N")
            elif code == CANCEL_REQUEST:
                await self._cancel(body[4:])
                return False
            else:
                break
        self._startup = struct.pack("!I", length) + body
        if not self._parameters:
            self._parameters = (await self._take(client)).parameters
            self._give(client)
        key = self._random.randbytes(8)
        self._by_key[key] = client
        answers = [(b"R", b"\0\0\0\0"), *self._parameters, (b"K", key), (b"Z", b"I")]
        client.writer.write(b"".join(map(_bytes, answers)))
        return True

    async def _cancel(self, key: bytes) -> None:
        self.counts.cancels += 1
        client = self._by_key.get(key)
        if client is None or client.server is None:
            return
        _, writer = await asyncio.open_unix_connection(self._path)
        writer.write(struct.pack("!II", 8 + len(client.server.cancel_key), CANCEL_REQUEST) + client.server.cancel_key)
        await writer.drain()
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, client: Client) -> None:
        while True:
            kind, body = message = await _read_message(reader)
            if kind == b"X":
                return
            if kind == b"P" and not body.startswith(b"\0"):
                self.counts.named.append(body.split(b"\0")[0].decode())
            if client.server is None:
                server = await self._take(client)
                self.counts.transactions += 1
                self.counts.moves += client.last is not None and server is not client.last
                client.pump = asyncio.create_task(self._answer(client, server))
            assert client.server is not None
            if kind in (b"Q", b"S", b"F"):
                client.unanswered += 1
                client.unsynced = False
            elif kind not in (b"d", b"c", b"f"):
                client.unsynced = True
            client.server.writer.write(_bytes(message))
            await client.server.writer.drain()

    async def _answer(self, client: Client, server: Server) -> None:
        try:
            while True:
                kind, body = message = await _read_message(server.reader)
                if kind == b"Z":
                    client.unanswered -= 1
                    if body == b"I" and not client.unanswered and not client.unsynced:
                        self._give(client)
                        client.writer.write(_bytes(message))
                        return
                client.writer.write(_bytes(message))
                await client.writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            client.writer.close()

    async def _take(self, client: Client) -> Server:
        """A server connection, by preference not the client's last one."""
        await self._free.acquire()
        others = [server for server in self._idle if server is not client.last]
        if others:
            server = self._random.choice(others)
            self._idle.remove(server)
        elif self._idle and len(self._idle) == self._most:
            server = self._idle.pop()
        else:
            server = await self._connect()
        client.server = server
        return server

    def _give(self, client: Client) -> None:
        assert client.server is not None
        client.last = client.server
        self._idle.append(client.server)
        client.server = None
        self._free.release()

    async def _connect(self) -> Server:
        server = Server(*await asyncio.open_unix_connection(self._path))
        server.writer.write(self._startup)
        while True:
            kind, body = message = await _read_message(server.reader)
            if kind == b"S":
                server.parameters.append(message)
            elif kind == b"K":
                server.cancel_key = body
            elif kind == b"E":
                raise ConnectionError(body.decode(errors="replace"))
            elif kind == b"Z":
                return server
