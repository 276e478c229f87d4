"""Tasks: what an agent has to do, found by tags. They outlive rooms, worlds and entities, and go with their agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...contract import StorageBackend
from ...errors import InvalidInput
from .binding import check_ids, check_page, now
from .cascades import Cascades
from .errors import DuplicateRecord
from .ids import as_uuid, new_uuid
from .layout import short
from .plain_json import shown_time, time_of
from .record_fields import check_time
from .records import Task

TaskInput = Task | Mapping[str, Any]

_CHANGEABLE: Final = frozenset(
    {"name", "description", "tags", "roomId", "worldId", "entityId", "metadata", "status", "dueAt"}
)
#: Where elizaOS's scheduler looks for the time.
_SCHEDULED: Final = "scheduledAt"
_ENDED: Final = ("COMPLETED", "FAILED", "CANCELLED", "IN_PROGRESS")


class Tasks(Cascades):
    """The methods on tasks. They see the agent's own."""

    def create_task(self, task: TaskInput) -> str:
        """Store a new task; its id. Raises DuplicateRecord if that is taken."""
        return self.create_tasks([task])[0]

    def create_tasks(self, tasks: Iterable[TaskInput]) -> list[str]:
        """The same for several, all or none."""
        at = now()
        prepared = []
        for given in tasks:
            task = Task.of(given)
            prepared.append(
                _scheduled(
                    task.with_(
                        id=task.id or new_uuid(),
                        agent_id=self._agent_id,
                        created_at=at if task.created_at is None else task.created_at,
                        updated_at=at if task.updated_at is None else task.updated_at,
                    )
                )
            )

        def create(tx: StorageBackend) -> None:
            taken = set(tx.get_many([str(each.id) for each in prepared], namespace=self._places.tasks))
            for each in prepared:
                if each.id in taken:
                    raise DuplicateRecord(self._places.tasks, str(each.id))
                taken.add(str(each.id))
            self._put_tasks(tx, prepared)

        self._write(create)
        return [str(task.id) for task in prepared]

    def get_task(self, id: str) -> Task | None:
        """The agent's task, or None."""
        found = self.get_tasks_by_ids([id])
        return found[0] if found else None

    def get_tasks_by_ids(self, ids: Iterable[str]) -> list[Task]:
        """The agent's tasks of those ids, in that order."""
        return self._own_tasks(self._storage, check_ids(ids, "ids"))

    def get_tasks_by_name(self, name: str) -> list[Task]:
        """The agent's tasks of exactly that name, oldest first."""
        ids = [str(id) for id, _ in self._lookup("task-name", self._agent_id, short(name))]
        return _oldest_first(each for each in self._own_tasks(self._storage, ids) if each.name == name)

    def get_tasks(
        self,
        *,
        tags: Iterable[str] | None = None,
        room_id: str | None = None,
        world_id: str | None = None,
        entity_id: str | None = None,
        agent_ids: Iterable[str] | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[Task]:
        """The agent's tasks that have all of the tags and meet every other argument, oldest first.

        ``agent_ids``: those agents' instead; none for an empty list.
        """
        limit, start = check_page(limit, offset)
        if isinstance(tags, str):
            raise InvalidInput("tags is a list of strings")
        wanted = list(dict.fromkeys(tags or ()))
        agents = [self._agent_id] if agent_ids is None else list(dict.fromkeys(check_ids(agent_ids, "agent_ids")))
        fields = {"room_id": room_id, "world_id": world_id, "entity_id": entity_id}
        tests = {name: as_uuid(value) for name, value in fields.items() if value is not None}
        found = []
        for agent in filter(self._sees, agents):
            for task in self._get_each(Task, self._places.tasks, self._tagged(agent, wanted)):
                if set(wanted) <= set(task.tags) and all(getattr(task, name) == id for name, id in tests.items()):
                    found.append(task)
        found = _oldest_first(found)
        return found[start:] if limit is None else found[start : start + limit]

    def update_task(self, id: str, patch: Mapping[str, Any]) -> bool:
        """Change the fields given, each as a whole; whether the agent has the task. ``dueAt: None`` clears the time."""
        return self._change_task(id, patch, pending=False)

    def update_tasks(self, updates: Iterable[Mapping[str, Any]]) -> list[bool]:
        """The same for each {"id", "task"}, all or none."""
        read = [(as_uuid(update.get("id")), _read_patch(update.get("task"))) for update in updates]
        return self._write(lambda tx: [self._patch_task(tx, id, patch, False) for id, patch in read])

    def update_pending_task(self, id: str, patch: Mapping[str, Any]) -> bool:
        """The same, but only while the task waits: of two who take it on, one is told True.

        A task waits while its status is neither IN_PROGRESS, COMPLETED, FAILED nor CANCELLED.
        """
        return self._change_task(id, patch, pending=True)

    def delete_task(self, id: str) -> bool:
        """Delete the agent's task; whether there was one."""
        return self.delete_tasks([id]) > 0

    def delete_tasks(self, ids: Iterable[str]) -> int:
        """The same for several, all or none; how many there were."""
        wanted = check_ids(ids, "ids")

        def delete(tx: StorageBackend) -> int:
            return sum(self._drop_task(tx, str(task.id)) for task in self._own_tasks(tx, wanted))

        return self._write(delete)

    # -- within --------------------------------------------------------------------------------------------------------

    def _own_tasks(self, storage: StorageBackend, ids: Iterable[str]) -> list[Task]:
        found = self._get_each(Task, self._places.tasks, ids, storage)
        return [task for task in found if task.agent_id == self._agent_id]

    def _tagged(self, agent: str, tags: list[str]) -> list[str]:
        """The ids of an agent's tasks that have all the tags, as far as keys tell."""
        if not tags:
            return [str(id) for id, _ in self._lookup("owned", agent, "task")]
        sets = [[str(id) for id, _ in self._lookup("task-tag", agent, short(tag))] for tag in tags]
        others = [set(each) for each in sets[1:]]
        return [id for id in sets[0] if all(id in each for each in others)]

    def _put_tasks(self, tx: StorageBackend, tasks: Iterable[Task]) -> None:
        rows = [(str(each.id), each.to_json(), self._task_lookups(each)) for each in tasks]
        self._put(tx, self._places.tasks, rows)

    def _change_task(self, id: str, patch: Mapping[str, Any], pending: bool) -> bool:
        id, read = as_uuid(id), _read_patch(patch)
        return self._write(lambda tx: self._patch_task(tx, id, read, pending))

    def _patch_task(self, tx: StorageBackend, id: str, patch: dict[str, Any], pending: bool) -> bool:
        found = self._own_tasks(tx, [id])
        if not found or (pending and found[0].status in _ENDED):
            return False
        old = found[0]
        data = {**old.to_json(), **patch}
        if "dueAt" in patch or "metadata" in patch:
            # A new metadata keeps the time, unless it brings its own or the time is set beside it.
            metadata = dict(data.get("metadata") or {})
            due = patch.get("dueAt", None if _SCHEDULED in metadata else old.due_at)
            if "dueAt" in patch and due is None:
                metadata.pop(_SCHEDULED, None)
            data["dueAt"], data["metadata"] = due, metadata
        new = _scheduled(Task.from_json(data).with_(updated_at=max(now(), old.updated_at or 0)))
        self._put(tx, self._places.tasks, [(id, new.to_json(), self._task_lookups(new))], self._task_lookups(old))
        return True


def _read_patch(patch: Any) -> dict[str, Any]:
    if not isinstance(patch, Mapping):
        raise InvalidInput("updating a task takes a mapping of what changes")
    given = {str(_NAMES.get(name, name)): value for name, value in patch.items()}
    unknown = given.keys() - _CHANGEABLE
    if unknown:
        raise InvalidInput(f"a task has no field to change called {', '.join(sorted(unknown))}")
    Task.from_json({"name": "", **{name: value for name, value in given.items() if value is not None}})
    return given


_NAMES: Final[dict[str, str]] = {"room_id": "roomId", "world_id": "worldId", "entity_id": "entityId", "due_at": "dueAt"}


def _scheduled(task: Task) -> Task:
    """The task with its time both as ``due_at`` and where a scheduler looks for it. Raises InvalidValue."""
    if task.due_at is not None:
        return task.with_(metadata={**task.metadata, _SCHEDULED: shown_time(task.due_at)})
    written = task.metadata.get(_SCHEDULED)
    if isinstance(written, str):
        return task.with_(due_at=check_time(time_of(written), f"metadata.{_SCHEDULED}"))
    if isinstance(written, int) and not isinstance(written, bool):
        at = check_time(written, f"metadata.{_SCHEDULED}")
        return task.with_(due_at=at, metadata={**task.metadata, _SCHEDULED: shown_time(at)})
    return task


def _oldest_first(tasks: Iterable[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: (task.created_at or 0, task.id or ""))
