"""An elizaOS database taken in: from JSON, CSV, a SQLite file, and from what pg_dump writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import numpy
import pytest

from mycelia_storage.backends.sqlite.foreign_tables import read_tables
from mycelia_storage.errors import InvalidInput, StorageCorrupt, StorageError
from mycelia_storage.layers.agents import AgentStore
from mycelia_storage.layers.agents.export_files import read_export
from mycelia_storage.layers.agents.imports import import_database

from .people import ADA, AGENT, BOB, DAY, HALL, NOBODY, OTHER_AGENT, WORLD

AT = "2023-11-14 22:13:20.000123+00"
VECTOR = [1.0, 0.5, 0.0, 0.0]
MEMORY = "00000000-0000-0000-0000-00000000000a"
FACT = "00000000-0000-0000-0000-00000000000b"

#: As the tables of 1.x hold it, JSON columns as objects.
TABLES: dict[str, list[dict[str, Any]]] = {
    "agents": [{"id": AGENT, "name": "Bot", "bio": ["a"], "settings": {"x": 1}, "enabled": True, "created_at": AT}],
    "entities": [
        {"id": ADA, "agent_id": AGENT, "names": ["Ada", "the \"Countess\", L"], "metadata": {"a": {"b": 1}},
         "created_at": AT},
        {"id": BOB, "agent_id": AGENT, "names": [], "metadata": {}, "created_at": AT},
        {"id": "broken", "agent_id": AGENT, "names": [], "metadata": {}, "created_at": AT},
    ],
    "worlds": [{"id": WORLD, "agent_id": AGENT, "name": "W", "metadata": {}, "server_id": "guild", "created_at": AT}],
    "rooms": [
        {"id": HALL, "agent_id": AGENT, "source": "discord", "type": "GROUP", "server_id": "guild", "world_id": WORLD,
         "name": None, "metadata": None, "channel_id": "c", "created_at": AT}
    ],
    "participants": [
        {"id": NOBODY, "created_at": AT, "entity_id": ADA, "room_id": HALL, "agent_id": AGENT, "room_state": "MUTED"},
        {"id": FACT, "created_at": AT, "entity_id": ADA, "room_id": HALL, "agent_id": AGENT, "room_state": None},
        {"id": MEMORY, "created_at": AT, "entity_id": NOBODY, "room_id": HALL, "agent_id": AGENT, "room_state": None},
    ],
    "components": [
        {"id": NOBODY, "entity_id": ADA, "agent_id": AGENT, "room_id": HALL, "world_id": WORLD,
         "source_entity_id": None, "type": "wallet", "data": {"gold": 1}, "created_at": AT}
    ],
    "relationships": [
        {"id": NOBODY, "created_at": AT, "source_entity_id": ADA, "target_entity_id": BOB, "agent_id": AGENT,
         "tags": ["friend"], "metadata": {"since": 1}}
    ],
    "memories": [
        {"id": MEMORY, "type": "messages", "created_at": AT, "content": {"text": "tab\there, back\\slash\nline"},
         "entity_id": ADA, "agent_id": AGENT, "room_id": HALL, "world_id": None, "unique": True,
         "metadata": {"type": "message"}},
        {"id": FACT, "type": "facts", "created_at": AT, "content": {"text": "it's a fact"}, "entity_id": ADA,
         "agent_id": AGENT, "room_id": HALL, "world_id": WORLD, "unique": False, "metadata": {}},
        {"id": BOB, "type": "messages", "created_at": AT, "content": {"text": "lost"}, "entity_id": NOBODY,
         "agent_id": AGENT, "room_id": HALL, "world_id": None, "unique": True, "metadata": {}},
    ],
    "embeddings": [
        {"id": NOBODY, "memory_id": MEMORY, "created_at": AT, "dim_4": VECTOR, "dim_8": None},
        {"id": ADA, "memory_id": MEMORY, "created_at": AT, "dim_4": None, "dim_8": VECTOR * 2},
        {"id": BOB, "memory_id": NOBODY, "created_at": AT, "dim_4": VECTOR, "dim_8": None},
    ],
    "tasks": [
        {"id": NOBODY, "name": "t", "description": None, "room_id": HALL, "world_id": None, "entity_id": None,
         "agent_id": AGENT, "tags": ["queue"], "metadata": {"updateInterval": 5}, "created_at": AT, "updated_at": AT}
    ],
    "logs": [{"id": NOBODY, "created_at": AT, "entity_id": ADA, "body": {"n": 1}, "type": "action", "room_id": HALL}],
    "cache": [
        {"key": "k", "agent_id": AGENT, "value": {"cached": [1]}, "created_at": AT, "expires_at": None},
        {"key": "k", "agent_id": OTHER_AGENT, "value": "theirs", "created_at": AT, "expires_at": None},
    ],
    "central_messages": [{"id": "x", "content": "no place"}],
    "servers": [],
}  # fmt: skip


def as_json_file(folder: Path) -> Any:
    (folder / "export.json").write_text(json.dumps(TABLES))
    return folder / "export.json"


def as_folder(folder: Path) -> Any:
    """Half JSON lines, half CSV with PostgreSQL's texts."""
    for number, (table, rows) in enumerate(TABLES.items()):
        if number % 2 or not rows:
            (folder / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            continue
        with (folder / f"{table}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(
                {name: "" if value is None else in_postgres(name, value) for name, value in row.items()} for row in rows
            )
    return folder


def in_postgres(name: str, value: Any) -> str:
    if name in ("names", "tags"):
        quoted = ['"' + each.replace("\\", "\\\\").replace('"', '\\"') + '"' for each in value]
        return "{" + ",".join(quoted) + "}"
    if isinstance(value, bool):
        return "t" if value else "f"
    return value if isinstance(value, str) and name not in ("value", "content") else json.dumps(value)


def as_copy(folder: Path) -> Any:
    """As pg_dump writes it."""
    lines = ["-- PostgreSQL database dump", "SET client_encoding = 'UTF8';", "CREATE TABLE public.memories (id uuid);"]
    for table, rows in TABLES.items():
        columns = list(rows[0]) if rows else ["id"]
        shown = ", ".join('"unique"' if column == "unique" else column for column in columns)
        lines.append(f"COPY public.{table} ({shown}) FROM stdin;")
        for row in rows:
            cells = ("\\N" if row[name] is None else copied(in_postgres(name, row[name])) for name in columns)
            lines.append("\t".join(cells))
        lines.append("\\.\n")
    (folder / "dump.sql").write_text("\n".join(lines))
    return folder / "dump.sql"


def copied(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def as_inserts(folder: Path) -> Any:
    """As pg_dump --column-inserts writes it."""
    lines = ["-- dump"]
    for table, rows in TABLES.items():
        for row in rows:
            cells = (
                "NULL" if value is None else quoted(in_postgres(name, value), value) for name, value in row.items()
            )
            names = ", ".join('"unique"' if column == "unique" else column for column in row)
            lines.append(f"INSERT INTO public.{table} ({names}) VALUES ({', '.join(cells)});")
    (folder / "dump.sql").write_text("\n".join(lines))
    return folder / "dump.sql"


def quoted(text: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + text.replace("'", "''") + "'"


def as_sqlite(folder: Path) -> Any:
    """As PGlite's tables look in a SQLite file: JSON as text, vectors as bytes, times as numbers."""
    path = folder / "eliza.sqlite"
    connection = apsw.Connection(str(path))
    for table, rows in TABLES.items():
        columns = list(rows[0]) if rows else ["id"]
        connection.execute(f"CREATE TABLE {table} ({', '.join(json.dumps(name) for name in columns)})")
        for row in rows:
            cells = []
            for name, value in row.items():
                if name.startswith("dim_") and value is not None:
                    value = numpy.array(value, dtype="<f4").tobytes()
                elif name == "created_at":
                    value = DAY
                elif isinstance(value, dict | list) or name == "value":
                    value = json.dumps(value)
                cells.append(value)
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(cells))})", cells)
    connection.close()
    return read_tables(path)


@pytest.fixture(params=[as_json_file, as_folder, as_copy, as_inserts, as_sqlite])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The same tables in each form."""
    (tmp_path / "export").mkdir()
    return request.param(tmp_path / "export")


@pytest.mark.parametrize("storage", ["memory"], indirect=True)
def test_every_form_of_an_export_is_read(store: AgentStore, source: Any) -> None:
    check_import(store, source)


@pytest.mark.parametrize("storage", ["sqlite", "rocksdb", "postgres"], indirect=True)
def test_every_backend_takes_an_import(store: AgentStore) -> None:
    check_import(store, TABLES)


def check_import(store: AgentStore, source: Any) -> None:
    for _ in range(2):  # the second time finds everything there
        report = import_database(store, source)
        assert report.read["memories"] == 3
        assert (report.stored["memories"], report.unmapped["memories"]) == (2, 1)
        assert (report.stored["embeddings"], report.unmapped["embeddings"]) == (2, 1)
        assert (report.stored["participants"], report.unmapped["participants"]) == (2, 1)
        assert report.unmapped["entities"] == 1
        assert "broken" in report.problems["entities"][0]
        assert report.ignored_tables == {"central_messages": 1}
        assert not report.complete
        assert "central_messages" in str(report)
        assert [report.stored[table] for table in ("agents", "worlds", "rooms", "components", "relationships")] == [
            1
        ] * 5
        assert [report.stored[table] for table in ("tasks", "logs", "cache")] == [1, 1, 2]
    agent = store.get_agent(AGENT)
    assert agent is not None
    assert (agent.name, agent.bio, agent.settings, agent.created_at) == ("Bot", ["a"], {"x": 1}, DAY)
    ada = store.get_entity_by_id(ADA)
    assert ada is not None
    assert (ada.names, ada.metadata) == (["Ada", 'the "Countess", L'], {"a": {"b": 1}})
    assert [component.data for component in ada.components or ()] == [{"gold": 1}]
    assert [room.message_server_id for room in store.get_rooms_by_world(WORLD)] == ["guild"]
    assert store.get_participants_for_room(HALL) == [ADA]
    assert store.get_participant_user_state(HALL, ADA) == "MUTED"
    assert [(each.tags, each.metadata) for each in store.get_relationships(BOB)] == [(["friend"], {"since": 1})]
    message = store.get_memory_by_id(MEMORY)
    assert message is not None
    assert (message.text, message.created_at, message.table) == ("tab\there, back\\slash\nline", DAY, "messages")
    assert message.embedding == tuple(VECTOR)
    assert store.get_memories("facts", unique=True) == []
    assert [each.text for each in store.get_memories("facts", world_id=WORLD)] == ["it's a fact"]
    assert [each.id for each in store.search_memories(VECTOR, "messages", room_id=HALL)] == [MEMORY]
    assert store.get_embedding_spaces() == {"4": 1, "8": 1}
    assert [task.tags for task in store.get_tasks()] == [["queue"]]
    assert [log.body for log in store.get_logs(room_id=HALL)] == [{"n": 1}]
    assert store.get_cache("k") == {"cached": [1]}


@pytest.mark.parametrize("storage", ["memory"], indirect=True)
def test_one_agent_of_many(store: AgentStore, open_store: Callable[..., AgentStore]) -> None:
    report = import_database(store, {"cache": TABLES["cache"]}, agent_id=OTHER_AGENT)
    assert report.read == {"cache": 1}
    assert report.complete
    assert open_store(OTHER_AGENT).get_cache("k") == "theirs"
    assert store.get_cache("k") is None


@pytest.mark.parametrize("storage", ["memory"], indirect=True)
def test_what_cannot_be_mapped_is_told(
    store: AgentStore, tmp_path: Path, open_store: Callable[..., AgentStore]
) -> None:
    rows = [
        {"id": ADA, "agent_id": AGENT, "names": ["x"], "shoe_size": 44, "created_at": "yesterday"},
        {"id": BOB, "agentId": AGENT, "names": ["y"], "shoeSize": 43, "server_id": NOBODY},
    ]
    report = import_database(store, {"entities": rows})
    assert report.ignored_columns == {"entities": {"shoeSize": 2}}
    assert report.unmapped == {"entities": 1}
    assert store.get_entities_by_ids([ADA, BOB])[0].names == ["y"]
    (tmp_path / "entities.jsonl").write_text('{"id": \n')
    assert import_database(store, tmp_path).unmapped == {"entities": 1}
    (tmp_path / "dump.sql").write_text(
        "INSERT INTO entities VALUES ('a', 'b');\nINSERT INTO entities (id) VALUES ('x\n"
    )
    assert import_database(store, tmp_path / "dump.sql").unmapped == {"entities": 2}
    for wrong in (tmp_path / "x.txt", tmp_path / "empty"):
        wrong.mkdir() if wrong.name == "empty" else wrong.write_text("")
        with pytest.raises(InvalidInput):
            read_export(wrong)
    with pytest.raises(InvalidInput, match="strict"):
        import_database(open_store(strict=True), {})
    (tmp_path / "not.sqlite").write_bytes(b"no database, however long this text may be" * 40)
    with pytest.raises(StorageCorrupt):
        read_tables(tmp_path / "not.sqlite")
    with pytest.raises(StorageError):
        read_tables(tmp_path / "gone.sqlite")
