"""Another model for memories that are in use: embedded in steps beside the old space, then switched to at once.

1. The state names the ``next`` space. From then on whoever writes a memory without a vector for it notes its key in
   ``todo``, in the transaction of the memory.
2. Steps embed the memories in order of their keys, and move the cursor in the transaction that stores their vectors: a
   kill loses one step at most, and of two processes at the same step one does nothing.
3. Then ``todo`` is worked off. A transaction that finds it empty makes the next space the active one.
4. The old space's namespaces are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...contract import Entry, StorageBackend
from ...errors import EmbeddingMismatch, InvalidInput, NamespaceNotFound
from ...filters import where
from ..transacting import in_transaction
from .contexts import previous, session_of, window_of
from .embedders import Embedder, embed
from .records import spoken
from .spaces import EmbeddingSpace, Places, Spaces
from .writing import VectorPair, now_ms, true_windows, write_vectors


@dataclass(frozen=True)
class ReembedReport:
    """What a run did."""

    space: EmbeddingSpace
    embedded: int
    """Memories embedded by this run."""


class Reembedding:
    """One change of model under way. Any number of processes may step it."""

    when_done: Callable[[Embedder], None] | None = None

    def __init__(
        self,
        storage: StorageBackend,
        places: Places,
        embedder: Embedder,
        *,
        batch_size: int = 64,
        restart: bool = False,
    ) -> None:
        if not isinstance(getattr(embedder, "space", None), EmbeddingSpace):
            raise InvalidInput("an embedder is callable and has a space: embedders.from_function makes one")
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise InvalidInput("batch_size is a whole number of at least 1")
        self.storage = storage
        self.places = places
        self.embedder = embedder
        self.batch_size = batch_size
        self.embedded = 0
        self.done = False
        in_transaction(storage, self._start, restart)

    def _start(self, tx: StorageBackend, restart: bool) -> None:
        spaces, space = self.places.read_state(tx), self.embedder.space
        if spaces.next == space:
            return  # goes on
        if spaces.next is not None:
            if not restart:
                raise EmbeddingMismatch(
                    f"the memories in namespace {self.places.main!r} are being embedded by {spaces.next.name!r}: "
                    f"finish that, or give restart=True"
                )
            spaces = replace(spaces, retired=(*spaces.retired, spaces.next), next=None)
            tx.clear(namespace=self.places.todo)
        if space in spaces.retired:
            self._delete(tx, space)
            spaces = replace(spaces, retired=tuple(one for one in spaces.retired if one != space))
        self.places.make_space(tx, space)
        if spaces.active is None:
            spaces = replace(spaces, active=space)
        self.places.write_state(tx, replace(spaces, next=space, cursor=None, scanned=False))

    def run(self, progress: Callable[[int], None] | None = None) -> ReembedReport:
        """Step until it is done."""
        while self.step():
            if progress is not None:
                progress(self.embedded)
        return ReembedReport(self.embedder.space, self.embedded)

    def step(self) -> bool:
        """Embed one batch, or switch; whether there is more to do. An embedder's error leaves everything as it is."""
        if self.done:
            return False
        spaces = self.places.read_state(self.storage)
        space = self.embedder.space
        if spaces.next != space:
            if spaces.active != space:
                raise EmbeddingMismatch(f"the change to {space.name!r} was given up by another one")
            self._finish(spaces)
            return False
        if not spaces.scanned:
            page = list(self.storage.scan(namespace=self.places.main, after=spaces.cursor, limit=self.batch_size))
            made = self._embed(self._lacking(page))
            self.embedded += in_transaction(self.storage, self._store_page, spaces, page, made)
            return True
        waiting = self.storage.list(namespace=self.places.todo, limit=self.batch_size)
        if waiting:
            entries = self.storage.query(where("$key").is_in(waiting), namespace=self.places.main)
            made = self._embed(entries)
            self.embedded += in_transaction(self.storage, self._store_waiting, waiting, made)
            return True
        if in_transaction(self.storage, self._switch):
            self._finish(self.places.read_state(self.storage))
            return False
        return True

    def _lacking(self, entries: Sequence[Entry]) -> list[Entry]:
        keys = [entry.key for entry in entries]
        held = self.storage.get_many(keys, namespace=self.places.text(self.embedder.space))
        return [entry for entry in entries if entry.key not in held]

    def _embed(self, entries: Sequence[Entry]) -> list[tuple[Entry, VectorPair]]:
        windows = [self._window(self.storage, entry) for entry in entries]
        texts = [spoken(entry.value["text"], entry.value.get("speaker")) for entry in entries]
        made = embed(self.embedder, [*texts, *(window for window in windows if window is not None)])
        rest = iter(made[len(texts) :])
        return [
            (entry, VectorPair(text, None if window is None else next(rest), window))
            for entry, text, window in zip(entries, made, windows, strict=False)
        ]

    def _window(self, storage: StorageBackend, entry: Entry) -> str | None:
        session = session_of(entry)
        if session is None:
            return None
        return window_of(previous(storage, self.places.main, session, entry.value["order"]), entry)

    def _store_page(
        self, tx: StorageBackend, seen: Spaces, page: Sequence[Entry], made: Sequence[tuple[Entry, VectorPair]]
    ) -> int:
        spaces = self.places.read_state(tx)
        if spaces != seen:
            return 0  # another process was here
        stored = self._store(tx, made)
        cursor = page[-1].key if page else spaces.cursor
        self.places.write_state(tx, replace(spaces, cursor=cursor, scanned=len(page) < self.batch_size))
        return stored

    def _store_waiting(
        self, tx: StorageBackend, waiting: Sequence[str], made: Sequence[tuple[Entry, VectorPair]]
    ) -> int:
        if self.places.read_state(tx).next != self.embedder.space:
            return 0
        tx.delete_many(waiting, namespace=self.places.todo)
        return self._store(tx, made)

    def _store(self, tx: StorageBackend, made: Sequence[tuple[Entry, VectorPair]]) -> int:
        """Store vectors of those that still say what was embedded; the others wait for another turn."""
        space = self.embedder.space
        keys = [entry.key for entry, _ in made]
        current = {entry.key: entry for entry in tx.query(where("$key").is_in(keys), namespace=self.places.main)}
        good, again = [], []
        for entry, pair in made:
            now = current.get(entry.key)
            if now is None:
                continue
            same = all(now.value.get(name) == entry.value.get(name) for name in ("text", "speaker"))
            if same:
                good.append((now, true_windows({space: pair}, self._window(tx, now))))
            else:
                again.append(now)
        write_vectors(tx, self.places, good, now_ms())
        for entry in again:
            tx.set(entry.key, True, namespace=self.places.todo)
        return len(good)

    def _switch(self, tx: StorageBackend) -> bool:
        spaces = self.places.read_state(tx)
        if spaces.next != self.embedder.space or tx.count(namespace=self.places.todo):
            return spaces.active == self.embedder.space and spaces.next is None
        old = spaces.active
        retired = spaces.retired if old is None or old == spaces.next else (*spaces.retired, old)
        self.places.write_state(tx, Spaces(active=spaces.next, retired=retired))
        return True

    def _finish(self, spaces: Spaces) -> None:
        if spaces.retired:
            in_transaction(self.storage, self._drop_retired)
        self.done = True
        if self.when_done is not None:
            self.when_done(self.embedder)

    def _drop_retired(self, tx: StorageBackend) -> None:
        spaces = self.places.read_state(tx)
        for space in spaces.retired:
            self._delete(tx, space)
        self.places.write_state(tx, replace(spaces, retired=()))

    def _delete(self, tx: StorageBackend, space: EmbeddingSpace) -> None:
        try:
            tx.delete_namespace(self.places.of_space(space), recursive=True)
        except NamespaceNotFound:
            pass
