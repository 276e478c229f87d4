"""Every other command, on one small storage."""

import base64
import json

import pytest

from mycelia_storage import SQLiteStorageBackend


def test_set_get_delete(run) -> None:
    version = int(run.ok("set", "users", "ada", '{"age": 36}', "--metadata", '{"lang": "en"}', "--ttl", "100"))
    assert run.lines("get", "users", "ada") == [{"age": 36}]
    (entry,) = run.lines("get", "users", "ada", "--entry")
    assert entry["version"] == version
    assert entry["metadata"] == {"lang": "en"}
    assert entry["expires_at"] > entry["updated_at"]
    run.ok("delete", "users", "ada")
    assert run("delete", "users", "ada").exit_code == 1
    missing = run("get", "users", "ada")
    assert missing.exit_code == 1
    assert missing.stdout == ""
    assert "no key 'ada'" in missing.stderr


@pytest.mark.parametrize("text", ["-5", "null", '"text"', "[1, 2.5]", "true"])
def test_any_json_can_be_set(run, text) -> None:
    run.ok("set", "users", "k", text)
    assert run.lines("get", "users", "k") == [json.loads(text)]


def test_text_needs_a_word(run) -> None:
    refused = run("set", "users", "k", "hello")
    assert refused.exit_code == 2
    assert "--string" in refused.stderr
    assert not run.db.exists()
    run.ok("set", "users", "k", "hello", "--string")
    assert run.lines("get", "users", "k") == ["hello"]


def test_set_reads_stdin_and_files_of_bytes(run, tmp_path) -> None:
    run.ok("set", "users", "k", "-", input='{"a": 1}')
    assert run.lines("get", "users", "k") == [{"a": 1}]
    blob = bytes(range(256))
    (tmp_path / "blob").write_bytes(blob)
    run.ok("set", "users", "b", "--bytes-file", str(tmp_path / "blob"))
    assert run("get", "users", "b").stdout_bytes == blob
    assert base64.b64decode(run.lines("get", "users", "b", "--json")[0]) == blob
    assert run("set", "users", "b").exit_code == 2
    assert run("set", "users", "b", "1", "--bytes-file", str(tmp_path / "blob")).exit_code == 2


def test_conditional_writes_exit_with_1(run) -> None:
    version = run.ok("set", "users", "k", "1", "--if-version", "0").strip()
    assert run("set", "users", "k", "2", "--if-version", "0").exit_code == 1
    assert run("set", "users", "k", "2", "--no-overwrite").exit_code == 1
    assert run("delete", "users", "k", "--if-version", "1").exit_code == 1
    run.ok("delete", "users", "k", "--if-version", version)


def test_list_pages_through_all_keys(run) -> None:
    with SQLiteStorageBackend(str(run.db)) as storage:
        storage.set_many(((f"k{n:04}", n) for n in range(2500)), namespace="many")
    keys = [f"k{n:04}" for n in range(2500)]
    assert run.lines("list", "many") == keys
    assert run.lines("list", "many", "--offset", "1200", "--limit", "1100") == keys[1200:2300]
    assert run.lines("list", "many", "--pattern", "k1?9*", "--limit", "3") == ["k1090", "k1091", "k1092"]
    assert run.lines("list", "many", "--after", "k2498") == ["k2499"]
    assert run.lines("list", "many", "--limit", "0") == []
    assert run.ok("list", "many", "--limit", "1", "--plain") == "k0000\n"


def test_query_and_count(run, garden) -> None:
    run.ok("load", "garden", str(garden), "--key", "key")
    assert run.lines("count", "garden", "--where", "session = 2") == [8]
    keys = [
        entry["key"]
        for entry in run.lines("query", "garden", "--sort", "-session", "--sort", "speaker", "--limit", "5")
    ]
    assert keys == ["garden/S5:01", "garden/S5:03", "garden/S5:05", "garden/S5:07", "garden/S5:02"]
    assert run.lines("query", "garden", "--offset", "39")[0]["key"] == "garden/S5:07"
    assert run.lines("query", "garden", "--where", "session = 99") == []
    assert len(run.lines("query", "garden")) == 40


@pytest.mark.parametrize("arguments", [("--where", "session >"), ("--sort", "a..b"), ("--limit", "-1")])
def test_a_question_that_cannot_be_understood_exits_with_2(run, garden, arguments) -> None:
    run.ok("load", "garden", str(garden), "--key", "key")
    assert run("query", "garden", *arguments).exit_code == 2


def test_namespaces(run) -> None:
    run.ok("namespaces", "create", "a/b", "--metadata", '{"owner": "ada"}', "--track-changes")
    assert run("namespaces", "create", "a/b").exit_code == 1
    run.ok("namespaces", "create", "a/b", "--exist-ok")
    run.ok("index", "create", "a/b", "age", "user.name", "--unique", "--name", "main")
    run.ok("set", "a/b", "k", "1")
    (shown,) = run.lines("namespaces", "show", "a/b")
    assert shown["entries"] == 1
    assert shown["track_changes"] is True
    assert shown["metadata"] == {"owner": "ada"}
    assert shown["indexes"] == {"main": {"kind": "field", "paths": ["age", "user.name"], "unique": True}}
    assert [info["name"] for info in run.lines("namespaces", "list", "--prefix", "a")] == ["a/b"]
    assert run("namespaces", "delete", "a/b").exit_code == 1
    run.ok("namespaces", "delete", "a", "--recursive")
    assert run("namespaces", "show", "a/b").exit_code == 1
    assert run("namespaces", "delete", "default").exit_code == 2


def test_indexes(run) -> None:
    assert run.lines("index", "create", "users", "age") == ["age"]
    assert run.lines("index", "list", "users") == [{"name": "age", "kind": "field", "paths": ["age"], "unique": False}]
    run.ok("index", "drop", "users", "age")
    assert run("index", "drop", "users", "age").exit_code == 1


def test_migrate_down_and_up(run) -> None:
    run.ok("set", "users", "k", "1")
    assert [line["state"] for line in run.lines("migrate", "status")] == ["applied", "applied", "applied"]
    assert run.lines("migrate", "down", "--to", "1", "--dry-run", "--json") == [[3, 2]]
    assert run.lines("migrate", "down", "--to", "1", "--json") == [[3, 2]]
    assert [line["state"] for line in run.lines("migrate", "status")] == ["applied", "pending", "pending"]
    # A command that reads does not migrate behind one's back; it says how to.
    refused = run("get", "users", "k")
    assert refused.exit_code == 1
    assert "migrate up" in refused.stderr
    assert run.lines("migrate", "up", "--dry-run", "--json") == [[2, 3]]
    assert run.lines("migrate", "up", "--json") == [[2, 3]]
    assert run.lines("get", "users", "k") == [1]
    assert run("migrate", "up", "--to", "9").exit_code == 2


def test_status_check_backup(run, run_on, tmp_path) -> None:
    run.ok("set", "users", "k", "1")
    (status,) = run.lines("status")
    assert (status["healthy"], status["entries"], status["backend"]) == (True, 1, "sqlite")
    assert run.lines("status", "--ping") == [{"healthy": True, "backend": "sqlite", "last_error": None}]
    assert run.lines("check", "--json") == [{"ok": True, "problems": []}]
    run.ok("backup", str(tmp_path / "copy.db"))
    assert run("backup", str(tmp_path / "copy.db")).exit_code == 2
    run.ok("backup", str(tmp_path / "copy.db"), "--overwrite")
    assert run_on("copy.db").lines("get", "users", "k") == [1]


@pytest.mark.parametrize("options", [(), ("--ping",), ("--json",)])
def test_the_status_of_what_cannot_be_opened_is_json_too(run, tmp_path, options) -> None:
    (tmp_path / "not.db").write_text("no database" * 500)
    for name in ("none.db", "not.db"):
        result = run("status", "--db", str(tmp_path / name), *options)
        assert result.exit_code == 1
        status = json.loads(result.stdout)
        assert (status["healthy"], status["backend"]) == (False, "sqlite")
        assert status["last_error"] in result.stderr
    assert run("status", "--db", "nobackend://x", *options).exit_code == 2
    assert run.ok("status", "--db", "memory:", *options)


def test_watch_prints_the_changes_after_a_cursor(run) -> None:
    run.ok("namespaces", "create", "users", "--track-changes")
    run.ok("set", "users", "a", "1")
    run.ok("delete", "users", "a")
    changes = run.lines("watch", "users", "--since", "0", "--limit", "2")
    assert [(change["operation"], change["key"]) for change in changes] == [("set", "a"), ("delete", "a")]
    assert run.lines("watch", "--since", str(changes[0]["seq"]), "--timeout", "0") == changes[1:]


def test_copy(run, run_on, garden) -> None:
    run.ok("load", "garden", str(garden), "--key", "key")
    other = run_on("other.db")
    result = run("copy", str(run.db), str(other.db))
    assert "Copied 40 entries in 2 namespaces, 40 of them compared equal." in result.stderr
    assert other.lines("query", "garden") == run.lines("query", "garden")
    assert run("copy", str(run.db), f"sqlite:///{run.db}").exit_code == 2
    assert run("copy", str(run.db.with_name("none.db")), str(other.db)).exit_code == 1
    assert run("copy", str(run.db), str(other.db), "--namespace", "nobody").exit_code == 1


def test_copy_reports_what_differs(run, run_on) -> None:
    run.ok("set", "users", "k", "1")
    other = run_on("other.db")
    other.ok("set", "users", "k", "2")  # newer: it is kept
    result = run("copy", str(run.db), str(other.db), "--json")
    assert result.exit_code == 1
    (mismatch,) = json.loads(result.stdout)["mismatches"]
    assert (mismatch["key"], mismatch["problem"]) == ("k", "newer in the destination: kept")
    assert other.lines("get", "users", "k") == [2]
