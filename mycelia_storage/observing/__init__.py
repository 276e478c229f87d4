"""Watches what is done to a storage, of whatever backend: :func:`logged` writes it to a log, :func:`traced` to spans.

    storage = logged(open_storage("agent.db"), slow=0.1)
    storage = traced(storage)

Both wrap a storage in another one that forwards the whole contract (:mod:`~mycelia_storage.observing.forwarding`), its
transactions included. Never do values get into a log or span, and keys only if asked for.
"""

from .forwarding import Call, Observation, ObservedStorage, ObservedTransaction, Observer
from .logs import logged
from .spans import traced

__all__ = ["Call", "Observation", "ObservedStorage", "ObservedTransaction", "Observer", "logged", "traced"]
