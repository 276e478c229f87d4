"""The example runs, and the agent finds again what it heard."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "agent_conversation.py"


def load_example() -> Any:
    spec = importlib.util.spec_from_file_location("agent_conversation", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_agent_remembers_a_conversation(tmp_path: Path) -> None:
    example = load_example()
    folder = example.conversations_folder()
    if not (folder / "turns.jsonl").exists():
        pytest.skip("the conversations for evaluation are not here; MYCELIA_CONVERSATIONS names their folder")
    found = example.main(str(tmp_path / "agent.db"), folder, most=120)
    assert found["memories"] == found["turns"] == 120, "turns heard twice are stored once"
    assert found["rooms"] >= 2
    assert found["speakers"] == ["Caroline", "Listener", "Melanie"]
    assert found["like the first"][0][0] == 1.0
    assert len(found["last said"]) == 3
