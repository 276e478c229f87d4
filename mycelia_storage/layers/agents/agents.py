"""Agents: the characters, and everything that belongs to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...contract import StorageBackend
from ...errors import InvalidInput
from .binding import check_ids, now
from .cascades import Cascades
from .errors import ForeignAgent
from .ids import as_uuid, new_uuid
from .plain_json import merge_settings
from .record_fields import check_time
from .records import Agent, Entity

AgentInput = Agent | Mapping[str, Any]

_DEFAULT_BIO = "An agent without a description of its own."


class Agents(Cascades):
    """The methods on agents. In strict mode they see and touch the store's own agent alone."""

    def get_agent(self, id: str) -> Agent | None:
        """The agent, or None."""
        found = self.get_agents_by_ids([id])
        return found[0] if found else None

    def get_agents_by_ids(self, ids: Iterable[str]) -> list[Agent]:
        """The agents of those ids that exist, in that order."""
        return [agent for agent in self._agents(check_ids(ids, "ids")) if self._sees(agent.id)]

    def get_agents(self) -> list[Agent]:
        """All agents, in order of their ids."""
        entries = self._storage.scan(namespace=self._places.agents)
        return [Agent.from_json(entry.value) for entry in entries if self._sees(entry.key)]

    def count_agents(self) -> int:
        """How many agents there are."""
        return len(self.get_agents()) if self.strict else self._storage.count(namespace=self._places.agents)

    def create_agent(self, agent: AgentInput) -> bool:
        """Store a new agent; False, and nothing changed, if its id is taken. Names may repeat."""
        return bool(self.create_agents([agent]))

    def create_agents(self, agents: Iterable[AgentInput]) -> list[str]:
        """Store new agents; the ids of those whose id was free."""
        prepared = [self._new(agent) for agent in agents]

        def create(tx: StorageBackend) -> list[str]:
            taken = set(tx.get_many([str(agent.id) for agent in prepared], namespace=self._places.agents))
            fresh = {str(agent.id): agent for agent in reversed(prepared) if agent.id not in taken}
            self._put(tx, self._places.agents, [(id, agent.to_json(), {}) for id, agent in fresh.items()])
            return [str(agent.id) for agent in prepared if fresh.get(str(agent.id)) is agent]

        return self._write(create)

    def upsert_agents(self, agents: Iterable[AgentInput]) -> None:
        """Store each agent, or put it in the place of the one with its id, whose creation time stays."""
        prepared = [self._new(agent) for agent in agents]

        def upsert(tx: StorageBackend) -> None:
            known = tx.get_many([str(agent.id) for agent in prepared], namespace=self._places.agents)
            rows: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
            for agent in prepared:
                before = known.get(str(agent.id))
                kept = agent if before is None else agent.with_(created_at=before["createdAt"], updated_at=now())
                rows.append((str(agent.id), kept.to_json(), {}))
            self._put(tx, self._places.agents, rows)

        self._write(upsert)

    def update_agent(self, id: str, patch: Mapping[str, Any]) -> bool:
        """Change the fields given; whether the agent exists.

        ``settings`` merge: objects by their names, null deletes, everything else replaces. Other fields replace.
        """
        return self.update_agents([{"agentId": id, "agent": patch}])[0]

    def update_agents(self, updates: Iterable[Mapping[str, Any]]) -> list[bool]:
        """The same for several {"agentId", "agent"}, all or none; whether each exists."""
        patches = []
        for update in updates:
            id = update.get("agentId", update.get("agent_id"))
            patch = update.get("agent")
            if id is None or not isinstance(patch, Mapping):
                raise InvalidInput("updating an agent takes its id and a mapping of what changes")
            patches.append((self._own(as_uuid(id)), dict(patch)))

        def change(tx: StorageBackend) -> list[bool]:
            done = []
            for id, patch in patches:
                value = tx.get(id, namespace=self._places.agents)
                done.append(value is not None)
                if value is None:
                    continue
                settings = patch.get("settings")
                given = Agent.from_json({**value, **patch, "id": id}).with_(
                    created_at=value["createdAt"], updated_at=now()
                )
                if isinstance(settings, Mapping):
                    given = given.with_(settings=merge_settings(value.get("settings", {}), settings))
                tx.set(id, given.to_json(), namespace=self._places.agents)
            return done

        return self._write(change)

    def delete_agent(self, id: str) -> bool:
        """Delete an agent and all that belongs to it; whether there was anything."""
        return self.delete_agents([id])

    def delete_agents(self, ids: Iterable[str]) -> bool:
        """The same for several, all or none; whether all were there."""
        wanted = [self._own(id) for id in check_ids(ids, "ids")]

        def delete(tx: StorageBackend) -> bool:
            gone = [self._drop_agent(tx, id) for id in wanted]
            return all(gone)

        return self._write(delete)

    def cleanup_agents(self, *, updated_before: int) -> int:
        """Delete the agents, but for the store's own, that were not updated since that time in milliseconds; how many.

        (elizaOS's own deletes every agent.)
        """
        before = check_time(updated_before, "updated_before")
        stale = [str(agent.id) for agent in self.get_agents() if (agent.updated_at or 0) < before]
        gone = [id for id in stale if id != self._agent_id]
        self._write(lambda tx: [self._drop_agent(tx, id) for id in gone])
        return len(gone)

    def ensure_agent_exists(self, character: AgentInput) -> Agent:
        """The agent of that id, created with its own entity if it is not there."""
        agent = Agent.of(character)
        agent = agent.with_(id=self._own(agent.id or self._agent_id))
        agent = self._new(agent.with_(name=agent.name or "Unknown Agent", bio=agent.bio or [_DEFAULT_BIO]))
        id = str(agent.id)

        def ensure(tx: StorageBackend) -> Agent:
            value = tx.get(id, namespace=self._places.agents)
            if value is None:
                tx.set(id, agent.to_json(), namespace=self._places.agents)
            if not tx.has(id, namespace=self._places.entities):
                own = Entity(id=id, agent_id=id, names=[agent.name], created_at=agent.created_at)
                self._put(tx, self._places.entities, [(id, own.to_json(), self._entity_lookups(own))])
            return agent if value is None else Agent.from_json(value)

        return self._write(ensure)

    def _agents(self, ids: Iterable[str]) -> list[Agent]:
        found = self._storage.get_many(dict.fromkeys(ids), namespace=self._places.agents)
        return [Agent.from_json(value) for value in found.values()]

    def _new(self, given: AgentInput) -> Agent:
        agent, at = Agent.of(given), now()
        return agent.with_(
            id=self._own(agent.id or new_uuid()),
            created_at=at if agent.created_at is None else agent.created_at,
            updated_at=at if agent.updated_at is None else agent.updated_at,
        )

    def _own(self, id: str) -> str:
        if not self._sees(id):
            raise ForeignAgent(f"strict mode: agent {self._agent_id} does not touch agent {id}")
        return id
