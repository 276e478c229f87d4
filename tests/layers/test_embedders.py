"""Embedders: functions, endpoints over HTTP, sentence-transformers, the cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mycelia_storage import MemoryStorageBackend, StorageBackend
from mycelia_storage.errors import BackendUnavailable, EmbeddingMismatch, InvalidConfig, InvalidInput, InvalidValue
from mycelia_storage.layers.memories import EmbeddingSpace, Memories
from mycelia_storage.layers.memories.embedders import (
    CachedEmbedder,
    EmbedderFailed,
    OpenAIEmbedder,
    SentenceTransformerEmbedder,
    embed,
    from_function,
)

from .embedding_server import embedding_server
from .meaning import model


def row(text: str) -> list[float]:
    return [float(len(text)), 1.0, 0.5]


def good(body: dict[str, Any], _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    data = [{"index": n, "embedding": row(text)} for n, text in enumerate(body["input"])]
    return 200, {}, json.dumps({"data": data[::-1]}).encode()


def failing_first(*failures: tuple[int, dict[str, str]]) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    left = list(failures)

    def answer(body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if left:
            status, extra = left.pop(0)
            return status, extra, b"{}"
        return good(body, headers)

    return answer


def opened(url: str, **options: Any) -> OpenAIEmbedder:
    embedder = OpenAIEmbedder("m", 3, base_url=url, **options)
    embedder.pause = 0.001
    return embedder


def test_functions_are_called_in_batches() -> None:
    calls: list[int] = []

    def rows(texts: list[str]) -> list[list[float]]:
        calls.append(len(texts))
        return [row(text) for text in texts]

    embedder = from_function(rows, model="f", dimensions=3, batch_size=4)
    made = embed(embedder, [f"{'x' * n}" for n in range(10)])
    assert calls == [4, 4, 2]
    assert [np.frombuffer(one, "<f4")[0] for one in made] == list(range(10))
    assert embed(embedder, []) == []
    with pytest.raises(InvalidConfig):
        from_function(rows, model="", dimensions=3)
    with pytest.raises(InvalidConfig):
        from_function("f", model="m", dimensions=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        from_function(rows, model="m", dimensions=3, batch_size=0)
    with pytest.raises(InvalidConfig):
        Memories(MemoryStorageBackend(), embedder=rows)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig):
        Memories(MemoryStorageBackend(), embedder=embedder, space=EmbeddingSpace("other", 3))


def test_an_endpoint_is_asked_in_batches_and_answers_in_any_order() -> None:
    with embedding_server(good) as server:
        embedder = opened(server.url, batch_size=2, api_key="k", send_dimensions=True)
        memories = Memories(MemoryStorageBackend(), embedder=embedder)
        memories.remember_many({"text": "x" * (n + 1)} for n in range(5))
        embedder.close()
        assert [one["input"] for one in server.requests] == [["x", "xx"], ["xxx", "xxxx"], ["xxxxx"]]
        assert {one["path"] for one in server.requests} == {"/v1/embeddings"}
        assert server.requests[0]["model"] == "m"
        assert server.requests[0]["dimensions"] == 3
        assert server.headers[0]["authorization"] == "Bearer k"


def test_busy_and_broken_endpoints_are_asked_again() -> None:
    failures = (429, {"retry-after": "0.01"}), (503, {}), (500, {"retry-after": "soon"})
    with embedding_server(failing_first(*failures)) as server:
        embedder = opened(server.url)
        assert embedder(["ab"]) == [row("ab")]
        assert len(server.requests) == 4
        embedder.close()
    with embedding_server(failing_first(*[(503, {})] * 9)) as server:
        embedder = opened(server.url, attempts=3)
        with pytest.raises(EmbedderFailed, match="503"):
            embedder(["ab"])
        assert len(server.requests) == 3
        embedder.close()


def test_refusals_are_not_repeated_and_nothing_is_stored() -> None:
    with embedding_server(failing_first(*[(401, {})] * 3)) as server, MemoryStorageBackend() as storage:
        embedder = opened(server.url, api_key="secret")
        memories = Memories(storage, embedder=embedder)
        with pytest.raises(EmbedderFailed, match="401") as refused:
            memories.remember("text")
        assert "secret" not in str(refused.value)
        assert len(server.requests) == 1
        assert memories.count() == 0
        embedder.close()
    embedder = opened(server.url, attempts=2)  # nobody listens there any longer
    with pytest.raises(EmbedderFailed, match="could not be reached"):
        embedder(["x"])
    embedder.close()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"data": []}', b'{"data": [{"index": 0}]}', b'{"data": 7}', b'{"data": [7]}']
)
def test_answers_that_are_none(content: bytes) -> None:
    with embedding_server(lambda _, __: (200, {}, content)) as server:
        embedder = opened(server.url)
        with pytest.raises(EmbedderFailed):
            embedder(["x"])
        embedder.close()


def test_rows_of_other_dimensions_are_refused() -> None:
    wrong = json.dumps({"data": [{"index": 0, "embedding": [1, 2]}]}).encode()
    with embedding_server(lambda _, __: (200, {}, wrong)) as server:
        embedder = opened(server.url)
        with pytest.raises(InvalidValue):
            embed(embedder, ["x"])
        embedder.close()
    for options in ({"base_url": "ftp://x"}, {"attempts": 0}, {"timeout": 0}):
        with pytest.raises(InvalidConfig):
            OpenAIEmbedder("m", 3, **options)  # type: ignore[arg-type]


class Loaded:
    """What the adapter needs of a sentence-transformers model."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.name = name
        self.device = device

    def get_sentence_embedding_dimension(self) -> int:
        return 3

    def encode(self, texts: list[str], **options: Any) -> Any:
        assert options["normalize_embeddings"] is True
        return np.array([row(text) for text in texts], dtype=np.float32)


class Renamed(Loaded):
    """The same of newer versions."""

    get_sentence_embedding_dimension = None  # type: ignore[assignment]

    def get_embedding_dimension(self) -> int:
        return 3


def test_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = Loaded  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    embedder = SentenceTransformerEmbedder("some/model", device="gpu")
    assert embedder.space == EmbeddingSpace("some/model", 3)
    assert embedder.model.device == "gpu"
    memories = Memories(MemoryStorageBackend(), embedder=embedder)
    memories.remember("text", key="k")
    assert [hit.key for hit in memories.recall("text")] == ["k"]
    assert "memories/spaces/some~1model-3/text" in memories.storage.list_namespaces()
    loaded = Renamed("x")
    assert SentenceTransformerEmbedder(loaded, name="mine").space == EmbeddingSpace("mine", 3)
    with pytest.raises(InvalidConfig):
        SentenceTransformerEmbedder(loaded)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sentence_transformers", lambda: SentenceTransformerEmbedder("m")),
        ("httpx", lambda: OpenAIEmbedder("m", 3)),
    ],
)
def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[], object]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailable, match=r"mycelia-storage\["):
        make()


def test_the_cache(storage: StorageBackend) -> None:
    asked: list[str] = []
    inner = model()

    def counted(texts: list[str]) -> Any:
        asked.extend(texts)
        return inner(texts)

    embedder = CachedEmbedder(from_function(counted, model="words", dimensions=64), storage, max_entries=20)
    first = embed(embedder, ["a puppy", "a car", "a puppy"])
    assert asked == ["a puppy", "a car"]
    assert first == embed(inner, ["a puppy", "a car", "a puppy"])
    assert embed(embedder, ["a car", "a tree"]) == embed(inner, ["a car", "a tree"])
    assert asked == ["a puppy", "a car", "a tree"]
    assert (embedder.hits, embedder.misses) == (2, 3)
    for n in range(30):
        embed(embedder, [f"text {n}"])
    assert 20 <= storage.count(namespace="embeddings") <= 22
    asked.clear()
    embed(embedder, ["text 29", "a puppy"])
    assert asked == ["a puppy"]
    memories = Memories(storage, embedder=embedder)
    memories.remember("a car in the garage", key="k")
    assert [hit.key for hit in memories.recall("car")] == ["k"]
    with pytest.raises(EmbeddingMismatch):
        Memories(storage, embedder=CachedEmbedder(model("other"), storage))
    with pytest.raises(InvalidInput):
        CachedEmbedder(inner, storage, max_entries=0)
