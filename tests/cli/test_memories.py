"""remember, recall, eval, and the indexes that searches need."""

import json

import pytest

from mycelia_storage import SQLiteStorageBackend
from mycelia_storage.layers.memories import Memories
from tests.layers.meaning import model


def test_remember_and_recall(run) -> None:
    (receipt,) = run.lines(
        "remember",
        "mind",
        "The gate is green",
        "--key",
        "gate",
        "--speaker",
        "Ann",
        "--conversation",
        "c",
        "--metadata",
        '{"room": "outside"}',
        "--created-at",
        "5",
    )
    assert receipt == {"key": "gate", "status": "stored"}
    run.ok("remember", "mind", "-", "--conversation", "c", input="It squeaks in the wind")
    again = run.lines(
        "remember", "mind", "the GATE is green", "--speaker", "Ann", "--conversation", "c", "--dedupe", "skip"
    )
    assert again == [{"key": "gate", "status": "duplicate"}]
    found = run.lines("recall", "mind", "a green gate")
    assert found[0]["key"] == "gate"
    assert found[0]["text"] == "The gate is green"
    assert found[0]["metadata"] == {"room": "outside"}
    assert found[0]["created_at"] == 5
    assert "legs" not in found[0]
    explained = run("recall", "mind", "green", "--explain", "--k", "1")
    (hit,) = [json.loads(line) for line in explained.stdout.splitlines()]
    assert hit["legs"]["text"]["rank"] == 1
    assert "text: {" in explained.stderr
    assert run.lines("recall", "mind", "green", "--where", "room = inside") == []
    assert len(run.lines("recall", "mind", "green gate", "--where", "speaker = Ann")) == 1
    assert run("recall", "nowhere", "green").exit_code == 1
    assert run("remember", "mind", "x", "--metadata", "{").exit_code == 2
    assert run("remember", "mind", " ").exit_code == 2
    assert run("remember", "mind", "x", "--key", "gate").exit_code == 1
    for wrong in (["--endpoint", "http://127.0.0.1"], ["--dimensions", "3"], ["--model", "m", "--dimensions", "3"]):
        assert run("recall", "mind", "x", *wrong).exit_code == 2


def test_recall_of_other_entries(run) -> None:
    run.ok("set", "notes", "a", '{"title": "Garden", "text": "growing spores"}')
    run.ok("set", "notes", "b", '{"title": "Rain", "text": "the garden is wet", "n": 1}')
    refused = run("recall", "notes", "garden")
    assert refused.exit_code == 1
    assert "index create notes --text" in refused.stderr
    name = run.lines("index", "create", "notes", "text", "title=3", "--text")
    assert name == ["text:text,title"]
    assert [hit["key"] for hit in run.lines("recall", "notes", "gardens")] == ["a", "b"]
    assert [hit["key"] for hit in run.lines("recall", "notes", "gardens", "--where", "n = 1")] == ["b"]


def test_search_indexes_are_created(run) -> None:
    assert run.lines("index", "create", "t", "--text") == ["text:$value"]
    assert run.lines("index", "create", "t", "a=b", "--text", "--every-word", "--name", "odd") == ["odd"]
    assert run.lines("index", "create", "v", "--vector", "3", "--metric", "l2") == ["vector:l2"]
    indexes = {one["name"]: one for one in run.lines("index", "list", "t") + run.lines("index", "list", "v")}
    assert indexes["odd"]["fields"] == [["a=b", 1.0]]
    assert indexes["odd"]["language"] is None
    assert (indexes["vector:l2"]["dimensions"], indexes["vector:l2"]["metric"]) == (3, "l2")
    for wrong in (
        [],
        ["a", "--text", "--unique"],
        ["a", "--vector", "3"],
        ["a", "--metric", "l2"],
        ["--text", "--vector", "3"],
        ["a", "--every-word"],
        ["--vector", "0"],
        ["a=-1", "--text"],
    ):
        assert run("index", "create", "x", *wrong).exit_code == 2, wrong


@pytest.mark.parametrize("bad_lines", [False, True])
def test_eval(run, tmp_path, bad_lines: bool) -> None:
    texts = ["a green gate", "an old oak", "a puppy in the garden", "rain on the roof"]
    embedder = model()
    with SQLiteStorageBackend(str(run.db)) as storage:
        memories = Memories(storage, "mind", embedder)
        memories.remember_many({"key": f"k{n}", "text": text} for n, text in enumerate(texts))
    queries = [
        {"query": "gate", "relevant": ["k0"]},
        {"query": "hound", "relevant": ["k2"]},
        {"query": "oak roof", "relevant": ["k1", "k3"], "filter": {"field": "$key", "operator": "ne", "value": "k3"}},
    ]
    for query in queries:
        query["vector"] = embedder([str(query["query"])])[0].tolist()
    lines = [json.dumps(query) for query in queries]
    if bad_lines:
        lines[1:1] = [
            "",
            "no JSON",
            '{"query": "x"}',
            '{"query": "x", "relevant": [1]}',
            '{"query": "x", "relevant": []}',
        ]
    file = tmp_path / "queries.jsonl"
    file.write_text("\n".join(lines))
    result = run("eval", "mind", str(file))
    assert result.exit_code == int(bad_lines)
    found = {one["leg"]: one for one in map(json.loads, result.stdout.splitlines())}
    assert set(found) == {"text", "vector", "fused"}  # outside of conversations there are no windows
    assert found["text"]["queries"] == 3
    assert found["text"]["recall@5"] == pytest.approx(0.5)
    assert found["text"]["mrr"] == pytest.approx(2 / 3)
    assert found["vector"]["recall@5"] == found["fused"]["recall@5"] == pytest.approx(2.5 / 3)
    assert found["fused"]["mrr"] == 1.0
    assert ("line 3: not JSON" in result.stderr) == bad_lines


def test_eval_of_other_entries_and_of_nothing(run, tmp_path) -> None:
    run.ok("set", "notes", "a", '"growing spores"')
    run.ok("index", "create", "notes", "--text")
    file = tmp_path / "queries.jsonl"
    file.write_text('{"query": "spore", "relevant": ["a", "b"]}\n')
    (found,) = run.lines("eval", "notes", str(file))
    assert (found["leg"], found["recall@5"], found["mrr"]) == ("text", 0.5, 1.0)
    file.write_text("")
    assert run("eval", "notes", str(file)).exit_code == 2
    assert run("eval", "notes", str(tmp_path / "none")).exit_code == 2
