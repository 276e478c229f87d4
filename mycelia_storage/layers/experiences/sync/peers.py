"""Peers: how frames reach the other store."""

from __future__ import annotations

import http.client
import ssl
from typing import Final, Protocol
from urllib.parse import urlsplit

from ....errors import InvalidConfig
from ..errors import ConnectionLost, NotAuthorized, PayloadTooLarge, SyncTimeout, TransportError
from .frames import MAGIC, MAX_FRAME, Operation
from .service import SyncService

PATHS: Final = {
    Operation.HANDSHAKE: "/sync/handshake",
    Operation.PUSH: "/sync/push",
    Operation.PULL: "/sync/pull",
}


class Peer(Protocol):
    """Something that answers frames."""

    def exchange(self, operation: Operation, frame: bytes) -> bytes:
        """The reply to a frame. Raises TransportError, NotAuthorized, PayloadTooLarge."""


class LocalPeer:
    """A store in the same process."""

    def __init__(self, service: SyncService) -> None:
        self.service = service

    def exchange(self, operation: Operation, frame: bytes) -> bytes:
        return self.service.handle(operation, frame)


class HttpPeer:
    """A store behind HTTP: a connection for each exchange."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 30.0,
        max_frame: int = MAX_FRAME,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """``url`` is what stands before ``/sync``; ``timeout`` in seconds. Raises InvalidConfig."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidConfig("the URL of a peer is http or https with a host")
        self._secure = parts.scheme == "https"
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path.rstrip("/")
        self._token, self._timeout, self._most, self._context = token, timeout, max_frame, context

    def exchange(self, operation: Operation, frame: bytes) -> bytes:
        connection = self._connect()
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/octet-stream"}
            connection.request("POST", self._base + PATHS[operation], frame, headers)
            answer = connection.getresponse()
            status = answer.status
            if status == 401:
                raise NotAuthorized("the peer wants a valid token")
            if status == 413:
                raise PayloadTooLarge(len(frame), self._most)
            body = answer.read(self._most + 1)
        except TimeoutError as error:
            raise SyncTimeout(f"the peer did not answer within {self._timeout} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionLost("the connection to the peer failed") from error
        finally:
            connection.close()
        if len(body) > self._most:
            raise PayloadTooLarge(len(body), self._most)
        if status != 200 and body[:4] != MAGIC:
            raise TransportError(f"the peer answered with status {status}")
        return body

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = self._context or ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
