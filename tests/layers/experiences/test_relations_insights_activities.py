"""What stands beside experiences: relations, insights, and agents at work."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from mycelia_storage.contract import StorageBackend
from mycelia_storage.layers.experiences import (
    Activity,
    ContentTooLarge,
    DimensionMismatch,
    Direction,
    EmbeddingError,
    Event,
    ExperienceStore,
    Insight,
    InsightType,
    InvalidField,
    NotFound,
    RelationType,
    RequiredField,
    TooManyItems,
)

from .making import lesson, vector
from .test_experiences import everything


@pytest.fixture
def ids(store: ExperienceStore, team: str) -> list[str]:
    return store.record_many(lesson(team, f"{n}") for n in range(3))


class TestRelations:
    def test_each_is_found_from_both_ends(self, store: ExperienceStore, team: str, ids: list[str]) -> None:
        a, b, c = ids
        out = store.store_relation(a, b, RelationType.SUPPORTS, strength=0.5, metadata='{"why": 1}')
        back = store.store_relation(b, a, RelationType.SUPPORTS)
        other = store.store_relation(a, b, RelationType.IMPLIES)
        far = store.store_relation(c, a, RelationType.RELATED_TO)
        found = store.get_relation(out)
        assert found is not None
        assert (found.source_id, found.target_id, found.strength, found.metadata) == (a, b, 0.5, '{"why": 1}')
        assert store.get_relation_ids_by_source(a) == [out, other]
        assert store.get_relation_ids_by_target(a) == [back, far]
        assert store.relation_exists(a, b, RelationType.SUPPORTS)
        assert not store.relation_exists(a, c, RelationType.SUPPORTS)
        store.archive(c)
        related = store.get_related_experiences(a)
        assert [(e.id, r.id) for e, r in related] == [(b, out), (b, other), (b, back), (c, far)]
        assert [r.id for _, r in store.get_related_experiences(a, Direction.INCOMING)] == [back, far]
        implied = store.get_related_experiences(a, Direction.OUTGOING, RelationType.IMPLIES)
        assert [r.id for _, r in implied] == [other]
        assert store.get_related_experiences(str(uuid4())) == []
        assert [r.id for r in store.list_relations(team, 10)] == [out, other, back, far]
        assert [r.id for r in store.list_relations(team, 2, 1)] == [other, back]

    def test_rules_in_their_order(self, store: ExperienceStore, team: str, ids: list[str]) -> None:
        elsewhere = store.record(lesson(store.create_collective("other")))
        nobody = str(uuid4())
        before = store.get_wal_sequence()
        store_relation = store.store_relation
        cases = [
            (lambda: store_relation(nobody, nobody, RelationType.SUPPORTS, strength=2), InvalidField, "target_id"),
            (lambda: store_relation(nobody, ids[0], RelationType.SUPPORTS, strength=2), InvalidField, "strength"),
            (
                lambda: store_relation(nobody, ids[0], RelationType.SUPPORTS, metadata="ä" * 5121),
                InvalidField,
                "metadata",
            ),
            (lambda: store_relation(nobody, ids[0], RelationType.SUPPORTS), NotFound, None),
            (lambda: store_relation(ids[0], nobody, RelationType.SUPPORTS), NotFound, None),
            (lambda: store_relation(ids[0], elsewhere, RelationType.SUPPORTS), InvalidField, "target_id"),
        ]
        for call, error, field in cases:
            with pytest.raises(error) as caught:
                call()
            assert getattr(caught.value, "field", None) == field
        assert store.get_wal_sequence() == before
        store_relation(ids[0], ids[1], RelationType.SUPPORTS, metadata="ä" * 5120)
        with pytest.raises(InvalidField):
            store_relation(ids[0], ids[1], RelationType.SUPPORTS)
        assert store.get_wal_sequence() == before + 1

    def test_deleting(self, store: ExperienceStore, storage: StorageBackend, team: str, ids: list[str]) -> None:
        before = everything(storage)
        id = store.store_relation(ids[0], ids[1], RelationType.SUPPORTS)
        assert [store.delete_relation(id), store.delete_relation(id)] == [True, False]
        assert everything(storage) == before
        store.store_relation(ids[0], ids[1], RelationType.SUPPORTS)
        store.store_relation(ids[2], ids[0], RelationType.SUPPORTS)
        store.store_relation(ids[2], ids[1], RelationType.SUPPORTS)
        assert store.delete_relations_for_experience(ids[0]) == 2
        assert len(store.list_relations(team, 10)) == 1
        kept = store.list_relations(team, 1)[0]
        store.save_relation(replace(kept, strength=0.25, relation_type=RelationType.IMPLIES))
        assert store.relation_exists(ids[2], ids[1], RelationType.IMPLIES)
        assert not store.relation_exists(ids[2], ids[1], RelationType.SUPPORTS)


class TestInsights:
    def test_stored_found_and_deleted(
        self, store: ExperienceStore, storage: StorageBackend, team: str, ids: list[str]
    ) -> None:
        before = everything(storage)
        near = store.store_insight(
            team, "near", ids, embedding=vector(1.0), insight_type=InsightType.SYNTHESIS, domain=["d"]
        )
        far = store.store_insight(team, "far", [ids[0], ids[0]], embedding=vector(-1.0))
        flat = store.store_insight(team, "flat", ids, embedding=vector())
        found = store.get_insight(near)
        assert found is not None
        assert (found.content, found.source_experience_ids, found.domain) == ("near", tuple(ids), ("d",))
        assert found.created_at == found.updated_at
        ranked = store.get_insights(team, vector(2.0), 5)
        assert [(i.id, round(similarity, 6)) for i, similarity in ranked] == [(near, 1), (flat, 0), (far, -1)]
        assert store.list_insight_ids_in_collective(team) == [near, far, flat]
        assert store.list_insight_ids_paginated(team, 1, 1) == [far]
        assert store.list_insight_ids_paginated(team, 5, after=near) == [far, flat]
        assert [i.content for i in store.list_insights(team, 2)] == ["near", "far"]
        assert [store.delete_insight(near), store.delete_insight(near)] == [True, False]
        assert store.delete_insights_by_collective(team) == 2
        assert everything(storage) == before
        with pytest.raises(DimensionMismatch):
            store.get_insights(team, [1.0], 5)

    def test_rules_in_their_order(self, store: ExperienceStore, team: str, ids: list[str]) -> None:
        elsewhere = store.record(lesson(store.create_collective("other")))
        nobody = str(uuid4())
        before = store.get_wal_sequence()
        put = store.store_insight
        for call, error in (
            (lambda: put(nobody, "", [], confidence=2), RequiredField),
            (lambda: put(nobody, "x" * 51_201, [], confidence=2), ContentTooLarge),
            (lambda: put(nobody, "x", [], confidence=2), InvalidField),
            (lambda: put(nobody, "x", []), RequiredField),
            (lambda: put(nobody, "x", [ids[0]] * 101), TooManyItems),
            (lambda: put(nobody, "x", ids), NotFound),
            (lambda: put(team, "x", [ids[0], nobody]), NotFound),
            (lambda: put(team, "x", [elsewhere]), InvalidField),
            (lambda: put(team, "x", ids), EmbeddingError),
            (lambda: put(team, "x", ids, embedding=[1.0]), DimensionMismatch),
        ):
            with pytest.raises(error):
                call()
        assert store.get_wal_sequence() == before

    def test_a_source_that_goes_leaves_its_id(self, store: ExperienceStore, team: str, ids: list[str]) -> None:
        id = store.store_insight(team, "x", ids, embedding=vector(1.0))
        store.delete(ids[1])
        found = store.get_insight(id)
        assert found is not None
        assert found.source_experience_ids == tuple(ids)

    def test_saving_replaces(self, store: ExperienceStore, team: str, ids: list[str]) -> None:
        id = store.store_insight(team, "x", ids, embedding=vector(1.0))
        found = store.get_insight(id)
        assert isinstance(found, Insight)
        store.save_insight(replace(found, content="y"))
        assert [i.content for i in store.list_insights(team, 10)] == ["y"]
        events = [r.event_type for r in store.poll_watch_events(0)[0] if r.entity_type == "insight"]
        assert events == [Event.CREATED, Event.UPDATED]


class TestActivities:
    def test_who_is_at_work(self, store: ExperienceStore, team: str) -> None:
        for agent in ("ada", "bob", "x\x01y"):
            store.register_activity(agent, team, current_task="t", context_summary="s" * 1024)
        found = store.get_activity("ada", team)
        assert found is not None
        assert (found.current_task, found.started_at) == ("t", found.last_heartbeat)
        now = found.last_heartbeat
        store.save_activity(replace(found, agent_id="stale", last_heartbeat=now - 300_001))
        store.save_activity(replace(found, agent_id="eldest", last_heartbeat=now - 300_000))
        assert [a.agent_id for a in store.get_active_agents(team, now=now)][-1] == "eldest"
        assert {a.agent_id for a in store.get_active_agents(team, now=now)} == {"ada", "bob", "x\x01y", "eldest"}
        assert len(store.list_activities_in_collective(team)) == 5
        store.update_heartbeat("stale", team)
        beating = store.get_activity("stale", team)
        assert beating is not None
        assert beating.started_at == found.started_at
        assert beating.last_heartbeat >= now
        store.end_activity("bob", team)
        assert store.get_activity("bob", team) is None
        assert [store.delete_activity("ada", team), store.delete_activity("ada", team)] == [True, False]
        assert store.delete_activities_by_collective(team) == 3
        assert store.list_activities_in_collective(team) == []
        assert store.get_wal_sequence() == 1  # activities are not logged

    def test_rules(self, store: ExperienceStore, team: str) -> None:
        nobody = str(uuid4())
        for call, error in (
            (lambda: store.register_activity("", nobody), RequiredField),
            (lambda: store.register_activity("a" * 256, nobody), InvalidField),
            (lambda: store.register_activity("a", nobody, current_task="t" * 1025), InvalidField),
            (lambda: store.register_activity("a", nobody, context_summary="t" * 1025), InvalidField),
            (lambda: store.register_activity("a", nobody), NotFound),
            (lambda: store.save_activity(Activity("a", nobody)), NotFound),
            (lambda: store.update_heartbeat("a", team), NotFound),
            (lambda: store.end_activity("a", team), NotFound),
            (lambda: store.get_active_agents(nobody), NotFound),
        ):
            with pytest.raises(error):
                call()
