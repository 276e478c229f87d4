"""Lanes: worker threads that carry out calls made on an event loop, several of them per hop.

A lane is a queue of calls and the threads that take from it. The calls of one tick of the loop wake one thread at
its end, which answers them in one hop back, or in several when the work takes long. A pulse on the loop looks after
those who share a tick with a long call: it fetches the answers that are there, and has another thread take over the
rest of the queue. In a lane of one thread, calls are carried out in the order they were made.

Everything but the two queues is touched on the loop's thread alone, so nothing here needs a lock:

    loop     append the calls of a tick, wake a worker        -> queue, worker's pipe
    worker   take calls until the queue is empty              -> queue of outcomes
    loop     complete the futures, rest the worker or wake it again
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from time import perf_counter
from typing import Any, Final, NamedTuple

from .errors import StorageBusy, StorageClosed

#: A worker hands back what it has when this many seconds or calls have passed. Doing so more often costs more than
#: it brings: the loop and the worker then want the interpreter at the same time.
HAND_BACK_SECONDS: Final = 0.002
HAND_BACK_CALLS: Final = 1000

#: Futures that the loop completes before it looks at its other business: with what waits for them, half a
#: millisecond's work.
PORTION: Final = 100

#: Calls that are merged into one.
MERGED: Final = 250

#: Seconds from the start of a tick's calls to the first pulse; the next ones come at double the distance, to the last.
FIRST_PULSE: Final = 0.001
LAST_PULSE: Final = 0.032

#: A StorageBusy after at least this many seconds was a wait for the lock; those that queued behind it waited as long.
_REAL_WAIT: Final = 0.05


class Answer(asyncio.Future[Any], Coroutine[Any, Any, Any]):
    """The future of a call, good wherever asyncio wants a coroutine too: ``asyncio.create_task(db.get("k"))``.

    A gather of futures takes a third of the time of a gather of coroutines, each of which becomes a task.
    """

    _steps: Generator[Any, None, Any] | None = None

    def send(self, value: None) -> Any:
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps.throw(*error)

    def close(self) -> None:
        """The call goes on; nobody waits for it."""


class Call(NamedTuple):
    """A call to carry out."""

    future: Answer
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    undo: Callable[[Any], object] | None
    """Applied to the result when nobody can hear of it any more, because the loop is closed."""
    certain: bool
    """Carried out even if the future was cancelled before its turn came."""


#: The future of a call, its result, its error, its undo.
_Outcome = tuple[Answer, Any, BaseException | None, Callable[[Any], object] | None]


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
        self._outcomes: deque[_Outcome] = deque()
        self._pulse: asyncio.TimerHandle | None = None
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
    ) -> Answer:
        """Have ``function`` called on a thread of the lane; the future of its result. Raises StorageClosed."""
        if self._closed:
            raise StorageClosed("the storage has been closed")
        call = Call(Answer(loop=self._loop), function, args, kwargs, undo, certain)
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
        if self._pulse is not None:
            self._pulse.cancel()
        for worker in self._workers:
            worker.stopping = True
        for worker in self._resting:
            worker.wake()
        self._resting.clear()

    def _start(self) -> None:
        self._due = False
        resting = len(self._workers) == len(self._resting)
        # A call alone, answered in a hop, needs no pulse. Asked before the worker is woken: it takes from the queue.
        alone = resting and len(self._calls) <= 1
        if resting:
            self._wake()
        if not alone:
            self._next_pulse(FIRST_PULSE)

    def _next_pulse(self, wait: float) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        self._pulse = self._loop.call_later(wait, self._on_pulse, wait, self._head())

    def _on_pulse(self, wait: float, head: Call | None) -> None:
        """Complete what is done, and add a thread if the queue has not moved since the last pulse."""
        self._pulse = None
        self._collect(None)
        busy = len(self._workers) - len(self._resting)
        if head is not None and busy < self._most and self._head() is head:
            self._wake()
        if busy:
            self._next_pulse(min(wait * 2, LAST_PULSE))

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

    def _collect(self, worker: _Worker | None) -> None:
        """Complete the futures of what is done; ``worker`` has nothing left to do."""
        outcomes = self._outcomes
        for _ in range(min(len(outcomes), PORTION)):
            future, value, error, _undo = outcomes.popleft()
            if future.done():  # cancelled
                pass
            elif error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        if outcomes:
            self._loop.call_soon(self._collect, worker)
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
        outcomes = self._outcomes
        hand_back = perf_counter() + HAND_BACK_SECONDS
        call = self._take()
        while call is not None:
            call = self._carry_out(call) or self._take()
            if outcomes and (len(outcomes) >= self._hand_back_calls or perf_counter() >= hand_back):
                self._hand_back(None)
                hand_back = perf_counter() + HAND_BACK_SECONDS
        return self._hand_back(worker)

    def _take(self) -> Call | None:
        try:
            return self._calls.popleft()
        except IndexError:
            return None

    def _carry_out(self, call: Call) -> Call | None:
        """Carry out ``call``; a call that was taken from the queue along the way and is yet to be carried out."""
        if call.future.cancelled() and not call.certain:
            return None
        if self._calls and self._can_merge(call):
            return self._carry_out_merged(call)
        behind, begun = len(self._calls), perf_counter()
        outcome = _attempt(call)
        self._outcomes.append(outcome)
        error = outcome[2]
        if isinstance(error, StorageBusy) and perf_counter() - begun >= _REAL_WAIT:
            self._give_up(behind, error)
        return None

    def _can_merge(self, call: Call) -> bool:
        return call.function is self._one and len(call.args) == 1 and type(call.args[0]) is str

    def _carry_out_merged(self, first: Call) -> Call | None:
        """One call of ``many`` for ``first`` and those like it that follow; the call after them, if it was taken."""
        calls, one, kwargs = self._calls, self._one, first.kwargs
        group = {first.args[0]: first.future}
        other = None
        while len(group) < MERGED:
            try:
                call = calls.popleft()
            except IndexError:
                break
            future, function, args, its_kwargs, _, _ = call
            # Of two equal keys the second is read later: each caller owns what it gets.
            fits = function is one and len(args) == 1 and its_kwargs == kwargs and type(args[0]) is str
            if not fits or args[0] in group:
                other = call
                break
            group[args[0]] = future
        assert self._many is not None
        try:
            found = self._many(group, **kwargs)
        except Exception:  # one bad key spoils the group: each call gets an answer of its own
            assert self._one is not None
            self._outcomes.extend(_attempt(first._replace(future=future, args=(key,))) for key, future in group.items())
        else:
            self._outcomes.extend([(future, found.get(key), None, None) for key, future in group.items()])
        return other

    def _give_up(self, behind: int, busy: StorageBusy) -> None:
        """Fail the calls that were queued when the wait for the lock began: they have waited at least as long."""
        for _ in range(behind):
            call = self._take()
            if call is None:
                return
            given_up: _Outcome = (call.future, None, StorageBusy(*busy.args), None)
            self._outcomes.append(_attempt(call) if call.certain else given_up)

    def _hand_back(self, worker: _Worker | None) -> bool:
        """Have the loop complete what is done; False if it is gone, which undoes what nobody will hear of."""
        try:
            self._loop.call_soon_threadsafe(self._collect, worker)
        except RuntimeError:  # the loop is closed
            while self._outcomes:
                _, value, error, undo = self._outcomes.popleft()
                if error is None and undo is not None:
                    undo(value)
            return False
        return True


def _attempt(call: Call) -> _Outcome:
    future, function, args, kwargs, undo, _ = call
    try:
        return future, function(*args, **kwargs), None, undo
    except StopIteration as error:  # a future refuses it
        failure = RuntimeError("the call raised StopIteration")
        failure.__cause__ = error
        return future, None, failure, undo
    except BaseException as error:
        return future, None, error, undo
