"""The RocksDB backend: the contract in a folder of one process, on a log-structured tree that writes fast.

``layout`` which rows there are and how they look: start there · ``index_keys`` field values as bytes in the contract's
order · ``engine`` rocksdict, opened, read and written · ``view`` changes of a transaction above what is committed ·
``space`` and ``state`` what the rules of :mod:`mycelia_storage.states` work on · ``planning`` which index rows a query
reads · ``single_calls`` the short ways of get, set and delete · ``storage`` the backend · ``folder`` whose folder it is
· ``check`` · ``forks``.
"""

from .settings import RocksDBSettings
from .storage import RocksDBStorageBackend

__all__ = ["RocksDBSettings", "RocksDBStorageBackend"]
