"""What an agent remembers of a few conversations, recalled by words, and by meaning with a model.

Run it with ``python examples/remember.py [FILE]``. Without FILE it works in memory. It needs no network: the "model" is
a toy that knows a few words of the same meaning; put a real embedder in its place:

    from mycelia_storage.layers.memories.embedders import SentenceTransformerEmbedder
    memories = Memories(storage, embedder=SentenceTransformerEmbedder("all-MiniLM-L6-v2"))
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from mycelia_storage import open_storage, where
from mycelia_storage.layers.memories import Memories
from mycelia_storage.layers.memories.embedders import from_function

CONVERSATIONS = {
    "monday": [
        ("Mira", "We moved the bee hives behind the orchard wall."),
        ("Jon", "Why there?"),
        ("Mira", "The wind was too strong near the pond."),
        ("Jon", "My allergy to their stings is worse this year, by the way."),
    ],
    "friday": [
        ("Jon", "The physician gave me new tablets."),
        ("Mira", "Do they help?"),
        ("Jon", "Yes, I slept through the night."),
    ],
}

MEANINGS = {"doctor": "physician", "pills": "tablets", "medicine": "tablets", "sleep": "slept", "bees": "bee"}


def toy_model(texts: list[str]) -> np.ndarray:
    """Near vectors for texts with words of the same meaning."""
    rows = np.full((len(texts), 64), 0.001, dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().replace(".", " ").replace("?", " ").replace(",", " ").split():
            digest = hashlib.sha256(MEANINGS.get(word, word).encode()).digest()
            row += np.random.default_rng(digest[0] * 256 + digest[1]).normal(size=64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main(address: str) -> None:
    embedder = from_function(toy_model, model="toy", dimensions=64)
    with open_storage(address) as storage:
        memories = Memories(storage, ("agents", "helper"), embedder)
        for name, turns in CONVERSATIONS.items():
            for speaker, text in turns:
                memories.remember(
                    text, conversation=name, speaker=speaker, subject=speaker, source="example", dedupe="skip"
                )
        print("Words, and the turns around them:")
        for hit in memories.recall("why were the hives moved?", 3):
            print(f"  {hit.score:.2f}  {hit.memory.speaker}: {hit.text}")
        print("Meaning (no word in common), and what each leg gave:")
        for hit in memories.recall("doctor pills", 2, explain=True):
            legs = ", ".join(f"{name} {leg.share:.2f}" for name, leg in hit.legs.items())
            print(f"  {hit.score:.2f}  {hit.memory.speaker}: {hit.text}  ({legs})")
        print("With conditions:", [hit.text for hit in memories.recall("hives", filter=where("speaker") == "Jon")])
        (allergy,) = memories.list(where("text").contains("allergy"))
        print("Why not?", memories.why_not("doctor pills", allergy.key, k=2).explanation)
        memories.update(allergy.key, text="My allergy to bee stings is gone.", metadata={"checked": True})
        print("Before:", memories.history(allergy.key)[0]["text"])
        print("Forgotten of Jon:", memories.forget(subject="Jon"), "- left:", memories.count())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory://")
