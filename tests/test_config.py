"""Configuration: option names, URLs, paths, mappings, the environment, and finding backends."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mycelia_storage import config as configuration
from mycelia_storage.config import find_backend, known_backends, open_storage, read_config, register_backend
from mycelia_storage.errors import BackendUnavailable, InvalidConfig
from mycelia_storage.options import camel_case, nearest, normalise_options

KNOWN = ["db_path", "wal_mode", "busy_timeout", "prepare_cache_size", "read_only"]


class Recorder:
    """Stands for a backend: keeps the options it was opened with."""

    def __init__(self, **options: Any) -> None:
        self.options = options


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "_registered", {})
    monkeypatch.delenv("MYCELIA_DB", raising=False)


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """sqlite and memory only record what they were opened with."""

    def load(name: str) -> Any:
        return lambda **options: SimpleNamespace(name=name, options=options)

    monkeypatch.setattr(configuration, "_load_built_in", load)


def opened(config: Any = None, **options: Any) -> tuple[str, dict[str, Any]]:
    storage: Any = open_storage(config, **options)
    return storage.name, storage.options


def install(monkeypatch: pytest.MonkeyPatch, *points: Any) -> None:
    def entry_points(*, group: str) -> list[Any]:
        return list(points) if group == "mycelia_storage.backends" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def plug_in(name: str, load: Any, package: str = "some-package") -> Any:
    return SimpleNamespace(name=name, load=load, dist=SimpleNamespace(name=package), value="some_package:open")


# -- names of options


def test_both_spellings_become_snake_case() -> None:
    given = {"dbPath": "a", "walMode": True, "busy_timeout": 1, "prepareCacheSize": 2}
    expected = {"db_path": "a", "wal_mode": True, "busy_timeout": 1, "prepare_cache_size": 2}
    assert normalise_options(given, KNOWN, "sqlite") == expected
    assert normalise_options(given, dict.fromkeys(KNOWN), "sqlite") == expected


def test_one_option_in_both_spellings_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="'db_path' and as 'dbPath'"):
        normalise_options({"dbPath": "a", "db_path": "a"}, KNOWN, "sqlite")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("busyTimout", "busyTimeout"),
        ("busy_timout", "busy_timeout"),
        ("DbPath", "dbPath"),
        ("dbpath", "db_path"),
        ("walmode", "wal_mode"),
        ("path", "db_path"),
    ],
)
def test_an_unknown_option_names_the_nearest(given: str, meant: str) -> None:
    with pytest.raises(InvalidConfig, match=f"unknown option '{given}' of the sqlite backend; did you mean '{meant}'"):
        normalise_options({given: 1}, KNOWN, "sqlite")


def test_an_option_unlike_any_lists_those_there_are() -> None:
    with pytest.raises(InvalidConfig, match="known are busy_timeout, db_path"):
        normalise_options({"xyzzy": 1}, KNOWN, "sqlite")
    with pytest.raises(InvalidConfig, match="it has no options"):
        normalise_options({"xyzzy": 1}, [], "empty")
    with pytest.raises(InvalidConfig, match="are strings"):
        normalise_options({7: 1}, KNOWN, "sqlite")  # type: ignore[dict-item]


def test_spelling() -> None:
    assert camel_case("db_path") == "dbPath"
    assert camel_case("dbPath") == "dbPath"
    assert camel_case("debug") == "debug"
    assert nearest("sqlit", ["memory", "sqlite"]) == "sqlite"
    assert nearest("zzz", ["memory", "sqlite"]) is None


# -- URLs and paths


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ("sqlite:///relative.db", "relative.db"),
        ("sqlite:///some/folder/a.db", "some/folder/a.db"),
        ("sqlite:////var/a.db", "/var/a.db"),
        ("SQLite:///a.db", "a.db"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:///a%20b%25%C3%A4%3F%23.db", "a b%ä?#.db"),
        ("sqlite:///a+b.db", "a+b.db"),
        ("plain.db", "plain.db"),
        ("/var/plain.db", "/var/plain.db"),
        ("a%20b?c#d.db", "a%20b?c#d.db"),
        (":memory:", ":memory:"),
        (Path("folder") / "a.db", "folder/a.db"),
    ],
)
def test_urls_and_paths_of_sqlite(config: str | Path, path: str) -> None:
    assert read_config(config) == ("sqlite", {"db_path": path})


@pytest.mark.parametrize("config", ["memory:", "memory://", "MEMORY:"])
def test_urls_of_memory(config: str) -> None:
    assert read_config(config) == ("memory", {})


def test_the_query_of_a_url_holds_options() -> None:
    url = "sqlite:///a.db?busyTimeout=100&read_only=true&walMode=False&transaction_timeout=1.5&synchronous=FULL"
    assert read_config(url) == (
        "sqlite",
        {
            "db_path": "a.db",
            "busyTimeout": 100,
            "read_only": True,
            "walMode": False,
            "transaction_timeout": 1.5,
            "synchronous": "FULL",
        },
    )
    assert read_config("memory:?sweepInterval=5e-1&base_dir=2024&debug=a%26b")[1] == {
        "sweepInterval": 0.5,
        "base_dir": "2024",
        "debug": "a&b",
    }


@pytest.mark.parametrize(
    "config",
    [
        "",
        " ",
        "a\0b",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///?read_only=true",
        "sqlite:a.db",
        "sqlite://a.db",
        "sqlite://host/a.db",
        "sqlite:///a%00b.db",
        "sqlite:///a%zz.db",
        "sqlite:///a%ff.db",
        "sqlite:///a.db#part",
        "sqlite:///a.db?read_only",
        "sqlite:///a.db?x=%zz",
        "sqlite:///a.db?x=1&x=2",
        "sqlite:///a.db?dbPath=b.db",
        "memory:a",
        "memory://a",
        "memory:///a",
        7,
        b"a.db",
        ["a.db"],
    ],
)
def test_what_is_neither_url_nor_path_is_refused(config: Any) -> None:
    with pytest.raises(InvalidConfig):
        read_config(config)


# -- mappings, environment, keywords


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"backend": "sqlite", "options": {"dbPath": "a.db"}}, ("sqlite", {"dbPath": "a.db"})),
        ({"storage": {"backend": "sqlite", "options": {"dbPath": "a.db"}}}, ("sqlite", {"dbPath": "a.db"})),
        ({"backend": "memory"}, ("memory", {})),
        ({"backend": "memory", "options": None}, ("memory", {})),
        ({"options": {"dbPath": "a.db"}}, ("auto", {"dbPath": "a.db"})),
        ({}, ("auto", {})),
    ],
)
def test_mappings(config: dict[str, Any], expected: tuple[str, dict[str, Any]]) -> None:
    assert read_config(config) == expected


@pytest.mark.parametrize(
    "config",
    [
        {"backend": 7},
        {"backend": "sqlite", "options": ["dbPath"]},
        {"backend": "sqlite", "dbPath": "a.db"},
        {"storage": "sqlite"},
        {"storage": {}, "backend": "sqlite"},
    ],
)
def test_bad_mappings_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        read_config(config)


def test_the_environment_is_used_when_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for empty in (None, ""):
        if empty is not None:
            monkeypatch.setenv("MYCELIA_DB", empty)
        with pytest.raises(InvalidConfig, match="MYCELIA_DB"):
            open_storage()
    monkeypatch.setenv("MYCELIA_DB", "sqlite:///a.db?read_only=true")
    assert read_config(None) == ("sqlite", {"db_path": "a.db", "read_only": True})
    monkeypatch.setenv("MYCELIA_DB", "/var/plain.db")
    assert read_config(None) == ("sqlite", {"db_path": "/var/plain.db"})
    assert read_config("memory:") == ("memory", {})


@pytest.mark.usefixtures("built_in")
def test_keywords_win_over_the_configuration_in_either_spelling() -> None:
    config = {"backend": "sqlite", "options": {"dbPath": "a.db", "busy_timeout": 1, "walMode": True}}
    assert opened(config, db_path="b.db", busyTimeout=2) == (
        "sqlite",
        {"walMode": True, "db_path": "b.db", "busyTimeout": 2},
    )
    assert opened("sqlite:///a.db?busyTimeout=1", busy_timeout=2) == ("sqlite", {"db_path": "a.db", "busy_timeout": 2})
    assert config["options"] == {"dbPath": "a.db", "busy_timeout": 1, "walMode": True}, "the caller's is not changed"


def test_option_names_that_are_no_strings_are_refused() -> None:
    with pytest.raises(InvalidConfig, match="strings"):
        open_storage({"backend": "memory", "options": {7: 1}})


# -- auto


@pytest.mark.usefixtures("built_in")
def test_auto_is_sqlite_with_a_path_and_memory_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(configuration, "find_spec", lambda name: SimpleNamespace(name=name))
    assert opened({"backend": "auto", "options": {"dbPath": "a.db"}}) == ("sqlite", {"dbPath": "a.db"})
    assert opened({"options": {"walMode": True}}, db_path="a.db") == ("sqlite", {"walMode": True, "db_path": "a.db"})
    assert opened({}) == ("memory", {})
    assert opened({"options": {"dbPath": None, "walMode": True, "sweep_interval": 1}}) == (
        "memory",
        {"sweep_interval": 1},
    )
    assert not caplog.records


@pytest.mark.usefixtures("built_in")
def test_auto_without_apsw_is_memory_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(configuration, "find_spec", lambda _name: None)
    with caplog.at_level(logging.WARNING, logger="mycelia_storage"):
        assert opened({"options": {"dbPath": "a.db", "sweep_interval": 1}}) == ("memory", {"sweep_interval": 1})
    assert "apsw is not installed" in caplog.text


# -- backends


def test_an_unknown_backend_names_those_there_are() -> None:
    with pytest.raises(
        InvalidConfig,
        match=r"unknown backend 'sqlit'; did you mean 'sqlite'\? known are memory, postgres, rocksdb, sharded, sqlite",
    ):
        open_storage({"backend": "sqlit"})
    with pytest.raises(InvalidConfig, match="unknown backend 'redis'"):
        open_storage("redis://somewhere/0")


def test_a_registered_backend_is_opened_by_name_and_by_url() -> None:
    register_backend("recorder", Recorder)  # type: ignore[arg-type]
    assert "recorder" in known_backends()
    by_name: Any = open_storage({"backend": "recorder", "options": {"a": 1}}, b=2)
    assert by_name.options == {"a": 1, "b": 2}
    by_url: Any = open_storage("recorder://user@host/db?x=1", timeout=3)
    assert by_url.options == {"url": "recorder://user@host/db?x=1", "timeout": 3}
    family: Any = open_storage("recorder+embedded:///folder")
    assert family.options == {"url": "recorder+embedded:///folder"}


def test_a_later_registration_replaces_an_earlier_one() -> None:
    register_backend("recorder", lambda **_: "first")  # type: ignore[arg-type, return-value]
    register_backend("recorder", lambda **_: "second")  # type: ignore[arg-type, return-value]
    assert open_storage("recorder://") == "second"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("name", ["sqlite", "memory", "auto", "", "Upper", "with space", "9", "a\n", None, []])
def test_some_names_cannot_be_registered(name: Any) -> None:
    with pytest.raises(InvalidConfig):
        register_backend(name, Recorder)  # type: ignore[arg-type]


def test_only_something_callable_can_be_registered() -> None:
    with pytest.raises(InvalidConfig, match="cannot be called"):
        register_backend("thing", "module:name")  # type: ignore[arg-type]


def test_an_installed_plug_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, plug_in("far", lambda: Recorder), plug_in("sqlite", lambda: Recorder))
    assert known_backends() == ["far", "memory", "postgres", "rocksdb", "sharded", "sqlite"]
    storage: Any = open_storage("far://there")
    assert storage.options == {"url": "far://there"}
    assert find_backend("sqlite") is not Recorder, "a plug-in cannot take the place of a built-in backend"


def test_a_plug_in_that_cannot_be_loaded_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Any:
        raise ModuleNotFoundError("No module named 'driver'", name="driver")

    install(monkeypatch, plug_in("far", load, "far-package"))
    with pytest.raises(BackendUnavailable, match=r"'far' of the package 'far-package'.*driver"):
        open_storage("far://there")


def test_a_missing_driver_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("mycelia_storage.backends.sqlite")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "apsw", None)
    with pytest.raises(BackendUnavailable, match=r"sqlite backend needs apsw.*pip install apsw"):
        open_storage({"backend": "sqlite", "options": {"dbPath": "never.db"}})
    assert not Path("never.db").exists()


def test_the_built_in_backends_really_open(tmp_path: Path) -> None:
    path = tmp_path / "a b.db"
    for config in (
        path,
        str(path),
        f"sqlite:///{tmp_path}/a%20b.db?busyTimeout=100",
        {"options": {"dbPath": str(path)}},
    ):
        with open_storage(config) as storage:
            assert storage.backend_name == "sqlite"
            storage.set("key", storage.get("key", 0) + 1)
    with open_storage(path, read_only=True) as storage:
        assert storage.get("key") == 4
    with open_storage("memory:") as storage:
        assert storage.backend_name == "memory"
        storage.set("key", 1)
    with pytest.raises(InvalidConfig, match="busyTimeout"):
        open_storage(f"sqlite:///{path}?busyTimeot=1")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+shards:///?shard=postgresql://app:hush#1@a/d&shard=b/d",
        "postgresql+shards://app:hush@a/d",
        "postgresql+shards:///?shard=postgresql://app:hush%zz@a/d",
        "postgresql+shards:///shards.json?shard=postgresql://app:hush@a/d",
        "sharded:?shard=postgresql://app:hush@a/d&busyTimeout=1&busyTimeout=2",
    ],
)
def test_a_bad_url_of_shards_is_refused_without_its_passwords(url: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        open_storage(url)
    assert "hush" not in str(refused.value)
    assert url.partition(":")[0] in str(refused.value)
