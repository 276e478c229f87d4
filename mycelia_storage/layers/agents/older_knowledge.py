"""Knowledge as elizaOS 0.x keeps it: texts in chunks, an agent's own or shared by all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .ids import string_to_uuid
from .older_json import NIL, Json, knowledge_json
from .store import AgentStore

KNOWLEDGE: Final = "knowledge"


class OlderKnowledge:
    """The methods on knowledge, memories of the table ``knowledge``; shared ones are the nil UUID's."""

    store: AgentStore

    def get_knowledge(self, *, id: str | None = None, limit: int | None = None) -> list[Json]:
        """The agent's knowledge and what is shared, newest first, or the one piece of that id."""
        if id is not None:
            found = self.store.get_memories_by_ids([string_to_uuid(id)], KNOWLEDGE)
            return [knowledge_json(each) for each in found if each.agent_id in (self.store.agent_id, NIL)]
        found = [each for owner in self._owners() for each in owner.get_memories(KNOWLEDGE, limit=limit)]
        found.sort(key=lambda each: (each.created_at or 0, each.id or ""), reverse=True)
        return [knowledge_json(each) for each in found[:limit]]

    def search_knowledge(
        self,
        *,
        embedding: Any,
        match_threshold: float | None = None,
        match_count: int = 10,
        search_text: str | None = None,
    ) -> list[Json]:
        """The nearest pieces. ``search_text`` lifts those that have it in them, as 0.x does: times 3, a chunk times 1.5
        and a main document times 1.2 more. A piece counts from ``match_threshold`` on, one with the text from 0.3.
        """
        least = 0.0 if match_threshold is None else match_threshold
        found = [
            each
            for owner in self._owners()
            for each in owner.search_memories(embedding, KNOWLEDGE, limit=max(4 * match_count, 40))
        ]
        text = (search_text or "").strip().casefold()
        scored = []
        for each in found:
            similarity = each.similarity or 0.0
            factor = 3.0 if text and text in (each.text or "").casefold() else 1.0
            if each.metadata.get("isChunk"):
                factor *= 1.5 if factor > 1 else 1.0
            elif each.metadata.get("isMain"):
                factor *= 1.2 if factor > 1 else 1.0
            if similarity >= least or (factor > 1 and similarity >= 0.3):
                scored.append((similarity * factor, each))
        scored.sort(key=lambda pair: (-pair[0], -(pair[1].created_at or 0), pair[1].id or ""))
        return [{**knowledge_json(each), "score": score} for score, each in scored[:match_count]]

    def create_knowledge(self, knowledge: Mapping[str, Any]) -> None:
        """Store a piece of knowledge; one whose id is taken changes nothing. A shared one belongs to no agent."""
        id, content = knowledge["id"], dict(knowledge["content"])
        metadata = {**(content.get("metadata") or {}), "knowledgeId": id}
        owner = self._shared() if metadata.get("isShared") else self.store
        owner.create_memory(
            {
                "id": string_to_uuid(id),
                "content": content,
                "metadata": metadata,
                "embedding": knowledge.get("embedding"),
                "createdAt": knowledge.get("createdAt"),
                "unique": True,
            },
            KNOWLEDGE,
        )

    def remove_knowledge(self, id: str) -> int:
        """Delete a piece with its chunks, or by ``*`` all of the agent's whose ids match; how many went."""
        pattern = re.compile(".*".join(map(re.escape, id.split("*"))), re.DOTALL)
        gone = []
        for each in self.store.get_memories(KNOWLEDGE, include_embedding=False):
            own = str(each.metadata.get("knowledgeId"))
            chunk = each.metadata.get("originalId") == id or re.fullmatch(re.escape(id) + r"-chunk-\d+", own)
            if pattern.fullmatch(own) or chunk:
                gone.append(str(each.id))
        return self.store.delete_memories(gone)

    def clear_knowledge(self, shared: bool = False) -> int:
        """Delete the agent's knowledge, and what is shared if asked to; how many pieces."""
        owners = self._owners() if shared else [self.store]
        return sum(
            owner.delete_memories([str(each.id) for each in owner.get_memories(KNOWLEDGE, include_embedding=False)])
            for owner in owners
        )

    def _owners(self) -> list[AgentStore]:
        return [self.store, self._shared()]

    def _shared(self) -> AgentStore:
        return self.store._bound_to(self.store.get_connection(), NIL)
