"""Sharded storages by URL, by file and from the command line; copies and dumps into them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mycelia_storage import copy_storage, open_storage
from mycelia_storage.backends.memory import MemoryStorageBackend
from mycelia_storage.backends.sharded import ShardedStorageBackend
from mycelia_storage.backends.sqlite import SQLiteStorageBackend
from mycelia_storage.cli import cli
from mycelia_storage.config import read_config
from mycelia_storage.contract import StorageBackend
from mycelia_storage.errors import InvalidConfig
from mycelia_storage.indexes import FieldIndex

from .conftest import everything

NAMES = [f"agent{number}" for number in range(12)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("url", "shards"),
    [
        ("sharded:?shard=a.db&shard=sqlite:///b.db", ["a.db", "sqlite:///b.db"]),
        ("sharded:///?shard=a%26b.db", ["a&b.db"]),
        ("SHARDED://?shard=x?read_only=true", ["x?read_only=true"]),
        ("postgresql+shards:///?shard=h1/d&shard=u@h2:5433/d", ["postgresql://h1/d", "postgresql://u@h2:5433/d"]),
        ("postgresql+shards:?shard=postgresql://h1/d", ["postgresql://h1/d"]),
        ("sqlite+shards:///?shard=a.db", ["a.db"]),
    ],
)
def test_shards_in_a_url(url: str, shards: list[str]) -> None:
    assert read_config(url) == ("sharded", {"shards": shards})


def test_options_in_a_url_and_in_a_file(tmp_path: Path) -> None:
    assert read_config("sharded:?shard=a&lease=0.5&shard=b&busyTimeout=7")[1] == {
        "shards": ["a", "b"],
        "lease": 0.5,
        "busyTimeout": 7,
    }
    (tmp_path / "shards.json").write_text(json.dumps({"shards": {"x": "a.db", "y": "b.db"}, "lease": 2}))
    for url in ("sharded:///shards.json", f"sharded:///{tmp_path}/shards.json"):
        assert read_config(url) == ("sharded", {"shards": {"x": "a.db", "y": "b.db"}, "lease": 2})
    assert read_config("sharded:///shards.json?lease=3")[1]["lease"] == 3
    with open_storage("sharded:///shards.json") as storage:
        assert list(storage.get_status().details["shards"]) == ["x", "y"]


@pytest.mark.parametrize(
    "url",
    [
        "sharded:",
        "sharded:///",
        "sharded:a.db",
        "sharded:?lease=1",
        "sharded:?shard=a&lease=1&lease=2",
        "sharded:?shard=%zz",
        "sharded:?shard=a#b",
        "sharded:///missing.json",
        "sharded:///no.json",
        "sharded:///list.json",
        "sharded:///good.json?shard=a",
    ],
)
def test_bad_urls(tmp_path: Path, url: str) -> None:
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "good.json").write_text('{"shards": ["a"]}')
    with pytest.raises(InvalidConfig):
        read_config(url)


# -- copies and dumps ----------------------------------------------------------------------------------------------


def fill(storage: StorageBackend) -> None:
    for name in NAMES:
        storage.create_namespace(name, metadata={"of": name})
        storage.create_index(name, FieldIndex("n"))
        storage.set_many(((f"k{n}", {"n": n}) for n in range(20)), namespace=name)
        storage.set("k", b"\0", namespace=f"{name}/below", ttl=1000)


@pytest.mark.parametrize("catch_up", [False, True])
def test_copies_into_and_out_of_shards(catch_up: bool) -> None:
    with (
        MemoryStorageBackend() as one,
        ShardedStorageBackend([MemoryStorageBackend() for _ in range(3)]) as many,
        MemoryStorageBackend() as back,
    ):
        fill(one)
        for source, destination in ((one, many), (many, back), (one, many)):
            assert copy_storage(source, destination, catch_up=catch_up).ok
        assert everything(one) == everything(many) == everything(back) != []
        assert many.list_namespaces() == one.list_namespaces()
        assert many.list_indexes(NAMES[0]) == {"n": FieldIndex("n")}


# -- the command line ----------------------------------------------------------------------------------------------

SHARDS = "sharded:?shard=a.db&shard=b.db&lease=0.01&settle=0.02"


@pytest.fixture
def run() -> Callable[..., Result]:
    def run(*arguments: str, db: str = SHARDS) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--db", db])

    return run


def lines(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_shards_from_the_command_line(run: Callable[..., Result]) -> None:
    with open_storage(SHARDS) as storage:
        fill(storage)
    assert [shard["in_ring"] for shard in lines(run("shards", "status", "--json"))] == [True, True]
    added = run("shards", "add", "c.db")
    assert added.exit_code == 0
    assert "shard s2" in added.stderr
    assert [shard["in_ring"] for shard in lines(run("shards", "status", "--json"))] == [True, True, False]
    moved = lines(run("shards", "rebalance", "--json"))
    assert moved
    assert {move["target"] for move in moved} == {"s2"}
    shards = {shard["shard"]: shard for shard in lines(run("shards", "status", "--json"))}
    assert sum(shard["entries"] for shard in shards.values()) == 21 * len(NAMES)
    assert shards["s2"]["entries"] == sum(move["entries"] for move in moved)
    assert "Moved 0" in run("shards", "rebalance").stderr
    assert run("check").exit_code == run("status").exit_code == 0
    assert [run("count", name).stdout.strip() for name in NAMES] == ["20"] * len(NAMES)
    assert run("shards", "pin", NAMES[0], "s0").exit_code == run("shards", "rebalance").exit_code == 0
    assert run("shards", "pin", NAMES[0], "nowhere").exit_code == 2


def test_what_is_no_sharded_storage(run: Callable[..., Result], tmp_path: Path) -> None:
    SQLiteStorageBackend("plain.db").close()
    result = run("shards", "status", db="plain.db")
    assert (result.exit_code, "not sharded" in result.stderr) == (2, True)
    result = run("shards", "status", db="sharded:?shard=missing.db&shard=plain.db")
    assert (result.exit_code, "missing.db" in result.stderr) == (1, True)
    assert not (tmp_path / "missing.db").exists()


def test_a_dump_of_shards_loads_into_others(run: Callable[..., Result], tmp_path: Path) -> None:
    with open_storage(SHARDS) as storage:
        fill(storage)
        expected = everything(storage)
        storage.backup(tmp_path / "all.jsonl")
    other = "sharded:?shard=x.db&shard=y.db&shard=z.db"
    for _ in range(2):
        result = run("load", "--all", "all.jsonl", "--batch-size", "50", db=other)
        assert result.exit_code == 0, result.output
    with open_storage(other) as storage:
        assert everything(storage) == expected
        assert storage.list_namespaces() == sorted({"default", *(e.namespace for e in expected)}, key=str.encode)


def test_lines_load_into_a_namespace_of_shards(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"id": f"k{n}", "n": n}) + "\n" for n in range(500)))
    result = run("load", "things/of/mine", "lines.jsonl", "--key", "id", "--batch-size", "50")
    assert result.exit_code == 0, result.output
    with open_storage(SHARDS) as storage:
        assert storage.count(namespace="things/of/mine") == 500
        assert storage.list_namespaces() == ["default", "things/of/mine"]
