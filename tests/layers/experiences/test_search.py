"""Search, energy and context: complete under any filter, ranked by the formulas, deterministic."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy
import pytest

from mycelia_storage.layers.experiences import (
    CollectiveDecay,
    ContextRequest,
    DecayConfig,
    Difficulty,
    DimensionMismatch,
    Experience,
    ExperienceStore,
    Fact,
    Generic,
    InvalidField,
    NotFound,
    RecallWeights,
    RelationType,
    SearchFilter,
    SearchOptions,
)
from mycelia_storage.layers.experiences.decay_settings import energy

from .making import DIMENSION, lesson, vector

DAY = 86_400.0


@pytest.mark.parametrize(
    ("importance", "uses", "days", "expected"),
    [
        (0.42, 0, 0, 0.42),
        (0.5, 0, 30, 0.25),
        (0.5, 0, 60, 0.125),
        (0.8, 0, 90, 0.1),
        (0.9, 0, 365, 0.000196),
        (0.1, 0, 365, 0.0000218),
        (0.8, 10, 45, 0.4524),
        (0.7, 1, 0, 0.821301),
        (0.5, 3, 0, 0.673287),
        (0.5, 1, 0, 0.586643),
        (0.8, 24, 0, 1.0),
        (0.9, 1, 365, 0.00023),
        (1, 0, 15, 0.707107),
        (0.5, 2, 30, 0.318663),
    ],
)
def test_energy_by_the_table(importance: float, uses: int, days: float, expected: float) -> None:
    found = energy(importance, uses, days * DAY, DecayConfig())
    assert math.isclose(found, expected, rel_tol=3e-3 if expected < 0.01 else 2e-5)
    assert found == float(numpy.float32(found))


def cosine(a: list[float], b: list[float]) -> float:
    one, two = numpy.array(a), numpy.array(b)
    size = float(numpy.linalg.norm(one) * numpy.linalg.norm(two))
    return 0.0 if size == 0 else float(one @ two) / size


def many(store: ExperienceStore, team: str, rng: random.Random, count: int) -> dict[str, list[float]]:
    vectors = [[float(numpy.float32(rng.gauss(0, 1))) for _ in range(DIMENSION)] for _ in range(count)]
    vectors[3] = vector()
    vectors[4] = vectors[5]
    news = [
        lesson(
            team,
            f"n{number}",
            embedding,
            importance=rng.random(),
            confidence=rng.random(),
            domain=rng.sample(["a", "b", "c"], rng.randrange(3)),
            tags={"lang": rng.choice(["py", "rs"]), "n": str(number % 3)},
            experience_type=rng.choice([Generic(), Fact("s", "t"), Difficulty("d")]),
        )
        for number, embedding in enumerate(vectors)
    ]
    return dict(zip(store.record_many(news), vectors, strict=True))


FILTERS = [
    SearchFilter(),
    SearchFilter(domains=["a"]),
    SearchFilter(domains=["a", "c"], min_importance=0.5),
    SearchFilter(experience_types=[Fact], min_confidence=0.7),
    SearchFilter(experience_types=[Fact("other", "payload"), Difficulty], exclude_archived=False),
    SearchFilter(tags_all={"lang": "py", "n": "1"}),
    SearchFilter(tags_all={"lang": "p", "n": "1"}),
    SearchFilter(domains=[]),
    SearchFilter(experience_types=[]),
    SearchFilter(since=2**50),
]


def matching(filter: SearchFilter, experience: Experience) -> bool:
    """What the fields of a filter say, in other words."""
    tags = {kind.tag for kind in filter.experience_types or ()}
    return all(
        [
            not (filter.exclude_archived and experience.archived),
            filter.domains is None or bool({*filter.domains} & {*experience.domain}),
            filter.experience_types is None or experience.experience_type.tag in tags,
            experience.importance >= (filter.min_importance or 0),
            experience.confidence >= (filter.min_confidence or 0),
            experience.timestamp >= (filter.since or 0),
            filter.tags_all.items() <= experience.tags.items(),
        ]
    )


def test_every_match_is_found_in_order(store: ExperienceStore, team: str, rng: random.Random) -> None:
    vectors = many(store, team, rng, 150)
    for id in rng.sample([*vectors], 25):
        store.archive(id)
    held = store.list_experiences(team, 1_000)
    query = [rng.gauss(0, 1) for _ in range(DIMENSION)]
    for filter in FILTERS:
        wanted = [e for e in held if matching(filter, e)]
        for k in (7, 1_000):
            found = store.search_similar_filtered(team, query, k, filter)
            assert len(found) == min(k, len(wanted))
            expected = sorted(
                ((cosine(query, vectors[e.id]), e.id) for e in wanted), key=lambda each: (-each[0], each[1])
            )
            assert [similarity for _, similarity in found] == pytest.approx([s for s, _ in expected[:k]], abs=1e-6)
            assert {e.id for e, _ in found} <= {e.id for e in wanted}
            assert all(e == next(h for h in held if h.id == e.id) for e, _ in found[:3])
            recent = store.get_recent_experiences(team, k, filter)
            assert recent == wanted[::-1][:k]
    assert store.search_similar(team, query, 5) == store.search_similar_filtered(team, query, 5, SearchFilter())


def test_ties_go_by_id_and_zero_vectors_are_like_nothing(store: ExperienceStore, team: str) -> None:
    ids = [
        store.record(lesson(team, f"{n}", embedding))
        for n, embedding in enumerate([vector(1.0), vector(), vector(1.0), vector(-1.0), vector(2.0)])
    ]
    found = [(e.id, similarity) for e, similarity in store.search_similar(team, vector(3.0), 9)]
    assert found == [(ids[0], 1.0), (ids[2], 1.0), (ids[4], 1.0), (ids[1], 0.0), (ids[3], -1.0)]
    assert store.search_similar(team, vector(), 9) == [(store.get(id), 0.0) for id in ids]


def test_rules_in_their_order(store: ExperienceStore, team: str) -> None:
    nobody = store.instance_id()
    bad = RecallWeights(0.5, 0.6)
    for call, error, field in (
        (lambda: store.search(nobody, [1.0], SearchOptions(k=0, weights=bad)), InvalidField, "weights"),
        (lambda: store.search(nobody, [1.0], SearchOptions(k=0)), InvalidField, "k"),
        (lambda: store.search(nobody, [1.0], SearchOptions(k=1_001)), InvalidField, "k"),
        (lambda: store.search(nobody, [1.0]), NotFound, None),
        (lambda: store.search(team, [1.0]), DimensionMismatch, None),
        (lambda: store.search(team, [float("inf")] * DIMENSION), InvalidField, "embedding"),
        (lambda: store.search(team, vector(1.0), SearchOptions(weights=RecallWeights(-1, 2))), InvalidField, "weights"),
        (lambda: store.get_recent_experiences(nobody, 0), InvalidField, "limit"),
        (lambda: store.get_recent_experiences(nobody), NotFound, None),
        (lambda: store.list_cold_experiences(nobody, float("nan")), InvalidField, "below"),
        (lambda: store.get_context_candidates(ContextRequest(nobody, [1.0], 0, 0)), InvalidField, "max_similar"),
        (lambda: store.get_context_candidates(ContextRequest(nobody, [1.0], 1, 0)), InvalidField, "max_recent"),
        (lambda: store.get_context_candidates(ContextRequest(nobody, [1.0])), NotFound, None),
        (lambda: store.get_context_candidates(ContextRequest(team, [1.0])), DimensionMismatch, None),
    ):
        with pytest.raises(error) as caught:
            call()
        assert getattr(caught.value, "field", None) == field


def aged(store: ExperienceStore, id: str, days: float, uses: int, now: int) -> None:
    found = store.get(id)
    assert found is not None
    store.save_experience(
        replace(found, last_reinforced=now - int(days * DAY * 1000), applications={store.instance_id(): uses})
    )


def test_weights_blend_similarity_and_energy(store: ExperienceStore, team: str) -> None:
    stale = store.record(lesson(team, "stale", vector(0.9, math.sqrt(1 - 0.81)), importance=0.9))
    fresh = store.record(lesson(team, "fresh", vector(0.7, math.sqrt(1 - 0.49)), importance=0.7))
    now = 2_000_000_000_000
    aged(store, stale, 365, 1, now)
    aged(store, fresh, 0, 1, now)
    for weights, scores in (
        ((0.5, 0.5), (0.45011, 0.76065)),
        ((0.6, 0.4), (0.54009, 0.74852)),
        ((0.7, 0.3), (0.63007, 0.73639)),
    ):
        found = store.search(team, vector(1.0), SearchOptions(weights=RecallWeights(*weights), now=now))
        assert [each.experience.id for each in found] == [fresh, stale]
        assert [each.score for each in found] == pytest.approx([scores[1], scores[0]], abs=1e-5)
        assert [each.similarity for each in found] == pytest.approx([0.7, 0.9], abs=1e-6)
    plain = store.search(team, vector(1.0), SearchOptions(weights=RecallWeights(1, 0), now=now))
    assert [(each.experience, each.similarity) for each in plain] == store.search_similar(team, vector(1.0))
    assert store.energy(fresh, now=now) == pytest.approx(0.821301, abs=1e-6)
    assert store.energy(fresh, now=0) == store.energy(fresh, now=now)  # a time before the last use is no age
    store.set_decay_config(team, CollectiveDecay(default_recall_weights=RecallWeights(0.5, 0.5)))
    assert [e.experience.id for e in store.search(team, vector(1.0), SearchOptions(now=now))] == [fresh, stale]
    store.set_decay_config(team, CollectiveDecay(half_life=1e12))
    assert store.energy(stale, now=now) > 0.9


def test_energy_brings_in_what_is_not_near(store: ExperienceStore, team: str) -> None:
    now = 2_000_000_000_000
    near = store.record_many(lesson(team, f"{n}", vector(1.0, 0.001 * n), importance=0.1) for n in range(120))
    assert near
    far = store.record(lesson(team, "far", vector(0.5, 1.0), importance=1.0))
    found = store.search(team, vector(1.0), SearchOptions(k=1, weights=RecallWeights(0.3, 0.7), now=now))
    for id in near[:3]:
        aged(store, id, 300, 0, now)
    aged(store, far, 0, 0, now)
    found = store.search(team, vector(1.0), SearchOptions(k=1, weights=RecallWeights(0.3, 0.7), now=now))
    assert [each.experience.id for each in found] == [far]


def test_weighted_ranking_is_that_of_all(store: ExperienceStore, team: str, rng: random.Random) -> None:
    vectors = many(store, team, rng, 150)
    now = 2_000_000_000_000
    held = store.list_experiences(team, 1_000)
    settings = store.decay_of(team)
    query = [rng.gauss(0, 1) for _ in range(DIMENSION)]
    for alpha in (0.2, 0.8):
        weights = RecallWeights(alpha, 1 - alpha)
        found = store.search(team, query, SearchOptions(k=10, weights=weights, now=now))
        expected = sorted(
            (
                alpha * min(max(cosine(query, vectors[e.id]), 0), 1) + (1 - alpha) * settings.energy(e, now)
                for e in held
            ),
            reverse=True,
        )
        assert [each.score for each in found] == pytest.approx(expected[:10], abs=1e-6)


def test_cold_ones_are_listed_coldest_first(store: ExperienceStore, team: str) -> None:
    now = 2_000_000_000_000
    ids = [store.record(lesson(team, f"{n}", importance=0.1 * n)) for n in range(5)]
    for id in ids:
        aged(store, id, 0, 0, now)
    store.archive(ids[1])
    cold = store.list_cold_experiences(team, 0.3, now=now)
    assert [(e.id, round(warmth, 6)) for e, warmth in cold] == [(ids[0], 0.0), (ids[2], 0.2)]
    assert cold[1][0] == store.get(ids[2])
    assert [e.id for e, _ in store.list_cold_experiences(team, limit=5, now=now)] == [ids[0]]
    assert [e.id for e, _ in store.list_cold_experiences(team, 1, 1, now=now)] == [ids[0]]


def test_context_gathers_all_parts(store: ExperienceStore, team: str) -> None:
    ids = [store.record(lesson(team, f"{n}", vector(1.0, n), domain=["d"])) for n in range(6)]
    gone = store.record(lesson(team, "archived", vector(9.0)))
    edges = [
        store.store_relation(ids[0], ids[1], RelationType.SUPPORTS),
        store.store_relation(ids[5], gone, RelationType.SUPPORTS),
        store.store_relation(ids[2], ids[3], RelationType.SUPPORTS),
    ]
    store.archive(gone)
    insight = store.store_insight(team, "x", ids, embedding=vector(1.0))
    store.register_activity("ada", team)
    found = store.get_context_candidates(ContextRequest(team, vector(1.0), max_similar=2, max_recent=1))
    assert [e.id for e, _ in found.similar_experiences] == ids[:2]
    assert [e.id for e in found.recent_experiences] == ids[5:]
    assert [i.id for i in found.insights] == [insight]
    assert [r.id for r in found.relations] == edges[:2]
    assert [a.agent_id for a in found.active_agents] == ["ada"]
    bare = store.get_context_candidates(
        ContextRequest(
            team,
            vector(1.0),
            include_insights=False,
            include_relations=False,
            include_active_agents=False,
            filter=SearchFilter(domains=["other"]),
        )
    )
    assert bare == type(bare)()
