"""The memories of one agent or user: :class:`Memories`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from ...contract import StorageBackend, Transaction, check_limit, check_page
from ...errors import InvalidConfig, InvalidInput, StorageError
from ...filters import FilterInput
from ...names import Namespace, check_namespace, key_prefix
from ...similarity import VectorInput
from ..transacting import in_transaction
from .arriving import Dedupe, write_new
from .carrying import export_lines, read_lines
from .changing import write_forget, write_update
from .embedders import Embedder
from .fields import memory_filter
from .fusion import Fusion, check_fusion, check_weights
from .indexing import make_indexes
from .preparing import VectorMaking, batches, check_dedupe, read_batch
from .recalling import Search, depths, read_question, reason
from .records import Memory, Reason, Receipt, Recollections, check_memory_key, memory_of, read_new
from .reembedding import Reembedding, ReembedReport
from .spaces import EmbeddingSpace, Places
from .writing import now_ms

_CHANGEABLE: Final = ("speaker", "subject", "source")


class Memories:
    """Texts to remember and recall. One object may serve many threads, as its storage does."""

    def __init__(
        self,
        storage: StorageBackend,
        namespace: Namespace = "memories",
        embedder: Embedder | None = None,
        *,
        space: EmbeddingSpace | None = None,
        weights: Mapping[str, float] | None = None,
        fusion: Fusion = "weighted",
    ) -> None:
        """Open the memories of a namespace, making it if need be.

        Without an embedder they are found by their words. ``space`` says what made vectors that are given with texts
        and queries (an embedder has its own). ``weights`` of the legs ``text``, ``vector`` and ``window`` and
        ``fusion`` ("weighted" or "rrf") are those of every recall that names no others.

        Raises EmbeddingMismatch when the namespace is embedded by another model: :meth:`reembed` changes it.
        """
        self.storage = storage
        self.places = Places(check_namespace(namespace))
        if embedder is not None:
            found = getattr(embedder, "space", None)
            if not callable(embedder) or not isinstance(found, EmbeddingSpace):
                raise InvalidConfig("an embedder is callable and has a space: embedders.from_function makes one")
            if space is not None and space != found:
                raise InvalidConfig(f"the embedder makes vectors of {found.name!r}, not of {space.name!r}")
            space = found
        self._vectors = VectorMaking(storage, self.places, embedder, space)
        self.weights = check_weights(weights)
        self.fusion = check_fusion(fusion)
        self.places.require(self.places.read_state(storage), space)
        make_indexes(storage, self.places)

    @property
    def namespace(self) -> str:
        """The namespace that holds the memories themselves."""
        return self.places.main

    @property
    def embedder(self) -> Embedder | None:
        """What makes the vectors of texts and queries."""
        return self._vectors.embedder

    @property
    def space(self) -> EmbeddingSpace | None:
        """The space of the vectors that this object takes and makes."""
        return self._vectors.space

    # -- remembering -----------------------------------------------------------------------------------------------

    def remember(
        self,
        text: str,
        *,
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
        conversation: str | None = None,
        session: str | int | None = None,
        speaker: str | None = None,
        subject: str | None = None,
        source: str | None = None,
        created_at: Any = None,
        ttl: float | None = None,
        dedupe: Dedupe | None = None,
        similar: float | None = None,
        vector: VectorInput | None = None,
        window_vector: VectorInput | None = None,
    ) -> Receipt:
        """Store a text with its circumstances, its words and vectors searchable at once.

        ``created_at``: UTC milliseconds or a datetime with a time zone; now, if not given. ``ttl``: seconds.
        ``dedupe`` looks for a memory of the same conversation, speaker and subject with the same words, or with a
        vector at least ``similar`` (a cosine): "skip" leaves it as it is, "merge" adds the metadata to it and takes
        the newer text. ``vector`` and ``window_vector`` spare the embedder's work: those of ``speaker: text`` and of
        the previous memory and this one in two lines.

        Raises KeyExists for a key that is there (see :meth:`update`), InvalidInput, EmbeddingMismatch.
        """
        given = {
            "key": key,
            "text": text,
            "metadata": metadata,
            "conversation": conversation,
            "session": session,
            "speaker": speaker,
            "subject": subject,
            "source": source,
            "created_at": created_at,
            "ttl": ttl,
            "vector": vector,
            "window_vector": window_vector,
        }
        duplicates = check_dedupe(dedupe, similar)
        new = read_new(given, now_ms())
        assert new is not None
        prepared = self._vectors.prepare([new])
        return in_transaction(self.storage, write_new, self.places, prepared, duplicates)[0]

    def remember_many(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        dedupe: Dedupe | None = None,
        similar: float | None = None,
        batch_size: int = 500,
    ) -> list[Receipt]:
        """Store many texts: dicts of what :meth:`remember` takes. Receipts in their order.

        Each batch is embedded together and written in one transaction; the first bad item of a batch ends the work
        with BatchError, which names every bad one of it, and the batches before stay.
        """
        duplicates = check_dedupe(dedupe, similar)
        receipts: list[Receipt] = []
        for batch in batches(items, batch_size):
            news = read_batch(batch, self.places.main)
            receipts += in_transaction(self.storage, write_new, self.places, self._vectors.prepare(news), duplicates)
        return receipts

    # -- recalling -------------------------------------------------------------------------------------------------

    def recall(
        self,
        query: str,
        k: int = 10,
        filter: FilterInput | None = None,
        *,
        since: Any = None,
        until: Any = None,
        conversation: str | None = None,
        session: str | int | None = None,
        subject: str | None = None,
        vector: VectorInput | None = None,
        explain: bool = False,
        weights: Mapping[str, float] | None = None,
        fusion: Fusion | None = None,
        exact: bool | None = None,
    ) -> Recollections:
        """The ``k`` memories that fit the query best, of those that meet every condition.

        ``filter`` names fields of the memory or of its metadata (:mod:`.fields`); ``since`` (inclusive) and ``until``
        (exclusive) are about created_at, UTC milliseconds or datetimes. ``vector`` is the query's, if it is known
        already. ``explain=True`` adds what each leg gave each result. Raises InvalidInput, EmbeddingMismatch.
        """
        check_limit(k)
        search = self._asked(
            query, filter, since, until, conversation, session, subject, vector, weights, fusion, exact
        )
        with self._snapshot() as storage:
            found = search(storage)
            return found.recollections(found.ranked(*depths(k)), k, explain)

    def why_not(
        self,
        query: str,
        key: str,
        k: int = 10,
        filter: FilterInput | None = None,
        *,
        since: Any = None,
        until: Any = None,
        conversation: str | None = None,
        session: str | int | None = None,
        subject: str | None = None,
        vector: VectorInput | None = None,
        weights: Mapping[str, float] | None = None,
        fusion: Fusion | None = None,
    ) -> Reason:
        """Why that recall does not return the memory ``key``: missing, expired, filtered (by which condition), below
        the cut (with its rank in each leg), or no match; or that it does.
        """
        check_limit(k)
        check_memory_key(key)
        search = self._asked(query, filter, since, until, conversation, session, subject, vector, weights, fusion, None)
        with self._snapshot() as storage:
            return reason(search(storage), key, k)

    def _asked(
        self,
        query: str,
        filter: FilterInput | None,
        since: Any,
        until: Any,
        conversation: str | None,
        session: str | int | None,
        subject: str | None,
        vector: VectorInput | None,
        weights: Mapping[str, float] | None,
        fusion: Fusion | None,
        exact: bool | None,
    ) -> Callable[[StorageBackend], Search]:
        """The checked question; the embedder has been asked when this returns."""
        asked = read_question(
            query,
            memory_filter(filter, since, until, conversation, session, subject),
            vector,
            self.weights if weights is None else weights,
            self.fusion if fusion is None else fusion,
            exact,
            self.embedder,
        )

        def search(storage: StorageBackend) -> Search:
            spaces = self.places.read_state(storage)
            self.places.require(spaces, self.space)
            return Search(storage, self.places, spaces, asked)

        return search

    def _snapshot(self) -> AbstractContextManager[StorageBackend]:
        if isinstance(self.storage, Transaction):
            return nullcontext(self.storage)
        return self.storage.transaction(read_only=True)

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Memory | None:
        """The memory of that key, or None."""
        entry = self.storage.get_entry(check_memory_key(key), namespace=self.places.main)
        return None if entry is None else memory_of(entry)

    def list(
        self,
        filter: FilterInput | None = None,
        *,
        conversation: str | None = None,
        session: str | int | None = None,
        subject: str | None = None,
        since: Any = None,
        until: Any = None,
        newest_first: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Memory]:
        """Memories in the order of their time, those of a conversation session by session in that order."""
        check_page(limit, offset)
        condition = memory_filter(filter, since, until, conversation, session, subject)
        entries = self.storage.query(
            condition,
            namespace=self.places.main,
            sort="-order" if newest_first else "order",
            limit=limit,
            offset=offset,
        )
        return [memory_of(entry) for entry in entries]

    def count(
        self,
        filter: FilterInput | None = None,
        *,
        conversation: str | None = None,
        session: str | int | None = None,
        subject: str | None = None,
        since: Any = None,
        until: Any = None,
    ) -> int:
        """How many memories there are, or meet every condition."""
        condition = memory_filter(filter, since, until, conversation, session, subject)
        return self.storage.count(namespace=self.places.main, filter=condition)

    def history(self, key: str) -> Sequence[dict[str, Any]]:
        """What updates and merges replaced, oldest first: the fields as they were, ``version`` and ``replaced_at``."""
        prefix = key_prefix(check_memory_key(key))
        return [entry.value for entry in self.storage.scan(namespace=self.places.history, prefix=prefix)]

    # -- changing --------------------------------------------------------------------------------------------------

    def update(
        self,
        key: str,
        *,
        text: str | None = None,
        metadata: dict[str, Any] | None = None,
        speaker: str | None = None,
        subject: str | None = None,
        source: str | None = None,
        vector: VectorInput | None = None,
        window_vector: VectorInput | None = None,
    ) -> Memory:
        """Change what is given; metadata is merged at its top level. The earlier version goes into the history.

        Place, time and expiry stay. With another text and no vector for it, its vectors go until it is embedded
        (at once, with an embedder). Raises KeyNotFound, InvalidInput, EmbeddingMismatch.
        """
        given = {"speaker": speaker, "subject": subject, "source": source}
        new = read_new(
            {
                "key": check_memory_key(key),
                "text": "-" if text is None else text,
                "metadata": metadata,
                "vector": vector,
                "window_vector": window_vector,
                **given,
            },
            now_ms(),
        )
        assert new is not None
        changes: dict[str, Any] = {name: given[name] for name in _CHANGEABLE if given[name] is not None}
        if text is not None:
            changes["text"] = new.text
        vectors = self._vectors.given(new)
        next_window = self._vectors.for_update(key, changes, vectors)
        changes["metadata"] = new.metadata
        in_transaction(self.storage, write_update, self.places, key, changes, vectors, next_window)
        entry = self.storage.get_entry(key, namespace=self.places.main)
        if entry is None:
            raise StorageError(f"key {key!r} in namespace {self.places.main!r} was deleted after its update")
        return memory_of(entry)

    def forget(
        self,
        key: str | Iterable[str] | None = None,
        *,
        filter: FilterInput | None = None,
        subject: str | None = None,
        conversation: str | None = None,
        session: str | int | None = None,
        since: Any = None,
        until: Any = None,
    ) -> int:
        """Delete memories by key or keys, or all that meet every condition; how many there were.

        One transaction deletes texts, vectors, history and what neighbours held of them. At least one condition must
        be given: to forget everything, delete the namespace.
        """
        condition = memory_filter(filter, since, until, conversation, session, subject)
        if (key is None) == (condition is None):
            raise InvalidInput("forget takes keys, or conditions")
        keys = None
        if key is not None:
            keys = [check_memory_key(one) for one in ([key] if isinstance(key, str) else key)]
        return in_transaction(self.storage, write_forget, self.places, keys, condition)

    # -- carrying --------------------------------------------------------------------------------------------------

    def export(self) -> Iterator[str]:
        """Everything as JSON lines, vectors and history included, from one snapshot; :meth:`load` reads them."""
        with self._snapshot() as storage:
            yield from export_lines(storage, self.places)

    def load(self, lines: Iterable[str | bytes], *, batch_size: int = 500) -> int:
        """Remember what :meth:`export` wrote; how many memories. Expired ones are left out.

        Their vectors are taken over if they are of the same space, else the embedder makes new ones. Raises
        InvalidInput naming the line, EmbeddingMismatch where there is no embedder for other vectors, BatchError
        (a key that exists, for one).
        """
        active = self.space or self.places.read_state(self.storage).active
        space, memories = read_lines(lines, active, self.embedder is not None)
        if self.space is None and self.embedder is None:
            self._vectors.space = space
        return len(self.remember_many(memories, batch_size=batch_size))

    # -- another model ---------------------------------------------------------------------------------------------

    def start_reembed(self, embedder: Embedder, *, batch_size: int = 64, restart: bool = False) -> Reembedding:
        """Begin, or go on with, embedding everything by another model; ``step()`` by ``step()``.

        Recalls are served from the old space until the last step. ``restart`` gives up one under way to a third model.
        """
        reembedding = Reembedding(self.storage, self.places, embedder, batch_size=batch_size, restart=restart)
        self._vectors.next = embedder
        reembedding.when_done = self._switched
        return reembedding

    def reembed(
        self,
        embedder: Embedder,
        *,
        batch_size: int = 64,
        restart: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> ReembedReport:
        """Embed everything by another model, or what has no vector yet by the same, and switch to it at the end.

        It may be interrupted at any point and called again, here or in another process. ``progress`` gets the number
        embedded so far. This object uses the new embedder from then on; others raise EmbeddingMismatch until
        they are opened with it.
        """
        return self.start_reembed(embedder, batch_size=batch_size, restart=restart).run(progress)

    def _switched(self, embedder: Embedder) -> None:
        made = self._vectors
        made.embedder, made.space, made.next = embedder, embedder.space, None
