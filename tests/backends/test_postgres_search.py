"""PostgreSQL's text and vector indexes: right under concurrent writers, the same answers as elsewhere, graphs, tenants,
partitions, and what check() sees.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import numpy
import psycopg
import pytest

from mycelia_storage import MemoryStorageBackend, copy_storage
from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.backends.postgres.opening import open_migrator
from mycelia_storage.backends.postgres.pool import Link
from mycelia_storage.contract import SearchHits, StorageBackend
from mycelia_storage.errors import (
    BackendUnavailable,
    IndexFull,
    IndexNotFound,
    InvalidValue,
    StorageBusy,
    StorageReadOnly,
)
from mycelia_storage.filters import where
from mycelia_storage.indexes import FieldIndex, Metric, TextIndex, VectorIndex
from mycelia_storage.similarity import scores
from mycelia_storage.testing.texts import assert_same_ranking, by_definition
from tests.postgres_server import PostgresSchemas

Open = Callable[..., PostgresStorageBackend]
SEED = 20_261_121
WORDS = [
    f"{start}{end}" for start in ["raven", "owl", "spore", "root", "rain"] for end in ("", "wing", "fall", "song", "y")
]


def text(random: Random, most: int = 12) -> str:
    return " ".join(random.choice(WORDS) for _ in range(random.randrange(1, most)))


def pairs(hits: SearchHits) -> list[tuple[str, float]]:
    return [(hit.key, hit.score) for hit in hits]


def clusters(count: int, dimensions: int) -> numpy.ndarray[Any, Any]:
    """Vectors around some centres."""
    generator = numpy.random.default_rng(SEED)
    centres = generator.normal(size=(count // 50, dimensions))
    found = centres[generator.integers(len(centres), size=count)] + 0.5 * generator.normal(size=(count, dimensions))
    return found.astype("<f4")


# -- the same answers as elsewhere -----------------------------------------------------------------------------------


def test_text_search_ranks_as_in_memory(open_one: Open) -> None:
    random = Random(SEED)
    storages: list[StorageBackend] = [MemoryStorageBackend(), open_one()]
    index = TextIndex({"text": 1.0, "title": 2.5, "$metadata.context": 0.3})
    items = [
        {"key": f"k{number}",
         "value": {"text": f"{text(random, 30)} rare{number // 9}", "title": text(random, 4), "n": number % 7},
         "metadata": {"context": text(random)}}
        for number in range(200)
    ]  # fmt: skip
    for storage in storages:
        storage.create_index("t", index)
        storage.set_many(items, namespace="t")
        storage.delete_many([f"k{number}" for number in range(0, 200, 9)], namespace="t")
    for _ in range(12):
        query = f"{text(random)} rare{random.randrange(25)}"
        for filter in (None, where("n") == 3, where("n") == 99):
            for limit in (1, 10):
                memory, server = (
                    pairs(one.search_text(query, namespace="t", filter=filter, limit=limit)) for one in storages
                )
                assert server == memory
    storages[0].close()


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_exact_vector_search_answers_as_in_memory(open_one: Open, metric: Metric) -> None:
    vectors = clusters(200, 24)
    vectors[10:40] = vectors[10]  # ties go by key
    vectors[50] *= 1e30
    vectors[51] *= 1e-30
    vectors[52:55] *= numpy.float32(7e4)
    storages: list[StorageBackend] = [MemoryStorageBackend(), open_one()]
    for storage in storages:
        storage.create_index("v", VectorIndex(24, metric))
        storage.set_many(
            [
                {"key": f"k{number}", "value": vector.tobytes(), "metadata": {"n": number % 9}}
                for number, vector in enumerate(vectors)
            ],
            namespace="v",
        )
    queries = [*vectors[8:11], vectors[50], vectors[51], -vectors[52], vectors[10] * 3]
    for query in queries:
        for filter in (None, where("$metadata.n") == 3, where("$key").starts_with("k5"), where("$key") == "k52"):
            for limit in (7, 100):
                memory, server = (
                    pairs(one.search_vectors(query, namespace="v", limit=limit, filter=filter, exact=True))
                    for one in storages
                )
                assert server == memory
    assert storages[1].check().ok
    storages[0].close()


def test_filters_too_large_for_a_statement_are_asked_here(open_one: Open) -> None:
    storage = open_one()
    storage.create_index("t", TextIndex("text"))
    storage.set_many({f"k{number}": {"text": "raven", "n": number} for number in range(20)}, namespace="t")
    wide = where("n") == 3
    for number in range(5_100):
        wide = wide | (where(f"f{number}") == number)
    assert [hit.key for hit in storage.search_text("raven", namespace="t", filter=wide)] == ["k3"]


@pytest.mark.parametrize("backward", [False, True])
def test_both_kinds_of_index_are_copied_and_kept_at_the_other_end(open_one: Open, backward: bool) -> None:
    memory, server = MemoryStorageBackend(), open_one()
    source, destination = (server, memory) if backward else (memory, server)
    vectors = clusters(100, 4)
    source.create_index("n", VectorIndex(4, "l2", m=5))
    source.create_index("n", TextIndex({"$metadata.note": 2.0, "$key": 0.5}), name="notes")
    source.set_many(
        [
            {"key": f"k{number}", "value": vectors[number].tobytes(), "metadata": {"note": f"raven {number % 7}"}}
            for number in range(100)
        ],
        namespace="n",
    )
    assert copy_storage(source, destination).ok
    assert destination.list_indexes("n") == source.list_indexes("n")
    texts = [pairs(one.search_text("raven 3", namespace="n")) for one in (source, destination)]
    assert texts[0] == texts[1] != []
    near = [pairs(one.search_vectors(vectors[5], namespace="n")) for one in (source, destination)]
    assert near[0] == near[1]
    assert destination.check().ok
    memory.close()


# -- graphs ----------------------------------------------------------------------------------------------------------


def graph_names(admin: psycopg.Connection, schema: str) -> list[str]:
    found = admin.execute(
        "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%% USING hnsw %%'", (schema,)
    )
    return [name for (name,) in found.fetchall()]


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_a_graph_finds_almost_all_filtered_too(open_one: Open, admin: psycopg.Connection, metric: Metric) -> None:
    storage = open_one(vector_exact_up_to=1_000)
    vectors = clusters(3_000, 32)
    items = [
        {"key": f"k{number}", "value": vector.tobytes(), "metadata": {"half": number % 2, "n": number % 20,
         "rare": number % 200}}
        for number, vector in enumerate(vectors)
    ]  # fmt: skip
    storage.set_many(items[:2_000], namespace="v")
    storage.create_index("v", VectorIndex(32, metric))  # builds the graph over what is there
    assert len(graph_names(admin, storage.settings.schema)) == 1
    storage.set_many(items[2_000:], namespace="v")  # and these are compared one by one
    compare_with_exact(storage, vectors, metric)
    storage.optimize()  # until upkeep moves them into the graph
    loose = f"SELECT count(*) FROM {storage.settings.schema}.storage_vectors WHERE state = 0"
    assert admin.execute(loose).fetchall() == [(0,)]
    compare_with_exact(storage, vectors, metric)
    assert storage.check().ok
    storage.set("new", vectors[7].tobytes(), namespace="v")
    assert {"new", "k7"} >= {hit.key for hit in storage.search_vectors(vectors[7], namespace="v", limit=2)} or (
        metric == "dot"
    )
    storage.delete_many([f"k{number}" for number in range(0, 3_000, 2)], namespace="v")
    hits = storage.search_vectors(vectors[1], namespace="v", limit=50, filter=where("$metadata.half") == 1)
    assert len(hits) == 50
    assert storage.drop_index("v", f"vector:{metric}")
    storage.optimize()
    assert graph_names(admin, storage.settings.schema) == []


def compare_with_exact(storage: StorageBackend, vectors: numpy.ndarray[Any, Any], metric: Metric) -> None:
    generator = numpy.random.default_rng(SEED)
    methods = set()
    for filter, chosen in (
        (None, vectors),
        (where("$metadata.half") == 1, vectors[1::2]),
        (where("$metadata.n") == 3, vectors[3::20]),
        (where("$metadata.rare") == 5, vectors[5::200]),
    ):
        agreed = wanted = 0
        for number in generator.integers(len(vectors), size=12):
            query = vectors[number] + 0.1
            hits = storage.search_vectors(query, namespace="v", filter=filter)
            assert len(hits) == min(10, len(chosen))
            methods.add(hits.plan["method"])
            nearest = sorted(scores(chosen, query, metric).tolist(), reverse=True)[: len(hits)]
            agreed += sum(hit.score >= nearest[-1] for hit in hits)
            wanted += len(hits)
        assert agreed >= 0.95 * wanted, filter
    assert methods == {"graph", "exact"}


def test_a_graph_begins_by_itself_when_there_are_many(open_one: Open) -> None:
    storage = open_one(vector_exact_up_to=100)
    vectors = clusters(300, 8)
    storage.create_index("v", VectorIndex(8))
    storage.set_many({f"k{number}": vector.tobytes() for number, vector in enumerate(vectors)}, namespace="v")
    assert storage.search_vectors(vectors[0], namespace="v").plan["method"] == "exact"
    storage.optimize()
    assert storage.search_vectors(vectors[0], namespace="v").plan["method"] == "graph"
    assert storage.search_vectors(vectors[0], namespace="v", exact=True).plan["method"] == "exact"
    with storage.transaction() as tx:
        tx.set("mine", vectors[5].tobytes(), namespace="v")
        hits = tx.search_vectors(vectors[5], namespace="v", limit=2)
        assert ("mine" in {hit.key for hit in hits}, hits.plan["method"]) == (True, "graph")
        assert tx._rows("SHOW enable_sort", ()) == [("on",)]  # type: ignore[attr-defined]
        tx.clear(namespace="v")
        assert tx.search_vectors(vectors[5], namespace="v") == []
    assert storage.search_vectors(vectors[5], namespace="v") == []


def test_a_short_range_of_keys_is_compared_without_the_graph(open_one: Open) -> None:
    storage = open_one(vector_exact_up_to=100)
    vectors = clusters(600, 8)
    storage.create_index("v", VectorIndex(8))
    storage.set_many(
        {f"{number % 50:02}/{number}": vector for number, vector in enumerate(map(bytes, vectors))}, namespace="v"
    )
    storage.optimize()

    def search(prefix: str) -> SearchHits:
        return storage.search_vectors(vectors[7], namespace="v", filter=where("$key").starts_with(prefix), limit=5)

    assert storage.search_vectors(vectors[7], namespace="v").plan["method"] == search("").plan["method"] == "graph"
    short = search("07/")
    assert short.plan["method"] == "exact"
    assert short[0].key == "07/7"
    assert all(hit.key.startswith("07/") for hit in short)
    assert search("0").plan["method"] == "graph"


def test_dimensions_beyond_a_graph_are_searched_exactly(open_one: Open, admin: psycopg.Connection) -> None:
    storage = open_one(vector_exact_up_to=2)
    vectors = clusters(100, 4_100)
    storage.create_index("v", VectorIndex(4_100))
    storage.set_many({f"k{number}": vectors[number].tobytes() for number in range(5)}, namespace="v")
    storage.optimize()
    assert graph_names(admin, storage.settings.schema) == []
    hits = storage.search_vectors(vectors[3], namespace="v", limit=1)
    assert ([hit.key for hit in hits], hits.plan["method"]) == (["k3"], "exact")


# -- concurrent writers ----------------------------------------------------------------------------------------------


def test_writers_of_the_same_keys_leave_the_indexes_right(open_one: Open) -> None:
    storage = open_one()
    other = open_one(schema=storage.settings.schema)
    index = TextIndex("text")
    storage.create_index("t", index)
    storage.create_index("v", VectorIndex(4))
    vectors = clusters(100, 4)

    def hammer(worker: int) -> None:
        random = Random(SEED + worker)
        mine = (storage, other)[worker % 2]
        for step in range(90):
            key = f"k{random.randrange(4)}"
            action = random.randrange(7)
            if action < 3:
                ttl = 0.001 if action == 2 else None
                mine.set(key, {"text": text(random)}, namespace="t", ttl=ttl)
                mine.set(key, vectors[step].tobytes(), namespace="v", ttl=ttl)
            elif action == 3:
                mine.delete(key, namespace="t")
                mine.delete_many([key, "k0"], namespace="v")
            elif action == 4:
                mine.set_many({key: {"text": text(random)}, "k1": {"text": text(random)}}, namespace="t")
                mine.set_many({key: vectors[step].tobytes(), "k1": vectors[1].tobytes()}, namespace="v")
            elif action == 5:

                def both(tx: StorageBackend, key: str = key) -> None:
                    tx.set(key, {"text": text(random)}, namespace="t")
                    tx.set(key, vectors[0].tobytes(), namespace="v")

                mine.run_transaction(both, attempts=50)
            else:
                mine.clear(namespace=random.choice("tv"))
            if step % 20 == 7:
                mine.optimize()

    def safely(worker: int) -> None:
        for _ in range(3):
            try:
                hammer(worker)
            except StorageBusy:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(safely, worker) for worker in range(4)]:
            done.result()
    storage.set("last", {"text": "raven owl"}, namespace="t")
    storage.optimize()  # expired entries count until they are swept
    assert storage.check().problems == []
    for query in ("raven", "owl rain", "spore rootfall rainsong"):
        assert_same_ranking(storage.search_text(query, namespace="t"), by_definition(storage, query, index, 10))


def test_an_index_is_never_over_full_whoever_writes(open_one: Open) -> None:
    storage = open_one()
    storage.create_index("v", VectorIndex(2, max_vectors=10))
    vector = numpy.ones(2, dtype="<f4").tobytes()

    def write(worker: int) -> int:
        written = 0
        for number in range(8):
            try:
                storage.set(f"{worker}-{number}", vector, namespace="v")
                written += 1
            except IndexFull:
                pass
        return written

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(4))) == 10
    assert storage.count(namespace="v") == 10
    with pytest.raises(IndexFull):
        storage.restore([entry._replace(key=f"r{entry.key}") for entry in storage.scan(namespace="v")])
    assert storage.check().ok


def test_an_index_made_or_dropped_elsewhere_is_noticed(open_one: Open) -> None:
    storage = open_one()
    other = open_one(schema=storage.settings.schema)
    storage.set("before", {"text": "raven"}, namespace="t")
    other.create_index("t", TextIndex("text"))
    storage.set("after", {"text": "raven"}, namespace="t")
    assert len(other.search_text("raven", namespace="t")) == 2
    other.create_index("v", VectorIndex(2))
    with pytest.raises(InvalidValue):
        storage.set("a", {"no": "vector"}, namespace="v")
    other.drop_index("v", "vector:cosine")
    assert storage.set("a", {"no": "vector"}, namespace="v") > 0
    assert storage.check().ok


# -- care ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "sign"),
    [
        ("UPDATE {s}.storage_texts SET terms = 'owl' WHERE key = 'a'", "disagrees with the entry 'a'"),
        ("DELETE FROM {s}.storage_texts WHERE key = 'a'", "disagrees with the entry 'a'"),
        ("DELETE FROM {s}.storage_postings WHERE term = 'raven'", "postings"),
        ("UPDATE {s}.storage_postings SET number = 9", "postings"),
        ("UPDATE {s}.storage_sums SET entries = entries + 1", "sums"),
        ("UPDATE {s}.storage_vectors SET embedding = '[1,5]' WHERE key = 'a'", "disagrees with the entry 'a'"),
        ("DELETE FROM {s}.storage_vectors WHERE key = 'a'", "disagrees with the entry 'a'"),
        ("UPDATE {s}.storage_vectors SET state = 2 WHERE key = 'a'", "disagrees with the entry 'a'"),
        ("UPDATE {s}.storage_vectors SET key = 'z' WHERE key = 'a'", "'z', which has no entry"),
        ("UPDATE {s}.storage_texts SET key = 'z' WHERE key = 'a'", "'z', which has no entry"),
    ],
)
def test_check_sees_a_fault(open_one: Open, admin: psycopg.Connection, fault: str, sign: str) -> None:
    storage = open_one()
    storage.create_index("t", TextIndex("text"))
    storage.create_index("v", VectorIndex(2))
    storage.set("a", {"text": "raven"}, namespace="t")
    storage.set("a", numpy.ones(2, dtype="<f4").tobytes(), namespace="v")
    assert storage.check().ok
    admin.execute(fault.format(s=storage.settings.schema))
    assert any(sign in problem for problem in storage.check().problems)


def test_a_server_without_pgvector_says_so_and_does_the_rest(postgres_dsn: str, admin: psycopg.Connection) -> None:
    admin.execute("CREATE ROLE plain LOGIN")
    admin.execute("CREATE DATABASE without")
    url = postgres_dsn.replace("/postgres?", "/without?")
    with psycopg.connect(url, autocommit=True) as own:
        own.execute("REVOKE CREATE ON DATABASE without FROM PUBLIC; CREATE SCHEMA mycelia AUTHORIZATION plain")
    try:
        with PostgresStorageBackend(url.replace("user=postgres", "user=plain")) as storage:
            with pytest.raises(BackendUnavailable, match="pgvector"):
                storage.create_index("v", VectorIndex(2))
            assert storage.list_indexes("v") == {}
            storage.set("a", b"anything", namespace="v")
            storage.create_index("t", TextIndex("text"))
            storage.set("a", {"text": "raven"}, namespace="t")
            assert [hit.key for hit in storage.search_text("raven", namespace="t")] == ["a"]
            assert storage.check().ok
            storage.optimize()
    finally:
        admin.execute("DROP DATABASE without WITH (FORCE)")
        admin.execute("DROP ROLE plain")


def test_going_down_takes_search_along_and_up_again_starts_anew(postgres_schemas: PostgresSchemas) -> None:
    options = {"url": postgres_schemas.url, "schema": postgres_schemas.new()}
    vector = numpy.ones(2, dtype="<f4").tobytes()
    with PostgresStorageBackend(options) as storage:
        storage.create_index("t", TextIndex("text"))
        storage.create_index("v", VectorIndex(2))
        storage.create_index("t", FieldIndex("text", unique=True), name="one")
        storage.set("a", {"text": "raven"}, namespace="t")
        storage.set("a", vector, namespace="v")
    with open_migrator(options) as migrator:
        assert migrator.down(2) == [3]
        assert migrator.up() == [3]
    with PostgresStorageBackend(options) as storage:
        assert list(storage.list_indexes("t")) == ["one"]
        with pytest.raises(IndexNotFound):
            storage.search_text("raven", namespace="t")
        storage.set("b", b"no vector", namespace="v")
        storage.delete("b", namespace="v")
        storage.create_index("t", TextIndex("text"))
        storage.create_index("v", VectorIndex(2))
        assert [hit.key for hit in storage.search_text("raven", namespace="t")] == ["a"]
        assert [hit.key for hit in storage.search_vectors([1, 1], namespace="v")] == ["a"]
        assert storage.check().ok


def test_partitions_and_hostile_schemas_search_alike(postgres_dsn: str, admin: psycopg.Connection) -> None:
    schema = "odd 'name\" {s} % \\"
    quoted = '"' + schema.replace('"', '""') + '"'
    try:
        with PostgresStorageBackend(
            postgres_dsn, schema=schema, partitions=3, vector_exact_up_to=20, prepare=False
        ) as storage:
            vectors = clusters(100, 8)
            for name in ("one", "two {t} %s 'x'", "three"):
                storage.create_index(name, VectorIndex(8))
                storage.create_index(name + "/texts", TextIndex("text"))
                storage.set_many({f"{{k}}%{n}": vectors[n].tobytes() for n in range(60)}, namespace=name)
                storage.set_many(
                    {f"k{n}": {"text": "raven {x} %s", "{f}%": n} for n in range(9)}, namespace=name + "/texts"
                )
            storage.optimize()
            for name in ("one", "two {t} %s 'x'", "three"):
                hits = storage.search_vectors(vectors[9], namespace=name, limit=1)
                assert ([hit.key for hit in hits], hits.plan["method"]) == (["{k}%9"], "graph")
                odd = storage.search_vectors(vectors[9], namespace=name, limit=1, filter=where("$key") == "{k}%8")
                assert [hit.key for hit in odd] == ["{k}%8"]
                filter = where(("{f}%",)) == 4
                assert [hit.key for hit in storage.search_text("raven", namespace=name + "/texts", filter=filter)] == [
                    "k4"
                ]
            assert storage.check().ok
    finally:
        admin.execute(f"DROP SCHEMA {quoted} CASCADE")


def test_a_namespace_without_such_an_index_is_written_as_before(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_one()
    storage.create_index("t", TextIndex("text"))
    storage.set("a", {"text": "raven"}, namespace="t")
    storage.set("a", {"text": "raven"}, namespace="plain")
    calls: list[str] = []
    for name in ("put", "one", "rows", "script"):
        kept = getattr(Link, name)

        def counted(link: Link, *given: Any, name: str = name, kept: Any = kept, **more: Any) -> Any:
            calls.append(name)
            return kept(link, *given, **more)

        monkeypatch.setattr(Link, name, counted)
    storage.set("b", {"text": "raven"}, namespace="plain")
    storage.delete("a", namespace="plain")
    assert calls == ["put", "one"]
    storage.set("b", {"text": "raven"}, namespace="t")
    assert calls == ["put", "one", "one"]  # nor does one that has it take another round trip


def test_a_role_that_owns_no_table_searches_and_keeps(
    open_one: Open, admin: psycopg.Connection, postgres_dsn: str
) -> None:
    owner = open_one(vector_exact_up_to=5)
    schema = owner.settings.schema
    admin.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    admin.execute(f"DROP TABLE IF EXISTS {schema}.storage_vectors")
    admin.execute(f"CREATE ROLE keeper LOGIN; GRANT USAGE ON SCHEMA {schema} TO keeper")
    admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO keeper")
    admin.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO keeper")
    vectors = clusters(100, 4)
    try:
        storage = open_one(
            url=postgres_dsn.replace("user=postgres", "user=keeper"), schema=schema, vector_exact_up_to=5
        )
        with pytest.raises(StorageReadOnly):
            storage.create_index("v", VectorIndex(4))
        owner.create_index("others", VectorIndex(4))  # makes the table, with the grants that the others have
        storage.create_index("v", VectorIndex(4))
        storage.create_index("t", TextIndex("text"))
        storage.set_many({f"k{number}": vectors[number].tobytes() for number in range(20)}, namespace="v")
        storage.set("a", {"text": "raven"}, namespace="t")
        storage.optimize()
        hits = storage.search_vectors(vectors[3], namespace="v", limit=1)
        assert ([hit.key for hit in hits], hits.plan["method"]) == (["k3"], "exact")
        owner.optimize()  # who owns the table can build the graph
        hits = storage.search_vectors(vectors[3], namespace="v", limit=1)
        assert ([hit.key for hit in hits], hits.plan["method"]) == (["k3"], "graph")
        assert [hit.key for hit in storage.search_text("raven", namespace="t")] == ["a"]
        assert storage.check().ok
        storage.close()
    finally:
        admin.execute("DROP OWNED BY keeper; DROP ROLE keeper")


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_one_large_vector_does_not_make_searches_read_all(open_one: Open, metric: Metric) -> None:
    storage = open_one()
    vectors = clusters(400, 8)
    vectors[3] *= 1e20
    storage.create_index("v", VectorIndex(8, metric))
    storage.set_many({f"k{number}": vector.tobytes() for number, vector in enumerate(vectors)}, namespace="v")
    hits = storage.search_vectors(vectors[5], namespace="v", exact=True)
    assert hits.plan["candidates"] < 50
    found = scores(vectors, vectors[5], metric).tolist()
    assert [hit.score for hit in hits] == sorted(found, reverse=True)[:10]
    storage.delete("k3", namespace="v")
    assert storage.check().ok
