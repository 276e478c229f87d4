"""Embedders: what turns texts into vectors. One is a callable from a list of texts to rows of float32, with a space.

``from_function`` makes one of any function; :mod:`.sentence_transformers` and :mod:`.openai` of models; :mod:`.cache`
remembers what was embedded before.
"""

from __future__ import annotations

from .cache import CachedEmbedder as CachedEmbedder
from .calling import (
    Embedder as Embedder,
    FunctionEmbedder as FunctionEmbedder,
    embed as embed,
    from_function as from_function,
)
from .openai import EmbedderFailed as EmbedderFailed, OpenAIEmbedder as OpenAIEmbedder
from .sentence_transformers import SentenceTransformerEmbedder as SentenceTransformerEmbedder
