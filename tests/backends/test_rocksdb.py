"""What only the RocksDB backend has: its folder and layout, its indexes' encoding, what it reads for a query."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from mycelia_storage import FieldIndex, RocksDBStorageBackend, where
from mycelia_storage.backends.rocksdb import layout, planning, state as state_module
from mycelia_storage.backends.rocksdb.folder import MARK
from mycelia_storage.backends.rocksdb.index_keys import MAX_TEXT, encode_field, field_end
from mycelia_storage.backends.rocksdb.space import RocksDBSpace
from mycelia_storage.backends.rocksdb.view import View
from mycelia_storage.config import open_storage
from mycelia_storage.contract import Entry, StorageBackend
from mycelia_storage.dumps import parse_dump_line
from mycelia_storage.errors import (
    ForeignDatabase,
    InvalidConfig,
    InvalidInput,
    KeyExists,
    SchemaTooNew,
    StorageBusy,
    StorageClosed,
    StorageCorrupt,
    StorageReadOnly,
    TransactionError,
)
from mycelia_storage.field_paths import MISSING
from mycelia_storage.filters import match, parse_sort

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-5, 5)
    | st.integers(2**53 - 3, 2**53 + 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 2.0**53, 2.0**63, -(2.0**63)])
    | st.text(st.sampled_from("a\0\x01\x7fé\uffff\U0001f600"), max_size=4)
)
FOUND = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def storage(path: Path) -> Iterator[RocksDBStorageBackend]:
    with RocksDBStorageBackend(path) as storage:
        yield storage


def everything(storage: StorageBackend) -> list[Entry]:
    return [entry for name in storage.list_namespaces() for entry in storage.scan(namespace=name)]


# -- the order of index rows -----------------------------------------------------------------------------------------


def place(found: Any) -> Any:
    """Where the contract sorts a field."""
    entry = Entry("n", "k", {} if found is MISSING else {"f": found}, {}, 1, 1, 1, None)
    return parse_sort("f"), entry


@settings(derandomize=True, deadline=None, max_examples=1_000)
@given(FOUND | st.just(MISSING), FOUND | st.just(MISSING))
def test_encoded_fields_are_in_the_order_of_sorts(left: Any, right: Any) -> None:
    order, first = place(left)
    _, second = place(right)
    first, second = first._replace(key="2"), second._replace(key="1")  # ties go to the second
    sorted_keys = [entry.key for entry in order.sorted([first, second])]
    a, b = encode_field(left), encode_field(right)
    assert sorted_keys == (["2", "1"] if a < b else ["1", "2"])
    for encoded in (a, b):
        assert field_end(encoded + b"\x04next\0key", 0) == len(encoded)


def test_numbers_beyond_doubles_are_told_apart() -> None:
    numbers = [2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2, 2**62, 2**62 + 1, 2**63 - 2, 2**63 - 1, float(2**63)]
    for signed in (numbers, [-number for number in reversed(numbers)]):
        encoded = [encode_field(number) for number in signed]
        assert encoded == sorted(set(encoded))
    assert encode_field(2**53) == encode_field(2.0**53)
    assert encode_field(0) == encode_field(-0.0)


def test_long_texts_share_an_encoding_and_are_compared_again(storage: RocksDBStorageBackend) -> None:
    long = "é" * MAX_TEXT
    storage.create_index("n", FieldIndex("t", unique=True))
    for key, text in {"a": long + "b", "b": long + "a", "c": long, "d": "é"}.items():
        storage.set(key, {"t": text}, namespace="n")
    assert [entry.key for entry in storage.query(where("t") == long + "a", namespace="n")] == ["b"]
    assert [entry.key for entry in storage.query(where("t") > long, sort="t", namespace="n")] == ["b", "a"]
    assert [entry.key for entry in storage.query(sort="-t", namespace="n")] == ["a", "b", "c", "d"]
    assert [entry.key for entry in storage.query(where("t").starts_with(long), namespace="n")] == ["a", "b", "c"]
    assert storage.check().ok


# -- what a query reads ----------------------------------------------------------------------------------------------


class Reads:
    """Counts the entries decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        decode = layout.unpack_entry

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return decode(*arguments)

        assert planning.layout is state_module.layout is layout
        monkeypatch.setattr(layout, "unpack_entry", counted)

    def of(self, call: Any) -> tuple[Any, int]:
        self.count = 0
        return call(), self.count


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_query_reads_what_its_index_leads_to(
    storage: RocksDBStorageBackend, monkeypatch: pytest.MonkeyPatch, in_transaction: bool
) -> None:
    storage.create_index("n", FieldIndex("group"))
    storage.create_index("n", FieldIndex(["kind", "age"]))
    storage.create_index("n", FieldIndex("$metadata.lang"))
    storage.set_many(
        (
            {
                "key": f"{number:05}",
                "value": {"group": number % 100, "kind": "ab"[number % 2], "age": number, "name": f"x{number % 7}"},
                "metadata": {"lang": f"l{number % 50}"},
            }
            for number in range(2_000)
        ),
        namespace="n",
    )
    reader = storage.begin_transaction() if in_transaction else storage
    reads = Reads(monkeypatch)
    expectations: list[tuple[Any, int, int]] = [
        (where("group") == 7, 20, 20),
        (where("group") == 7.0, 20, 20),
        (where("group").is_in([1, 2, 3]), 60, 60),
        (where("group") < 3, 60, 80),
        (where("$metadata.lang") == "l3", 40, 40),
        (where("$metadata.lang").starts_with("l1"), 440, 440),
        ((where("kind") == "a") & (where("age") >= 1_900), 50, 50),
        ((where("kind") == "a") & (where("age") == 10) & (where("name") == "x3"), 1, 1),
        ((where("group") == 1) | (where("group") == 2), 40, 40),
        ((where("group") == 1) & ((where("name") == "x1") | (where("name") == "x2")), 6, 20),
        (where("group").exists(False), 0, 0),
        (where("group") == "7", 0, 0),
        (where("kind").is_in([]), 0, 0),
        (where("age") > 1_990, 9, 2_000),  # not the first path of any index
        (where("group") != 7, 1_980, 2_000),
    ]
    for condition, found, most in expectations:
        entries, read = reads.of(lambda condition=condition: reader.query(condition, namespace="n"))
        assert (len(entries), read <= most) == (found, True), (condition, read)
        assert [entry.key for entry in entries] == sorted(entry.key for entry in entries)
        assert all(match(condition, entry) for entry in entries)
        assert reader.count(namespace="n", filter=condition) == found
    newest, read = reads.of(lambda: reader.query(where("kind") == "b", sort="-age", limit=5, namespace="n"))
    assert [entry.value["age"] for entry in newest] == [1_999, 1_997, 1_995, 1_993, 1_991]
    assert read <= 10
    lowest, read = reads.of(lambda: reader.query(sort="group", limit=5, namespace="n"))
    assert {entry.value["group"] for entry in lowest} == {0}
    assert read <= 20
    if in_transaction:
        storage.rollback(reader.id)  # type: ignore[attr-defined]


FIELDS = st.fixed_dictionaries({}, optional={"a": SCALARS, "b": SCALARS})


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.data())
def test_indexes_change_no_answer(folders: Any, data: st.DataObject) -> None:
    values = data.draw(st.lists(FIELDS | FOUND | st.binary(max_size=2), max_size=12))
    pool = [value.get("a") for value in values if isinstance(value, dict)] + [None, 0, "a"]
    operand = st.sampled_from(pool)

    def comparison() -> Any:
        field = where(data.draw(st.sampled_from(["a", "b"])))
        kind, chosen = data.draw(st.integers(0, 7)), data.draw(operand)
        if kind == 0:
            return field.is_in([chosen, data.draw(operand)])
        if kind == 1:
            return field.exists(data.draw(st.booleans()))
        if kind == 2 and isinstance(chosen, str):
            return field.starts_with(chosen)
        return [field == chosen, field > chosen, field >= chosen, field < chosen, field <= chosen][kind % 5]

    condition = comparison()
    for _ in range(data.draw(st.integers(0, 2))):
        condition = condition & comparison() if data.draw(st.booleans()) else condition | comparison()
    order = data.draw(st.sampled_from([None, "a", "-a", "b", [("a", "desc"), ("b", "asc")], ["b", "-a"]]))
    storage = folders
    with storage.transaction() as tx:
        for index in ("a", ["a", "b"], ["b", "a"]):
            tx.create_index("n", FieldIndex(index))
        tx.set_many(((f"{number}", value) for number, value in enumerate(values)), namespace="n")
        entries = list(tx.scan(namespace="n"))
        expected = parse_sort(order).sorted(entry for entry in entries if match(condition, entry))
        found = tx.query(condition, sort=order, namespace="n")
        assert [entry.key for entry in found] == [entry.key for entry in expected]
        assert [entry.key for entry in tx.query(sort=order, namespace="n")] == [
            entry.key for entry in parse_sort(order).sorted(entries)
        ]
        assert tx.check().problems == []
        tx.rollback()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RocksDBStorageBackend]:
    with RocksDBStorageBackend(tmp_path_factory.mktemp("shared") / "s") as storage:
        yield storage


# -- the folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("synchronous", ["normal", "FULL", "off"])
def test_everything_is_there_after_reopening(path: Path, synchronous: str) -> None:
    with RocksDBStorageBackend({"dbPath": str(path)}, synchronous=synchronous) as storage:
        storage.create_namespace("n", metadata={"m": 1}, track_changes=True)
        storage.create_index("n", FieldIndex("x", unique=True))
        storage.set_many({f"{number}": {"x": number} for number in range(10)}, namespace="n")
        storage.set("expiring", b"\0", ttl=1_000, metadata={"a": [1]})
        storage.set("gone", 1)
        storage.delete("gone")
        before = everything(storage), storage.changes(), storage.get_namespace("n"), storage.list_indexes("n")
    assert path.stat().st_mode & 0o777 == 0o700
    with RocksDBStorageBackend(str(path)) as storage:
        after = everything(storage), storage.changes(), storage.get_namespace("n"), storage.list_indexes("n")
        assert after == before
        assert storage.check().problems == []
        assert storage.set("0", {"x": 100}, namespace="n") > max(entry.version for entry in before[0])
        assert storage.changes(since=before[1].cursor).changes[0].seq == before[1].cursor + 1


def test_versions_rise_when_the_clock_was_set_back(path: Path) -> None:
    ahead = 2**60
    with RocksDBStorageBackend(path) as storage:
        storage.restore([Entry("default", "k", 1, {}, ahead, 1, 1, None)])
        storage.delete("k")
    with RocksDBStorageBackend(path) as storage:
        assert storage.set("k", 2) > ahead


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    import rocksdict

    theirs = tmp_path / "theirs"
    rocksdict.Rdict(str(theirs)).close()
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("precious")
    file = tmp_path / "file"
    file.write_text("precious")
    for folder in (theirs, notes, file):
        before = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else file.read_text()
        for read_only in (False, True):
            with pytest.raises(ForeignDatabase, match=folder.name):
                RocksDBStorageBackend(folder, read_only=read_only)
        assert before == (sorted(each.name for each in folder.iterdir()) if folder.is_dir() else file.read_text())


def test_a_folder_whose_first_opening_was_killed_is_ours(path: Path) -> None:
    path.mkdir()
    (path / f".{MARK}.123").write_bytes(b"{")
    with RocksDBStorageBackend(path) as storage:
        storage.set("k", 1)


def test_a_folder_of_a_newer_version_is_left_alone(path: Path) -> None:
    RocksDBStorageBackend(path).close()
    mark = orjson.loads((path / MARK).read_bytes())
    (path / MARK).write_bytes(orjson.dumps(mark | {"version": layout.FORMAT + 1}))
    with pytest.raises(SchemaTooNew):
        RocksDBStorageBackend(path)
    (path / MARK).write_bytes(b"{")
    with pytest.raises(StorageCorrupt):
        RocksDBStorageBackend(path)
    (path / MARK).write_bytes(orjson.dumps(mark | {"format": "another"}))
    with pytest.raises(ForeignDatabase):
        RocksDBStorageBackend(path)


def test_lost_and_damaged_files(path: Path) -> None:
    with RocksDBStorageBackend(path) as storage:
        storage.set_many({f"{number:04}": "x" * 500 for number in range(2_000)})
        storage.optimize()
    (table,) = path.glob("*.sst")
    whole = table.read_bytes()
    data = bytearray(whole)
    for place in range(len(data) // 4, len(data) // 2, 97):  # rows; what opening reads is at the end
        data[place] ^= 0xFF
    table.write_bytes(data)
    with RocksDBStorageBackend(path) as storage:
        with pytest.raises(StorageCorrupt):
            list(storage.scan())
        with pytest.raises(StorageCorrupt, match="'0700' in namespace 'default'"):
            storage.get("0700")
        assert not storage.check().ok
    table.write_bytes(whole[:-100])
    with pytest.raises(StorageCorrupt):
        RocksDBStorageBackend(path)
    (path / "CURRENT").unlink()
    with pytest.raises(StorageCorrupt, match="CURRENT"):
        RocksDBStorageBackend(path)


def test_an_open_folder_is_busy_until_it_is_closed(path: Path) -> None:
    storage = RocksDBStorageBackend(path)
    storage.set("k", 1)
    with pytest.raises(StorageBusy, match=str(path)):
        RocksDBStorageBackend(path)
    # What a kept error, snapshot or scan still holds of the database must not keep the folder locked.
    with pytest.raises(KeyExists) as kept, storage.transaction() as tx:
        tx.set("k", 2, overwrite=False)
    snapshot = storage.begin_transaction(read_only=True)
    scan = storage.scan()
    next(scan)
    storage.close()
    with RocksDBStorageBackend(path) as again:
        assert again.get("k") == 1
    assert kept.value.key == "k"
    for use in (lambda: snapshot.get("k"), lambda: storage.get("k")):
        with pytest.raises((StorageClosed, TransactionError)):
            use()


def test_read_only(path: Path) -> None:
    for missing in (path, path.parent / "nothing" / "here"):
        with pytest.raises(InvalidConfig):
            RocksDBStorageBackend(missing, read_only=True)
        assert not missing.exists()
    with RocksDBStorageBackend(path) as storage:
        storage.create_index("default", FieldIndex("x"))
        storage.set("k", {"x": 1})
    with RocksDBStorageBackend(path, readOnly=True) as storage:
        assert storage.get("k") == {"x": 1}
        assert storage.query(where("x") == 1)[0].key == "k"
        assert storage.get_status().details["read_only"] is True
        with storage.transaction(read_only=True) as snapshot:
            assert snapshot.list() == ["k"]
        for write in (
            lambda: storage.set("k", 2),
            lambda: storage.set("k", 2, ttl=1),
            lambda: storage.delete("k"),
            lambda: storage.clear(),
            lambda: storage.transaction(),
            lambda: storage.optimize(),
        ):
            with pytest.raises(StorageReadOnly):
                write()
    with RocksDBStorageBackend(path) as storage:
        assert storage.get("k") == {"x": 1}


# -- care ------------------------------------------------------------------------------------------------------------


def test_check_finds_rows_that_disagree(storage: RocksDBStorageBackend) -> None:
    storage.create_namespace("n", track_changes=True)
    storage.create_index("n", FieldIndex("x"))
    storage.set_many({"a": {"x": 1}, "b": {"x": 2}}, namespace="n", ttl=1_000)
    assert storage.check().ok
    view = View(storage._db)
    space = RocksDBSpace.load("n", view)
    assert space is not None
    entry = storage.get_entry("a", namespace="n")
    assert entry is not None
    raw = storage._db.rdict
    broken: dict[str, tuple[bytes, bytes | None]] = {
        "index 'x' does not hold": (space.index_keys("x", FieldIndex("x"), entry), None),
        "index 'x' has 3 rows": (space.index_keys("x", FieldIndex("x"), entry._replace(value={"x": 9})), b"a"),
        "counts 7 entries": (layout.COUNTERS + b"n", layout.COUNTS.pack(7, 2)),
        "counts 9 changes": (layout.COUNTERS + b"n", layout.COUNTS.pack(2, 9)),
        "its expiry is not listed": (layout.prefix("x", "n") + layout.NUMBER.pack(entry.expires_at or 0) + b"a", None),
        "lists 3 expiries": (layout.prefix("x", "n") + layout.NUMBER.pack(5) + b"z", b""),
        "is missing in the order": (layout.ORDER + layout.NUMBER.pack(1), None),
        "'m' is not registered": (layout.prefix("e", "m") + b"k", layout.pack_row(space.row("a"))),  # type: ignore[arg-type]
        "is damaged": (layout.prefix("e", "n") + b"a", b"\x01short"),
    }
    for sentence, (key, row) in broken.items():
        before = raw.get(key)
        raw.delete(key) if row is None else raw.put(key, row)
        report = storage.check()
        assert any(sentence in problem for problem in report.problems), (sentence, report.problems)
        raw.delete(key) if before is None else raw.put(key, before)
        assert storage.check().ok


def test_a_checkpoint_is_a_storage(storage: RocksDBStorageBackend, tmp_path: Path) -> None:
    storage.create_index("n", FieldIndex("x", unique=True))
    storage.set_many({f"{number}": {"x": number} for number in range(500)}, namespace="n")
    target = tmp_path / "copy"
    storage.checkpoint(target)
    storage.set("later", 1)
    with pytest.raises(InvalidInput):
        storage.checkpoint(target)
    assert target.stat().st_mode & 0o777 == 0o700
    with RocksDBStorageBackend(target) as copy:
        assert copy.count(namespace="n") == 500
        assert not copy.has("later")
        assert copy.check().ok
        copy.set("mine", 1)
    assert not storage.has("mine")


def test_a_backup_is_a_dump(storage: RocksDBStorageBackend, tmp_path: Path) -> None:
    storage.set("a", {"x": 1}, namespace="n", metadata={"m": 1}, ttl=1000)
    storage.set("b", b"\0")
    storage.backup(tmp_path / "dump")
    lines = [parse_dump_line(orjson.loads(line)) for line in (tmp_path / "dump").read_bytes().splitlines()]
    assert [line for line in lines if isinstance(line, Entry)] == everything(storage)


@pytest.mark.parametrize("count", [10, 1_000])
def test_clearing_few_and_many(storage: RocksDBStorageBackend, count: int) -> None:
    storage.create_index("n", FieldIndex("x"))
    storage.create_index("n", FieldIndex("y", unique=True))
    items = {f"{number:04}": {"x": number % 3, "y": number} for number in range(count)}
    storage.set_many(items, namespace="n", ttl=1_000)
    storage.set("k", 1, namespace="n0")
    with storage.transaction() as tx:
        tx.set("new", {"y": -1}, namespace="n")
        assert tx.clear(namespace="n") == count + 1
        assert tx.list(namespace="n") == []
        tx.set("again", {"x": 1, "y": 5}, namespace="n")
        assert [entry.key for entry in tx.query(where("x") == 1, namespace="n")] == ["again"]
        assert tx.check().problems == []
        tx.rollback()
    assert storage.count(namespace="n") == count
    with storage.transaction() as tx:
        tx.clear(namespace="n")
        tx.set("0001", {"x": 1, "y": 5}, namespace="n")
    assert storage.list(namespace="n") == ["0001"]
    assert storage.count(namespace="n") == 1
    assert storage.check().problems == []
    storage.set_many(items, namespace="n")
    assert storage.delete_namespace("n", recursive=True) == count
    assert storage.list_namespaces() == ["default", "n0"]
    assert storage.check().problems == []


def test_long_logs_are_pruned_between_sweeps(path: Path) -> None:
    with RocksDBStorageBackend(path, change_retention=10) as storage:
        storage.create_namespace("n", track_changes=True)
        for _ in range(3):
            storage.set_many(((f"{number}", number) for number in range(600)), namespace="n")
        assert len(storage.changes(namespace="n").changes) < 1_100
        storage.optimize()
        assert len(storage.changes(namespace="n").changes) == 10
        assert storage.check().problems == []


def test_a_namespace_changes_its_ways_and_its_sets_follow(storage: RocksDBStorageBackend) -> None:
    def set_and_delete() -> None:
        for key in "abc":
            storage.set(key, {"x": key}, namespace="n")
        storage.delete("a", namespace="n")
        storage.set("a", {"x": "again"}, namespace="n")
        assert storage.count(namespace="n") == 3
        assert storage.check().problems == []

    set_and_delete()
    storage.create_index("n", FieldIndex("x"))
    set_and_delete()
    assert [entry.key for entry in storage.query(where("x") == "again", namespace="n")] == ["a"]
    storage.drop_index("n", "x")
    set_and_delete()
    storage.create_namespace("n", exist_ok=True, track_changes=True)
    set_and_delete()
    assert [change.operation for change in storage.changes(namespace="n").changes] == ["set"] * 3 + ["delete", "set"]
    storage.delete_namespace("n", recursive=True)
    set_and_delete()
    assert storage.changes(namespace="n").changes == []
    with storage.transaction() as tx:
        tx.create_namespace("n", exist_ok=True, track_changes=True)
    set_and_delete()
    assert len(storage.changes(namespace="n").changes) == 5


# -- configuration ---------------------------------------------------------------------------------------------------


def test_it_is_opened_by_url_mapping_and_class(tmp_path: Path) -> None:
    for config in (
        f"rocksdb:///{tmp_path}/by%20url?busyTimeout=100&synchronous=FULL",
        {"backend": "rocksdb", "options": {"dbPath": str(tmp_path / "by mapping")}},
    ):
        with open_storage(config) as storage:
            assert storage.backend_name == "rocksdb"
            storage.set("k", 1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["by mapping", "by url"]


@pytest.mark.parametrize(
    "options",
    [{}, {"db_path": ""}, {"db_path": 7}, {"synchronous": "EXTRA"}, {"read_only": 1}, {"cacheSize": 1}],
    ids=str,
)
def test_bad_options(tmp_path: Path, options: dict[str, Any]) -> None:
    given = {"dbPath": str(tmp_path / "s")} if options and "db_path" not in options else {}
    with pytest.raises(InvalidConfig):
        RocksDBStorageBackend(given, **options)
    with pytest.raises(InvalidConfig, match="leads out"):
        RocksDBStorageBackend("../out", base_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_driver_is_loaded_when_it_is_needed_and_named_when_it_is_missing() -> None:
    code = """
import sys
import mycelia_storage
assert "rocksdict" not in sys.modules
sys.modules["rocksdict"] = None
for attempt in (lambda: mycelia_storage.open_storage("rocksdb:///x"), lambda: mycelia_storage.RocksDBStorageBackend):
    try:
        attempt()
    except mycelia_storage.BackendUnavailable as error:
        assert "mycelia-storage[rocksdb]" in str(error), error
    else:
        raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
