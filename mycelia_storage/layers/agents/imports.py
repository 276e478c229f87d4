"""Takes an elizaOS database of the 1.x or 2.0 line in: its tables, as :mod:`.export_files` reads them.

    report = import_database(store, "export/")       # or any {table name: rows}
    print(report)

Rows keep their ids, times and agents. What is there already stays as it is, so an import that was interrupted is run
again. Column names are those of either spelling, ``entity_id`` or ``entityId``; a memory's vectors, of however many
dimensions, go into the plain spaces of these dimensions. What cannot be mapped is in the report, row by row: nothing is
dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from ...errors import InvalidInput, KeyNotFound
from .binding import pages
from .embedding_space import EmbeddingSpace
from .export_files import read_export, unreadable
from .export_values import bytes_or_numbers, json_of, moment_of, strings_of, truth_of
from .ids import as_uuid, new_uuid, validate_uuid
from .plain_json import camel_case
from .records import (
    Agent,
    Component,
    Entity,
    Log,
    Memory,
    Participant,
    Record,
    Relationship,
    Room,
    Task,
    World,
)
from .store import AgentStore

Row = Mapping[str, Any]
StoreAll = Callable[[AgentStore, list[Any]], object]

#: Rows of one transaction.
_TOGETHER: Final = 200
#: Problems that the report keeps in words for each table; the others are counted.
_MOST_TOLD: Final = 1_000

#: Columns that the layer has no use for: they belong to how that database keeps its rows.
_DROPPED: Final[dict[str, frozenset[str]]] = {
    "agents": frozenset(),
    "memories": frozenset({"serverId", "embedding"}),
    "entities": frozenset({"serverId"}),
    "participants": frozenset({"serverId", "lastMessageRead"}),
    "components": frozenset({"serverId"}),
    "relationships": frozenset({"serverId"}),
    "tasks": frozenset({"serverId"}),
    "logs": frozenset({"serverId", "agentId"}),
}
_RENAMED: Final[dict[str, dict[str, str]]] = {
    "participants": {"userId": "entityId", "userState": "roomState"},
    "memories": {"userId": "entityId"},
    "logs": {"userId": "entityId"},
}
_JSON: Final = frozenset(
    {"content", "metadata", "data", "body", "settings", "style", "bio", "messageExamples", "postExamples"}
    | {"topics", "adjectives", "knowledge", "plugins"}
)
_LISTS: Final = frozenset({"names", "tags"})
_TIMES: Final = frozenset({"createdAt", "updatedAt", "dueAt"})
_MAY_BE_EMPTY: Final = frozenset({"content", "value"})
_FLAGS: Final = frozenset({"unique", "enabled"})


@dataclass
class ImportReport:
    """What an import did."""

    read: dict[str, int] = field(default_factory=dict)
    """Rows read, by table."""
    stored: dict[str, int] = field(default_factory=dict)
    """Rows stored, those that were there already included, by table."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    """For each table the rows that could not be mapped, each in a sentence with its id."""
    unmapped: dict[str, int] = field(default_factory=dict)
    """Rows that could not be mapped, by table."""
    ignored_tables: dict[str, int] = field(default_factory=dict)
    """Tables that the layer has no place for, with their rows."""
    ignored_columns: dict[str, dict[str, int]] = field(default_factory=dict)
    """Columns that held something and have no place, by table, with the rows that had it."""

    @property
    def complete(self) -> bool:
        """Whether every row and value found its place."""
        return not (self.unmapped or self.ignored_tables or self.ignored_columns)

    def note(self, table: str, row: str, why: object) -> None:
        """Count a row that could not be mapped."""
        self.unmapped[table] = self.unmapped.get(table, 0) + 1
        told = self.problems.setdefault(table, [])
        if len(told) < _MOST_TOLD:
            told.append(f"{row}: {why}")

    def __str__(self) -> str:
        lines = [
            f"{table}: {self.stored.get(table, 0)} of {read} rows stored"
            + (f", {self.unmapped[table]} could not be mapped" if table in self.unmapped else "")
            for table, read in self.read.items()
        ]
        for table, told in self.problems.items():
            lines += [f"  {table} {each}" for each in told[:5]]
        lines += [
            f"{table}: {rows} rows ignored: no place for this table" for table, rows in self.ignored_tables.items()
        ]
        for table, columns in self.ignored_columns.items():
            lines += [f"{table}.{column}: ignored in {rows} rows" for column, rows in columns.items()]
        return "\n".join(lines)


def import_database(
    store: AgentStore, source: str | Path | Mapping[str, Iterable[Row]], *, agent_id: str | None = None
) -> ImportReport:
    """Store what ``source`` holds, of all agents or of one; a report.

    Raises InvalidInput for a store in strict mode (it could write one agent's rows only, so give another one) and for a
    source that is none, and whatever the storage raises for reasons of its own: full disk, lost connection.
    """
    if store.strict:
        raise InvalidInput("an import writes the rows of several agents: give it a store that is not strict")
    tables = dict(read_export(source) if isinstance(source, str | Path) else source)
    return _Import(store, tables, None if agent_id is None else as_uuid(agent_id)).run()


class _Import:
    def __init__(self, store: AgentStore, tables: dict[str, Iterable[Row]], agent_id: str | None) -> None:
        self.store = store
        self.tables = tables
        self.only = agent_id
        self.report = ImportReport()
        self.own_entities: set[str] = set()

    def run(self) -> ImportReport:
        report = self.report
        takers = {"agents": self._agents, "memories": self._memories, "cache": self._cache}
        for table in _ORDER:
            if table not in self.tables:
                continue
            report.read[table] = report.stored[table] = 0
            rows = self._rows(table)
            if table in takers:
                takers[table](table, rows)
            else:
                kind, store_all = _STORED[table]
                self._each(table, rows, kind, store_all)
        taken = {*_ORDER, "embeddings"}
        for table, others in self.tables.items():
            if table not in taken:
                count = sum(1 for _ in others)
                if count:
                    report.ignored_tables[table] = count
        return report

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _rows(self, table: str) -> Iterator[Row]:
        """The rows of a table with camelCase names, those of other agents left out."""
        for raw in self.tables[table]:
            wrong = unreadable(raw)
            if wrong is None:
                renamed = _RENAMED.get(table, {})
                # CSV writes what is missing as an empty cell; where empty has a meaning, it is the default as well.
                row = {
                    renamed.get(camel_case(name), camel_case(name)): value
                    for name, value in raw.items()
                    if value != "" or name in _MAY_BE_EMPTY
                }
                owner = row.get("id" if table == "agents" else "agentId")
                if self.only is not None and table != "logs" and validate_uuid(owner) != self.only:
                    continue
            self.report.read[table] = self.report.read.get(table, 0) + 1
            if wrong is not None:
                self.report.note(table, f"row {self.report.read[table]}", wrong)
            else:
                yield row

    def _record(self, table: str, kind: type[Record], row: Row) -> Any:
        """The record of a row. Raises InvalidInput."""
        data: dict[str, Any] = {}
        dropped = _DROPPED.get(table, frozenset())
        for name, value in row.items():
            if value is None or name in dropped or (name.startswith("dim") and name[3:].isdecimal()):
                continue
            if name in _JSON:
                data[name] = json_of(value)
            elif name in _LISTS:
                data[name] = strings_of(value)
            elif name in _TIMES:
                data[name] = moment_of(value)
            elif name in _FLAGS:
                data[name] = truth_of(value)
            elif name in _COLUMNS[kind] or kind is Agent:
                data[name] = value
            elif value not in ("", [], {}):
                columns = self.report.ignored_columns.setdefault(table, {})
                columns[name] = columns.get(name, 0) + 1
        return kind.from_json(data)

    def _each(
        self,
        table: str,
        rows: Iterator[Row],
        kind: type[Record],
        store_all: StoreAll,
    ) -> None:
        """Store records in batches of one agent's; a batch that fails is tried row by row."""
        for page in pages(rows, _TOGETHER):
            by_agent: dict[str, list[Any]] = {}
            for row in page:
                try:
                    record = self._record(table, kind, row)
                except InvalidInput as error:
                    self.report.note(table, str(row.get("id")), error)
                    continue
                owner = getattr(record, "agent_id", None) or self.only or self.store.agent_id
                by_agent.setdefault(owner, []).append(record)
            for agent, records in by_agent.items():
                self._store(table, self._scoped(agent), records, store_all)

    def _store(self, table: str, store: AgentStore, records: list[Any], store_all: StoreAll) -> None:
        try:
            store_all(store, records)
        except (InvalidInput, KeyNotFound) as error:
            if len(records) == 1:
                self.report.note(table, str(records[0].id), error)
                return
            for record in records:
                self._store(table, store, [record], store_all)
            return
        self.report.stored[table] += len(records)

    def _scoped(self, agent: str, space: EmbeddingSpace | None = None) -> AgentStore:
        store = self.store._bound_to(self.store.get_connection(), agent)
        store._session = replace(
            store._session, space=space or EmbeddingSpace.plain(384), is_bound_to_space=False, log_retention=None
        )
        return store

    # -- kinds with something of their own -----------------------------------------------------------------------------

    def _agents(self, table: str, rows: Iterator[Row]) -> None:
        for page in pages(rows, _TOGETHER):
            for row in page:
                try:
                    agent = self._record(table, Agent, row)
                    if agent.id is None:
                        raise InvalidInput("an agent without an id")
                    self.store.create_agents([agent])
                except InvalidInput as error:
                    self.report.note(table, str(row.get("id")), error)
                else:
                    self.report.stored[table] += 1

    def _memories(self, table: str, rows: Iterator[Row]) -> None:
        vectors = self._embeddings()
        for page in pages(rows, _TOGETHER):
            by_agent: dict[str, list[Memory]] = {}
            for row in page:
                try:
                    memory: Memory = self._record(table, Memory, row)
                    if memory.id is None or memory.table is None:
                        raise InvalidInput("a memory without id or type")
                except InvalidInput as error:
                    self.report.note(table, str(row.get("id")), error)
                    continue
                if row.get("embedding") is not None:
                    vectors.setdefault(memory.id, []).append(row["embedding"])
                memory = memory if memory.unique is not None else memory.with_(unique=True)
                by_agent.setdefault(memory.agent_id or self.store.agent_id, []).append(memory)
            for agent, memories in by_agent.items():
                self._store(table, self._scoped(agent), memories, _create_memories)
                for memory in memories:
                    for vector in vectors.pop(str(memory.id), ()):
                        self._embed(agent, memory, vector)
        for id in vectors:
            self.report.note("embeddings", id, "its memory is not there")

    def _embeddings(self) -> dict[str, list[Any]]:
        """The vectors of each memory."""
        found: dict[str, list[Any]] = {}
        if "embeddings" not in self.tables:
            return found
        self.report.read["embeddings"] = self.report.stored["embeddings"] = 0
        for row in self._rows("embeddings"):
            id = validate_uuid(row.get("memoryId"))
            held = [value for name, value in row.items() if name.startswith("dim") and value is not None]
            if id is None or not held:
                self.report.note("embeddings", str(row.get("id")), "no memory or no vector")
            else:
                found.setdefault(id, []).extend(held)
        return found

    def _embed(self, agent: str, memory: Memory, value: Any) -> None:
        try:
            vector = bytes_or_numbers(value)
            store = self._scoped(agent, EmbeddingSpace.plain(len(vector)))
            if store.update_memory_embedding(str(memory.id), vector):
                self.report.stored["embeddings"] = self.report.stored.get("embeddings", 0) + 1
            else:
                self.report.note("embeddings", str(memory.id), "its memory could not be stored")
        except InvalidInput as error:
            self.report.note("embeddings", str(memory.id), error)

    def _cache(self, table: str, rows: Iterator[Row]) -> None:
        for row in rows:
            try:
                agent = as_uuid(row.get("agentId"))
                expires = None if row.get("expiresAt") is None else moment_of(row["expiresAt"])
                self._scoped(agent).set_cache(str(row.get("key")), json_of(row.get("value")), expires_at=expires)
            except InvalidInput as error:
                self.report.note(table, str(row.get("key")), error)
            else:
                self.report.stored[table] += 1


def _create_memories(store: AgentStore, memories: list[Any]) -> None:
    store.create_memories([(memory.with_(embedding=None), memory.table) for memory in memories])


def _worlds(store: AgentStore, worlds: list[Any]) -> None:
    for world in worlds:
        store.ensure_world_exists(world)


def _tasks(store: AgentStore, tasks: list[Any]) -> None:
    known = {task.id for task in store.get_tasks_by_ids([task.id for task in tasks if task.id])}
    store.create_tasks([task for task in tasks if task.id is None or task.id not in known])


def _participants(store: AgentStore, seats: list[Any]) -> None:
    seats = [seat.with_(agent_id=store.agent_id, id=seat.id or new_uuid()) for seat in seats]
    store._write(store._seat, seats)
    states = [seat for seat in seats if seat.room_state]
    store.update_participant_user_states(
        [{"entityId": seat.entity_id, "roomId": seat.room_id, "state": seat.room_state} for seat in states]
    )


def _logs(store: AgentStore, logs: list[Any]) -> None:
    known = {log.id for log in store.get_logs_by_ids([log.id for log in logs if log.id])}
    store.create_logs([log for log in logs if log.id is None or log.id not in known])


def _columns_of(kind: type[Record]) -> frozenset[str]:
    return frozenset({camel_case(each.name) for each in fields(kind)} | set(kind.ALIASES))


_COLUMNS: Final[dict[type[Record], frozenset[str]]] = {
    kind: _columns_of(kind)
    for kind in (Agent, Entity, World, Room, Participant, Component, Relationship, Memory, Task, Log)
}
#: What refers to something comes after it.
_ORDER: Final = (
    "agents", "entities", "worlds", "rooms", "participants", "components", "relationships", "memories", "tasks", "logs",
    "cache",
)  # fmt: skip
_STORED: Final[dict[str, tuple[type[Record], StoreAll]]] = {
    "entities": (Entity, AgentStore.create_entities),
    "worlds": (World, _worlds),
    "rooms": (Room, AgentStore.create_rooms),
    "participants": (Participant, _participants),
    "components": (Component, AgentStore.create_components),
    "relationships": (Relationship, AgentStore.create_relationships),
    "tasks": (Task, _tasks),
    "logs": (Log, _logs),
}
