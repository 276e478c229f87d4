"""An agent that listens to a real conversation, remembers it, is restarted, and goes on.

    python examples/agent_conversation.py [agent.db or postgresql://...] [folder of conversations]

The conversation is the first of ``turns.jsonl``: each session becomes a room, each speaker an entity with a seat in
it, each turn a memory with its embedding (``turn_vectors.npy``, 384 dimensions). Half of it is stored, the storage is
closed and opened again, and the rest follows. Then the questions about the conversation are asked, by embedding.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy

from mycelia_storage import open_storage
from mycelia_storage.layers.agents import AgentStore, create_unique_uuid, string_to_uuid

AGENT = string_to_uuid("listener")


def conversations_folder() -> Path:
    """Where the conversations are: the environment says so, or they lie beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "conversations"
    return Path(os.environ.get("MYCELIA_CONVERSATIONS", beside))


def read_conversation(folder: Path) -> tuple[list[dict[str, Any]], Any]:
    """The turns of the first conversation, and their vectors."""
    turns = [json.loads(line) for line in (folder / "turns.jsonl").read_text(encoding="utf-8").splitlines()]
    first = turns[0]["conversation"]
    own = [number for number, turn in enumerate(turns) if turn["conversation"] == first]
    return [turns[number] for number in own], numpy.load(folder / "turn_vectors.npy")[own].astype(numpy.float32)


def listen(store: AgentStore, turns: list[dict[str, Any]], vectors: Any) -> None:
    """Store turns: hearing one twice changes nothing."""
    for turn, vector in zip(turns, vectors, strict=True):
        room = create_unique_uuid(AGENT, f"{turn['conversation']}/{turn['session']}")
        speaker = create_unique_uuid(AGENT, turn["speaker"])
        store.ensure_connection(
            entity_id=speaker,
            room_id=room,
            name=turn["speaker"],
            source="conversation",
            type="GROUP",
            world_id=create_unique_uuid(AGENT, turn["conversation"]),
            world_name=turn["conversation"],
        )
        store.create_memory(
            {
                "id": create_unique_uuid(AGENT, turn["key"]),
                "entityId": speaker,
                "roomId": room,
                "worldId": create_unique_uuid(AGENT, turn["conversation"]),
                "content": {"text": turn["text"], "source": "conversation"},
                "metadata": {"type": "message", "key": turn["key"]},
                "createdAt": turn["created_at"],
                "embedding": vector,
            },
            "messages",
        )


def ask(store: AgentStore, folder: Path, conversation: str, asked: int = 100) -> float:
    """The share of the evidence for the questions among the ten nearest memories of the conversation's world."""
    questions = [json.loads(line) for line in (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    vectors = numpy.load(folder / "question_vectors.npy").astype(numpy.float32)
    shares = []
    for question, vector in zip(questions, vectors, strict=True):
        if question["conversation"] == conversation and question["evidence"] and len(shares) < asked:
            found = store.search_memories(
                vector, "messages", world_id=create_unique_uuid(AGENT, conversation), include_embedding=False
            )
            keys = {memory.metadata["key"] for memory in found}
            shares.append(len(keys & set(question["evidence"])) / len(set(question["evidence"])))
    return sum(shares) / len(shares)


def main(address: str, folder: Path, most: int | None = None) -> dict[str, Any]:
    """Run the story; what came of it."""
    turns, vectors = read_conversation(folder)
    turns, vectors = turns[:most], vectors[:most]
    half = len(turns) // 2

    with open_storage(address) as storage:
        store = AgentStore(storage, AGENT)
        store.initialize()
        store.ensure_agent_exists({"id": AGENT, "name": "Listener", "bio": "Remembers what it hears."})
        listen(store, turns[:half], vectors[:half])
        store.set_cache("heard", turns[half - 1]["key"])

    # A new process would do the same: everything is in the storage.
    with open_storage(address) as storage:
        store = AgentStore(storage, AGENT)
        assert store.get_cache("heard") == turns[half - 1]["key"]
        listen(store, turns[half - 5 :], vectors[half - 5 :])  # five of them again

        conversation = turns[0]["conversation"]
        rooms = store.get_rooms_by_world(create_unique_uuid(AGENT, conversation))
        speaker = store.get_entities_by_names([turns[0]["speaker"]])[0]
        said = store.get_memories("messages", entity_id=speaker.id, limit=3, include_embedding=False)
        near = store.search_memories(vectors[0], "messages", entity_id=speaker.id, limit=3, include_embedding=False)
        return {
            "memories": store.count_memories(room_ids=[str(room.id) for room in rooms]),
            "turns": len(turns),
            "rooms": len(rooms),
            "speakers": sorted(name for each in store.query_entities(limit=10) for name in each.names),
            "last said": [memory.text for memory in said],
            "like the first": [(round(memory.similarity or 0, 2), memory.text) for memory in near],
            "evidence among ten": round(ask(store, folder, conversation), 2),
        }


if __name__ == "__main__":
    arguments = sys.argv[1:]
    data = Path(arguments[1]) if len(arguments) > 1 else conversations_folder()
    if not (data / "turns.jsonl").exists():
        sys.exit("no conversations found: give their folder as the second argument")
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments[0] if arguments else str(Path(temporary) / "agent.db")
        for name, value in main(place, data).items():
            print(f"{name}: {value}")
