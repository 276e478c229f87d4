"""``load``: every format, bad lines by number, bounded transactions, going on after an interruption."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage import SQLiteStorageBackend
from mycelia_storage.errors import StorageFull
from mycelia_storage.loading import LOADS_NAMESPACE, LoadOptions, load_records
from mycelia_storage.records import RecordFile


def write_lines(path: Path, *lines: Any) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def test_the_example_is_loaded_queried_and_listed(run, garden) -> None:
    assert "Loaded 40 entries." in run("load", "garden", str(garden), "--key", "key").stderr
    found = run.lines(
        "query",
        "garden",
        "--where",
        'speaker = "Ines"',
        "--where",
        "session >= 5",
        "--sort",
        "created_at",
        "--limit",
        "2",
    )
    assert [entry["key"] for entry in found] == ["garden/S5:01", "garden/S5:03"]
    assert found[0]["value"]["key"] == "garden/S5:01"
    assert run.lines("list", "garden", "--pattern", "garden/S1:0?")[:2] == ["garden/S1:01", "garden/S1:02"]


def test_a_load_leaves_no_trace_but_its_entries(run, garden) -> None:
    run.ok("load", "garden", str(garden), "--key", "key", "--batch-size", "7")
    assert [info["name"] for info in run.lines("namespaces", "list")] == ["default", "garden"]


def test_loading_again_doubles_nothing(run, garden) -> None:
    for _ in range(2):
        run.ok("load", "garden", str(garden), "--key", "key")
    assert run.lines("count", "garden") == [40]


def test_bad_lines_are_named_and_the_others_loaded(run, tmp_path) -> None:
    file = write_lines(
        tmp_path / "a.jsonl",
        {"id": "a"},
        "{oops\n",
        "\n",
        {"name": "no key"},
        {"id": ""},
        {"id": "big", "n": 2**70},
        {"id": True},
        ["no object"],
        {"id": "b"},
    )
    result = run("load", "things", str(file), "--key", "id")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()[:-1]] == [f"line {n}" for n in (2, 4, 5, 6, 7, 8)]
    assert "Loaded 2 entries, 6 bad." in result.stderr
    assert run.lines("list", "things") == ["a", "b"]


def test_only_the_first_twenty_bad_lines_are_shown(run, tmp_path) -> None:
    result = run("load", "things", str(write_lines(tmp_path / "a.jsonl", *["x\n"] * 30)), "--key", "id")
    assert "line 20:" in result.stderr
    assert "line 21:" not in result.stderr
    assert "and 10 more" in result.stderr


def test_strict_keeps_whole_transactions_and_says_which(run, tmp_path) -> None:
    lines = [{"id": f"k{n}"} for n in range(1, 8)]
    file = write_lines(tmp_path / "a.jsonl", *lines, "oops\n", {"id": "k9"})
    result = run("load", "things", str(file), "--key", "id", "--strict", "--batch-size", "3")
    assert result.exit_code == 1
    assert "Stopped at line 8: lines 1 to 6 are in." in result.stderr
    assert run.lines("count", "things") == [6]


def test_strict_stops_at_what_the_storage_refuses_too(run, tmp_path) -> None:
    file = write_lines(tmp_path / "a.jsonl", {"id": "a"}, {"id": "b", "n": 2**70})
    result = run("load", "things", str(file), "--key", "id", "--strict")
    assert "Stopped at line 2: nothing was loaded." in result.stderr
    assert run("count", "things").exit_code == 1


def test_numbers_become_keys_as_json_text(run, tmp_path) -> None:
    run.ok("load", "things", str(write_lines(tmp_path / "a.jsonl", {"id": 7}, {"id": 1.5})), "--key", "id")
    assert run.lines("list", "things") == ["1.5", "7"]
    assert run.lines("get", "things", "7") == [{"id": 7}]


def test_a_key_that_comes_twice_keeps_the_last(run, tmp_path) -> None:
    file = write_lines(tmp_path / "a.jsonl", {"id": "a", "n": 1}, {"id": "a", "n": 2}, {"id": "a", "n": 2**70})
    assert "line 3:" in run("load", "things", str(file), "--key", "id").stderr
    assert run.lines("get", "things", "a") == [{"id": "a", "n": 2}]


def test_no_overwrite_keeps_what_is_there(run, tmp_path) -> None:
    run.ok("set", "things", "a", "1")
    file = write_lines(tmp_path / "a.jsonl", {"id": "a"}, {"id": "b"})
    result = run("load", "things", str(file), "--key", "id", "--no-overwrite")
    assert result.exit_code == 0
    assert "Loaded 1 entries, 1 existed already and were kept." in result.stderr
    assert run.lines("get", "things", "a") == [1]


def test_metadata_fields_and_ttl(run, tmp_path) -> None:
    file = write_lines(tmp_path / "a.jsonl", {"id": "a", "lang": "pl"}, {"id": "b"})
    run.ok("load", "things", str(file), "--key", "id", "--metadata", "lang", "--ttl", "1000")
    first, second = run.lines("query", "things")
    assert (first["metadata"], second["metadata"]) == ({"lang": "pl"}, {})
    assert first["value"]["lang"] == "pl"
    assert first["expires_at"] - first["updated_at"] == pytest.approx(1_000_000, abs=50)


def test_csv_cells_stay_text_unless_numbers_are_asked_for(run, tmp_path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,n,zip,ok\n1,5,007,true\n")
    run.ok("load", "text", str(file), "--key", "id")
    run.ok("load", "typed", str(file), "--key", "id", "--detect-numbers")
    assert run.lines("get", "text", "1") == [{"id": "1", "n": "5", "zip": "007", "ok": "true"}]
    assert run.lines("get", "typed", "1") == [{"id": 1, "n": 5, "zip": "007", "ok": True}]


def test_json_arrays_objects_and_compressed_files(run, tmp_path) -> None:
    (tmp_path / "array.json").write_text('[{"id": "a"}, {"id": "b"}]')
    (tmp_path / "object.json.gz").write_bytes(gzip.compress(b'{"x": 1, "y": [2]}'))
    run.ok("load", "things", str(tmp_path / "array.json"), "--key", "id")
    run.ok("load", "things", str(tmp_path / "object.json.gz"))
    assert run.lines("list", "things") == ["a", "b", "x", "y"]
    assert run.lines("get", "things", "y") == [[2]]


def test_stdin_needs_a_format(run) -> None:
    assert run("load", "things", "-", "--key", "id", input='{"id": "a"}\n').exit_code == 2
    run.ok("load", "things", "-", "--key", "id", "--format", "jsonl", input='{"id": "a"}\n')
    assert run.lines("list", "things") == ["a"]


def test_usage_errors_touch_nothing(run, garden, tmp_path) -> None:
    for arguments in (
        ("load", "things"),
        ("load", "things", str(tmp_path / "none.jsonl"), "--key", "id"),
        ("load", "things", str(garden)),
        ("load", "--all", str(garden)),
        ("load", "things", str(garden), "--key", "key", "--ttl", "-1"),
        ("load", "", str(garden), "--key", "key"),
    ):
        assert run(*arguments).exit_code == 2, arguments
    assert not run.db.exists() or run.lines("count", "default") == [0]


def fail_at_batch(monkeypatch: pytest.MonkeyPatch, storage: SQLiteStorageBackend, number: int) -> None:
    """The disk is full when that transaction begins."""
    begin, count = storage.transaction, 0

    def transaction(**options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            raise StorageFull("disk full")
        return begin(**options)

    monkeypatch.setattr(storage, "transaction", transaction)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv"])
def test_an_interrupted_load_goes_on_and_reports_the_whole(run, tmp_path, monkeypatch, name) -> None:
    rows = [{"id": f"k{n:02}", "n": str(n)} for n in range(25)]
    text = "\n".join(map(json.dumps, rows))
    if ".json" in name and "jsonl" not in name:
        text = json.dumps(rows)
    elif ".csv" in name:
        text = "id,n\n" + "".join(f"{row['id']},{row['n']}\n" for row in rows)
    file = tmp_path / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())

    with SQLiteStorageBackend(str(run.db)) as storage:
        fail_at_batch(monkeypatch, storage, 3)
        options = LoadOptions(key="id", batch_size=10)
        with RecordFile(file) as source, pytest.raises(StorageFull):
            load_records(storage, "things", source, options)
        assert storage.count(namespace="things") == 20
        versions = {entry.key: entry.version for entry in storage.scan(namespace="things")}
    result = run("load", "things", str(file), "--key", "id", "--batch-size", "10")
    assert result.exit_code == 0
    assert "Went on at line" in result.stderr
    assert "Loaded 25 entries." in result.stderr
    entries = run.lines("query", "things")
    assert [entry["value"]["n"] for entry in entries] == [str(n) for n in range(25)]
    # What was in before was not written again.
    assert {entry["key"]: entry["version"] for entry in entries[:20]} == versions
    assert run("count", LOADS_NAMESPACE).exit_code == 1


def test_restart_an_edited_file_or_other_options_begin_anew(run, tmp_path, monkeypatch) -> None:
    file = write_lines(tmp_path / "a.jsonl", *({"id": f"k{n}", "n": 0} for n in range(9)))

    def interrupted() -> None:
        with SQLiteStorageBackend(str(run.db)) as storage, RecordFile(file) as source:
            fail_at_batch(monkeypatch, storage, 2)
            with pytest.raises(StorageFull):
                load_records(storage, "things", source, LoadOptions(key="id", batch_size=4, restart=True))

    interrupted()
    assert "Went on" not in run("load", "things", str(file), "--key", "id", "--restart").stderr
    interrupted()
    assert "Went on" not in run("load", "others", str(file), "--key", "id").stderr
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert "Went on" not in run("load", "things", str(file), "--key", "id").stderr
    assert run.lines("count", "things") == [9]


def test_bad_lines_before_the_interruption_still_count(run, tmp_path, monkeypatch) -> None:
    file = write_lines(tmp_path / "a.jsonl", "oops\n", *({"id": f"k{n}"} for n in range(9)))
    with SQLiteStorageBackend(str(run.db)) as storage, RecordFile(file) as source:
        fail_at_batch(monkeypatch, storage, 2)
        with pytest.raises(StorageFull):
            load_records(storage, "things", source, LoadOptions(key="id", batch_size=4))
    result = run("load", "things", str(file), "--key", "id")
    assert result.exit_code == 1
    assert "Loaded 9 entries, 1 bad." in result.stderr
