"""How PostgreSQL goes about searches before it has statistics: right after a load into new tables, nobody having run
ANALYZE. Its plans are asked, not its clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import psycopg
import pytest

from mycelia_storage import MemoryStorageBackend
from mycelia_storage.backends.postgres import PostgresStorageBackend
from mycelia_storage.backends.postgres.pool import Link
from mycelia_storage.contract import SearchHits, StorageBackend
from mycelia_storage.filters import Filter, where
from mycelia_storage.indexes import FieldIndex, TextIndex, VectorIndex

Open = Callable[..., PostgresStorageBackend]
Node = dict[str, Any]
SEED = 20_261_121
ENTRIES = 2_000
SPACE, VECTORS = "texts", "vectors"


@pytest.fixture(scope="module")
def loaded(postgres_dsn: str) -> Iterator[PostgresStorageBackend]:
    """Texts and vectors in tables without statistics, under field indexes of one value, of few and of many."""
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        try:
            with PostgresStorageBackend(postgres_dsn, schema="unplanned", vector_exact_up_to=100) as storage:
                storage.create_index(SPACE, TextIndex("text"))
                for field in ("same", "part", "number"):
                    storage.create_index(SPACE, FieldIndex(field))
                storage.create_index(VECTORS, VectorIndex(4))
                storage.create_index(VECTORS, FieldIndex("$metadata.part"))
                for table in ("entries", "texts", "postings", "sums", "vectors"):
                    admin.execute(f"ALTER TABLE unplanned.storage_{table} SET (autovacuum_enabled = off)")
                storage.set_many(((f"k{number:05}", document(number)) for number in range(ENTRIES)), namespace=SPACE)
                vectors = [bytes_of(number) for number in range(ENTRIES)]
                storage.set_many(
                    [
                        {"key": f"k{number:05}", "value": vector, "metadata": document(number)}
                        for number, vector in enumerate(vectors)
                    ],
                    namespace=VECTORS,
                )
                found = admin.execute(
                    "SELECT count(*) FROM pg_statistic AS s JOIN pg_class AS c ON c.oid = s.starelid"
                    " WHERE c.relnamespace = 'unplanned'::regnamespace"
                ).fetchone()
                assert found == (0,)
                yield storage
        finally:
            admin.execute("DROP SCHEMA unplanned CASCADE")


def document(number: int) -> dict[str, Any]:
    return {"text": f"raven word{number % 7} rare{number // 9}", "same": 1, "part": number % 50, "number": number}


def bytes_of(number: int) -> bytes:
    import numpy

    return numpy.random.default_rng(number).normal(size=4).astype("<f4").tobytes()


def plans(storage: PostgresStorageBackend, act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The nodes that read a table, of the plans of every statement that a call makes for one query."""
    asked: list[tuple[dict[str, str], str, tuple[Any, ...]]] = []

    def rows(sql: str, parameters: tuple[Any, ...]) -> Any:
        asked.append(({}, sql, parameters))
        return PostgresStorageBackend._query_rows(storage, sql, parameters)

    def tuned(settings: dict[str, str], sql: str, parameters: tuple[Any, ...]) -> Any:
        asked.append((settings, sql, parameters))
        return PostgresStorageBackend._tuned_rows(storage, settings, sql, parameters)

    monkeypatch.setattr(storage, "_query_rows", rows)
    monkeypatch.setattr(storage, "_tuned_rows", tuned)
    act()
    assert asked
    found: list[Node] = []
    for settings, sql, parameters in asked:

        def explain(link: Link, settings: Any = settings, sql: str = sql, parameters: Any = parameters) -> Node:
            with link.connection.transaction():
                for name, value in settings.items():
                    link.connection.execute("SELECT set_config(%s, %s, true)", (name, value))
                plan = link.connection.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters).fetchall()[0][0]
                return plan[0]["Plan"]  # type: ignore[no-any-return]

        found += reads(storage._with_link(explain))
    return found


def reads(node: Node) -> Iterator[Node]:
    """Nodes that read a table by an index or as a whole; a bitmap as the index that it is made from."""
    if "Index Name" in node or node["Node Type"] == "Seq Scan":
        yield node
    for child in node.get("Plans", ()):
        yield from reads(child)


def assert_keys_are_looked_up(found: list[Node]) -> None:
    """Reads by key go by the primary key, whole; none goes through all of a field index, or of a table."""
    by_key = [node for node in found if "key = " in node.get("Index Cond", "") and "index_id" not in node["Index Cond"]]
    assert by_key
    for node in by_key:
        assert node["Index Name"] == "storage_entries_pkey"
        assert "namespace = " in node["Index Cond"]
        assert "tenant = " in node["Index Cond"]
    for node in found:
        if node.get("Relation Name") not in ("storage_sums", "storage_indexes"):
            assert node["Node Type"] != "Seq Scan", node
        if node.get("Index Name", "").startswith("mycelia_ix_") and "Index Cond" in node:
            assert "jsonb_typeof" in node["Index Cond"], node


FILTERS = [
    pytest.param(None, id="unfiltered"),
    pytest.param(where("part") == 7, id="indexed"),
    pytest.param(where("text").ends_with("rare7"), id="unindexed"),
    pytest.param(where("$key").starts_with("k001"), id="keys"),
    pytest.param(where("$key").starts_with("k001") & (where("same") == 1), id="keys and a field"),
]


@pytest.mark.parametrize("filter", FILTERS)
def test_a_text_search_looks_entries_up_by_their_key(
    loaded: PostgresStorageBackend, monkeypatch: pytest.MonkeyPatch, filter: Filter | None
) -> None:
    found = plans(loaded, lambda: loaded.search_text("raven rare7", namespace=SPACE, filter=filter), monkeypatch)
    assert_keys_are_looked_up(found)
    for node in found:
        if node.get("Relation Name") == "storage_postings" and "Index Cond" in node:
            assert "term = " in node["Index Cond"]


@pytest.mark.parametrize("exact", [True, None])
@pytest.mark.parametrize(
    "filter", [None, where("$metadata.part") == 7, where("$metadata.same") == 1, where("$key").starts_with("k001")]
)
def test_a_vector_search_looks_entries_up_by_their_key(
    loaded: PostgresStorageBackend, monkeypatch: pytest.MonkeyPatch, filter: Filter | None, exact: bool | None
) -> None:
    def search() -> SearchHits:
        return loaded.search_vectors(bytes_of(1), namespace=VECTORS, filter=filter, exact=exact)

    assert_keys_are_looked_up(plans(loaded, search, monkeypatch))


def test_a_vector_search_below_a_prefix_reads_no_entries_but_hits(
    loaded: PostgresStorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = where("$key").starts_with("k001")
    found = plans(
        loaded, lambda: loaded.search_vectors(bytes_of(1), namespace=VECTORS, filter=below, exact=True), monkeypatch
    )
    vectors, entries = found
    assert vectors["Index Name"] == "storage_vectors_pkey"
    assert "index_id = " in vectors["Index Cond"]
    assert "key >= " in vectors["Index Cond"]
    assert "key = " in entries["Index Cond"]


@pytest.mark.parametrize(
    "filter",
    [
        where("$key") == "k00007",
        where("$key").is_in(["k00007", "k01999"]),
        (where("$key") == "k00007") | (where("$key") == "k00008"),
        where("$key").is_in(["k00007", "k01999"]) & (where("same") == 1),
    ],
)
def test_a_query_for_keys_looks_them_up(
    loaded: PostgresStorageBackend, monkeypatch: pytest.MonkeyPatch, filter: Filter
) -> None:
    assert_keys_are_looked_up(plans(loaded, lambda: loaded.query(filter, namespace=SPACE), monkeypatch))


def test_a_query_below_a_prefix_reads_that_range(
    loaded: PostgresStorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = plans(loaded, lambda: loaded.query(where("$key").starts_with("k0012"), namespace=SPACE), monkeypatch)
    assert [node["Index Name"] for node in found] == ["storage_entries_pkey"]
    assert "key >= " in found[0]["Index Cond"]


# -- from either end, the same answers -------------------------------------------------------------------------------


def test_filtered_text_searches_answer_as_in_memory(open_one: Open) -> None:
    """Filters of an index that let few and many through, of keys, and without an index."""
    random = Random(SEED)
    storages: list[StorageBackend] = [MemoryStorageBackend(), open_one()]
    items = [
        {
            "key": f"k{number:03}",
            "value": {
                "text": " ".join(["raven", *random.choices("abcdefg", k=5)]),
                "n": number % 9,
                "%id%": number % 3,
                "rare": number // 390,
            },
            "ttl": 1_000 if number % 5 else None,
        }
        for number in range(400)
    ]
    filters = [
        where("n") == 3,
        where("n") >= 1,
        where("n").is_in([2, 5]) & (where("%id%") == 1),
        where("$key").starts_with("k01"),
        where("$key").is_in(["k001", "k300", "k999"]),
        where("rare") == 1,
        where("rare") == 2,
        where("%id%") == 2,
    ]
    for storage in storages:
        storage.create_index("%limit%{s}", TextIndex("text"))
        storage.create_index("%limit%{s}", FieldIndex("n"))
        storage.set_many(items, namespace="%limit%{s}")
    for filter in filters:
        for limit in (1, 8, 500):
            memory, server = (
                [
                    (hit.key, hit.score, hit.entry.value)
                    for hit in one.search_text("raven a c", namespace="%limit%{s}", filter=filter, limit=limit)
                ]
                for one in storages
            )
            assert server == memory
    storages[0].close()


def test_a_filter_of_an_index_is_asked_first(open_one: Open) -> None:
    """What it lets through is looked at, and no other candidate; unless it lets so many through that the best do."""
    storage = open_one()
    storage.create_index("t", TextIndex("text"))
    storage.create_index("t", FieldIndex("n"))
    storage.set_many(
        ((f"k{number:04}", {"text": "raven owl", "n": number % 100}) for number in range(1_000)), namespace="t"
    )

    def looked_at(filter: Filter) -> int:
        return int(storage.search_text("raven", namespace="t", filter=filter, limit=5).plan["candidates"])

    assert looked_at(where("n") == 3) == 10
    assert looked_at(where("n") >= 1) == 200
    assert looked_at(where("text").ends_with("nothing")) == 0  # not one in 200 matched, so all were asked


def test_statements_of_searches_are_not_remembered(open_one: Open) -> None:
    storage = open_one()
    for number in range(3):
        storage.create_index(f"t{number}", TextIndex("text"))
        storage.set("k", {"text": "raven"}, namespace=f"t{number}")
    known = 0
    for number in range(3):
        assert storage.search_text("raven", namespace=f"t{number}", filter=where("text") == "raven")
        known = known or len(storage._place._texts)
    assert len(storage._place._texts) == known


def test_a_filter_may_name_what_statements_are_filled_with(open_one: Open) -> None:
    storage = open_one()
    names = ("%id%", "%live%", "%size%", "%where%", "%candidates%", "{s}", "%s")
    storage.create_index("v", VectorIndex(4))
    storage.set_many(
        [
            {"key": f"k{number}", "value": bytes_of(number), "metadata": dict.fromkeys(names, number)}
            for number in range(9)
        ],
        namespace="v",
    )
    for name in names:
        hits = storage.search_vectors(bytes_of(1), namespace="v", filter=where(f"$metadata.{name}") == 5)
        assert [hit.key for hit in hits] == ["k5"]
