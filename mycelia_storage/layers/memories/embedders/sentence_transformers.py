"""Models of sentence-transformers, run in this process (extra ``sentence-transformers``)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ....errors import BackendUnavailable, InvalidConfig
from ..spaces import EmbeddingSpace
from .calling import check_batch_size


class SentenceTransformerEmbedder:
    """An embedder of a sentence-transformers model, by its name or path, or as loaded already."""

    def __init__(
        self,
        model: Any = "all-MiniLM-L6-v2",
        *,
        name: str | None = None,
        normalise: bool = True,
        batch_size: int = 32,
        **options: Any,
    ) -> None:
        """``name`` names the space; a loaded model needs one. ``options`` go to the model's constructor.

        Raises BackendUnavailable without the library.
        """
        self.batch_size = check_batch_size(batch_size)
        self.normalise = normalise
        if isinstance(model, str):
            name = name or model
            try:
                library = import_module("sentence_transformers")
            except ImportError as error:
                raise BackendUnavailable(
                    "sentence-transformers is missing: pip install 'mycelia-storage[sentence-transformers]'"
                ) from error
            model = library.SentenceTransformer(model, **options)
        if name is None:
            raise InvalidConfig("a model that is loaded already needs a name for its space")
        self.model = model
        # Newer versions have it under the first name.
        tell = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        dimensions = tell()
        if not isinstance(dimensions, int):
            raise InvalidConfig("the model does not tell its dimensions")
        self.space = EmbeddingSpace(name, dimensions, normalise)

    def __call__(self, texts: Sequence[str]) -> Any:
        return self.model.encode(
            list(texts),
            batch_size=self.batch_size,
            normalize_embeddings=self.normalise,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
