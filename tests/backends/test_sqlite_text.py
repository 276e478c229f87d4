"""What SQLite keeps of text indexes: blocks of postings, and what a search makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mycelia_storage.backends.sqlite import SQLiteStorageBackend, text_postings, text_waiting
from mycelia_storage.backends.sqlite.text_blocks import (
    LARGEST,
    Block,
    Change,
    base_of,
    change,
    disorder,
    encode,
    postings,
)
from mycelia_storage.contract import SearchHits, StorageBackend
from mycelia_storage.errors import StorageCorrupt
from mycelia_storage.filters import FilterInput, where
from mycelia_storage.indexes import FieldIndex, TextIndex
from mycelia_storage.testing.fixtures import eventually
from mycelia_storage.testing.texts import WORDS
from mycelia_storage.text import MOST_TERMS, to_float32

SEED = 20_261_121
INDEX = TextIndex({"text": 1.0, "title": 2.5})


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SQLiteStorageBackend]:
    with SQLiteStorageBackend({"dbPath": str(tmp_path / "s.db")}) as storage:
        yield storage


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write puts its words into the blocks at once."""
    monkeypatch.setattr(text_waiting, "MOST_ENTRIES", 0)


# -- blocks ------------------------------------------------------------------------------------------------------------


def read(blocks: list[Block]) -> dict[int, tuple[float, int]]:
    return {id: (tf, length) for block in blocks for id, tf, length in postings(block)}


@pytest.mark.parametrize(
    "posting",
    [(1.0, 1), (255.0, 255), (256.0, 256), (2.5, 7), (1.0, 65_535), (1.0, 65_536), (0.3, 2**31)],
)
@pytest.mark.parametrize("id", [1, 65_535, 65_536, 131_071, 2**32, 2**40, 2**62])
def test_a_block_keeps_any_posting(id: int, posting: tuple[float, int]) -> None:
    (block,) = encode(base_of(id), [(id, *posting)])
    assert read([block]) == {id: (to_float32(posting[0]), posting[1])}
    assert not disorder([block])
    (same,) = change(block, [(id, (3.0, 4))])
    assert read([same]) == {id: (3.0, 4)}
    assert change(same, [(id, None)]) == []


def test_most_postings_take_four_bytes() -> None:
    blocks = list(encode(0, [(id, 1.0, 20) for id in range(1, 1_001)]))
    assert sum(len(block.data) for block in blocks) == 4_000
    assert [len(block.data) for block in blocks[:-1]] == [LARGEST] * (len(blocks) - 1)


@pytest.mark.parametrize("spread", [300, 200_000, 2**34])
def test_blocks_changed_at_random_hold_what_a_dict_does(spread: int) -> None:
    random = Random(SEED + spread)
    held: dict[int, tuple[float, int]] = {}
    blocks: list[Block] = []
    highest = 0
    for step in range(400):
        batch: dict[int, tuple[float, int] | None] = {}
        for _ in range(random.choice([1, 1, 3, 40])):
            if random.random() < 0.5:
                highest += random.randrange(1, max(2, spread // 100))
                id = highest
            else:
                id = random.randrange(1, spread)
            posting = (random.choice([1.0, 2.0, 300.0, to_float32(0.3)]), random.choice([5, 80, 300, 70_000]))
            common = random.random() < 0.95
            batch[id] = None if random.random() < 0.3 else (1.0, 20) if common else posting
        blocks = changed(blocks, sorted(batch.items()))
        for id, wanted in batch.items():
            if wanted is None:
                held.pop(id, None)
            else:
                held[id] = wanted
        highest = max(highest, *batch)
        assert read(blocks) == held, f"seed {SEED}, step {step}"
        assert not disorder(blocks), f"seed {SEED}, step {step}"
        assert all(len(block.data) <= LARGEST for block in blocks)


def changed(blocks: list[Block], changes: list[Change]) -> list[Block]:
    """The blocks of a term after changes, each of which goes to the block that it belongs to."""
    found = list(blocks)
    for id, posting in changes:
        place = max((at for at, block in enumerate(found) if block.first <= id), default=None)
        if place is not None:
            found[place : place + 1] = change(found[place], [(id, posting)])
        elif posting is not None:
            found[0:0] = encode(base_of(id), [(id, *posting)])
    together: list[Block] = []
    for at, block in enumerate(blocks):
        until = blocks[at + 1].first if at + 1 < len(blocks) else 2**63
        part = [each for each in changes if block.first <= each[0] < until]
        together += change(block, part) if part else [block]
    before = [(id, *posting) for id, posting in changes if posting and (not blocks or id < blocks[0].first)]
    if before:
        together[0:0] = encode(base_of(before[0][0]), before)
    assert read(together) == read(found)
    return together


# -- upkeep ------------------------------------------------------------------------------------------------------------


def assert_as_defined(storage: StorageBackend, query: str, limit: int = 10, filter: FilterInput | None = None) -> Any:
    """The search gives what the contract's own gives."""
    found = storage.search_text(query, namespace="t", limit=limit, filter=filter)
    wanted: SearchHits = StorageBackend.search_text(storage, query, namespace="t", limit=limit, filter=filter)
    assert [hit.key for hit in found] == [hit.key for hit in wanted]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], rel=1e-6)
    assert [hit.entry for hit in found] == [hit.entry for hit in wanted]
    return found


def texts(random: Random, number: int, most: int = 30) -> dict[str, Any]:
    return {
        f"k{place:05}": {"text": " ".join(random.choices(WORDS, k=random.randrange(most))), "n": place}
        for place in range(number)
    }


def holds(storage: StorageBackend, key: str) -> bool:
    return bool({"garden", "raven"} & set(storage.get(key, namespace="t")["text"].split()))


def rows(storage: SQLiteStorageBackend) -> list[Any]:
    return storage._rows("SELECT * FROM storage_text_postings ORDER BY 1, 2, 3", ())


def test_a_write_that_leaves_the_text_alone_changes_no_posting(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", INDEX)
    storage.set_many(texts(Random(SEED), 50), namespace="t")
    storage._file.connection.execute("CREATE TABLE touched (n)")  # type: ignore[union-attr]
    for event in ("INSERT", "UPDATE", "DELETE"):
        note = f"AFTER {event} ON storage_text_postings BEGIN INSERT INTO touched VALUES (1); END"
        storage._file.connection.execute(f"CREATE TRIGGER at_{event} {note}")  # type: ignore[union-attr]
    storage._file.connection.config(1003, 1)  # type: ignore[union-attr] # SQLITE_DBCONFIG_ENABLE_TRIGGER
    entry = storage.get_entry("k00003", namespace="t")
    assert entry is not None
    storage.set_metadata("k00003", {"seen": 1}, namespace="t")
    storage.set("k00003", entry.value | {"n": -1}, namespace="t")
    assert storage._rows("SELECT count(*) FROM touched", ()) == [(0,)]
    storage.set("k00003", entry.value | {"text": entry.value["text"] + " raven garden"}, namespace="t")
    assert storage._rows("SELECT count(*) > 0 FROM touched", ()) == [(1,)]


@pytest.mark.parametrize("scattered", [0, 10**9], ids=["block by block", "in ranges"])
def test_either_way_to_find_blocks_keeps_the_index_right(
    storage: SQLiteStorageBackend, monkeypatch: pytest.MonkeyPatch, scattered: int
) -> None:
    monkeypatch.setattr(text_postings, "_SCATTERED", scattered)
    monkeypatch.setattr(text_postings, "_POSTINGS_A_RUN", 500)
    random = Random(SEED)
    storage.set_many(texts(random, 800), namespace="t")
    storage.create_index("t", INDEX)
    assert storage.check().problems == []
    for _ in range(4):
        held = list(texts(random, 1_000).items())
        storage.set_many(random.sample(held, 200), namespace="t")
        storage.delete_many([key for key, _ in random.sample(held, 60)], namespace="t")
        storage.set(*random.choice(held), namespace="t")
        assert storage.check().problems == []
        assert_as_defined(storage, "garden spore tree")


def test_building_gives_what_writing_gives(storage: SQLiteStorageBackend) -> None:
    random = Random(SEED)
    storage.create_index("t", INDEX)
    storage.set_many(texts(random, 700), namespace="t")
    storage.set_many(texts(random, 300), namespace="t")
    storage.delete_many([f"k{place:05}" for place in range(0, 700, 3)], namespace="t")
    assert storage.check().ok
    found = [(hit.key, hit.score) for hit in assert_as_defined(storage, "garden spore")]
    storage.drop_index("t", "text:text,title")
    assert rows(storage) == []
    storage.create_index("t", INDEX)
    assert storage.check().ok
    assert [(hit.key, hit.score) for hit in assert_as_defined(storage, "garden spore")] == found


def test_a_restored_entry_takes_the_place_of_an_expired_one_that_held_its_values(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", TextIndex("text"))
    storage.create_index("t", FieldIndex("n", unique=True))
    storage.set_many(texts(Random(SEED), 20), namespace="t")
    kept = [entry._replace(version=entry.version + 10) for entry in storage.scan(namespace="t")]
    storage.set("k00007", {"text": "garden", "n": -7}, namespace="t")
    storage.set("old", {"text": "garden raven", "n": 7}, namespace="t", ttl=0.01)
    eventually(lambda: not storage.has("old", namespace="t"))
    assert storage.restore(kept) == 20
    assert storage.count(namespace="t") == 20
    assert_as_defined(storage, "garden raven")
    assert storage.check().ok


def test_many_removed_at_once_are_out_of_the_index(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", TextIndex("text"))
    storage.set_many(texts(Random(SEED), 1_200), namespace="t")
    keys = [f"k{place:05}" for place in range(1_100)]
    assert storage.delete_many([*keys, "none", keys[0]], namespace="t") == 1_100
    assert_as_defined(storage, "garden raven", 50)
    storage.set_many(texts(Random(SEED), 600), namespace="t", ttl=0.01)
    eventually(lambda: not storage.has("k00001", namespace="t"))
    found = storage.search_text("garden raven", namespace="t", limit=50)  # statistics count what is not yet swept
    assert {hit.key for hit in found} == {key for key in storage.list(namespace="t") if holds(storage, key)}
    storage.optimize()
    assert storage.check().ok
    assert_as_defined(storage, "garden raven", 50)


def test_entries_far_apart_and_very_long_texts(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", INDEX)
    for place, id in enumerate([70_000, 3, 2**33, 2**50, 200_000, 2**33 + 5]):
        storage._file.connection.execute(  # type: ignore[union-attr]
            "INSERT OR REPLACE INTO storage_entries (id, namespace, key, value, created_at, updated_at, version)"
            " VALUES (?, 'filler', 'k', 'null', 1, 1, 1)",
            (id - 1,),
        )
        storage.set(f"k{place}", {"text": "raven " * (place + 1) + "owl"}, namespace="t")
        storage._file.connection.execute("DELETE FROM storage_entries WHERE namespace = 'filler'")  # type: ignore[union-attr]
        assert_as_defined(storage, "raven owl")
    storage.set("long", {"text": "raven garden " * 40_000}, namespace="t")
    storage.set("k2", {"text": "a raven at home"}, namespace="t")
    assert_as_defined(storage, "raven home")
    assert storage.check().ok


@pytest.mark.parametrize(
    "fault",
    [
        "DELETE FROM storage_text_postings WHERE term = 'garden'",
        "UPDATE storage_text_postings SET data = substr(data, 1, length(data) - 4) WHERE term = 'garden'",
        "UPDATE storage_text_postings SET data = CAST(data || x'00' AS BLOB) WHERE term = 'garden'",
        "UPDATE storage_text_postings SET first = first + 1 WHERE term = 'garden'",
        "UPDATE storage_text_postings SET term = 'gardens' WHERE term = 'garden'",
        "UPDATE storage_text_postings SET kind = kind + 1 WHERE term = 'garden'",
        "UPDATE storage_text_indexes SET entries = entries + 1",
        "UPDATE storage_text_indexes SET length = length - 1",
        "DELETE FROM storage_text_indexes",
        "UPDATE storage_entries SET value = '{\"text\": \"something else\"}' WHERE key = 'k00003'",
    ],
)
@pytest.mark.usefixtures("no_waiting")
def test_check_finds_what_does_not_agree(storage: SQLiteStorageBackend, fault: str) -> None:
    storage.create_index("t", INDEX)
    storage.set_many(texts(Random(SEED), 60), namespace="t")
    assert storage.check().ok
    storage._file.connection.execute(fault)  # type: ignore[union-attr]
    report = storage.check()
    assert not report.ok
    assert "'text:text,title' of namespace 't'" in " ".join(report.problems)
    storage.drop_index("t", "text:text,title")
    storage.create_index("t", INDEX)
    assert storage.check().ok


@pytest.mark.parametrize("waiting", [0, 1_000], ids=["in blocks", "waiting"])
@pytest.mark.parametrize(
    "fault",
    [
        "UPDATE storage_text_postings SET kind = 17",
        "UPDATE storage_text_postings SET data = CAST(data || x'00' AS BLOB)",
        "UPDATE storage_text_postings SET data = x''",
        "DELETE FROM storage_text_indexes",
    ],
)
def test_a_damaged_index_is_named_and_can_be_made_anew(
    storage: SQLiteStorageBackend, monkeypatch: pytest.MonkeyPatch, fault: str, waiting: int
) -> None:
    monkeypatch.setattr(text_waiting, "MOST_ENTRIES", waiting)
    storage.create_index("t", INDEX)
    storage.set_many(texts(Random(SEED), 60), namespace="t")
    storage._file.connection.execute(fault)  # type: ignore[union-attr]
    with suppress(StorageCorrupt):  # whatever is left of it, nothing but this
        storage.search_text("garden", namespace="t")
    with suppress(StorageCorrupt):
        storage.set("k00001", {"text": "garden spore raven"}, namespace="t")
    assert "'text:text,title' of namespace 't'" in " ".join(storage.check().problems)
    storage.drop_index("t", "text:text,title")
    storage.create_index("t", INDEX)
    assert storage.check().ok
    assert_as_defined(storage, "garden spore")


# -- words that wait --------------------------------------------------------------------------------------------------


def waiting(storage: SQLiteStorageBackend) -> int:
    return int(storage._rows("SELECT count(*) FROM storage_text_postings WHERE term = ''", ())[0][0])


@pytest.mark.parametrize("most", [3, 20, 10_000])
def test_what_waits_is_found_as_what_is_in_blocks(
    storage: SQLiteStorageBackend, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(text_waiting, "MOST_ENTRIES", most)
    random = Random(SEED)
    storage.set_many(texts(random, 60), namespace="t")
    storage.create_index("t", INDEX)
    for step in range(250):
        key = f"k{random.randrange(90):05}"
        text = " ".join(random.choices(WORDS, k=random.randrange(12)))
        match random.randrange(6):
            case 0:
                storage.delete(key, namespace="t")
            case 1:
                storage.set_many({key: {"text": text}, "k00003": {"title": text}, "k00095": {"n": 1}}, namespace="t")
            case 2:
                with suppress(ZeroDivisionError), storage.transaction() as tx:
                    tx.set(key, {"text": text + " raven"}, namespace="t")
                    assert_as_defined(tx, "raven garden", 40)
                    raise ZeroDivisionError
            case _:
                storage.set(key, {"text": text, "title": random.choice(WORDS)}, namespace="t")
        if step % 10 == 0:
            assert storage.check().problems == [], f"seed {SEED}, step {step}"
            assert_as_defined(storage, " ".join(random.choices(WORDS, k=3)), 40)
            assert_as_defined(storage, "raven", 5, where("$key") > "k00040")
    assert waiting(storage) <= most
    storage.clear(namespace="t")
    assert rows(storage) == []


def test_few_single_writes_touch_no_block_and_many_go_into_blocks_at_last(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", TextIndex("text"))
    for number in range(text_waiting.MOST_ENTRIES):
        storage.set(f"k{number}", {"text": "raven garden"}, namespace="t")
    assert waiting(storage) == len(rows(storage)) == text_waiting.MOST_ENTRIES
    storage.set("last", {"text": "raven"}, namespace="t")
    assert waiting(storage) == 0
    assert {row[1] for row in rows(storage)} == {"raven", "garden"}
    storage.set(
        "long", {"text": " ".join(f"word{number}" for number in range(text_waiting.MOST_BYTES // 8))}, namespace="t"
    )
    assert waiting(storage) == 0
    assert storage.check().ok


def test_an_entry_that_takes_the_row_of_a_deleted_one_takes_none_of_its_words(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", TextIndex("text"))
    storage.set_many(texts(Random(SEED), text_waiting.MOST_ENTRIES + 1), namespace="t")  # in blocks
    storage.set("old", {"text": "raven owl"}, namespace="t")
    storage.delete("old", namespace="t")
    storage.set("new", {"text": "garden"}, namespace="t")
    last = max(storage.list(namespace="t", pattern="k*"))
    storage.delete("new", namespace="t")
    storage.delete(last, namespace="t")
    storage.set("again", {"text": "garden owl"}, namespace="t")  # has the id of the one that the blocks still hold
    assert storage.check().problems == []
    assert_as_defined(storage, "raven owl garden", 200)


def test_what_waits_goes_into_blocks_in_the_background(tmp_path: Path) -> None:
    with SQLiteStorageBackend({"dbPath": str(tmp_path / "s.db"), "sweep_interval": 0.02}) as storage:
        storage.create_index("t", INDEX)
        storage.create_index("t", FieldIndex("n"))
        storage.set("a", {"text": "raven garden"}, namespace="t")
        assert waiting(storage) == 1
        assert_as_defined(storage, "raven")
        eventually(lambda: waiting(storage) == 0 and len(rows(storage)) == 2)
        assert storage.check().ok
        assert_as_defined(storage, "raven")


@pytest.mark.parametrize(
    "fault",
    [
        "DELETE FROM storage_text_postings WHERE first % 7 = 0",
        "UPDATE storage_text_postings SET data = CAST(replace(data, 'garden', 'gardens') AS BLOB)",
        "UPDATE storage_text_postings SET data = CAST(replace(data, '[]', '[\"owl\"]') AS BLOB)",
        "UPDATE storage_text_postings SET first = first + 1000",
        "UPDATE storage_text_indexes SET length = length - 1",
    ],
)
def test_check_finds_what_does_not_agree_among_what_waits(storage: SQLiteStorageBackend, fault: str) -> None:
    storage.create_index("t", INDEX)
    storage.set_many(texts(Random(SEED), 60), namespace="t")
    assert storage.check().ok
    storage._file.connection.execute(fault)  # type: ignore[union-attr]
    assert "'text:text,title' of namespace 't'" in " ".join(storage.check().problems)


def test_of_many_words_the_rarest_count_in_blocks_and_waiting(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", TextIndex("text"))
    vocabulary = [f"word{number}" for number in range(3 * MOST_TERMS)]
    storage.set_many(
        {f"b{place}": {"text": " ".join(vocabulary[: place % 30 * 6])} for place in range(200)}, namespace="t"
    )
    for place in range(30):
        storage.set(f"k{place}", {"text": " ".join(vocabulary[: (place + 1) * 6])}, namespace="t")
        storage.set(f"b{place}", {"text": "owl"}, namespace="t")
    assert waiting(storage)
    assert_as_defined(storage, " ".join(vocabulary), 30)


# -- search ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [False, True], ids=["no field index", "a field index"])
def test_filters_that_leave_few(storage: SQLiteStorageBackend, indexed: bool) -> None:
    storage.create_index("t", INDEX)
    if indexed:
        storage.create_index("t", FieldIndex("n"))
    storage.set_many(texts(Random(SEED), 3_000), namespace="t")
    for filter in (
        where("n") < 3,
        where("n") == 17,
        (where("n") > 2_000) & (where("n") < 2_012),
        where("n") >= 1_500,
        where("n") == -1,
        where("$key").ends_with("77"),
        where("text").contains("Größe") & (where("n") < 100),
    ):
        assert_as_defined(storage, "garden forest raven", 7, filter)
        assert_as_defined(storage, "garden", 1, filter)


def test_an_index_that_goes_is_not_asked_any_more(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", INDEX)
    storage.set_many(texts(Random(SEED), 2_000), namespace="t")
    for _ in range(2):
        assert_as_defined(storage, "garden forest", 5, where("n") < 2)
        storage.create_index("t", FieldIndex("n"))
        assert_as_defined(storage, "garden forest", 5, where("n") < 2)
        storage.drop_index("t", "n")


def test_many_ties_are_in_order_of_their_keys(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", INDEX)
    random = Random(SEED)
    keys = [f"k{place:04}" for place in range(900)]
    random.shuffle(keys)
    storage.set_many({key: {"text": "raven"} for key in keys}, namespace="t")
    assert [hit.key for hit in assert_as_defined(storage, "raven", 12)] == sorted(keys)[:12]
    assert [hit.key for hit in assert_as_defined(storage, "raven", 3, where("$key") > "k0500")] == [
        "k0501",
        "k0502",
        "k0503",
    ]


def test_of_many_words_the_rarest_count(storage: SQLiteStorageBackend) -> None:
    storage.create_index("t", TextIndex("text"))
    vocabulary = [f"word{number}" for number in range(3 * MOST_TERMS)]
    for place in range(30):
        storage.set(f"k{place}", {"text": " ".join(vocabulary[: (place + 1) * 6])}, namespace="t")
    found = assert_as_defined(storage, " ".join(vocabulary), 30)
    assert 0 < len(found) < 30
    assert found.plan["candidates"] == len(found)


def test_scattered_entries_are_added_up_without_an_array(
    storage: SQLiteStorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mycelia_storage.backends.sqlite import text_search

    monkeypatch.setattr(text_search, "_DENSE", 0)
    storage.create_index("t", INDEX)
    storage.set_many(texts(Random(SEED), 300), namespace="t")
    for name in range(40):
        storage.set_many({f"f{name}-{place}": 1 for place in range(50)}, namespace="filler")
        storage.set(f"x{name}", {"text": "raven garden"}, namespace="t")
    assert_as_defined(storage, "raven owl")
    assert_as_defined(storage, "raven garden tree", 100)


def test_a_search_sees_one_state_while_others_write(storage: SQLiteStorageBackend) -> None:
    import threading

    storage.create_index("t", TextIndex("text"))
    storage.set_many({f"k{place}": {"text": "raven one"} for place in range(20)}, namespace="t")
    stop = threading.Event()

    def write() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            word = "one" if step % 2 else "two"
            storage.set_many({f"k{place}": {"text": f"raven {word}"} for place in range(20)}, namespace="t")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(150):
            hits = storage.search_text("raven", namespace="t", limit=20)
            assert len(hits) == 20
            assert len({hit.entry.value["text"] for hit in hits}) == 1
    finally:
        stop.set()
        writer.join()
