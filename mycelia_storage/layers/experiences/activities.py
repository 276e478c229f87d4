"""Activities: which agents are at work in a collective. They are neither logged nor synchronised."""

from __future__ import annotations

from dataclasses import replace

from .entities import Activity
from .errors import NotFound
from .ids import as_id
from .insights import Insights
from .limits import MAX_AGENT, MAX_TASK, check_optional, check_text
from .turns import Turn


class Activities(Insights):
    """The part of the store for activities."""

    def register_activity(
        self, agent_id: str, collective_id: str, *, current_task: str | None = None, context_summary: str | None = None
    ) -> None:
        """Say that an agent is at work; registering again starts anew. Raises ValidationError, NotFound."""
        self._check_writable()
        check_text("agent_id", agent_id, MAX_AGENT)
        for name, text in (("current_task", current_task), ("context_summary", context_summary)):
            if text is not None:
                check_optional(name, text, MAX_TASK)
        collective = as_id(collective_id, "collective_id")

        def work(turn: Turn) -> None:
            activity = Activity(agent_id, collective, current_task, context_summary, turn.now, turn.now)
            self._put_activity(turn, activity)

        self._write(work)

    def save_activity(self, activity: Activity) -> None:
        """Store an activity as it is. Raises ValidationError, NotFound."""
        check_text("agent_id", activity.agent_id, MAX_AGENT)
        self._write(lambda turn: self._put_activity(turn, activity))

    def _put_activity(self, turn: Turn, activity: Activity) -> None:
        collective = as_id(activity.collective_id, "collective_id")
        if not turn.has(self.layout.collectives, collective):
            raise NotFound("collective", collective)
        turn.put(self.layout.activities(collective), _key(activity.agent_id), activity.to_json())

    def update_heartbeat(self, agent_id: str, collective_id: str) -> None:
        """Say that an agent is still at work. Raises NotFound."""
        collective = as_id(collective_id, "collective_id")
        check_text("agent_id", agent_id, MAX_AGENT)

        def work(turn: Turn) -> None:
            row = turn.get(self.layout.activities(collective), _key(agent_id))
            if row is None:
                raise NotFound("activity", f"of agent {agent_id!r} in {collective}")
            activity = replace(Activity.from_json(agent_id, collective, row), last_heartbeat=turn.now)
            turn.put(self.layout.activities(collective), _key(agent_id), activity.to_json())

        self._write(work)

    def end_activity(self, agent_id: str, collective_id: str) -> None:
        """Say that an agent has stopped. Raises NotFound."""
        if not self.delete_activity(agent_id, collective_id):
            raise NotFound("activity", f"of agent {agent_id!r} in {as_id(collective_id)}")

    def get_activity(self, agent_id: str, collective_id: str) -> Activity | None:
        """The activity, or None."""
        collective = as_id(collective_id, "collective_id")
        check_text("agent_id", agent_id, MAX_AGENT)
        row = self.storage.get(_key(agent_id), namespace=self.layout.activities(collective))
        return None if row is None else Activity.from_json(agent_id, collective, row)

    def delete_activity(self, agent_id: str, collective_id: str) -> bool:
        """Delete an activity; whether it existed."""
        self._check_writable()
        check_text("agent_id", agent_id, MAX_AGENT)
        return self.storage.delete(_key(agent_id), namespace=self.layout.activities(as_id(collective_id)))

    def list_activities_in_collective(self, collective_id: str) -> list[Activity]:
        """All activities, in order of agent."""
        collective = as_id(collective_id, "collective_id")
        rows = self.storage.scan(namespace=self.layout.activities(collective))
        return [Activity.from_json(_agent(row.key), collective, row.value) for row in rows]

    def delete_activities_by_collective(self, collective_id: str) -> int:
        """Delete all activities of a collective; how many."""
        self._check_writable()
        return self.storage.clear(namespace=self.layout.activities(as_id(collective_id)))

    def get_active_agents(self, collective_id: str, *, now: int | None = None) -> list[Activity]:
        """Agents heard of within ``stale_after``, the newest heartbeat first. Raises NotFound."""
        collective = as_id(collective_id, "collective_id")
        self._existing(collective)
        oldest = self._now(now) - int(self.stale_after * 1000)
        found = [a for a in self.list_activities_in_collective(collective) if a.last_heartbeat >= oldest]
        return sorted(found, key=lambda activity: (-activity.last_heartbeat, activity.agent_id))


def _key(agent: str) -> str:
    from ...names import join_key

    return join_key(agent)


def _agent(key: str) -> str:
    from ...names import split_key

    return str(split_key(key)[0])
