"""The memory backend, and the model that tests compare the others with: the simplest code that keeps the contract.

``ordered`` a sorted map that is copied in no time · ``state`` everything stored at one moment, never changed once
published · ``draft`` makes the next state · ``turn`` one writer at a time · ``reading`` and ``writing`` the contract
over a state · ``transactions`` · ``storage`` the backend.
"""

from .settings import MemorySettings
from .storage import MemoryStorageBackend

__all__ = ["MemorySettings", "MemoryStorageBackend"]
