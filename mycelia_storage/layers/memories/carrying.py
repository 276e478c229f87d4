"""Memories as JSON lines: a header, then one line for each memory with its vectors and history."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any, Final

from ...contract import StorageBackend
from ...dumps import json_line
from ...errors import EmbeddingMismatch, InvalidConfig, InvalidInput
from ...names import key_prefix
from ...records import parse_json
from .records import memory_of
from .spaces import EmbeddingSpace, Places

VERSION: Final = 1

_PAGE: Final = 200
_KEPT: Final = ("text", "speaker", "subject", "conversation", "session", "source", "created_at", "expires_at")


def export_lines(storage: StorageBackend, places: Places) -> Iterator[str]:
    """The lines, memories in order of their keys."""
    space = places.read_state(storage).active
    header = {"kind": "memories", "version": VERSION, "space": None if space is None else asdict(space)}
    yield json_line(header).decode()
    entries = storage.scan(namespace=places.main)
    while page := list(islice(entries, _PAGE)):
        keys = [entry.key for entry in page]
        texts = {} if space is None else storage.get_many(keys, namespace=places.text(space))
        windows = {} if space is None else storage.get_many(keys, namespace=places.window(space))
        for entry in page:
            memory = memory_of(entry)
            line: dict[str, Any] = {"key": memory.key}
            line.update((name, value) for name in _KEPT if (value := getattr(memory, name)) is not None)
            if memory.metadata:
                line["metadata"] = memory.metadata
            if memory.key in texts:
                line["vector"] = base64.b64encode(texts[memory.key]).decode()
            if memory.key in windows:
                line["window_vector"] = base64.b64encode(windows[memory.key]).decode()
            history = [one.value for one in storage.scan(namespace=places.history, prefix=key_prefix(memory.key))]
            if history:
                line["history"] = history
            yield json_line(line).decode()


def read_lines(
    lines: Iterable[str | bytes], wanted: EmbeddingSpace | None, can_embed: bool
) -> tuple[EmbeddingSpace | None, Iterator[dict[str, Any]]]:
    """The space to load into, and memories for ``remember_many``. Raises InvalidInput, EmbeddingMismatch."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    number, first = next(numbered, (1, ""))
    header = _parse(number, first)
    if header.get("kind") != "memories" or header.get("version") != VERSION:
        raise InvalidInput(f"line {number} is no header of exported memories of version {VERSION}")
    try:
        space = None if header.get("space") is None else EmbeddingSpace(**header["space"])
    except (TypeError, InvalidConfig):
        raise InvalidInput(f"line {number}: the header names no good space") from None
    keep = space is not None and (wanted is None or wanted == space)
    if space is not None and not keep and not can_embed:
        raise EmbeddingMismatch(
            f"the exported memories are embedded by {space.name!r}, and an embedder is needed to embed them anew"
        )
    return wanted or space, _memories(numbered, keep)


def _memories(numbered: Iterable[tuple[int, str | bytes]], keep_vectors: bool) -> Iterator[dict[str, Any]]:
    for number, line in numbered:
        memory = _parse(number, line)
        for name in ("vector", "window_vector"):
            text = memory.pop(name, None)
            if text is None or not keep_vectors:
                continue
            try:
                memory[name] = base64.b64decode(text, validate=True)
            except (TypeError, ValueError, binascii.Error):
                raise InvalidInput(f"line {number}: {name} is not base64") from None
        yield memory


def _parse(number: int, line: str | bytes) -> dict[str, Any]:
    try:
        data = parse_json(line.encode() if isinstance(line, str) else line)
    except (ValueError, AttributeError):
        data = None
    if not isinstance(data, dict):
        raise InvalidInput(f"line {number} is no JSON object")
    return data
