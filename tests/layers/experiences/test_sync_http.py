"""Sync over HTTP on loopback: the same as in one process, and nothing without the token."""

from __future__ import annotations

import asyncio
import http.client
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mycelia_storage import SQLiteStorageBackend
from mycelia_storage.errors import BackendUnavailable, InvalidConfig
from mycelia_storage.layers.experiences import (
    ConnectionLost,
    DimensionMismatch,
    ExperienceStore,
    Fact,
    NotAuthorized,
    PayloadTooLarge,
    RelationType,
    SyncTimeout,
    TransportError,
)
from mycelia_storage.layers.experiences.sync import HttpPeer, SyncManager, serve, sync_app

from .making import DIMENSION, lesson, vector
from .test_experiences import everything
from .test_sync import content

TOKEN = "a long enough token"


@pytest.fixture
def url(store: ExperienceStore) -> Iterator[str]:
    with serve(store, TOKEN, max_frame=2**20) as url:
        yield url


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[ExperienceStore]:
    """A store in a file."""
    with SQLiteStorageBackend({"dbPath": str(tmp_path / "mine.db")}) as storage:
        yield ExperienceStore(storage, DIMENSION)


def test_a_file_and_a_server_come_to_hold_the_same(store: ExperienceStore, mine: ExperienceStore, url: str) -> None:
    team = mine.create_collective("team")
    ids = mine.record_many(lesson(team, "x" * 50_000, vector(1.0, n)) for n in range(40))
    mine.store_relation(ids[0], ids[1], RelationType.SUPPORTS)
    theirs = store.create_collective("theirs")
    store.record_many(lesson(theirs, "y" * 50_000, vector(1.0, n)) for n in range(40))
    sync = SyncManager(mine, HttpPeer(url, TOKEN, max_frame=2**20))
    sync.sync_once()
    assert content(mine) == content(store)
    found = store.search_similar(team, vector(1.0, 3.0), 3)
    assert found[0][0].id == ids[3]
    assert sync.sync_once().applied == 0


def test_without_the_token_nothing_is_read_or_written(store: ExperienceStore, mine: ExperienceStore, url: str) -> None:
    secret = store.record(lesson(store.create_collective("team"), "secret"))
    mine.record(lesson(mine.create_collective("team")))
    before = everything(store.storage), everything(mine.storage)
    for token in ("wrong", "", TOKEN + "x", TOKEN[:-1]):
        with pytest.raises(NotAuthorized):
            SyncManager(mine, HttpPeer(url, token)).sync_once()
    assert (everything(store.storage), everything(mine.storage)) == before
    assert store.get(secret) is not None
    for method, path in (("GET", "/sync/health"), ("POST", "/sync/pull"), ("GET", "/"), ("DELETE", "/sync/push")):
        status, body = ask(url, method, path, token=None)
        assert status == 401
        assert b"secret" not in body


def ask(
    url: str, method: str, path: str, body: bytes = b"", token: str | None = TOKEN, **headers: str
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
class TestRequests:
    def test_paths_and_methods(self, url: str) -> None:
        assert ask(url, "GET", "/sync/health") == (200, b"ok")
        assert ask(url, "GET", "/sync/push")[0] == 405
        assert ask(url, "POST", "/sync/other")[0] == 404
        assert ask(url, "POST", "/sync/push", b"nonsense")[1][:4] == b"MYXP"
        assert ask(url, "POST", "/sync/push", bytes(2**20 + 1))[0] == 413
        assert ask(url, "POST", "/sync/push", b"", **{"Content-Length": "99999999999"})[0] == 413

    def test_what_the_client_makes_of_it(self, url: str, mine: ExperienceStore) -> None:
        team = mine.create_collective("team")
        mine.record(lesson(team, experience_type=Fact("x" * 2**20, "more than the server takes")))
        with pytest.raises(PayloadTooLarge):
            SyncManager(mine, HttpPeer(url, TOKEN)).sync_once()
        with pytest.raises(ConnectionLost):
            SyncManager(mine, HttpPeer("http://127.0.0.1:9", TOKEN)).sync_once()
        with pytest.raises(TransportError, match="404"):
            SyncManager(mine, HttpPeer(url + "/elsewhere", TOKEN)).sync_once()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            unheard = HttpPeer(f"http://127.0.0.1:{silent.getsockname()[1]}", TOKEN, timeout=0.05)
            with pytest.raises(SyncTimeout):
                SyncManager(mine, unheard).sync_once()
        small = ExperienceStore(mine.storage, 9, namespace="other")
        with pytest.raises(DimensionMismatch):
            SyncManager(small, HttpPeer(url, TOKEN)).sync_once()
        for bad in ("ftp://host", "http://", "http://host?x=1", "host"):
            with pytest.raises(InvalidConfig):
                HttpPeer(bad, TOKEN)

    def test_a_failure_of_its_own_is_not_told(self, store: ExperienceStore) -> None:
        app = sync_app(store, TOKEN)
        store.storage.close()
        sent: list[Any] = []

        async def call() -> None:
            async def receive() -> Any:
                return {"type": "http.request", "body": b"MYXP"}

            async def send(message: Any) -> None:
                sent.append(message)

            headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
            await app({"type": "http", "path": "/sync/pull", "method": "POST", "headers": headers}, receive, send)

        asyncio.run(call())
        assert sent[0]["status"] == 200  # no frame at all: that is the peer's affair

    def test_a_token_is_wanted_and_so_is_the_extra(
        self, store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for token in ("", "short", None):
            with pytest.raises(InvalidConfig):
                sync_app(store, token)  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        with pytest.raises(BackendUnavailable, match=r"mycelia-storage\[sync\]"), serve(store, TOKEN):
            pass
