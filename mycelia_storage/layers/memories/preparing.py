"""What is done before a transaction that writes memories: checking what is given, and calling the embedder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ...contract import StorageBackend
from ...errors import BatchError, InvalidInput, StorageError
from ..vectors import to_bytes
from .arriving import Dedupe, Duplicates
from .changing import NextWindow
from .contexts import ORDERS_A_MS, following, previous, session_of, window_of, window_text
from .embedders import Embedder, embed
from .records import NewMemory, Session, read_new, spoken
from .spaces import EmbeddingSpace, Places
from .writing import Prepared, VectorPair, now_ms


class VectorMaking:
    """Where the vectors of one ``Memories`` come from. During a change of model, ``next`` is the new one."""

    def __init__(
        self, storage: StorageBackend, places: Places, embedder: Embedder | None, space: EmbeddingSpace | None
    ) -> None:
        self.storage = storage
        self.places = places
        self.embedder = embedder
        self.space = space
        self.next: Embedder | None = None

    def prepare(self, news: Sequence[NewMemory]) -> list[Prepared]:
        """The memories with their vectors: those given, and those that the embedders make, outside of transactions."""
        vectors: list[dict[EmbeddingSpace, VectorPair]] = [self.given(new) for new in news]
        embedders = [embedder for embedder in (self.embedder, self.next) if embedder is not None]
        windows = self._window_texts(news) if embedders else []
        for embedder in embedders:
            at = [n for n, found in enumerate(vectors) if embedder.space not in found]
            texts = [news[n].spoken for n in at]
            with_window = [n for n in at if windows[n] is not None]
            made = embed(embedder, [*texts, *(str(windows[n]) for n in with_window)])
            made_windows = dict(zip(with_window, made[len(texts) :], strict=True))
            for n, text in zip(at, made, strict=False):
                vectors[n][embedder.space] = VectorPair(text, made_windows.get(n), windows[n])
        return [Prepared(new, found) for new, found in zip(news, vectors, strict=True)]

    def given(self, new: NewMemory) -> dict[EmbeddingSpace, VectorPair]:
        """The vectors that came with it. Raises InvalidValue, InvalidInput where no space is known for them."""
        if new.vector is None:
            return {}
        space = self._given_space()
        text = to_bytes(new.vector, self.places.main, new.key)
        window = None if new.window is None else to_bytes(new.window, self.places.main, new.key)
        return {space: VectorPair(text, window)}

    def _given_space(self) -> EmbeddingSpace:
        space = self.space or self.places.read_state(self.storage).active
        if space is None:
            raise InvalidInput("say what made the vectors: Memories(..., space=EmbeddingSpace(model, dimensions))")
        return space

    def _window_texts(self, news: Sequence[NewMemory]) -> list[str | None]:
        """What is embedded for the windows; None where no memory of the session comes before."""
        found: list[str | None] = [None] * len(news)
        last: dict[Session, tuple[str, str | None, float | None]] = {}
        for n in sorted(range(len(news)), key=lambda n: news[n].created_at):
            new, session = news[n], news[n].place
            if session is None:
                continue
            if session not in last:
                place = (new.created_at + 1) * ORDERS_A_MS
                entry = previous(self.storage, self.places.main, session, place)
                if entry is not None:
                    left = None if entry.expires_at is None else (entry.expires_at - now_ms()) / 1000
                    last[session] = (entry.value["text"], entry.value.get("speaker"), left)
            if session in last:
                text, speaker, left = last[session]
                if left is None or (new.ttl is not None and left >= new.ttl):
                    found[n] = window_text((text, speaker), new.text, new.speaker)
            last[session] = (new.text, new.speaker, new.ttl)
        return found

    def for_update(
        self, key: str, changes: dict[str, Any], vectors: dict[EmbeddingSpace, VectorPair]
    ) -> NextWindow | None:
        """Add the vectors of the new text; the new window of the memory that follows."""
        entry = self.storage.get_entry(key, namespace=self.places.main)
        if entry is None or not ("text" in changes or "speaker" in changes):
            return None
        entry = entry._replace(value={**entry.value, **changes})
        session, order = session_of(entry), entry.value["order"]
        before = after = None
        if session is not None:
            before = previous(self.storage, self.places.main, session, order)
            after = following(self.storage, self.places.main, session, order)
        said = spoken(entry.value["text"], entry.value.get("speaker"))
        own_window = window_of(before, entry)
        next_text = None if after is None else window_of(entry, after)
        windows: dict[EmbeddingSpace, bytes] = {}
        for embedder in (self.embedder, self.next):
            if embedder is None:
                continue
            texts = [one for one in (said, own_window, next_text) if one is not None]
            made = iter(embed(embedder, texts))
            own = VectorPair(next(made), None if own_window is None else next(made), own_window)
            vectors.setdefault(embedder.space, own)
            if next_text is not None:
                windows[embedder.space] = next(made)
        return None if next_text is None or not windows else NextWindow(next_text, windows)


def read_batch(batch: list[Any], namespace: str) -> list[NewMemory]:
    """The checked memories of a batch. Raises BatchError, which names every bad one."""
    now, news = now_ms(), []
    errors: dict[tuple[str, str], StorageError] = {}
    for position, given in enumerate(batch):
        try:
            if not isinstance(given, Mapping):
                raise InvalidInput("a memory to remember is a dict with a text")
            new = read_new(given, now)
            if new is not None:
                news.append(new)
        except InvalidInput as error:
            key = given.get("key") if isinstance(given, Mapping) else None
            errors[namespace, key if isinstance(key, str) else f"item {position}"] = error
    if errors:
        raise BatchError(errors)
    return news


def check_dedupe(dedupe: Dedupe | None, similar: float | None) -> Duplicates | None:
    """What is to be done about duplicates. Raises InvalidInput."""
    if dedupe not in (None, "skip", "merge"):
        raise InvalidInput('dedupe is "skip", "merge" or None')
    if similar is not None:
        if isinstance(similar, bool) or not isinstance(similar, int | float) or not 0 < similar <= 1:
            raise InvalidInput("similar is a cosine over 0 and up to 1")
        if dedupe is None:
            raise InvalidInput('similar needs dedupe="skip" or "merge"')
    return None if dedupe is None else Duplicates(dedupe, similar)


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The items in lists of that size. Raises InvalidInput."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise InvalidInput("memories to remember are an iterable of dicts")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidInput("batch_size is a whole number of at least 1")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
