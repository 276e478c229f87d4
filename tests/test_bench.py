"""The benchmarks run and check their own answers, on a dataset far too small to mean anything. Nothing is timed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest

from bench import gil, growth, memories, postgres, run, vector_data, vectors
from bench.dataset import Dataset
from bench.measure import Contestant, Samples, WrongAnswer, ratio, run_rounds
from bench.report import table
from bench.rivals import ENGINES, load
from bench.rivals.bare_dict import BareDict
from bench.vector_data import FILTERS, Truth, metadata_of, number_of
from bench.vector_report import table as vector_table
from bench.vector_rivals import RIVALS, VectorRival, load as load_vectors, missing
from bench.workloads import WORKLOADS

OWN = ("floor", "ours", "memory", "dict", "sqlite3")


class Forgetful(BareDict):
    """Answers every read with the same entry."""

    name = "forgetful"

    def get(self, key: str) -> Any:
        return next(iter(self.data.values()))


def test_every_workload_runs_on_our_own_engines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.json"
    run.main(["--engines", ",".join(OWN), "--entries", "50", "--rounds", "1", "--out", str(out)])
    written = json.loads(out.read_text())
    assert set(written["results"]) == {workload.name for workload in WORKLOADS}
    for name, row in written["results"].items():
        for engine in ("floor", "ours", "memory"):
            assert row["engines"][engine]["cpu_us"] > 0, f"{engine} did not run {name}"
        assert row["engines"]["floor"]["ratio"] == 1
    assert written["results"]["readentry"]["engines"]["dict"] is None
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "| operation | " + " | ".join(OWN) + " |"
    assert len(printed) == 2 + len(WORKLOADS)


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in OWN])
def test_a_rival_that_is_installed_answers_rightly(name: str, tmp_path: Path) -> None:
    try:
        engine = load(name)
    except ImportError as missing:
        pytest.skip(f"not installed: {missing}")
    data = Dataset(50)
    contestant = Contestant(engine, tmp_path, data)
    try:
        results = run_rounds([contestant], WORKLOADS, data, 1, print)
    finally:
        contestant.close()
    ran = {name for name, by_engine in results.items() if by_engine[engine.name].cpu}
    assert {"readrandom", "readmissing", "overwrite", "fillrandom", "deleterandom", "fillbatch"} <= ran


def test_a_wrong_answer_is_no_result(tmp_path: Path) -> None:
    data = Dataset(50)
    with pytest.raises(WrongAnswer, match="forgetful answered readrandom wrongly"):
        run_rounds([Contestant(Forgetful, tmp_path, data)], WORKLOADS, data, 1, print)


def test_the_dataset_is_the_same_each_time() -> None:
    first, second = Dataset(200), Dataset(200)
    assert list(first.pairs()) == list(second.pairs())
    assert first.keys == sorted(first.keys)
    assert 250 <= len(json.dumps(first.value(7), separators=(",", ":"))) <= 400
    assert sum(first.value(number)["group"] == 3 for number in range(200)) == 50


def test_a_ratio_compares_slices_of_the_same_round() -> None:
    floor = Samples(cpu={0: 1.0, 1: 10.0, 2: 1.0})
    ours = Samples(cpu={0: 2.0, 1: 20.0, 2: 3.0, 3: 99.0})
    assert ratio(ours, floor) == 2.0


def test_the_table_marks_what_beats_ours() -> None:
    cells = {
        "floor": {"cpu_us": 10.0, "ratio": 1.0},
        "ours": {"cpu_us": 12.0, "ratio": 1.2},
        "lmdb": {"cpu_us": 4.0, "ratio": 0.4},
        "diskcache": None,
    }
    row = table({"readrandom": {"title": "get", "engines": cells}}, list(cells)).splitlines()[-1]
    assert row == "| get | 10.0 | 12.0 (1.20x) | **4.00 (0.40x)** | \N{EN DASH} |"


def test_growth_compares_us_with_the_floor(tmp_path: Path) -> None:
    out = tmp_path / "growth.json"
    growth.main(["--sizes", "50,200", "--rounds", "1", "--out", str(out)])
    rows = json.loads(out.read_text())["results"]
    assert set(rows) == set(growth.SLICES)
    assert all(set(row["growth"]) == {"floor", "ours"} and row["growth_ratio"] > 0 for row in rows.values())


def test_growth_is_taken_from_the_ratios_within_a_round() -> None:
    samples = {10: {"floor": [1000, 4000], "ours": [2000, 8000]}, 100: {"floor": [2000, 9000], "ours": [6000, 27000]}}
    row = growth.summarise(samples)
    assert row["ratio"] == {10: 2.0, 100: 3.0}
    assert row["growth_ratio"] == 1.5
    assert row["cpu_us"]["floor"] == {10: 2.5, 100: 5.5}


def test_reads_beside_a_busy_thread_are_counted(tmp_path: Path) -> None:
    out = tmp_path / "gil.json"
    gil.main(["--engines", "memory", "--entries", "50", "--seconds", "0.01", "--out", str(out)])
    rates = json.loads(out.read_text())["per_second"]["memory"]
    assert list(rates) == ["alone", "beside a busy thread, 5 ms", "beside a busy thread, 0.5 ms"]
    assert all(rate > 0 for condition in rates.values() for rate in condition.values())


def test_the_postgres_engines_answer_alike(postgres_dsn: str) -> None:
    found = postgres.run(postgres_dsn, 1, entries=120, batch=110)
    assert set(found["workloads"]) == {
        "get",
        "set",
        "get_many of 120",
        "set_many of 110",
        "indexed range of 20 in 120",
        "a set against an entry of set_many",
    }
    assert found["workloads"]["get"]["ours_to_floor"] > 0


def test_the_bench_of_agents_runs_small() -> None:
    from bench import agents

    found = agents.run("sqlite", rounds=2, calls=1, sizes=[200, 400], large=0)
    assert {"create_memory", "search_memories", "count", "delete_room"} <= found.keys()


VECTORS = 300


@pytest.fixture(scope="session")
def some_vectors(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("vectors") / "vectors.npy"
    vector_data.write_vectors(path, VECTORS + 1)
    return numpy.load(path)


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.filterwarnings("ignore")  # of the rivals' own libraries
def test_a_vector_store_that_is_installed_finds_the_nearest(
    name: str, tmp_path: Path, some_vectors: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks := missing(name):
        pytest.skip(f"not installed: {lacks}")
    kind = load_vectors(name)
    if name == "ours-postgres":
        monkeypatch.setattr(kind, "url", request.getfixturevalue("postgres_place"))
    asked = vector_data.queries(4)
    truth = Truth(some_vectors, asked)
    rival = kind(tmp_path)
    rival.build(some_vectors[:VECTORS])
    rival.add(VECTORS, some_vectors[VECTORS])
    rival.finish()
    _answers_rightly(rival, asked, truth)
    assert number_of(rival.search(some_vectors[VECTORS], 1, None)[0][0]) == VECTORS
    rival.close()
    if kind.persistent:
        again = kind(tmp_path)
        _answers_rightly(again, asked[:1], truth)
        again.close()


def _answers_rightly(rival: VectorRival, asked: Any, truth: Truth) -> None:
    for chosen in FILTERS:
        if rival.name == "usearch" and chosen is not None and chosen.divisor > 2:
            continue  # it has no filters
        filter = chosen.name if chosen else "all"
        wanted = truth.wanted(filter)
        right = 0
        for query, vector in enumerate(asked):
            hits = rival.search(vector, 10, chosen)
            numbers = [number_of(key) for key, _ in hits]
            assert all(
                dict(metadata) == metadata_of(number) for number, (_, metadata) in zip(numbers, hits, strict=True)
            )
            assert chosen is None or all(chosen.holds(number) for number in numbers)
            right += truth.right(filter, query, numbers)
        if rival.name == "hnswlib" and wanted < 10:
            continue  # it answers with an error
        assert right >= (0.9 if rival.name != "usearch" else 0.6) * wanted * len(asked), filter


def test_the_vector_benchmark_writes_and_prints_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vectors.json"
    rivals = "ours,faiss-scan" if not missing("faiss-scan") else "ours"
    vectors.main(["--sizes", "300", "--rivals", rivals, "--queries", "12", "--seconds", "0.01", "--out", str(out)])
    found = json.loads(out.read_text())["sizes"]["300"]
    ours = found["stores"]["ours"]
    assert set(ours["search"]) == {"all", "50 %", "5 %", "0.5 %"}
    for searched in ours["search"].values():
        assert searched["recall"] == 1
        assert searched["short"] == 0
        assert searched["p99_ms"] >= searched["p50_ms"] > 0
        assert searched["times_ours"] == 1
    assert ours["after_write"]["stale"] == 0
    assert ours["memory_mb"] > 0
    assert ours["first_result_ms"] > 0
    if not missing("faiss-scan"):
        assert found["floor"]["5 %"]["ratio_cpu"] > 0
        assert found["floor"]["all"]["same"] >= 0.95
    assert "| ours | " in capsys.readouterr().out


def test_a_store_that_fails_is_left_out_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vectors, "missing", lambda name: "nothing like it" if name == "usearch" else None)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "ours").write_text("no folder")
    with pytest.raises(FileExistsError):
        vectors.Run(folder, 20, ["ours"], 2, 0.01).measure()
    (folder / "ours").unlink()
    (folder / "ours").mkdir()
    (folder / "ours" / "vectors.db").write_text("no database, but long enough to be taken for one " * 100)
    found = vectors.Run(folder, 20, ["ours"], 2, 0.01).measure()
    assert found["stores"]["ours"]["left_out"].startswith("StorageCorrupt")
    assert found["floor"] is None
    assert "ours left out: StorageCorrupt" in vector_table(found)
    assert vectors.main(["--sizes", "20", "--rivals", "usearch"])["sizes"]["20"]["stores"] == {}
    assert "usearch left out: nothing like it is not installed" in capsys.readouterr().err


def test_recall_counts_what_is_as_near_as_the_tenth() -> None:
    rows = numpy.eye(3, 384, dtype=numpy.float32)[[0, 0, 1, 2]]
    truth = Truth(rows, rows[:1], k=1)
    assert truth.wanted("all") == 1
    assert [truth.right("all", 0, [number]) for number in range(4)] == [1, 1, 0, 0]
    assert truth.right("all", 0, []) == 0
    assert truth.wanted("0.5 %") == 1


def test_made_up_vectors_and_texts_are_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYCELIA_CONVERSATIONS", str(tmp_path))
    assert vector_data.source_name() == "a mixture of Gaussians"
    first, second = tmp_path / "one.npy", tmp_path / "two.npy"
    vector_data.write_vectors(first, 50)
    vector_data.write_vectors(second, 50)
    assert first.read_bytes() == second.read_bytes()
    assert numpy.allclose(numpy.linalg.norm(numpy.load(first), axis=1), 1, atol=1e-6)
    assert vector_data.queries(5).shape == (5, vector_data.DIMENSIONS)
    found = memories.main(["--memories", "60", "--texts", "80", "--questions", "5", "--backends", "sqlite"])
    assert found["backends"]["sqlite"]["text"]["80"]["ratio_cpu"] > 0
    assert found["backends"]["sqlite"]["memories"]["recall, text and vectors"]["p50_ms"] > 0
