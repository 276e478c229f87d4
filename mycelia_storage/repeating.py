"""Work in a transaction that is done again when another transaction was in its way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .errors import InvalidInput, StorageBusy

if TYPE_CHECKING:
    from .contract import Transaction

R = TypeVar("R")


def repeat_while_busy(begin: Callable[[], Transaction], attempts: int, work: Callable[[Transaction], R]) -> R:
    """What ``work`` returns, in a transaction that ``begin`` starts and that is committed then.

    On StorageBusy it is done again after a short random pause, ``attempts`` times in all. Raises InvalidInput.
    """
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        raise InvalidInput("attempts is a whole number of at least 1")
    for attempt in range(1, attempts + 1):
        try:
            with begin() as tx:
                return work(tx)
        except StorageBusy:
            if attempt == attempts:
                raise
        time.sleep(random.uniform(0, min(0.001 * 2**attempt, 0.25)))
    raise AssertionError
