"""Sync over HTTP: the answering side as an ASGI application, and a server for it (extra ``sync``).

=======================  =======================================================
request                  answer
=======================  =======================================================
POST /sync/handshake     a frame, as every POST
POST /sync/push
POST /sync/pull
GET /sync/health         ``ok``
=======================  =======================================================

All of them want ``Authorization: Bearer`` and the token, else 401 and nothing is read. 413 for a body over the limit,
which is not read to its end.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from ....errors import BackendUnavailable, InvalidConfig
from ..store import ExperienceStore
from .frames import MAX_FRAME, encode_error
from .peers import PATHS
from .service import SyncService

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_OPERATIONS: Final = {path: operation for operation, path in PATHS.items()}
LEAST_TOKEN: Final = 8


class _TooLarge(Exception):
    """The body is over the limit."""


def sync_app(store: ExperienceStore, token: str, *, max_frame: int = MAX_FRAME) -> App:
    """The ASGI application for a store. ``token``: at least 8 characters. Raises InvalidConfig."""
    if not isinstance(token, str) or len(token) < LEAST_TOKEN:
        raise InvalidConfig(f"the token of a sync server has at least {LEAST_TOKEN} characters")
    service = SyncService(store, max_frame=max_frame)
    expected = b"Bearer " + token.encode()

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        path, method = scope["path"], scope["method"]
        if not hmac.compare_digest(given, expected):
            await _answer(send, 401, b"a valid token is wanted", (b"www-authenticate", b"Bearer"))
        elif path == "/sync/health" and method == "GET":
            await _answer(send, 200, b"ok")
        elif path not in _OPERATIONS:
            await _answer(send, 404, b"no such path")
        elif method != "POST":
            await _answer(send, 405, b"POST")
        else:
            try:
                body = await _body(scope, receive, max_frame)
            except _TooLarge:
                await _answer(send, 413, b"the frame is too large")
                return
            try:
                reply = await asyncio.to_thread(service.handle, _OPERATIONS[path], body)
            except Exception as error:
                await _answer(send, 500, encode_error(error))
                raise
            await _answer(send, 200, reply)

    return app


async def _live(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _body(scope: Message, receive: Callable[[], Awaitable[Message]], most: int) -> bytes:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length) > most:
        raise _TooLarge
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _TooLarge
        parts.append(part)
        if not message.get("more_body") or message["type"] == "http.disconnect":
            return b"".join(parts)


async def _answer(
    send: Callable[[Message], Awaitable[None]], status: int, body: bytes, *headers: tuple[bytes, bytes]
) -> None:
    kind = b"application/octet-stream" if body[:4] == b"MYXP" else b"text/plain"
    base = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*base, *headers]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serve(
    store: ExperienceStore, token: str, *, host: str = "127.0.0.1", port: int = 0, max_frame: int = MAX_FRAME
) -> Iterator[str]:
    """Serve a store in a thread while the block runs; gives the URL for :class:`HttpPeer`. ``port=0``: a free one.

    Without TLS: beyond loopback, put it behind a server that has it. Raises BackendUnavailable, InvalidConfig.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise BackendUnavailable("serving sync needs uvicorn: pip install 'mycelia-storage[sync]'") from error
    app = sync_app(store, token, max_frame=max_frame)
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, name="experiences-sync-server", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise BackendUnavailable(f"the sync server could not listen on {host}:{port}")
            time.sleep(0.005)
        at = server.servers[0].sockets[0].getsockname()
        shown = f"[{at[0]}]" if ":" in at[0] else at[0]
        yield f"http://{shown}:{at[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
