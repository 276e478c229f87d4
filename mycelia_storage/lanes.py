"""Lanes: worker threads that carry out calls made on an event loop, several of them per hop.

A lane is a queue of calls and the threads that take from it. A call made while the lane rests wakes one thread; the
loop goes on with its tick, so the thread, once it gets the interpreter, finds everything that the tick has asked
for. It answers in one hop back, or in several when the work takes long. A second thread joins only when the first
is stuck in a call; in a lane of one thread, calls are carried out in the order they were made.

Everything but the queue itself is touched on the loop's thread alone, so nothing here needs a lock:

    loop     append the call, wake a resting worker           -> queue, worker's pipe
    worker   take calls until the queue is empty              -> results
    loop     complete the futures, rest the worker or wake it again
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Final, NamedTuple

from .errors import StorageBusy, StorageClosed

#: A worker hands back what it has when this many seconds or calls have passed; the loop completes no more in one go.
HAND_BACK_SECONDS: Final = 0.001
HAND_BACK_CALLS: Final = 128

#: A call that takes longer than this many seconds may be stuck: another thread of the lane joins in.
STUCK_SECONDS: Final = 0.001

#: A StorageBusy after at least this many seconds was a wait for the lock; those that queued behind it waited as long.
_REAL_WAIT: Final = 0.05


class Call(NamedTuple):
    """A call to carry out."""

    future: asyncio.Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    undo: Callable[[Any], object] | None
    """Applied to the result when nobody can hear of it any more, because the loop is closed."""
    certain: bool
    """Carried out even if the future was cancelled before its turn came."""


class _Outcome(NamedTuple):
    call: Call
    value: Any
    error: BaseException | None


class _Worker:
    """A thread and the pipe it sleeps on.

    A byte in the pipe is a turn. Measured against a lock and a queue (27 to 100 us a round, unsteady), the pipe took
    17 to 25: writing to it lets go of the interpreter at the very moment the thread wants it.
    """

    __slots__ = ("_reader", "_writer", "stopping", "thread")

    def __init__(self, lane: Lane, name: str) -> None:
        self._reader, self._writer = os.pipe()
        self.stopping = False
        self.thread = threading.Thread(target=lane._work, args=(self,), name=name, daemon=True)
        self.thread.start()

    def wake(self) -> None:
        os.write(self._writer, b"\0")

    def sleep(self) -> None:
        os.read(self._reader, 1)

    def end(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class Lane:
    """Calls for at most ``most`` threads, made from the thread of ``loop``.

    ``merge`` names two functions, the first asking for one key and the second for many in one call: calls of the
    first that wait together, for the same keyword arguments and without further ones, become one of the second.
    ``hand_back`` is the most results that a thread keeps for the next hop; 1 where the next call may wait long.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        *,
        most: int = 1,
        hand_back: int = HAND_BACK_CALLS,
        merge: tuple[Callable[..., Any], Callable[..., Mapping[str, Any]]] | None = None,
    ) -> None:
        self._loop = loop
        self._name = name
        self._most = most
        self._hand_back_calls = hand_back
        self._one: Callable[..., Any] | None = merge and merge[0]
        self._many: Callable[..., Mapping[str, Any]] | None = merge and merge[1]
        self._calls: deque[Call] = deque()
        self._workers: list[_Worker] = []
        self._resting: list[_Worker] = []
        self._stuck: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None
        self._due = False
        self._closed = False

    # -- on the loop ---------------------------------------------------------------------------------------------------

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = {},
        *,
        undo: Callable[[Any], object] | None = None,
        certain: bool = False,
    ) -> asyncio.Future[Any]:
        """Have ``function`` called on a thread of the lane; the future of its result. Raises StorageClosed."""
        if self._closed:
            raise StorageClosed("the storage has been closed")
        call = Call(self._loop.create_future(), function, args, kwargs, undo, certain)
        self._calls.append(call)
        if not self._due:
            # Woken at the call, the worker would wrestle with the rest of the tick for the interpreter.
            self._due = True
            self._loop.call_soon(self._start)
        return call.future

    async def drained(self) -> None:
        """Take no more calls, and return when those made are done and every thread has ended."""
        self._closed = True
        if self._due or self._calls or len(self._resting) < len(self._workers):
            self._empty = self._loop.create_future()
            await self._empty
        self.stop()

    def stop(self) -> None:
        """Let the threads end when their queue is empty."""
        self._closed = True
        if self._stuck is not None:
            self._stuck.cancel()
        for worker in self._workers:
            worker.stopping = True
        for worker in self._resting:
            worker.wake()
        self._resting.clear()

    def _start(self) -> None:
        self._due = False
        busy = len(self._workers) - len(self._resting)
        if busy == 0:
            self._wake()
        elif self._stuck is None and busy < self._most:
            self._watch_for_stuck()

    def _watch_for_stuck(self) -> None:
        head = self._head()
        if head is not None:
            self._stuck = self._loop.call_later(STUCK_SECONDS, self._check_stuck, head)

    def _head(self) -> Call | None:
        try:
            return self._calls[0]
        except IndexError:  # a worker was faster
            return None

    def _wake(self) -> None:
        if self._resting:
            self._resting.pop().wake()
        elif len(self._workers) < self._most:
            self._workers.append(_Worker(self, f"{self._name}-{len(self._workers)}"))

    def _check_stuck(self, head: Call) -> None:
        """Add a thread if the queue has not moved since; look again while it may come to that."""
        self._stuck = None
        busy = len(self._workers) - len(self._resting)
        if busy < self._most and self._head() is head:
            self._wake()
            busy += 1
        if busy < self._most:
            self._watch_for_stuck()

    def _complete(self, outcomes: list[_Outcome], worker: _Worker | None) -> None:
        for future, value, error in outcomes[:PORTION]:
            if future.cancelled():
                pass
            elif error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        if len(outcomes) > PORTION:
            self._loop.call_soon(self._complete, outcomes[PORTION:], worker)
            return
        if worker is None:
            return
        if self._calls or worker.stopping:
            worker.wake()
            return
        self._resting.append(worker)
        if self._empty is not None and len(self._resting) == len(self._workers) and not self._empty.done():
            self._empty.set_result(None)

    # -- on a worker ---------------------------------------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        try:
            while self._take_turn(worker):
                worker.sleep()
                if worker.stopping and not self._calls:
                    return
        finally:
            worker.end()

    def _take_turn(self, worker: _Worker) -> bool:
        """Carry out calls until none is left, and rest; False when the loop is gone."""
        outcomes: list[_Outcome] = []
        hand_back = perf_counter() + HAND_BACK_SECONDS
        call = self._take()
        while call is not None:
            call = self._carry_out(call, outcomes) or self._take()
            if len(outcomes) >= self._hand_back_calls or perf_counter() >= hand_back:
                self._hand_back(outcomes, None)
                outcomes = []
                hand_back = perf_counter() + HAND_BACK_SECONDS
        return self._hand_back(outcomes, worker)

    def _take(self) -> Call | None:
        try:
            return self._calls.popleft()
        except IndexError:
            return None

    def _carry_out(self, call: Call, outcomes: list[_Outcome]) -> Call | None:
        """Carry out ``call``; a call that was taken from the queue along the way and is yet to be carried out."""
        if call.future.cancelled() and not call.certain:
            return None
        if call.function is self._one and len(call.args) == 1 and self._calls:
            return self._carry_out_merged(call, outcomes)
        behind, begun = len(self._calls), perf_counter()
        outcome = _attempt(call)
        outcomes.append(outcome)
        if isinstance(outcome.error, StorageBusy) and perf_counter() - begun >= _REAL_WAIT:
            self._give_up(behind, outcome.error, outcomes)
        return None

    def _carry_out_merged(self, first: Call, outcomes: list[_Outcome]) -> Call | None:
        """One call of ``many`` for ``first`` and those like it that follow; the call after them, if it was taken."""
        group, keys, other = [first], {first.args[0]}, None
        while len(group) < HAND_BACK_CALLS:
            call = self._take()
            if call is None:
                break
            alike = call.function is self._one and len(call.args) == 1 and call.kwargs == first.kwargs
            # Of two equal keys the second is read alone: each caller owns what it gets.
            if not alike or call.args[0] in keys:
                other = call
                break
            if not call.future.cancelled():
                group.append(call)
                keys.add(call.args[0])
        assert self._many is not None
        try:
            found = self._many([call.args[0] for call in group], **first.kwargs)
        except Exception:  # one bad key spoils the group: each call gets an answer of its own
            outcomes.extend(map(_attempt, group))
        else:
            outcomes.extend(_Outcome(call, found.get(call.args[0]), None) for call in group)
        return other

    def _give_up(self, behind: int, busy: StorageBusy, outcomes: list[_Outcome]) -> None:
        """Fail the calls that were queued when the wait for the lock began: they have waited at least as long."""
        for _ in range(behind):
            call = self._take()
            if call is None:
                return
            outcomes.append(_attempt(call) if call.certain else _Outcome(call, None, StorageBusy(*busy.args)))

    def _hand_back(self, outcomes: list[_Outcome], worker: _Worker | None) -> bool:
        """Have the loop complete these; False if it is gone, which undoes what nobody will hear of."""
        try:
            self._loop.call_soon_threadsafe(self._complete, outcomes, worker)
        except RuntimeError:  # the loop is closed
            for outcome in outcomes:
                if outcome.error is None and outcome.call.undo is not None:
                    _attempt(outcome.call._replace(function=outcome.call.undo, args=(outcome.value,), kwargs={}))
            return False
        return True


def _attempt(call: Call) -> _Outcome:
    try:
        return _Outcome(call, call.function(*call.args, **call.kwargs), None)
    except StopIteration as error:  # a future refuses it
        failure = RuntimeError("the call raised StopIteration")
        failure.__cause__ = error
        return _Outcome(call, None, failure)
    except BaseException as error:
        return _Outcome(call, None, error)
