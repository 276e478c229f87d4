"""Two stores exchange what they hold; frames and changes that are not what they should be are refused."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from mycelia_storage import MemoryStorageBackend
from mycelia_storage.layers.experiences import (
    ConnectionLost,
    CursorTooOld,
    DimensionMismatch,
    EmbeddingProviderMismatch,
    ExperienceStore,
    HandshakeRefused,
    InvalidField,
    InvalidPayload,
    MissingDependency,
    NewExperience,
    PayloadTooLarge,
    ProtocolVersionMismatch,
    RelationType,
    SchemaMismatch,
    SyncError,
    TransportError,
)
from mycelia_storage.layers.experiences.sync import (
    LocalPeer,
    SyncConfig,
    SyncDirection,
    SyncManager,
    SyncProgress,
    SyncService,
    SyncStatus,
)
from mycelia_storage.layers.experiences.sync.frames import ERROR, Operation, decode_frame, encode_error, encode_frame
from mycelia_storage.layers.experiences.sync.service import greeting

from .conftest import OpenStorage
from .consistency import problems
from .making import DIMENSION, lesson, vector
from .test_experiences import everything


def to(store: ExperienceStore, peer: ExperienceStore, **config: Any) -> SyncManager:
    """A manager of ``store`` with ``peer`` in the same process."""
    return SyncManager(store, LocalPeer(SyncService(peer)), SyncConfig(**config))


def content(store: ExperienceStore) -> dict[tuple[str, str], object]:
    """What two stores that were synchronised have in common."""
    rows = everything(store.storage)
    return {place: row for place, row in rows.items() if not place[0].endswith(("/cursors", "/activities", "/decay"))}


@pytest.fixture
def other(open_storage: OpenStorage) -> ExperienceStore:
    return ExperienceStore(open_storage(), DIMENSION)


@pytest.fixture
def memories() -> tuple[ExperienceStore, ExperienceStore]:
    one, two = (ExperienceStore(MemoryStorageBackend(), DIMENSION) for _ in range(2))
    return one, two


def test_both_hold_the_same_afterwards(store: ExperienceStore, other: ExperienceStore, team: str) -> None:
    ids = [store.record(lesson(team, f"{n}", vector(n))) for n in range(4)]
    store.store_relation(ids[0], ids[1], RelationType.SUPPORTS)
    store.store_insight(team, "x", ids, embedding=vector(1.0))
    store.delete(store.record(lesson(team, "gone")))
    theirs = other.create_collective("theirs")
    other.record(lesson(theirs, "there"))
    report = to(store, other).sync_once()
    assert (report.pushed, report.pulled, report.applied, report.skewed) == (8, 2, 2, 0)
    assert content(store) == content(other)
    assert [e.id for e, _ in other.search_similar(team, vector(1.0), 3)] == [*ids[1:]]
    assert to(store, other).sync_once() == replace(report, pushed=0, pulled=0, applied=0)
    assert to(other, store).sync_once().applied == 0
    before = store.get_wal_sequence(), other.get_wal_sequence()
    to(store, other).resync()  # all that is known already changes nothing
    assert (store.get_wal_sequence(), other.get_wal_sequence()) == before


def test_uses_counted_in_two_places_add_up(store: ExperienceStore, other: ExperienceStore, team: str) -> None:
    id = store.record(lesson(team))
    sync = to(store, other)
    sync.sync_once()
    for _ in range(3):
        store.reinforce(id)
    for _ in range(4):
        other.reinforce(id)
    store.update(id, importance=0.1)
    other.update(id, importance=0.9, domain=["later"])
    sync.sync_once()
    found, there = store.get(id), other.get(id)
    assert found == there
    assert found is not None
    assert (found.total_applications, found.importance, found.domain) == (7, 0.9, ("later",))


def test_relations_alike_become_one(store: ExperienceStore, other: ExperienceStore, team: str) -> None:
    a, b = (store.record(lesson(team, text)) for text in "ab")
    sync = to(store, other)
    sync.sync_once()
    first = store.store_relation(a, b, RelationType.SUPPORTS)
    other.store_relation(a, b, RelationType.SUPPORTS)
    sync.sync_once()
    sync.sync_once()
    assert content(store) == content(other)
    assert [r.id for r in store.list_relations(team, 10)] == [first]


def test_death_spreads_to_what_depends_on_it(store: ExperienceStore, other: ExperienceStore, team: str) -> None:
    a, b = (store.record(lesson(team, text)) for text in "ab")
    sync = to(store, other)
    sync.sync_once()
    store.delete(a)
    other.store_relation(a, b, RelationType.SUPPORTS)
    other.update(a, importance=1)
    sync.sync_once()
    sync.sync_once()
    assert content(store) == content(other)
    assert other.get(a) is None
    assert store.list_relations(team, 10) == []
    store.delete_collective(team)
    other.record(lesson(team, "too late"))
    sync.sync_once()
    sync.sync_once()
    assert content(store) == content(other) == {}


def test_changes_travel_through_a_hub(
    store: ExperienceStore, other: ExperienceStore, open_storage: OpenStorage
) -> None:
    far = ExperienceStore(open_storage(), DIMENSION)
    team = store.create_collective("team")
    id = store.record(lesson(team))
    to(store, other, direction=SyncDirection.PUSH_ONLY).sync_once()
    to(far, other, direction=SyncDirection.PULL_ONLY).sync_once()
    assert content(far) == content(store)
    far.update(id, importance=0.75)
    to(far, other).sync_once()
    to(store, other).sync_once()
    assert content(far) == content(store)
    quiet = [each.get_wal_sequence() for each in (store, other, far)]
    for one, two in ((store, other), (far, other), (other, store), (other, far), (store, far)):
        to(one, two).sync_once()
    assert [each.get_wal_sequence() for each in (store, other, far)] == quiet  # nothing echoes


def test_initial_sync_tells_how_it_goes(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    team = two.create_collective("team")
    two.record_many(lesson(team, f"{n}") for n in range(25))
    for _ in range(30):
        two.delete(two.record(lesson(team, "gone")))
    told: list[SyncProgress] = []
    report = to(one, two, batch_size=10).initial_sync(told.append)
    assert content(one) == content(two)
    assert report.pulled == sum(progress.batch for progress in told) == told[-1].total
    assert [progress.has_more for progress in told] == [True] * (len(told) - 1) + [False]


def test_only_what_is_wanted_travels(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    wanted, other = two.create_collective("wanted"), two.create_collective("other")
    ids = two.record_many([lesson(wanted, "a"), lesson(wanted, "b"), lesson(other, "c")])
    two.store_relation(ids[0], ids[1], RelationType.SUPPORTS)
    two.store_insight(wanted, "i", ids[:2], embedding=vector(1.0))
    with pytest.raises(InvalidField):
        to(one, two, collectives=["wanted"])
    sync = to(one, two, collectives=[wanted.upper()], relations=False, insights=False, batch_size=1)
    sync.sync_once()
    assert [c.id for c in one.list_collectives()] == [wanted]
    assert one.list_experience_ids_in_collective(wanted) == ids[:2]
    assert (one.list_relations(wanted, 9), one.list_insights(wanted, 9)) == ([], [])
    assert sync.sync_once().pulled == 0  # a page of nothing wanted is passed all the same


def test_compaction_waits_for_who_pulls(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    team = two.create_collective("team")
    two.record_many(lesson(team, f"{n}") for n in range(5))
    puller = to(one, two, direction=SyncDirection.PULL_ONLY)
    puller.sync_once()
    two.record(lesson(team, "new"))
    assert two.compact_wal() == 6
    puller.sync_once()
    assert content(one) == content(two)


def test_whoever_is_too_far_behind_gets_the_state(store: ExperienceStore, other: ExperienceStore, team: str) -> None:
    ids = store.record_many(lesson(team, f"{n}", vector(n)) for n in range(7))
    store.store_relation(ids[0], ids[1], RelationType.SUPPORTS)
    store.store_insight(team, "x", ids, embedding=vector(1.0))
    store.delete(ids[6])
    store.compact_wal_events(8)
    to(other, store, batch_size=3).sync_once()
    assert content(other) == content(store)
    third = ExperienceStore(MemoryStorageBackend(), DIMENSION)
    to(store, third, batch_size=3).sync_once()  # the same when it is the sender who has compacted
    assert content(third) == content(store)
    assert third.get_wal_sequence() == other.get_wal_sequence()


def test_skewed_clocks_are_counted(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    team = one.create_collective("team")
    id = one.record(lesson(team))
    row = one.storage.get("log", namespace="experiences/sequence")
    one.storage.set("log", row | {"clock": row["clock"] + 600_000_000}, namespace="experiences/sequence")
    one.update(id, importance=0.1)
    assert to(one, two).sync_once().skewed == 1
    two.update(id, importance=0.2)  # and whoever has seen them goes on from there
    to(one, two).sync_once()
    found = one.get(id)
    assert found is not None
    assert found.importance == 0.2


# -- what is refused -------------------------------------------------------------------------------------------------


def test_peers_that_do_not_fit_are_refused(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    team = one.create_collective("team")
    with pytest.raises(DimensionMismatch):
        to(one, ExperienceStore(MemoryStorageBackend(), 9)).sync_once()
    with pytest.raises(HandshakeRefused):
        to(one, one).sync_once()
    mini, maxi = (ExperienceStore(MemoryStorageBackend(), DIMENSION, provider=name) for name in ("mini", "maxi"))
    with pytest.raises(EmbeddingProviderMismatch, match=r"'mini'.*'maxi'"):
        to(mini, maxi).sync_once()
    to(mini, one).sync_once()
    service = SyncService(two)
    body = greeting(one) | {"schema": 2}
    with pytest.raises(SchemaMismatch):
        decode_frame(service.handle(Operation.HANDSHAKE, encode_frame(Operation.HANDSHAKE, body)), ERROR)
    sync = SyncManager(one, peer := LocalPeer(service))
    sync.sync_once()
    peer.service = SyncService(ExperienceStore(MemoryStorageBackend(), DIMENSION))
    one.record(lesson(team))
    with pytest.raises(HandshakeRefused):  # another store stands in its place
        sync.sync_once()
    sync.sync_once()
    assert content(peer.service.store) == content(one)
    copy = ExperienceStore(two.storage, DIMENSION)
    old = copy.instance_id()
    assert copy.renew_instance_id() != old
    assert copy.list_sync_cursors() == []


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda frame: frame[:0], ProtocolVersionMismatch),
        (lambda frame: b"GET /" + frame, ProtocolVersionMismatch),
        (lambda frame: frame[:4] + b"\x07" + frame[5:], ProtocolVersionMismatch),
        (lambda frame: frame[:9], InvalidPayload),
        (lambda frame: frame[:-1], InvalidPayload),
        (lambda frame: frame + b" ", InvalidPayload),
        (lambda frame: frame[:-1] + b"]", InvalidPayload),
        (lambda frame: frame[:5] + b"\x01" + frame[6:], InvalidPayload),
        (lambda frame: frame[:6] + struct.pack(">II", 2, zlib.crc32(b"[]")) + b"[]", InvalidPayload),
        (lambda frame: frame[:6] + struct.pack(">II", 1, zlib.crc32(b"{")) + b"{", InvalidPayload),
        (lambda frame: frame + bytes(2**20), PayloadTooLarge),
    ],
)
def test_frames_that_are_none(
    memories: tuple[ExperienceStore, ExperienceStore], spoil: Callable[[bytes], bytes], error: type[Exception]
) -> None:
    one, two = memories
    frame = encode_frame(Operation.PUSH, greeting(one) | {"changes": []})
    service = SyncService(two, max_frame=2**20)
    with pytest.raises(error):
        decode_frame(service.handle(Operation.PUSH, spoil(frame)), Operation.PUSH.reply)
    assert two.get_wal_sequence() == 0


def test_frames_may_be_replayed(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    sent: list[tuple[Operation, bytes]] = []

    class Recording(LocalPeer):
        def exchange(self, operation: Operation, frame: bytes) -> bytes:
            sent.append((operation, frame))
            return super().exchange(operation, frame)

    sync = SyncManager(one, Recording(SyncService(two)), SyncConfig(batch_size=3))
    team = one.create_collective("team")
    ids = one.record_many(lesson(team, f"{n}") for n in range(6))
    sync.sync_once()
    one.reinforce(ids[0])
    one.delete(ids[1])
    one.archive(ids[2])
    sync.sync_once()
    before = everything(two.storage), two.get_wal_sequence()
    for operation, frame in [*sent, *reversed(sent)]:
        SyncService(two).handle(operation, frame)
    assert (everything(two.storage), two.get_wal_sequence()) == before


def push(one: ExperienceStore, two: ExperienceStore, changes: Any) -> dict[str, Any]:
    frame = encode_frame(Operation.PUSH, greeting(one) | {"changes": changes})
    return decode_frame(SyncService(two).handle(Operation.PUSH, frame), Operation.PUSH.reply)


def good_change(one: ExperienceStore) -> dict[str, Any]:
    """An experience as it travels, of a collective that the peer has."""
    team = one.create_collective("team")
    id = one.record(lesson(team))
    found = one.get(id)
    assert found is not None
    return {
        "seq": 2, "entity": "experience", "id": id, "collective": team, "data": found.to_json(),
        "vector": b64encode(found.vector).decode(),
    }  # fmt: skip


@pytest.mark.parametrize(
    "spoil",
    [
        lambda change: change["seq"],
        lambda change: change["data"],
        lambda change: change | {"entity": "thing"},
        lambda change: change | {"id": "x"},
        lambda change: change | {"vector": ""},
        lambda change: change | {"vector": "?"},
        lambda change: change | {"vector": b64encode(b"\xff" * 4 * DIMENSION).decode()},
        lambda change: change | {"data": 7},
        lambda change: change | {"data": None},
        lambda change: change | {"data": None, "died": "yesterday"},
        *[
            (lambda change, field=field, value=value: change | {"data": change["data"] | {field: value}})
            for field, value in (
                ("content", ""),
                ("content", "x" * 102_401),
                ("importance", 2),
                ("type", {"kind": "Nothing"}),
                ("type", {"kind": "Generic", "more": 1}),
                ("applications", {"x": 1}),
                ("applications", {str(uuid4()): -1}),
                ("applications", {str(uuid4()): 2**32}),
                ("applications", []),
                ("archived", "no"),
                ("at", -1),
                ("at", "now"),
                ("born", "f" * 16 + "." + str(uuid4())),
                ("edited", ""),
                ("domain", ["x"] * 51),
                ("collective", None),
            )
        ],
    ],
)
def test_changes_that_are_none(
    memories: tuple[ExperienceStore, ExperienceStore], spoil: Callable[[dict[str, Any]], Any]
) -> None:
    one, two = memories
    change = good_change(one)
    to(one, two, batch_size=1).sync_once()
    before = content(two)
    two_ids = two.list_experience_ids_in_collective(change["collective"])
    reply = push(one, two, [spoil(change), change])
    assert (reply["applied"], reply["done"]) == (0, 0)
    assert reply["error"]["error"] == "InvalidPayload"
    assert content(two) == before
    assert two.list_experience_ids_in_collective(change["collective"]) == two_ids


def test_a_peer_cannot_take_rows_apart(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    change = good_change(one)
    team, other = change["collective"], one.create_collective("other")
    friend = one.record(lesson(team))
    relation = one.store_relation(change["id"], friend, RelationType.SUPPORTS)
    to(one, two).sync_once()
    moved = change | {"collective": other, "data": change["data"] | {"collective": other}}
    assert push(one, two, [moved])["error"]["error"] == "InvalidPayload"
    died = "0" + "f" * 15 + "." + one.instance_id()
    dead = {"seq": 9, "entity": "relation", "id": relation, "collective": other, "data": None, "died": died}
    assert push(one, two, [dead])["applied"] == 1
    assert two.list_relations(team, 10) == []
    assert problems(two) == []


def test_what_lies_before_a_bad_change_stays_and_is_acknowledged(
    memories: tuple[ExperienceStore, ExperienceStore],
) -> None:
    one, two = memories
    change = good_change(one)
    reply = push(one, two, [change])
    assert reply["error"]["error"] == "MissingDependency"
    assert everything(two.storage) == {}
    team = one.get_collective(change["collective"])
    assert team is not None
    whole = {"seq": 1, "entity": "collective", "id": team.id, "collective": team.id, "data": team.to_json()}
    relation = {
        "seq": 3, "entity": "relation", "id": str(uuid4()), "collective": team.id,
        "data": {"source": change["id"], "target": str(uuid4()), "type": "supports", "strength": 1, "metadata": None,
                 "at": 1, "born": change["data"]["born"]},
    }  # fmt: skip
    reply = push(one, two, [whole, change, relation, change])
    assert (reply["applied"], reply["done"]) == (2, 2)
    assert reply["error"]["error"] == "MissingDependency"
    assert two.get(change["id"]) == one.get(change["id"])
    with pytest.raises(InvalidPayload):
        push(one, two, "changes")

    class Failing(LocalPeer):
        def exchange(self, operation: Operation, frame: bytes) -> bytes:
            if operation == Operation.PUSH:
                return encode_frame(
                    operation.reply,
                    {
                        "instance": two.instance_id(), "applied": 1, "skipped": 0, "skewed": 0, "done": 1,
                        "error": {"error": "MissingDependency", "message": "m"},
                    },
                )  # fmt: skip
            return super().exchange(operation, frame)

    with pytest.raises(MissingDependency):
        SyncManager(one, Failing(SyncService(two))).sync_once()
    cursor = one.load_sync_cursor(two.instance_id())
    assert cursor is not None
    assert cursor.push_sequence == 1


def test_errors_travel_by_kind_and_hide_what_is_not_the_peers_affair() -> None:
    for error in (CursorTooOld(1, 2), DimensionMismatch(3, 4), InvalidPayload("why")):
        with pytest.raises(type(error)) as caught:
            decode_frame(encode_error(error), Operation.PULL.reply)
        assert str(caught.value) == str(error)
    with pytest.raises(TransportError, match="the peer failed"):
        decode_frame(encode_error(RuntimeError("secret")), Operation.PULL.reply)
    with pytest.raises(PayloadTooLarge):
        encode_frame(Operation.PUSH, {"x": "y" * 100}, 50)


def test_pulls_that_make_no_sense(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    good = greeting(one) | {"since": 0, "limit": 5, "max_frame": 2**20}
    for bad in (
        {"max_frame": 5},
        {"since": -1},
        {"since": "x"},
        {"limit": None},
        {"collectives": 5},
        {"collectives": ["x"]},
    ):
        frame = encode_frame(Operation.PULL, good | bad)
        with pytest.raises(InvalidPayload):
            decode_frame(SyncService(two).handle(Operation.PULL, frame), Operation.PULL.reply)
    with pytest.raises(InvalidField):
        SyncService(two, max_frame=5)
    for config in (
        SyncConfig(max_frame=5),
        SyncConfig(batch_size=0),
        SyncConfig(interval=0),
        SyncConfig(retry_most=-1),
    ):
        with pytest.raises(InvalidField):
            SyncManager(one, LocalPeer(SyncService(two)), config)


def test_a_manager_tries_again_after_failures(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    team = one.create_collective("team")
    seen: list[tuple[SyncStatus, Exception | None]] = []

    class Failing(LocalPeer):
        def exchange(self, operation: Operation, frame: bytes) -> bytes:
            seen.append((sync.status, sync.last_error))
            if len(seen) < 4:
                raise ConnectionLost("no peer")
            return super().exchange(operation, frame)

    sync = SyncManager(one, Failing(SyncService(two)), SyncConfig(interval=0.01, retry_first=0.001, retry_most=0.002))
    watched = two.watch_experiences(team)
    with sync:
        one.record(lesson(team))
        assert watched.next(30) is not None
    assert [type(error) for _, error in seen[:4]] == [type(None), ConnectionLost, ConnectionLost, ConnectionLost]
    assert {status for status, _ in seen[:4]} == {SyncStatus.SYNCING}
    assert content(one) == content(two)


def test_a_manager_runs_in_a_thread(memories: tuple[ExperienceStore, ExperienceStore]) -> None:
    one, two = memories
    team = one.create_collective("team")
    events = two.watch_experiences(team)
    with to(one, two, interval=0.01) as sync:
        with pytest.raises(SyncError):
            sync.start()
        id = one.record(NewExperience(team, "x", vector(1.0)))
        event = events.next(30)
        assert event is not None
        assert event[2] == id
    assert sync.status == SyncStatus.STOPPED
    assert sync.last_error is None
