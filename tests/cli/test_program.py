"""The program as a process: exit codes, pipes, terminals, signals, and being killed in the middle of a load."""

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from mycelia_storage import SQLiteStorageBackend
from mycelia_storage.cli import cli
from mycelia_storage.cli.output import json_text, visible

PROGRAM = [sys.executable, "-c", "from mycelia_storage.cli import main; main()"]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
TIMEOUT = 60


def call(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, env=ENVIRONMENT, timeout=TIMEOUT, check=False, **options
    )


def on_a_terminal(*arguments: str) -> str:
    """What the program shows when its output is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*PROGRAM, *arguments], stdout=theirs, stderr=theirs, env=ENVIRONMENT)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux's way of saying that the other side closed
        pass
    os.close(ours)
    process.wait(TIMEOUT)
    return shown.decode()


def every_command() -> list[Any]:
    def walk(name: str, command: click.Command) -> list[Any]:
        found = [pytest.param(command, id=name)]
        if isinstance(command, click.Group):
            context = click.Context(command)
            for sub in command.list_commands(context):
                inner = command.get_command(context, sub)
                assert inner is not None
                found += walk(f"{name} {sub}", inner)
        return found

    return walk("mycelia-storage", cli)


@pytest.mark.parametrize("command", every_command())
def test_every_command_and_option_is_explained(command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("command", every_command())
def test_every_command_takes_the_storage_from_db(command: click.Command) -> None:
    if isinstance(command, click.Group) or command.name == "copy":
        return
    (db,) = [parameter for parameter in command.params if parameter.name == "db"]
    assert db.envvar == "MYCELIA_DB"
    assert db.required


def test_help_and_version_open_nothing(tmp_path: Path) -> None:
    assert "load" in call("--help", cwd=tmp_path).stdout
    assert call("--version", cwd=tmp_path).returncode == 0
    assert call("list", "users", cwd=tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "users", "k"),
        ("list", "users"),
        ("query", "users"),
        ("count", "users"),
        ("dump", "--all"),
        ("delete", "users", "k"),
        ("namespaces", "list"),
        ("namespaces", "show", "users"),
        ("namespaces", "delete", "users"),
        ("index", "list", "users"),
        ("index", "drop", "users", "age"),
        ("status",),
        ("check",),
        ("backup", "copy.db"),
        ("watch", "--timeout", "0"),
        ("migrate", "status"),
        ("migrate", "down", "--to", "0"),
    ],
)
def test_commands_that_need_a_storage_create_none(tmp_path: Path, run, arguments) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert "nothing was created" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_errors_are_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "not.db").write_text("this is no database, only text, and rather long for it\n" * 50)
    for arguments, code in (
        (("list", "users", "--db", "not.db"), 1),
        (("set", "users", "k", "1", "--db", "not.db"), 1),
        (("set", "users", "", "1", "--db", "a.db"), 2),
        (("set", "users", "k", "1", "--db", "nobackend://x"), 2),
        (("set", "users", "k", "1", "--db", "."), 2),
    ):
        result = call(*arguments, cwd=tmp_path)
        assert result.returncode == code, (arguments, result.stderr)
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("Error: ")


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    with SQLiteStorageBackend(str(tmp_path / "a.db")) as storage:
        storage.set_many(((f"k{n}", "x" * 500) for n in range(5000)), namespace="many")
    for command in (("list", "many"), ("query", "many"), ("dump", "many")):
        process = subprocess.Popen(
            [*PROGRAM, *command, "--db", str(tmp_path / "a.db")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(TIMEOUT) == 141


def test_an_interrupt_exits_with_130(tmp_path: Path) -> None:
    db = str(tmp_path / "a.db")
    with SQLiteStorageBackend(db) as storage:
        storage.create_namespace("users", track_changes=True)
        storage.set("k", 1, namespace="users")
    with subprocess.Popen(
        [*PROGRAM, "watch", "--since", "0", "--db", db], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["key"] == "k"  # it is watching now
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130
        assert b"Traceback" not in process.stderr.read()


def test_watch_sees_what_another_process_writes(tmp_path: Path) -> None:
    db = str(tmp_path / "a.db")
    with SQLiteStorageBackend(db) as storage:
        storage.create_namespace("users", track_changes=True)
        storage.set("first", 1, namespace="users")
        command = [*PROGRAM, "watch", "users", "--since", "0", "--limit", "2", "--db", db]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["key"] == "first"
            storage.set("second", 2, namespace="users")
            assert json.loads(process.stdout.readline())["key"] == "second"
            assert process.wait(TIMEOUT) == 0


def test_a_terminal_gets_a_table_and_no_control_characters(tmp_path: Path) -> None:
    db = str(tmp_path / "a.db")
    with SQLiteStorageBackend(db) as storage:
        storage.set("k\x1b[2J", {"say": "\x1b]0;title\x07 \x9b1m \u202eevil [bold]x[/bold]"}, namespace="users")
    for arguments in (
        ("query", "users"),
        ("list", "users"),
        ("get", "users", "k\x1b[2J"),
        ("query", "users", "--json"),
    ):
        shown = on_a_terminal(*arguments, "--db", db)
        assert "\x1b[2J" not in shown
        assert "\x1b]0;" not in shown
        assert not {"\u202e", "\x07", "\x9b"} & set(shown)
    assert "[bold]x[/bold]" in on_a_terminal("query", "users", "--db", db)
    assert "key" in on_a_terminal("list", "users", "--db", db).splitlines()[1]
    assert "\x1b[2J" not in on_a_terminal("get", "users", "\x1b[2J", "--db", db)


def test_a_load_shows_a_bar_on_a_terminal_only(tmp_path: Path, garden: Path) -> None:
    arguments = ("load", "garden", str(garden), "--key", "key", "--db", str(tmp_path / "a.db"))
    assert "\u2501" in on_a_terminal(*arguments)
    assert call(*arguments).stderr == "Loaded 40 entries.\n"


@pytest.mark.parametrize("text", ["a\x00b", "\x9b1m", "\u2066x", "plain ą 漢", "\x7f"])
def test_escaped_json_reads_back_the_same(text: str) -> None:
    assert json.loads(json_text({text: text})) == {text: text}
    assert visible(text).isprintable()


def test_a_killed_load_goes_on_without_loss_or_doubles(tmp_path: Path) -> None:
    """A load is killed again and again at random moments; what the last run leaves must be exactly the file."""
    db, file, total = str(tmp_path / "a.db"), tmp_path / "turns.jsonl", 30_000
    with file.open("w") as out:
        for n in range(total):
            out.write(json.dumps({"id": f"k{n:05}", "n": n, "text": "x" * 100}) + "\n")
    arguments = [*PROGRAM, "load", "turns", str(file), "--key", "id", "--batch-size", "100", "--db", db]
    choose = random.Random(5)
    with SQLiteStorageBackend(db) as watching:  # opened first, so that only loads are killed
        kept: dict[str, int] = {}
        for _ in range(4):
            with subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
                goal = watching.count(namespace="turns") + choose.randrange(200, 3000)
                while process.poll() is None and watching.count(namespace="turns") < goal:
                    time.sleep(0.001)
                process.kill()
            versions = {entry.key: entry.version for entry in watching.scan(namespace="turns")}
            assert {key: versions[key] for key in kept} == kept, "a later run wrote an entry again"
            kept = versions
        assert len(kept) < total, "the load was never interrupted"
    result = call(*arguments[3:])
    assert result.returncode == 0
    assert "Went on at line" in result.stderr
    assert f"Loaded {total} entries." in result.stderr
    with SQLiteStorageBackend(db) as storage:
        found = list(storage.scan(namespace="turns"))
        assert [entry.value["n"] for entry in found] == list(range(total))
        assert {entry.key: entry.version for entry in found if entry.key in kept} == kept
        assert storage.check().ok
        assert storage.list_namespaces() == ["default", "turns"]


def conversations() -> Path:
    """The folder of real conversations, which is not part of the repository."""
    return Path(os.environ.get("MYCELIA_CONVERSATIONS") or ROOT.parent / "shared" / "data" / "conversations")


@pytest.mark.skipif(
    not (conversations() / "turns.jsonl").exists(), reason="MYCELIA_CONVERSATIONS names no folder with turns.jsonl"
)
def test_the_main_job_on_real_conversations(run) -> None:
    file = conversations() / "turns.jsonl"
    run.ok("load", "conversations", str(file), "--key", "key")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    asked = ("--where", 'speaker = "Melanie"', "--where", "session >= 5", "--sort", "created_at")
    found = run.lines("query", "conversations", *asked, "--limit", "5")
    wanted = [record for record in records if record["speaker"] == "Melanie" and record["session"] >= 5]
    wanted.sort(key=lambda record: (record["created_at"], record["key"]))
    assert [entry["value"] for entry in found] == wanted[:5]
    listed = run.lines("list", "conversations", "--pattern", "conv-26/D1:*")
    assert listed == sorted(record["key"] for record in records if record["key"].startswith("conv-26/D1:"))
    assert run.lines("count", "conversations") == [len(records)]
