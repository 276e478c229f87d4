"""``eval``: how well recall does on one's own labelled queries."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InvalidInput
from ..layers.memories import Evaluation, Labelled, Memories, evaluate
from ..layers.memories.evaluation import measure, read_labelled
from ..records import RecordFile
from .memories import embedder_of, holds_memories, model_options, search_entries
from .opening import db_option, json_option, open_to_read
from .output import note, print_json, print_table, wants_json
from .reading import require_namespace

_SHOWN_BAD_LINES = 20


@click.command("eval")
@click.argument("namespace")
@click.argument("file", type=click.Path(path_type=Path))
@db_option
@model_options
@json_option
@click.pass_context
def eval_command(
    ctx: click.Context,
    namespace: str,
    file: Path,
    db: str,
    model: str | None,
    endpoint: str | None,
    dimensions: int | None,
    as_json: bool,
) -> None:
    """Measure how well NAMESPACE answers the labelled queries of FILE.

    FILE has JSON lines: {"query": "...", "relevant": [keys]}, and if wanted "vector" (the query's), "filter",
    "conversation", "session" and "subject". Prints recall@5, @10 and @20 and the mean reciprocal rank, for words,
    vectors and windows each alone, and for all fused as recall does it.
    """
    embedder = embedder_of(model, endpoint, dimensions)
    if not file.is_file():
        raise click.UsageError(f"no file {str(file)!r}")
    queries, bad = _read(file)
    if not queries:
        raise InvalidInput(f"{str(file)!r} holds no labelled query")
    with open_to_read(db) as storage:
        require_namespace(storage, namespace)
        if holds_memories(storage, namespace):
            found = evaluate(Memories(storage, namespace, embedder), queries)
        else:
            ranks = []
            for one in queries:
                hits = search_entries(storage, namespace, one.query, 50, dict(one.conditions).get("filter"))
                ranks.append([rank for rank, hit in enumerate(hits, 1) if hit.key in one.relevant])
            found = [measure("text", queries, ranks)]
    _print(found, as_json)
    if bad:
        ctx.exit(1)


def _read(file: Path) -> tuple[list[Labelled], int]:
    queries, bad = [], 0
    with RecordFile(file, "jsonl") as source:
        for record in source.records():
            try:
                if record.error is not None:
                    raise InvalidInput(record.error)
                queries.append(read_labelled(record.value))
            except InvalidInput as error:
                bad += 1
                if bad <= _SHOWN_BAD_LINES:
                    note(f"line {record.line}: {error}")
    if bad:
        note(f"{bad} bad lines were left out")
    return queries, bad


def _print(found: list[Evaluation], as_json: bool) -> None:
    if wants_json(as_json):
        for one in found:
            recall = {f"recall@{k}": share for k, share in one.recall}
            print_json({"leg": one.leg, "queries": one.queries, **recall, "mrr": one.mrr})
        return
    columns = ["leg", "queries", *(f"recall@{k}" for k, _ in found[0].recall), "MRR"]
    rows = [(one.leg, one.queries, *(f"{share:.3f}" for _, share in one.recall), f"{one.mrr:.3f}") for one in found]
    print_table(columns, rows)
