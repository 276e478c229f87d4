"""The memory backend, and the model that tests compare the others with: sorted maps behind the contract's rules.

``state`` what is stored at one moment · ``text_postings`` · ``storage`` the backend. All else it shares:
:mod:`mycelia_storage.states`.
"""

from .settings import MemorySettings
from .storage import MemoryStorageBackend

__all__ = ["MemorySettings", "MemoryStorageBackend"]
