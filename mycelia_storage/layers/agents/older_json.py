"""Records in the JSON of elizaOS 0.x, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...errors import InvalidInput
from .records import Entity, Memory, Relationship, Task

Json = dict[str, Any]

#: The agent that shared knowledge belongs to.
NIL: Final = "00000000-0000-0000-0000-000000000000"
GOAL: Final = "goal"
GOAL_STATUS: Final = ("DONE", "FAILED", "IN_PROGRESS")


def check_names(given: Mapping[str, Any], names: set[str], about: str) -> None:
    unknown = given.keys() - names
    if unknown:
        raise InvalidInput(f"{about} has no {', '.join(sorted(unknown))}")


def account_json(entity: Entity) -> Json:
    kept = entity.metadata.get("account")
    known = kept if isinstance(kept, dict) else {}
    name = known.get("name") or (entity.names[0] if entity.names else "")
    return {
        "id": entity.id,
        "createdAt": entity.created_at,
        "name": name,
        "username": known.get("username", ""),
        "email": known.get("email", ""),
        "avatarUrl": known.get("avatarUrl", ""),
        "details": known.get("details", {}),
    }


def memory_json(memory: Memory) -> Json:
    data = memory.to_json()
    if "entityId" in data:
        data["userId"] = data.pop("entityId")
    return data


def goal_json(task: Task) -> Json:
    return {
        "id": task.id,
        "roomId": task.room_id,
        "userId": task.entity_id,
        "name": task.name,
        "description": task.description,
        "status": task.status or "IN_PROGRESS",
        "objectives": task.metadata.get("objectives", []),
    }


def goal_fields(goal: Mapping[str, Any]) -> Json:
    check_names(goal, {"id", "roomId", "userId", "name", "description", "status", "objectives"}, "a goal")
    return {
        "name": goal["name"],
        "description": goal.get("description", ""),
        "tags": [GOAL],
        "roomId": goal["roomId"],
        "entityId": goal.get("userId"),
        "status": check_status(goal.get("status", "IN_PROGRESS")),
        "metadata": {"objectives": list(goal.get("objectives", []))},
    }


def check_status(status: Any) -> str:
    if status not in GOAL_STATUS:
        raise InvalidInput(f"the status of a goal is {', '.join(GOAL_STATUS)}")
    return str(status)


def relationship_json(edge: Relationship) -> Json:
    return {
        "id": edge.id,
        "userA": edge.source_entity_id,
        "userB": edge.target_entity_id,
        "userId": edge.source_entity_id,
        "status": edge.metadata.get("status"),
        "createdAt": edge.created_at,
    }


def knowledge_json(memory: Memory) -> Json:
    return {
        "id": memory.metadata.get("knowledgeId", memory.id),
        "agentId": None if memory.agent_id == NIL else memory.agent_id,
        "content": memory.content,
        "embedding": None if memory.embedding is None else list(memory.embedding),
        "createdAt": memory.created_at,
        "similarity": memory.similarity,
    }
