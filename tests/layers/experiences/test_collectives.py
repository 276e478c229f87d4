"""Collectives: made, found, counted, and deleted with all that is in them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.layers.experiences import (
    CollectiveDecay,
    DecayConfig,
    Event,
    ExperienceStore,
    Fact,
    InvalidField,
    NotFound,
    RecallWeights,
    RelationType,
    RequiredField,
)

from .making import DIMENSION, lesson, vector
from .test_experiences import everything


def test_names_are_checked_and_need_not_be_unique(store: ExperienceStore) -> None:
    first, second = store.create_collective("same"), store.create_collective("same")
    assert [c.id for c in store.list_collectives()] == [first, second]
    owned = store.create_collective_with_owner("x" * 255, "ada")
    assert [c.id for c in store.list_collectives_by_owner("ada")] == [owned]
    found = store.get_collective(owned)
    assert found is not None
    assert (found.owner_id, found.embedding_dimension, found.created_at) == ("ada", DIMENSION, found.updated_at)
    for name, owner, error in (
        ("", None, RequiredField),
        (" \t", None, InvalidField),
        ("x" * 256, None, InvalidField),
        ("fine", "", RequiredField),
    ):
        with pytest.raises(error):
            store.create_collective(name, owner)
    with pytest.raises(InvalidField):
        store.get_collective("no id")
    assert store.get_wal_sequence() == 3


def test_racing_callers_get_the_same_collective(store: ExperienceStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: store.get_or_create_collective("one").id, range(8)))
    assert len(set(made)) == 1
    assert len(store.list_collectives()) == 1


def test_deleting_takes_everything_along(store: ExperienceStore, storage: StorageBackend) -> None:
    before = everything(storage)
    doomed = store.create_collective("doomed")
    ids = store.record_many([lesson(doomed, "a"), lesson(doomed, "b"), lesson(doomed, "zero", vector())])
    store.store_relation(ids[0], ids[1], RelationType.SUPPORTS)
    store.store_insight(doomed, "hm", ids, embedding=vector(1.0))
    store.register_activity("ada", doomed)
    store.set_decay_config(doomed, CollectiveDecay(half_life=5.0))
    assert store.delete_collective(doomed) is True
    assert everything(storage) == before
    assert [name for name in storage.list_namespaces() if doomed in name] == []
    assert store.poll_watch_events(0)[0][-1].event_type == Event.DELETED
    assert store.delete_collective(doomed) is False
    with pytest.raises(NotFound):
        store.search_similar(doomed, vector(1.0))
    with pytest.raises(NotFound):
        store.record(lesson(doomed))


def test_saving_logs_created_once_then_updated(store: ExperienceStore, team: str) -> None:
    found = store.get_collective(team)
    assert found is not None
    store.save_collective(replace(found, name="renamed"))
    events = [record.event_type for record in store.poll_watch_events(0)[0]]
    assert events == [Event.CREATED, Event.UPDATED]
    renamed = store.get_collective(team)
    assert renamed is not None
    assert renamed.name == "renamed"


def test_statistics_count(store: ExperienceStore, team: str) -> None:
    empty = store.get_collective_stats(team)
    assert (empty.experience_count, empty.storage_bytes, empty.oldest_experience) == (0, 0, None)
    ids = [store.record(lesson(team, "12345")), store.record(lesson(team, "ä", experience_type=Fact("s", "t")))]
    store.archive(ids[0])
    stats = store.get_collective_stats(team)
    assert (stats.experience_count, stats.storage_bytes) == (2, 5 + 2 + 2 * 4 * DIMENSION)
    assert stats.by_type == {"Generic": 1, "Fact": 1}
    times = [found.timestamp for found in store.list_experiences(team, 2)]
    assert [stats.oldest_experience, stats.newest_experience] == times
    with pytest.raises(NotFound):
        store.get_collective_stats(store.instance_id())


def test_settings_of_decay_fill_up_from_the_store(storage: StorageBackend) -> None:
    store = ExperienceStore(storage, DIMENSION, decay=DecayConfig(default_recall_weights=RecallWeights(0.5, 0.5)))
    team = store.create_collective("team")
    assert store.get_decay_config(team) is None
    store.set_decay_config(team, CollectiveDecay(half_life=60.0))
    assert store.get_decay_config(team) == CollectiveDecay(half_life=60.0)
    assert store.decay_of(team) == DecayConfig(60.0, default_recall_weights=RecallWeights(0.5, 0.5))
    store.set_decay_config(team, None)
    assert store.decay_of(team) == store.decay
    for bad in (
        CollectiveDecay(half_life=0),
        CollectiveDecay(freq_weight=float("inf")),
        CollectiveDecay(floor=1.1),
        CollectiveDecay(default_recall_weights=RecallWeights(0.5, 0.6)),
    ):
        with pytest.raises(InvalidField):
            store.set_decay_config(team, bad)
    with pytest.raises(NotFound):
        store.set_decay_config(store.instance_id(), CollectiveDecay())
