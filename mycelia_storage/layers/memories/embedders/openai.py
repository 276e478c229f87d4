"""Embeddings from an HTTP endpoint that speaks OpenAI's protocol (extra ``openai``, for httpx).

``POST {base_url}/embeddings`` with ``{"model", "input": [texts], "encoding_format": "float"}``; ``data`` of the answer
is a list of ``{"index", "embedding"}``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from ....errors import BackendUnavailable, InvalidConfig, StorageError
from ..spaces import EmbeddingSpace
from .calling import check_batch_size

#: Answers after which the same request may succeed.
RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})

#: Longest wait that an answer's Retry-After is heeded for, in seconds.
LONGEST_WAIT: Final = 60.0


class EmbedderFailed(StorageError):
    """The endpoint could not be reached, or refused; nothing was stored."""


class OpenAIEmbedder:
    """An embedder of an OpenAI-compatible endpoint, a hosted one or a server of one's own."""

    def __init__(
        self,
        model: str,
        dimensions: int,
        *,
        base_url: str = "https://api.openai.com/v1",
        api_key: str | None = None,
        batch_size: int = 128,
        timeout: float = 30.0,
        attempts: int = 5,
        send_dimensions: bool = False,
        normalised: bool = True,
    ) -> None:
        """``timeout``: seconds for one request. ``attempts``: how often one is sent in all; after 429, 5xx and broken
        connections it is repeated with growing, random pauses, or when the answer's Retry-After says.
        ``send_dimensions`` asks the model for that many dimensions. Raises BackendUnavailable without httpx.
        """
        if not isinstance(base_url, str) or not base_url.startswith(("http://", "https://")):
            raise InvalidConfig("base_url is an http or https address")
        if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
            raise InvalidConfig("attempts is a whole number of at least 1")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
            raise InvalidConfig("timeout is a number of seconds over 0")
        self.space = EmbeddingSpace(model, dimensions, normalised)
        self.batch_size = check_batch_size(batch_size)
        self.attempts = attempts
        self.pause = 0.5
        self._url = base_url.rstrip("/") + "/embeddings"
        self._options = {"dimensions": dimensions} if send_dimensions else {}
        try:
            self._httpx = import_module("httpx")
        except ImportError as error:
            raise BackendUnavailable("httpx is missing: pip install 'mycelia-storage[openai]'") from error
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._client = self._httpx.Client(timeout=timeout, headers=headers)

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """The rows. Raises EmbedderFailed."""
        rows: list[Any] = []
        for start in range(0, len(texts), self.batch_size):
            rows += self._batch(list(texts[start : start + self.batch_size]))
        return rows

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _batch(self, texts: list[str]) -> list[Any]:
        body = {"model": self.space.model, "input": texts, "encoding_format": "float", **self._options}
        for attempt in range(1, self.attempts + 1):
            wait = self.pause * 2 ** (attempt - 1) * random.uniform(0.5, 1)
            try:
                answer = self._client.post(self._url, json=body)
            except self._httpx.TransportError as error:
                problem: Exception | None = error
                failure = f"could not be reached: {type(error).__name__}"
            else:
                if answer.status_code == 200:
                    return self._rows(answer, len(texts))
                problem = None
                failure = f"answered {answer.status_code}"
                if answer.status_code not in RETRIED:
                    break
                wait = _retry_after(answer, wait)
            if attempt < self.attempts:
                time.sleep(min(wait, LONGEST_WAIT))
        raise EmbedderFailed(f"the endpoint of model {self.space.model!r} {failure}") from problem

    def _rows(self, answer: Any, number: int) -> list[Any]:
        try:
            data = sorted(answer.json()["data"], key=lambda one: one["index"])
            rows = [one["embedding"] for one in data]
        except (ValueError, TypeError, KeyError):
            rows = []
        if len(rows) != number:
            raise EmbedderFailed(f"the endpoint of model {self.space.model!r} gave no row for each text")
        return rows


def _retry_after(answer: Any, otherwise: float) -> float:
    try:
        return max(0.0, float(answer.headers["retry-after"]))
    except (KeyError, ValueError):
        return otherwise
