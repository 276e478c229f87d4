"""The example answers questions about real conversations, where they are at hand."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("MYCELIA_CONVERSATIONS") or ROOT.parent / "shared" / "data" / "conversations")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = ROOT / "examples" / "people_graph.py"
    spec = importlib.util.spec_from_file_location("people_graph", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not DATA.exists(), reason="the conversations are not at hand: set MYCELIA_CONVERSATIONS")
def test_the_example_knows_who_talked_about_what_and_when(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, turns = example.build(DATA, ["conv-26"])
    assert graph.get_stats().vectors == len(turns) == 419
    caroline = example.topics(graph, "conv-26/Caroline")
    assert caroline["topic:adoption"] > 5
    # The first talk of adoption is in May 2023; before that day nobody knows of it.
    first = min(one.valid_from for one in graph.load_relationships("topic:adoption", types="talks_about"))
    assert "topic:adoption" not in example.topics(graph, "conv-26/Caroline", as_of=first - 1)
    found = graph.search_nodes("LGBTQ support group", within=("conv-26/Caroline", 1), limit=5)
    assert "conv-26/D1:3" in [node.id for node in found]
    answered, asked = example.evidence_found(graph, DATA, "conv-26")
    assert asked > 100
    assert answered / asked > 0.3
    example.main(DATA, ["conv-26"])
    assert "How are conv-26/Caroline and conv-26/Melanie connected?" in capsys.readouterr().out
