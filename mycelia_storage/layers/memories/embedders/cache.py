"""A cache of embeddings in a storage.

===============  =======================================================================
``<namespace>``  SHA-256 of the space's name and the text, in hex -> the vector's bytes
===============  =======================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ....contract import StorageBackend
from ....errors import InvalidInput
from ....names import Namespace, check_namespace
from ..spaces import EmbeddingSpace
from .calling import Embedder, embed


class CachedEmbedder:
    """An embedder that asks another one only for texts that it has not seen.

    At most about ``max_entries`` vectors are kept; the oldest go. The texts themselves are not stored. It writes to its
    storage outside of any transaction, so it does not fit Memories that are given a transaction.
    """

    def __init__(
        self,
        embedder: Embedder,
        storage: StorageBackend,
        namespace: Namespace = "embeddings",
        *,
        max_entries: int = 10_000,
    ) -> None:
        if not isinstance(max_entries, int) or isinstance(max_entries, bool) or max_entries < 1:
            raise InvalidInput("max_entries is a whole number of at least 1")
        self.embedder = embedder
        self.storage = storage
        self.namespace = check_namespace(namespace)
        self.max_entries = max_entries
        self.hits = 0
        self.misses = 0

    @property
    def space(self) -> EmbeddingSpace:
        """The space of the embedder that it asks."""
        return self.embedder.space

    def __call__(self, texts: Sequence[str]) -> list[object]:
        import numpy

        keys = [self._key(text) for text in texts]
        held = self.storage.get_many(dict.fromkeys(keys), namespace=self.namespace)
        wanted = {key: text for key, text in zip(keys, texts, strict=True) if key not in held}
        self.misses += len(wanted)
        self.hits += len(texts) - len(wanted)
        if wanted:
            made = dict(zip(wanted, embed(self.embedder, list(wanted.values())), strict=True))
            self.storage.set_many(made, namespace=self.namespace)
            self._trim()
            held.update(made)
        return [numpy.frombuffer(held[key], dtype="<f4") for key in keys]

    def _key(self, text: str) -> str:
        return hashlib.sha256(f"{self.space.name}\n{text}".encode(errors="surrogatepass")).hexdigest()

    def _trim(self) -> None:
        # A tenth more than allowed may gather, so that the oldest are looked for now and then only.
        number = self.storage.count(namespace=self.namespace)
        if number > self.max_entries + self.max_entries // 10:
            oldest = self.storage.query(namespace=self.namespace, sort="$updated_at", limit=number - self.max_entries)
            self.storage.delete_many([entry.key for entry in oldest], namespace=self.namespace)
