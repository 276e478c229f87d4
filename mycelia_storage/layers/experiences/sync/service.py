"""The answering side of sync: frames in, frames out, whatever carries them."""

from __future__ import annotations

from typing import Any

from ..core import SCHEMA_VERSION
from ..entities import SyncCursor
from ..errors import (
    DimensionMismatch,
    EmbeddingProviderMismatch,
    ExperienceError,
    HandshakeRefused,
    InvalidField,
    InvalidPayload,
    SchemaMismatch,
    ValidationError,
)
from ..ids import as_id
from ..limits import MAX_PROVIDER
from ..store import ExperienceStore
from ..turns import Turn
from .applying import Applied, apply_changes
from .changes import PAGE_BYTES, Scope, read_page, read_state
from .frames import LEAST_FRAME, MAX_FRAME, Operation, decode_frame, encode_error, encode_frame

#: The most log rows that a page may cover.
MOST_ROWS = 5_000


def greeting(store: ExperienceStore) -> dict[str, Any]:
    """What a store says of itself."""
    return {
        "instance": store.instance_id(),
        "dimension": store.dimension,
        "schema": SCHEMA_VERSION,
        "provider": store.metadata().provider,
    }


def check_greeting(store: ExperienceStore, body: dict[str, Any]) -> str:
    """The peer's instance. Raises SchemaMismatch, DimensionMismatch, EmbeddingProviderMismatch, HandshakeRefused,
    InvalidPayload.
    """
    if body.get("schema") != SCHEMA_VERSION:
        raise SchemaMismatch(f"the peer has another schema version than {SCHEMA_VERSION}")
    dimension = body.get("dimension")
    if not isinstance(dimension, int):
        raise InvalidPayload("a handshake names a dimension")
    if dimension != store.dimension:
        raise DimensionMismatch(store.dimension, dimension)
    ours, theirs = store.metadata().provider, body.get("provider")
    if ours and theirs and ours != theirs:
        raise EmbeddingProviderMismatch(ours, str(theirs)[:MAX_PROVIDER])
    instance = read_instance(body)
    if instance == store.instance_id():
        raise HandshakeRefused("the peer has this store's own instance id: renew that of the copy")
    return instance


def page_size(most: int, body: dict[str, Any]) -> int:
    """How many bytes of changes fit into a frame that both sides take; ``body`` names the peer's limit."""
    theirs = body.get("max_frame")
    if type(theirs) is not int or theirs < LEAST_FRAME:
        raise InvalidPayload(f"a message names the largest frame taken, at least {LEAST_FRAME:,} bytes")
    return min(PAGE_BYTES, (min(most, theirs) * 3) // 4)


def read_instance(body: dict[str, Any]) -> str:
    """The instance that a message names. Raises InvalidPayload."""
    try:
        return as_id(body.get("instance"))
    except InvalidField as error:
        raise InvalidPayload("a message names its instance") from error


def apply_page(store: ExperienceStore, turn: Turn, changes: Any, *, lenient: bool = False) -> Applied:
    """Apply the changes of a message. Raises InvalidPayload when they are none at all."""
    if not isinstance(changes, list):
        raise InvalidPayload("changes are a list")
    return apply_changes(store, turn, changes, lenient=lenient)


class SyncService:
    """Answers peers on behalf of a store. Safe in any thread."""

    def __init__(self, store: ExperienceStore, *, max_frame: int = MAX_FRAME) -> None:
        """``max_frame``: bytes of the largest frame taken, at least 1 MiB."""
        if max_frame < LEAST_FRAME:
            raise InvalidField("max_frame", f"is at least {LEAST_FRAME:,} bytes")
        self.store = store
        self.max_frame = max_frame

    def handle(self, operation: Operation, frame: bytes) -> bytes:
        """The reply to a frame; errors that concern the peer are frames too. Raises what is this side's own."""
        try:
            body = decode_frame(frame, operation, self.max_frame)
            if operation == Operation.HANDSHAKE:
                check_greeting(self.store, body)
                reply = greeting(self.store)
            elif operation == Operation.PUSH:
                reply = self._push(body)
            else:
                reply = self._pull(body)
            head = {"instance": self.store.instance_id(), "max_frame": self.max_frame}
            return encode_frame(operation.reply, head | reply)
        except ExperienceError as error:
            return encode_error(error)

    def _push(self, body: dict[str, Any]) -> dict[str, Any]:
        peer = check_greeting(self.store, body)

        def work(turn: Turn) -> Applied:
            return apply_page(self.store, turn, body.get("changes"), lenient=body.get("lenient") is True)

        done = self.store._write(work, alone=True, via=peer)
        error = None if done.error is None else {"error": type(done.error).__name__, "message": str(done.error)}
        return {
            "applied": done.applied,
            "skipped": done.skipped,
            "skewed": done.skewed,
            "done": done.done,
            "error": error,
        }

    def _pull(self, body: dict[str, Any]) -> dict[str, Any]:
        peer = check_greeting(self.store, body)
        scope, since, limit = _scope(body), _whole(body, "since"), _whole(body, "limit")
        limit = max(1, min(limit, MOST_ROWS))
        size = page_size(self.max_frame, body)
        state = body.get("state")
        if isinstance(state, str):
            changes, place, newest = read_state(self.store, state, limit, scope, size)
            return {"changes": changes, "state": place, "next": newest, "has_more": place is not None}
        page = read_page(self.store, peer, since, limit, scope, size)
        self._remember(peer, since)
        return {"changes": page.changes, "next": page.next, "has_more": page.has_more}

    def _remember(self, peer: str, since: int) -> None:
        """The peer has everything up to ``since``: compaction waits for it."""
        held = self.store.load_sync_cursor(peer)
        if not self.store.is_read_only and (held is None or held.push_sequence < since):

            def work(turn: Turn) -> None:
                row = turn.get(self.store.layout.cursors, peer) or {"push": 0, "pull": 0}
                self.store._put_cursor(turn, SyncCursor(peer, max(row["push"], since), row["pull"]))

            self.store._write(work)


def _whole(body: dict[str, Any], name: str) -> int:
    number = body.get(name)
    if type(number) is not int or not 0 <= number < 2**62:
        raise InvalidPayload(f"{name} is a whole number of at least 0")
    return number


def _scope(body: dict[str, Any]) -> Scope:
    given = body.get("collectives")
    try:
        collectives = None if given is None else frozenset(as_id(each) for each in given)
    except (TypeError, ValidationError) as error:
        raise InvalidPayload("collectives are a list of ids") from error
    return Scope(collectives, body.get("relations") is not False, body.get("insights") is not False)
