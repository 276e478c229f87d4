"""The change log and who reads it: numbers, polling, compaction, subscriptions."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from mycelia_storage.errors import CursorExpired
from mycelia_storage.layers.experiences import (
    CursorTooOld,
    Event,
    ExperienceStore,
    Fact,
    Gap,
    InvalidField,
    RelationType,
    SyncCursor,
    WatchEvent,
    WatchFilter,
)

from .making import lesson, vector


def test_every_mutation_takes_the_next_number(store: ExperienceStore) -> None:
    assert store.get_wal_sequence() == 0
    assert store.poll_watch_events(0) == ([], 0)
    team = store.create_collective("team")
    id = store.record(lesson(team))
    store.update(id, importance=0.1)
    store.archive(id)
    store.unarchive(id)
    store.reinforce(id)
    store.delete(id)
    assert store.get_current_sequence() == 7
    records, last = store.poll_watch_events(0)
    assert last == 7
    assert [record.sequence for record in records] == [*range(1, 8)]
    assert [record.event_type for record in records[1:]] == [
        Event.CREATED, Event.UPDATED, Event.ARCHIVED, Event.UPDATED, Event.UPDATED, Event.DELETED,
    ]  # fmt: skip
    assert {record.collective_id for record in records} == {team}
    assert sorted(record.timestamp for record in records) == [record.timestamp for record in records]
    assert store.poll_watch_events(5, 1) == ([records[5]], 6)
    assert store.poll_watch_events(7) == ([], 7)
    assert store.poll_watch_events(3, 0) == ([], 3)
    assert [number for number, _ in store.poll_sync_events(None, 2)] == [1, 2]
    assert [len(store.poll_changes(0)[0]), store.poll_changes(0, 1)] == [6, ([], 1)]
    for since, limit in ((-1, 1), (0, -1), (True, 1)):
        with pytest.raises(InvalidField):
            store.poll_watch_events(since, limit)


def test_a_compacted_log_says_so(store: ExperienceStore, team: str) -> None:
    ids = store.record_many(lesson(team, f"{n}") for n in range(9))
    assert store.compact_wal() == 0  # nobody was sent anything
    assert store.compact_wal_events(4) == 4
    assert store.compact_wal_events(4) == 0
    assert [record.sequence for record in store.poll_watch_events(4)[0]] == [5, 6, 7, 8, 9, 10]
    assert store.poll_watch_events(None)[0][0].sequence == 5
    with pytest.raises(CursorTooOld) as caught:
        store.poll_watch_events(3)
    assert (caught.value.since, caught.value.compacted) == (3, 4)
    assert isinstance(caught.value, CursorExpired)
    assert store.compact_wal_events(1_000) == 6
    assert store.get_wal_sequence() == 10
    store.reinforce(ids[0])
    assert store.poll_watch_events(10)[1] == 11


def test_peers_hold_the_log(store: ExperienceStore, team: str) -> None:
    store.record_many(lesson(team, f"{n}") for n in range(9))
    one, two = SyncCursor(str(uuid4()), 6, 1), SyncCursor(str(uuid4()), 3, 9)
    for cursor in (one, two):
        store.save_sync_cursor(cursor)
    assert store.load_sync_cursor(one.instance_id) == one
    assert store.load_sync_cursor(str(uuid4())) is None
    assert {*store.list_sync_cursors()} == {one, two}
    assert store.trim_log(keep=0) == 3
    store.save_sync_cursor(replace(two, push_sequence=8))
    assert store.compact_wal() == 3
    assert store.forget_peer(one.instance_id) is True
    assert store.forget_peer(one.instance_id) is False
    assert store.compact_wal() == 2
    store.forget_peer(two.instance_id)
    assert store.trim_log(max_age=3_600) == 0
    time.sleep(0.002)
    assert store.trim_log(max_age=0) == 2


def test_a_subscription_hears_of_its_collective_in_order(store: ExperienceStore, team: str) -> None:
    other = store.create_collective("other")
    with store.watch_experiences(team) as events:
        id = store.record(lesson(team))
        store.record(lesson(other))
        store.store_relation(id, store.record(lesson(team, "two")), RelationType.SUPPORTS)
        store.reinforce(id)
        store.archive(id)
        store.delete(id)
        heard = events.poll()
        assert [event.event_type for event in heard if isinstance(event, WatchEvent)] == [
            Event.CREATED, Event.CREATED, Event.UPDATED, Event.ARCHIVED, Event.DELETED,
        ]  # fmt: skip
        assert [event.sequence for event in heard if isinstance(event, WatchEvent)] == sorted(
            event.sequence for event in heard if isinstance(event, WatchEvent)
        )
        assert events.next(0) is None
        assert events.sequence == store.get_wal_sequence()
    assert events.next() is None
    again = store.watch_experiences(team, since=0)
    assert len(again.poll()) == 5


def test_filters_see_what_a_deleted_one_was(store: ExperienceStore, team: str) -> None:
    events = store.watch_experiences(team, WatchFilter(domains=["a"], experience_types=[Fact], min_importance=0.5))
    wanted = lesson(team, "wanted", domain=["a", "b"], experience_type=Fact("s", "t"), importance=0.5)
    id = store.record(wanted)
    for fields in ({"domain": []}, {"importance": 0.4}, {"experience_type": lesson(team).experience_type}):
        other = store.record(replace(wanted, **fields))  # type: ignore[arg-type]
        store.delete(other)
    first = events.next(0)
    assert isinstance(first, WatchEvent)
    assert first.experience == store.get(id)
    store.delete(id)
    heard = [e for e in events.poll() if isinstance(e, WatchEvent)]
    assert [(e.experience_id, e.event_type) for e in heard if e.event_type == Event.DELETED] == [(id, Event.DELETED)]


def test_a_subscription_overtaken_by_compaction_gets_a_gap(store: ExperienceStore, team: str) -> None:
    events = store.watch_experiences(team)
    store.record_many(lesson(team, f"{n}") for n in range(5))
    store.compact_wal_events(4)
    heard = events.poll()
    assert heard[0] == Gap(1, 4)
    assert [e.sequence for e in heard[1:] if isinstance(e, WatchEvent)] == [5, 6]


def test_a_waiting_reader_is_woken(store: ExperienceStore, team: str) -> None:
    events = store.watch_experiences(team)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(events.next, 30)
        time.sleep(0.05)
        id = store.record(lesson(team))
        event = waiting.result(timeout=30)
        assert isinstance(event, WatchEvent)
        assert event.experience_id == id
        waiting = pool.submit(events.next)
        events.close()
        assert waiting.result(timeout=30) is None


def test_no_event_is_missed_or_told_twice_while_many_write(store: ExperienceStore, team: str) -> None:
    events = store.watch_experiences(team)
    heard: list[str] = []

    def listen() -> None:
        while len(heard) < 60:
            event = events.next(30)
            if not isinstance(event, WatchEvent):
                return
            heard.append(event.experience_id)

    reader = threading.Thread(target=listen)
    reader.start()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: store.record(lesson(team, f"{n}", vector(1.0, n))), range(60)))
    reader.join(timeout=60)
    assert sorted(heard) == sorted(made)
    assert [number for number, _ in store.poll_sync_events(0, 100)] == [*range(1, 62)]
