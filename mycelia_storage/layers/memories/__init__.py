"""What an agent remembers: texts with their circumstances, recalled by words, by meaning, or by both.

=======================================  =============================================================================
``<namespace>``                          key -> the memory: text, speaker, subject, conversation, session, source,
                                         created_at (UTC ms), order, digest, context; metadata: the caller's
``<namespace>/history``                  join_key(key, version) -> what an update replaced
``<namespace>/expiries``                 key -> when a memory with a ttl expires (UTC ms), kept for 30 days after
``<namespace>/state``                    ``spaces`` -> the active embedding space and a re-embedding under way
``<namespace>/todo``                     key -> true: written during a re-embedding by who could not embed it anew
``<namespace>/spaces/<space>/text``      key -> the vector of ``speaker: text``; metadata: what filters ask for
``<namespace>/spaces/<space>/window``    key -> the vector of the previous memory of the session and this one
=======================================  =============================================================================

Indexes of ``<namespace>``: a TextIndex over text, speaker and, at a low weight, the context; FieldIndexes over
(conversation, session, order), subject and digest. Each space has a VectorIndex in both of its namespaces.

The context of a memory is the texts of the two before and the two after it in its session: what is said is often
understood, and asked for, by the words around it. It changes in the transaction that changes a neighbour. A memory
that expires sooner than another is no context of it.

``order`` is ``created_at * 1000`` and a number that tells equal times apart. All that belongs to one memory is written
in one transaction, and an embedder is called before it. Given a transaction instead of a storage, a ``Memories``
joins it.
"""

from __future__ import annotations

from .evaluation import Evaluation as Evaluation, Labelled as Labelled, evaluate as evaluate
from .fusion import DEFAULT_WEIGHTS as DEFAULT_WEIGHTS
from .memories import Memories as Memories
from .records import (
    LegScore as LegScore,
    Memory as Memory,
    Reason as Reason,
    Receipt as Receipt,
    Recollection as Recollection,
    Recollections as Recollections,
)
from .reembedding import Reembedding as Reembedding
from .spaces import EmbeddingSpace as EmbeddingSpace
