"""Experiences: recorded, read, changed and deleted, with every secondary row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy
import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.layers.experiences import (
    ContentTooLarge,
    Difficulty,
    DimensionMismatch,
    EmbeddingError,
    EmbeddingProviderMismatch,
    Event,
    ExperienceStore,
    ExperienceUpdate,
    Fact,
    Generic,
    InvalidField,
    NotFound,
    ReadOnly,
    RelationType,
    RequiredField,
    SchemaMismatch,
    Severity,
    Solution,
    SuccessPattern,
    TooManyItems,
    UserPreference,
    ValidationError,
)

from .conftest import OpenStorage
from .making import DIMENSION, lesson, vector


def everything(storage: StorageBackend) -> dict[tuple[str, str], object]:
    """Every row but the ones that say what happened."""
    return {
        (name, row.key): row.value
        for name in storage.list_namespaces()
        for row in storage.scan(namespace=name)
        if name.split("/")[-1] not in ("log", "sequence", "tombstones", "about")
    }


def test_what_is_recorded_comes_back_equal(store: ExperienceStore, team: str) -> None:
    kind = Difficulty("slow", Severity.HIGH)
    id = store.record(
        lesson(
            team,
            "Grüße\0 ✓",
            vector(1.5, -2.0),
            experience_type=kind,
            importance=0.25,
            confidence=1,
            domain=["a", "a", ""],
            related_files=["x.py"],
            source_agent="ada",
            source_task="t",
            tags={"k": "v"},
        )
    )
    found = store.get(id)
    assert found is not None
    assert (found.content, found.experience_type, found.importance, found.confidence) == ("Grüße\0 ✓", kind, 0.25, 1)
    assert (found.domain, found.related_files, found.source_agent) == (("a", "a", ""), ("x.py",), "ada")
    assert (found.source_task, found.tags, found.archived, found.total_applications) == ("t", {"k": "v"}, False, 0)
    assert found.last_reinforced == found.timestamp
    assert numpy.array_equal(found.embedding, numpy.array(vector(1.5, -2.0), dtype=numpy.float32))
    assert store.get_embedding(id) == found.vector
    assert store.get(str(uuid4())) is None
    assert store.get_embedding(str(uuid4())) is None


def test_ids_rise_and_order_what_came_in_one_millisecond(store: ExperienceStore, team: str) -> None:
    ids = [store.record(lesson(team, f"{n}")) for n in range(5)] + store.record_many(
        lesson(team, f"m{n}") for n in range(30)
    )
    assert ids == sorted(ids)
    assert store.list_experience_ids_in_collective(team) == ids
    assert [id for id, _ in store.get_recent_experience_ids(team, 3)] == ids[:-4:-1]
    assert store.list_experience_ids_paginated(team, 4, 2) == ids[2:6]
    assert store.list_experience_ids_paginated(team, 4, after=ids[10]) == ids[11:15]
    assert [e.id for e in store.list_experiences(team, 100, 33)] == ids[33:]
    assert store.list_experience_ids_paginated(team, 0, 2) == []
    assert store.count_experiences_in_collective(team) == 35
    with pytest.raises(ValidationError):
        store.list_experience_ids_paginated(team, -1)
    nobody = str(uuid4())
    assert store.list_experiences(nobody, 10) == []
    assert store.count_experiences_in_collective(nobody) == 0


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"content": "", "importance": 2}, RequiredField, "content"),
        ({"content": "ä" * 51_201, "importance": 2}, ContentTooLarge, None),
        ({"content": "a\ud800", "importance": 2}, InvalidField, "content"),
        ({"importance": 1.01, "confidence": 2}, InvalidField, "importance"),
        ({"importance": float("nan")}, InvalidField, "importance"),
        ({"confidence": -0.1, "domain": ["d"] * 51}, InvalidField, "confidence"),
        ({"domain": ["d"] * 51, "related_files": ["f" * 501]}, TooManyItems, "domain"),
        ({"domain": ["é" * 51], "related_files": ["f"] * 101}, InvalidField, "domain"),
        ({"domain": "text"}, InvalidField, "domain"),
        ({"related_files": ["f"] * 101, "embedding": [1.0]}, TooManyItems, "related_files"),
        ({"related_files": ["f" * 501], "embedding": [1.0]}, InvalidField, "related_files"),
        ({"embedding": [1.0], "source_agent": ""}, DimensionMismatch, None),
        ({"embedding": [float("nan")] * 8, "source_agent": ""}, InvalidField, "embedding"),
        ({"embedding": [1e39] * 8}, InvalidField, "embedding"),
        ({"embedding": "text"}, InvalidField, "embedding"),
        ({"source_agent": "", "experience_type": SuccessPattern("t", "a", 2)}, RequiredField, "source_agent"),
        ({"source_agent": "a" * 257}, InvalidField, "source_agent"),
        ({"experience_type": SuccessPattern("t", "a", 1.5)}, InvalidField, "quality"),
        ({"experience_type": UserPreference("t", "a", float("nan"))}, InvalidField, "strength"),
        ({"tags": {"k": "v" * 201}}, InvalidField, "tags"),
    ],
)
def test_the_first_rule_broken_is_the_one_reported(
    fields: dict[str, object], error: type[Exception], field: str | None
) -> None:
    from mycelia_storage import MemoryStorageBackend

    with MemoryStorageBackend() as storage:
        store = ExperienceStore(storage, DIMENSION)
        team = store.create_collective("team")
        before = everything(storage)
        with pytest.raises(error) as caught:
            store.record(replace(lesson(team), **fields))  # type: ignore[arg-type]
        assert getattr(caught.value, "field", None) == field
        with pytest.raises(NotFound, match="not found"):
            store.record(replace(lesson(str(uuid4())), **fields))  # type: ignore[arg-type]
        assert everything(storage) == before
        assert store.get_wal_sequence() == 1


def test_limits_are_met_to_the_byte(store: ExperienceStore, team: str) -> None:
    id = store.record(
        lesson(
            team,
            "ä" * 51_200,
            domain=["é" * 50] * 50,
            related_files=["f" * 500] * 100,
            source_agent="a" * 256,
            tags={f"{n:02}" + "k" * 98: "v" * 200 for n in range(50)},
        )
    )
    found = store.get(id)
    assert found is not None
    assert len(found.content) == 51_200
    assert len(found.tags) == 50


def test_a_vector_must_come_from_somewhere(store: ExperienceStore, storage: StorageBackend, team: str) -> None:
    with pytest.raises(RequiredField) as caught:
        store.record(replace(lesson(team), embedding=None))
    assert caught.value.field == "embedding"
    learned = ExperienceStore(storage, DIMENSION, embedder=lambda text: vector(len(text)))
    id = learned.record(replace(lesson(team, "four"), embedding=None))
    assert learned.search_similar(team, vector(4.0), 1)[0][0].id == id
    failing = ExperienceStore(storage, DIMENSION, embedder=lambda text: [][len(text)])
    with pytest.raises(EmbeddingError):
        failing.record(replace(lesson(team), embedding=None))


def test_a_batch_is_recorded_whole_or_not_at_all(store: ExperienceStore, storage: StorageBackend, team: str) -> None:
    before, sequence = everything(storage), store.get_wal_sequence()
    with pytest.raises(InvalidField):
        store.record_many([lesson(team, "good"), lesson(team, "bad", importance=7)])
    assert (everything(storage), store.get_wal_sequence()) == (before, sequence)
    assert store.record_many([]) == []


def test_a_patch_changes_what_it_names(store: ExperienceStore, team: str) -> None:
    id = store.record(lesson(team, domain=["a"], importance=0.2))
    store.update(id, importance=0.9, domain=["b", "c"])
    found = store.get(id)
    assert found is not None
    assert (found.importance, found.confidence, found.domain, found.content) == (0.9, 0.5, ("b", "c"), "a lesson")
    assert store.update_experience(id, ExperienceUpdate()) is True
    assert store.update_experience(str(uuid4()), ExperienceUpdate()) is False
    with pytest.raises(InvalidField):  # a bad patch of nothing is a bad patch
        store.update(str(uuid4()), importance=3)
    with pytest.raises(NotFound):
        store.update(str(uuid4()), importance=0.3)
    events = [record.event_type for record in store.poll_watch_events(0)[0]]
    assert events == [Event.CREATED, Event.CREATED, Event.UPDATED, Event.UPDATED]


def test_archiving_hides_from_search_and_undoes(store: ExperienceStore, team: str) -> None:
    id = store.record(lesson(team))
    store.archive(id)
    store.archive(id)
    assert store.search_similar(team, vector(1.0)) == []
    assert store.get_recent_experiences(team) == []
    assert store.count_experiences_in_collective(team) == 1
    store.unarchive(id)
    assert [found.id for found, _ in store.search_similar(team, vector(1.0))] == [id]
    events = [record.event_type for record in store.poll_watch_events(2)[0]]
    assert events == [Event.ARCHIVED, Event.ARCHIVED, Event.UPDATED]
    with pytest.raises(NotFound):
        store.archive(str(uuid4()))


def test_deleting_leaves_no_row_behind(store: ExperienceStore, storage: StorageBackend, team: str) -> None:
    keep = [store.record(lesson(team, f"{n}")) for n in range(2)]
    store.store_relation(keep[0], keep[1], RelationType.SUPPORTS)
    before = everything(storage)
    for embedding in (vector(0.5), vector()):
        id = store.record(lesson(team, "gone", embedding))
        store.store_relation(id, keep[0], RelationType.IMPLIES)
        store.store_relation(keep[1], id, RelationType.IMPLIES)
        store.delete(id)
        assert everything(storage) == before
    deleted = [r.entity_type for r in store.poll_watch_events(0)[0] if r.event_type == Event.DELETED]
    assert deleted == ["relation", "relation", "experience"] * 2
    assert store.delete_experience(id) is False
    with pytest.raises(NotFound):
        store.delete(id)


def test_reinforcing_counts_and_stops_at_the_end(store: ExperienceStore, team: str) -> None:
    id = store.record(lesson(team))
    assert [store.reinforce(id), store.reinforce_experience(id)] == [1, 2]
    found = store.get(id)
    assert found is not None
    assert found.applications == {store.instance_id(): 2}
    store.save_experience(replace(found, applications={store.instance_id(): 2**32 - 1, str(uuid4()): 5}))
    assert store.reinforce(id) == 2**32 - 1
    assert store.reinforce_experience(str(uuid4())) is None
    with pytest.raises(NotFound):
        store.reinforce(str(uuid4()))


def test_saving_in_place_moves_every_secondary_row(store: ExperienceStore, storage: StorageBackend, team: str) -> None:
    first, second = (store.record(lesson(team, text)) for text in ("one", "two"))
    relation = store.store_relation(first, second, RelationType.SUPPORTS)
    found = store.get(first)
    assert found is not None
    rows = len(everything(storage))
    other = replace(
        found,
        timestamp=found.timestamp + 60_000,
        experience_type=Fact("s", "t"),
        vector=numpy.zeros(DIMENSION, dtype="<f4").tobytes(),
    )
    store.save_experience(other)
    assert len(everything(storage)) == rows
    assert store.list_experience_ids_in_collective(team) == [second, first]
    assert [r.id for r in store.list_relations_in_collective(team, 10)] == [relation]
    assert store.get_collective_stats(team).by_type == {"Fact": 1, "Generic": 1}
    store.save_embedding(first, vector(0.0, 1.0))
    assert store.search_similar(team, vector(0.0, 1.0), 1)[0][0].id == first
    assert len(everything(storage)) == rows
    store.delete(first)
    store.delete(second)
    assert store.get_relation(relation) is None
    with pytest.raises(NotFound):
        store.save_embedding(first, vector(1.0))
    kept = store.record(lesson(team))
    elsewhere = store.create_collective("other")
    held = store.get(kept)
    assert held is not None
    with pytest.raises(InvalidField) as caught:
        store.save_experience(replace(held, collective_id=elsewhere))
    assert caught.value.field == "collective_id"


def test_all_experiences_of_a_collective_go_with_their_relations(store: ExperienceStore, team: str) -> None:
    ids = store.record_many(lesson(team, f"{n}") for n in range(4))
    other = store.create_collective("other")
    kept = store.record(lesson(other))
    store.store_relation(ids[0], ids[1], RelationType.SUPPORTS)
    assert store.delete_experiences_by_collective(team) == 4
    assert store.count_experiences_in_collective(team) == 0
    assert store.list_relations_in_collective(team, 10) == []
    assert store.search_similar(team, vector(1.0)) == []
    assert store.get(kept) is not None


def test_opening_again_checks_what_the_store_is(open_storage: OpenStorage) -> None:
    storage = open_storage()
    with pytest.raises(NotFound):
        ExperienceStore(storage, DIMENSION, read_only=True)
    store = ExperienceStore(storage, DIMENSION)
    again = ExperienceStore(storage, DIMENSION)
    assert again.instance_id() == store.instance_id()
    assert again.metadata().created_at == store.metadata().created_at
    assert again.metadata().embedding_dimension == DIMENSION
    with pytest.raises(DimensionMismatch, match=r"dimension.*8.*9"):
        ExperienceStore(storage, 9)
    about = storage.get("store", namespace="experiences/about")
    storage.set("store", about | {"schema": 99}, namespace="experiences/about")
    with pytest.raises(SchemaMismatch):
        ExperienceStore(storage, DIMENSION)


def test_vectors_of_two_models_do_not_mix(open_storage: OpenStorage) -> None:
    storage = open_storage()
    assert ExperienceStore(storage, DIMENSION).metadata().provider is None
    assert ExperienceStore(storage, DIMENSION, provider="mini/1").metadata().provider == "mini/1"
    assert ExperienceStore(storage, DIMENSION).metadata().provider == "mini/1"
    with pytest.raises(EmbeddingProviderMismatch):
        ExperienceStore(storage, DIMENSION, provider="mini/2")
    with pytest.raises(RequiredField):
        ExperienceStore(storage, DIMENSION, provider="")


def test_two_stores_in_one_storage_know_nothing_of_each_other(open_storage: OpenStorage) -> None:
    storage = open_storage()
    one, two = (ExperienceStore(storage, DIMENSION, namespace=name) for name in ("one", "two"))
    team = one.create_collective("team")
    assert two.get_collective(team) is None
    assert (one.get_wal_sequence(), two.get_wal_sequence()) == (1, 0)
    one.close()


def test_read_only_stores_refuse_every_write(store: ExperienceStore, storage: StorageBackend, team: str) -> None:
    id = store.record(lesson(team))
    reader = ExperienceStore(storage, DIMENSION, read_only=True)
    before = everything(storage)
    writes = [
        lambda: reader.create_collective("x"),
        lambda: reader.record(lesson("nonsense")),
        lambda: reader.update(id, importance=3),
        lambda: reader.delete(id),
        lambda: reader.reinforce(id),
        lambda: reader.store_relation(id, id, RelationType.SUPPORTS),
        lambda: reader.store_insight(team, "", []),
        lambda: reader.register_activity("", team),
        lambda: reader.end_activity("a", team),
        lambda: reader.compact_wal_events(5),
        lambda: reader.delete_collective(team),
    ]
    for write in writes:
        with pytest.raises(ReadOnly, match="read-only mode"):
            write()
    assert everything(storage) == before
    assert reader.get(id) == store.get(id)


def test_a_store_on_a_transaction_joins_it(storage: StorageBackend, store: ExperienceStore, team: str) -> None:
    with storage.transaction() as tx:
        inner = ExperienceStore(tx, DIMENSION)
        id = inner.record(lesson(team, "inside"))
        assert [found.id for found, _ in inner.search_similar(team, vector(1.0))] == [id]
        assert store.get(id) is None
        tx.rollback()
    assert store.get(id) is None
    assert store.count_experiences_in_collective(team) == 0


def test_a_solution_may_name_a_problem_that_is_not_there(store: ExperienceStore, team: str) -> None:
    kind = Solution("retry", True, str(uuid4()))
    found = store.get(store.record(lesson(team, experience_type=kind)))
    assert found is not None
    assert found.experience_type == kind
    plain = store.get(store.record(lesson(team)))
    assert plain is not None
    assert plain.experience_type == Generic(None)


def test_a_backup_taken_while_in_use_opens_as_a_store(tmp_path: Path) -> None:
    from mycelia_storage import SQLiteStorageBackend

    with SQLiteStorageBackend({"dbPath": str(tmp_path / "live.db")}) as storage:
        store = ExperienceStore(storage, DIMENSION)
        assert store.path() == str(tmp_path / "live.db")
        team = store.create_collective("team")
        ids = store.record_many(lesson(team, f"{n}", vector(1.0, n)) for n in range(20))
        with storage.transaction() as tx:
            ExperienceStore(tx, DIMENSION).delete(ids[0])
            storage.backup(tmp_path / "copy.db")
        store.record(lesson(team, "later"))
        with SQLiteStorageBackend({"dbPath": str(tmp_path / "copy.db")}) as copied:
            copy = ExperienceStore(copied, DIMENSION)
            assert copy.list_experience_ids_in_collective(team) == ids
            assert copy.search_similar(team, vector(1.0), 1)[0][0].id == ids[0]
            old = copy.instance_id()
            assert copy.renew_instance_id() != old == store.instance_id()


def test_the_other_names_mean_the_same(store: ExperienceStore, team: str) -> None:
    id = store.record_experience(lesson(team))
    assert store.get_experience(id) == store.get(id)
    store.archive_experience(id)
    store.unarchive_experience(id)
    assert [e.id for e in store.get_recent_experiences_filtered(team, 5)] == [id]
