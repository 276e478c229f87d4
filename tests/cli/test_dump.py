"""``dump`` and loading a dump back: nothing is lost."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from mycelia_storage import FieldIndex, SQLiteStorageBackend


@pytest.fixture
def filled(run) -> list[Any]:
    """Two namespaces with everything an entry can have; their entries."""
    with SQLiteStorageBackend(str(run.db)) as storage:
        storage.create_namespace("users", metadata={"owner": "ada"}, track_changes=True)
        storage.set("ada", {"age": 36, "zero": -0.0, "text": "a\0b\u2028"}, namespace="users", metadata={"lang": "en"})
        storage.set("ada", {"age": 37}, namespace="users", metadata={"lang": "en"})
        storage.set("bytes", bytes(range(256)), namespace="users")
        storage.set("late", [1, 2.0, None], namespace="users", ttl=1000)
        storage.set("new\nline", 2**63 - 1, namespace="users")
        storage.create_index("users", FieldIndex(["age", "$metadata.lang"], unique=True), name="by age")
        storage.set("x", "in the other", namespace="users/more")
        return everything(storage)


def everything(storage: SQLiteStorageBackend, *names: str) -> list[Any]:
    found = []
    for name in names or storage.list_namespaces():
        info = storage.get_namespace(name)
        assert info is not None
        indexes = storage.list_indexes(name)
        found.append((name, info.metadata, info.track_changes, indexes, list(storage.scan(namespace=name))))
    return found


def test_a_whole_dump_rebuilds_the_storage(run, run_on, filled, tmp_path) -> None:
    dump = tmp_path / "all.jsonl"
    run.ok("dump", "--all", "--out", str(dump))
    other = run_on("other.db")
    for _ in range(2):  # the second time nothing changes, versions included
        other.ok("load", "--all", str(dump))
        with SQLiteStorageBackend(str(other.db)) as storage:
            assert everything(storage) == filled
            assert type(storage.get("late", namespace="users")[1]) is float


@pytest.mark.usefixtures("filled")
def test_one_namespace_loads_under_another_name(run, tmp_path) -> None:
    dump = tmp_path / "users.jsonl"
    dump.write_text(run.ok("dump", "users"))
    run.ok("load", "copied", str(dump), "--batch-size", "2")
    with SQLiteStorageBackend(str(run.db)) as storage:
        ((_, *copied),) = everything(storage, "copied")
        ((_, *original),) = everything(storage, "users")
    assert copied[:3] == original[:3]
    assert copied[3] == [entry._replace(namespace="copied") for entry in original[3]]


def test_a_dump_names_its_format_and_its_end(run, filled) -> None:
    first, *_, last = run.lines("dump", "--all")
    assert (first["format"], first["version"], first["namespaces"]) == ("mycelia-storage-dump", 1, len(filled))
    assert last == {"kind": "end", "entries": 5}


@pytest.mark.usefixtures("filled")
def test_several_namespaces_do_not_load_into_one(run, tmp_path) -> None:
    dump = tmp_path / "all.jsonl"
    dump.write_text(run.ok("dump", "--all"))
    result = run("load", "one", str(dump))
    assert result.exit_code == 2
    assert "--all" in result.stderr
    assert run("count", "one").exit_code == 1


@pytest.mark.usefixtures("filled")
def test_a_dump_that_was_cut_off_is_loaded_and_reported(run, run_on, tmp_path) -> None:
    dump = tmp_path / "users.jsonl"
    dump.write_text("".join(run.ok("dump", "users").splitlines(keepends=True)[:-2]))
    other = run_on("other.db")
    result = other("load", "users", str(dump))
    assert result.exit_code == 1
    assert "ends early" in result.stderr
    assert other.lines("count", "users") == [4]


@pytest.mark.usefixtures("filled")
def test_bad_lines_of_a_dump_are_reported(run, run_on, tmp_path) -> None:
    lines = [json.loads(line) for line in run.ok("dump", "users").splitlines()]
    lines[2]["version"] = "new"
    lines[3]["value_base64"] = "!"
    lines[4]["key"] = ""
    lines.insert(6, {"kind": "song"})
    dump = tmp_path / "users.jsonl"
    dump.write_text("\n".join(map(json.dumps, lines)))
    result = run_on("other.db")("load", "users", str(dump))
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()[:-1]] == [f"line {n}" for n in (3, 4, 5, 7)]
    assert "Loaded 1 entries, 4 bad." in result.stderr


@pytest.mark.usefixtures("filled")
def test_entries_that_a_unique_index_refuses_are_reported(run, tmp_path) -> None:
    dump = tmp_path / "users.jsonl"
    dump.write_text(run.ok("dump", "users"))
    run.ok("index", "create", "crowded", "age", "--unique")
    run.ok("set", "crowded", "other", '{"age": 37}')
    result = run("load", "crowded", str(dump))
    assert result.exit_code == 1
    assert "Loaded 3 entries, 1 bad." in result.stderr
    assert run.lines("list", "crowded") == ["bytes", "late", "new\nline", "other"]


def test_a_dump_of_a_newer_format_is_refused_line_by_line(run, tmp_path) -> None:
    dump = tmp_path / "new.jsonl"
    dump.write_text('{"kind": "header", "format": "mycelia-storage-dump", "version": 99, "namespaces": 1}\n')
    result = run("load", "--all", str(dump))
    assert result.exit_code == 1
    assert "version 99" in result.stderr


def test_an_entry_that_expired_since_the_dump_stays_away(run, run_on, tmp_path) -> None:
    run.ok("set", "users", "a", "1")
    dump = tmp_path / "users.jsonl"
    lines = run.ok("dump", "users").splitlines()
    entry = json.loads(lines[2])
    entry["expires_at"] = time.time_ns() // 1_000_000 - 1
    dump.write_text("\n".join([*lines[:2], json.dumps(entry), *lines[3:]]))
    other = run_on("other.db")
    other.ok("load", "users", str(dump))
    assert other.lines("count", "users") == [0]


@pytest.mark.usefixtures("filled")
def test_dump_replaces_a_file_only_on_request(run, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    assert run("dump", "users", "--out", str(out)).exit_code == 2
    assert out.read_text() == "mine"
    run.ok("dump", "users", "--out", str(out), "--overwrite")
    assert out.read_text().startswith('{"kind":"header"')
    assert out.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("filled")
def test_a_dump_that_fails_leaves_no_file(run, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    assert run("dump", "nobody", "--out", str(out)).exit_code == 1
    assert [path.name for path in Path(tmp_path).glob("out*")] == []
    assert run("dump").exit_code == 2
    assert run("dump", "users", "--all").exit_code == 2
