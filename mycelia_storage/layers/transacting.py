"""How layers write: a function in a transaction of its own, which gets through however many others write the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..contract import StorageBackend, Transaction
from ..errors import StorageBusy

R = TypeVar("R")

#: How often it is tried side by side with others before it takes its turn alone.
ATTEMPTS: Final = 5


def in_transaction(storage: StorageBackend, function: Callable[..., R], *args: Any, attempts: int = ATTEMPTS) -> R:
    """``function(tx, *args)``, committed when it returns; its result. Repeated where it meets concurrent writes.

    A backend may run transactions side by side and refuse one of two that meet; with many writers of the same entries
    one could be refused again and again. So after ``attempts`` of that kind the last is an exclusive transaction, which
    waits for the others for ``busy_timeout`` at most. In a transaction the function runs in a savepoint, once. Raises
    StorageBusy at last.
    """
    if isinstance(storage, Transaction):
        return storage.run_transaction(function, *args)
    try:
        return storage.run_transaction(function, *args, attempts=attempts)
    except StorageBusy:
        with storage.transaction() as tx:
            return function(tx, *args)
