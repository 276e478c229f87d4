"""The asking side of sync: pushes to and pulls from one peer, once or again and again in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .. import errors
from ..entities import SyncCursor
from ..errors import CursorTooOld, HandshakeRefused, InvalidPayload, SyncError
from ..ids import as_id
from ..store import ExperienceStore
from ..turns import Turn
from .applying import Applied
from .changes import PAGE_BYTES, Scope, read_page, read_state
from .frames import Operation, decode_frame, encode_frame
from .peers import Peer
from .service import apply_page, check_greeting, greeting, page_size, read_instance
from .settings import SyncConfig, SyncDirection, SyncProgress, SyncReport, SyncStatus


class SyncManager:
    """Keeps a store and one peer alike. One manager for each peer; its calls take turns."""

    def __init__(self, store: ExperienceStore, peer: Peer, config: SyncConfig | None = None) -> None:
        self.store = store
        self.peer = peer
        self.config = config or SyncConfig()
        self.config.check()
        wanted = self.config.collectives
        self._collectives = None if wanted is None else frozenset(as_id(each, "collectives") for each in wanted)
        self.status = SyncStatus.IDLE
        self.last_error: Exception | None = None
        self._known: str | None = None
        self._most = self.config.max_frame
        self._page = PAGE_BYTES
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- rounds ----------------------------------------------------------------------------------------------------

    def sync_once(self) -> SyncReport:
        """Push all there is, then pull all there is. Where it fails, what was exchanged before stays so.

        A peer whose log no longer reaches back to this store's cursor sends its whole state instead.
        Raises SyncError, DimensionMismatch, SchemaMismatch.
        """
        with self._lock:
            return self._round(None)

    def initial_sync(self, progress: Callable[[SyncProgress], None] | None = None) -> SyncReport:
        """Pull all there is, and say how it goes."""
        with self._lock:
            self._greet()
            return self._guarded(lambda: self._pull_all(progress or (lambda _: None)))

    def resync(self) -> SyncReport:
        """Push this store's whole state and pull the peer's, whatever the logs still have."""
        with self._lock:
            self._greet()

            def work() -> SyncReport:
                pushed, pulled = self._push_state(), self._pull_state(lambda _: None)
                return SyncReport(pushed.pushed, pulled.pulled, pulled.applied, pushed.skewed + pulled.skewed)

            return self._guarded(work)

    def _round(self, progress: Callable[[SyncProgress], None] | None) -> SyncReport:
        self._greet()

        def work() -> SyncReport:
            pushed = pulled = SyncReport()
            if self.config.direction != SyncDirection.PULL_ONLY:
                pushed = self._push_all()
            if self.config.direction != SyncDirection.PUSH_ONLY:
                pulled = self._pull_all(progress or (lambda _: None))
            return SyncReport(pushed.pushed, pulled.pulled, pulled.applied, pushed.skewed + pulled.skewed)

        return self._guarded(work)

    def _guarded(self, work: Callable[[], SyncReport]) -> SyncReport:
        try:
            return work()
        except Exception:
            self._known = None  # whoever answers next time introduces itself first
            raise

    def _greet(self) -> str:
        if self._known is None:
            reply = self._ask(Operation.HANDSHAKE, {})
            self._known = check_greeting(self.store, reply)
            self._page = page_size(self.config.max_frame, reply)
            self._most = min(self.config.max_frame, reply["max_frame"])
        return self._known

    def _ask(self, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        most = self.config.max_frame
        frame = encode_frame(operation, greeting(self.store) | {"max_frame": most} | body, self._most)
        reply = decode_frame(self.peer.exchange(operation, frame), operation.reply, most)
        if operation != Operation.HANDSHAKE and read_instance(reply) != self._known:
            raise HandshakeRefused("another store answers for the peer")
        return reply

    # -- push ------------------------------------------------------------------------------------------------------

    def _push_all(self) -> SyncReport:
        try:
            return self._push_log()
        except CursorTooOld:
            return self._push_state()

    def _push_log(self) -> SyncReport:
        peer, sent, skewed = self._greet(), 0, 0
        scope = self._scope()
        while True:
            cursor = self.store.load_sync_cursor(peer) or SyncCursor(peer)
            since = max(cursor.push_sequence, 0)
            page = read_page(self.store, peer, since, self.config.batch_size, scope, self._page)
            if page.changes:
                done, late, error = self._send(page.changes, lenient=False)
                sent, skewed = sent + done, skewed + late
                if error is not None:
                    # What lies before the change that was refused is there, without a gap.
                    self._advance(peer, push=page.changes[done]["seq"] - 1)
                    raise error
            if page.next > since:
                self._advance(peer, push=page.next)
            if not page.has_more:
                return SyncReport(pushed=sent, skewed=skewed)

    def _push_state(self) -> SyncReport:
        peer, sent, skewed = self._greet(), 0, 0
        place: str | None = ""
        start: int | None = None
        while place is not None:
            changes, place, newest = read_state(self.store, place, self.config.batch_size, self._scope(), self._page)
            start = newest if start is None else start
            if changes:
                done, late, error = self._send(changes, lenient=True)
                sent, skewed = sent + done, skewed + late
                if error is not None:
                    raise error
        self._advance(peer, push=start or 0)
        rest = self._push_log()
        return SyncReport(pushed=sent + rest.pushed, skewed=skewed + rest.skewed)

    def _send(self, changes: list[Any], *, lenient: bool) -> tuple[int, int, SyncError | None]:
        """How many of the changes the peer took, how many had skewed stamps, and why it took no more."""
        reply = self._ask(Operation.PUSH, {"changes": changes, "lenient": lenient})
        done, late = reply.get("done"), reply.get("skewed")
        if type(done) is not int or not 0 <= done <= len(changes) or type(late) is not int:
            raise InvalidPayload("the peer did not say what it took")
        return done, late, None if done == len(changes) else _refusal(reply.get("error"))

    def _scope(self) -> Scope:
        return Scope(self._collectives, self.config.relations, self.config.insights)

    # -- pull ------------------------------------------------------------------------------------------------------

    def _pull_all(self, progress: Callable[[SyncProgress], None]) -> SyncReport:
        try:
            return self._pull_log(progress)
        except CursorTooOld:
            return self._pull_state(progress)

    def _pull_log(self, progress: Callable[[SyncProgress], None]) -> SyncReport:
        peer, total, applied, skewed = self._greet(), 0, 0, 0
        while True:
            cursor = self.store.load_sync_cursor(peer) or SyncCursor(peer)
            reply = self._ask(Operation.PULL, self._wish(cursor.pull_sequence))
            changes, reach, more = reply.get("changes"), reply.get("next"), reply.get("has_more") is True
            if type(reach) is not int or reach < cursor.pull_sequence or not isinstance(changes, list):
                raise InvalidPayload("the peer did not say how far its page goes")
            if more and reach == cursor.pull_sequence:
                raise InvalidPayload("the peer has more, and does not go on")
            done = self._take(peer, changes, reach)
            total, applied, skewed = total + len(changes), applied + done.applied, skewed + done.skewed
            progress(SyncProgress(len(changes), total, more))
            if not more:
                if reach > cursor.pull_sequence:
                    self._ask(Operation.PULL, self._wish(reach) | {"limit": 1})  # so the peer knows how far we are
                return SyncReport(pulled=total, applied=applied, skewed=skewed)

    def _pull_state(self, progress: Callable[[SyncProgress], None]) -> SyncReport:
        peer, total, applied, skewed = self._greet(), 0, 0, 0
        place: str | None = ""
        start: int | None = None
        while place is not None:
            reply = self._ask(Operation.PULL, self._wish(0) | {"state": place})
            changes, newest, place = reply.get("changes"), reply.get("next"), reply.get("state")
            if type(newest) is not int or not isinstance(changes, list) or not isinstance(place, str | None):
                raise InvalidPayload("the peer did not say how far its page goes")
            start = newest if start is None else start
            # Relations that are newer than the experiences sent come again with the log, which is read from there.
            done = self._take(peer, changes, start if place is None else None, lenient=True)
            total, applied, skewed = total + len(changes), applied + done.applied, skewed + done.skewed
            progress(SyncProgress(len(changes), total, True))
        rest = self._pull_log(progress)
        return SyncReport(0, total + rest.pulled, applied + rest.applied, skewed + rest.skewed)

    def _wish(self, since: int) -> dict[str, Any]:
        config = self.config
        collectives = None if self._collectives is None else sorted(self._collectives)
        return {
            "since": since, "limit": config.batch_size, "collectives": collectives, "relations": config.relations,
            "insights": config.insights,
        }  # fmt: skip

    def _take(self, peer: str, changes: list[Any], reach: int | None, *, lenient: bool = False) -> Applied:
        """Apply a page and remember it, in one transaction."""

        def work(turn: Turn) -> Applied:
            done = apply_page(self.store, turn, changes, lenient=lenient)
            if done.error is not None:
                held = changes[done.done].get("seq") if isinstance(changes[done.done], dict) else None
                if not lenient and type(held) is int and held > 0:
                    self._move(turn, peer, pull=held - 1)
            elif reach is not None:
                self._move(turn, peer, pull=reach)
            return done

        if not changes and reach is None:
            return Applied(0, 0, 0, 0, None)
        done = self.store._write(work, alone=True, via=peer)
        if done.error is not None:
            raise done.error
        return done

    # -- cursors ---------------------------------------------------------------------------------------------------

    def _advance(self, peer: str, *, push: int) -> None:
        self.store._write(lambda turn: self._move(turn, peer, push=push))

    def _move(self, turn: Turn, peer: str, *, push: int = 0, pull: int = 0) -> None:
        row = turn.get(self.store.layout.cursors, peer) or {"push": 0, "pull": 0}
        self.store._put_cursor(turn, SyncCursor(peer, max(row["push"], push), max(row["pull"], pull)))

    # -- in a thread -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Sync every ``interval`` seconds in a thread, less often while it fails. Raises SyncError the second time."""
        if self._thread is not None:
            raise SyncError("the manager runs already")
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="experiences-sync", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the round it is in."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.status = SyncStatus.STOPPED

    def _run(self) -> None:
        pause = self.config.retry_first
        while not self._stop.is_set():
            self.status = SyncStatus.SYNCING
            try:
                self.sync_once()
            except Exception as error:
                self.status, self.last_error = SyncStatus.ERROR, error
                self._stop.wait(pause)
                pause = min(2 * pause, self.config.retry_most)
            else:
                self.status, self.last_error = SyncStatus.IDLE, None
                pause = self.config.retry_first
                self._stop.wait(self.config.interval)

    def __enter__(self) -> SyncManager:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _refusal(error: Any) -> SyncError:
    """What a peer said of the change it could not take."""
    if isinstance(error, dict):
        kind = {"MissingDependency": errors.MissingDependency}.get(str(error.get("error")), InvalidPayload)
        return kind(str(error.get("message"))[:500])
    return InvalidPayload("the peer refused a change")
