"""``remember`` and ``recall``: texts by their words, and by their meaning with a model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import click

from ..contract import SearchHits, StorageBackend
from ..dumps import entry_to_json
from ..errors import IndexNotFound
from ..filters import Filter
from ..layers.memories import Memories, Recollection
from ..layers.memories.contexts import TEXT_INDEX
from ..layers.memories.embedders import Embedder, OpenAIEmbedder, SentenceTransformerEmbedder
from ..records import parse_json
from .opening import db_option, json_option, open_to_read, open_to_write
from .output import json_text, note, print_json, print_table, wants_json
from .reading import condition_of, require_namespace, where_option

_Command = TypeVar("_Command", bound=Callable[..., Any])


def model_options(command: _Command) -> _Command:
    """Add the options that name a model for vectors."""
    for option in (
        click.option("--dimensions", type=int, help="With --endpoint: how many numbers its vectors have."),
        click.option(
            "--endpoint",
            metavar="URL",
            help="An OpenAI-compatible endpoint that runs the model; MYCELIA_API_KEY is its key.",
        ),
        click.option("--model", help="Search by meaning too, with this model of sentence-transformers or --endpoint."),
    ):
        command = option(command)
    return command


def embedder_of(model: str | None, endpoint: str | None, dimensions: int | None) -> Embedder | None:
    """The embedder that those options name."""
    if model is None:
        if endpoint is not None or dimensions is not None:
            raise click.UsageError("--endpoint and --dimensions go with --model")
        return None
    if endpoint is None:
        if dimensions is not None:
            raise click.UsageError("--dimensions goes with --endpoint")
        return SentenceTransformerEmbedder(model)
    if dimensions is None:
        raise click.UsageError("--endpoint needs --dimensions")
    return OpenAIEmbedder(model, dimensions, base_url=endpoint, api_key=os.environ.get("MYCELIA_API_KEY"))


def holds_memories(storage: StorageBackend, namespace: str) -> bool:
    """Whether a namespace was made by ``remember``."""
    return storage.list_indexes(namespace).get(TEXT_INDEX.default_name) == TEXT_INDEX


@click.command("remember")
@click.argument("namespace")
@click.argument("text")
@db_option
@click.option("--key", help="The memory's key; without it, one of its own.")
@click.option("--conversation", help="The conversation that it belongs to: its neighbours there are its context.")
@click.option("--session", help="The session within the conversation.")
@click.option("--speaker", help="Who said it.")
@click.option("--subject", help="Who or what it is about.")
@click.option("--source", help="Where it is from.")
@click.option("--metadata", metavar="JSON", help="The metadata, a JSON object.")
@click.option("--created-at", type=int, metavar="MS", help="When it was said, in UTC milliseconds; now, if not given.")
@click.option("--ttl", type=float, metavar="SECONDS", help="Let it expire after this time.")
@click.option("--dedupe", type=click.Choice(["skip", "merge"]), help="What to do about a text that is there already.")
@model_options
def remember_command(
    namespace: str,
    text: str,
    db: str,
    metadata: str | None,
    model: str | None,
    endpoint: str | None,
    dimensions: int | None,
    **given: Any,
) -> None:
    """Remember TEXT in NAMESPACE and print its key and what became of it.

    - as TEXT reads it from stdin.
    """
    embedder = embedder_of(model, endpoint, dimensions)
    if text == "-":
        text = sys.stdin.read()
    if metadata is not None:
        try:
            given["metadata"] = parse_json(metadata.encode(errors="surrogateescape"))
        except ValueError as error:
            raise click.UsageError(f"--metadata is not JSON: {error}") from None
    with open_to_write(db) as storage:
        print_json(asdict(Memories(storage, namespace, embedder).remember(text, **given)))


@click.command("recall")
@click.argument("namespace")
@click.argument("query")
@db_option
@where_option
@click.option("-k", "--k", type=click.IntRange(min=0), default=10, show_default=True, help="At most so many.")
@click.option("--explain", is_flag=True, help="Show what words, vectors and windows gave each, and how it was done.")
@model_options
@json_option
def recall_command(
    namespace: str,
    query: str,
    db: str,
    where: tuple[str, ...],
    k: int,
    explain: bool,
    model: str | None,
    endpoint: str | None,
    dimensions: int | None,
    as_json: bool,
) -> None:
    """Print what NAMESPACE holds that fits QUERY best, best first.

    Of memories, conditions name speaker, subject, conversation, session, source, created_at, text, or fields of their
    metadata. Of other entries it needs a text index (index create --text) and conditions are those of query.
    """
    condition = condition_of(where)
    embedder = embedder_of(model, endpoint, dimensions)
    with open_to_read(db) as storage:
        require_namespace(storage, namespace)
        if holds_memories(storage, namespace):
            found = Memories(storage, namespace, embedder).recall(query, k, condition, explain=explain)
            _print_memories(found, explain, as_json)
            plan = found.plan
        else:
            hits = search_entries(storage, namespace, query, k, condition)
            _print_hits(hits, as_json)
            plan = {"text": hits.plan}
    if explain:
        for leg, how in plan.items():
            note(f"{leg}: {json_text(how)}")


def search_entries(storage: StorageBackend, namespace: str, query: str, k: int, condition: Filter | None) -> SearchHits:
    """A text search in a namespace of other entries. Raises IndexNotFound, saying what to do."""
    try:
        return storage.search_text(query, namespace=namespace, limit=k, filter=condition)
    except IndexNotFound:
        raise IndexNotFound(
            f"namespace {namespace!r} holds no memories and has no text index: index create {namespace} --text"
        ) from None


def _print_memories(found: list[Recollection], explain: bool, as_json: bool) -> None:
    if wants_json(as_json):
        for hit in found:
            data = {name: value for name, value in asdict(hit.memory).items() if value is not None and name != "order"}
            legs = {"legs": {name: asdict(leg) for name, leg in hit.legs.items()}} if explain else {}
            print_json({"key": hit.key, "score": hit.score, **data, **legs})
        return
    names = list(found[0].legs) if found else []
    rows = []
    for hit in found:
        shares = [f"{leg.rank or '-'}: {leg.share:.3f}" for leg in hit.legs.values()]
        rows.append((hit.key, f"{hit.score:.3f}", *shares, hit.memory.speaker or "", hit.text))
    print_table(["key", "score", *names, "speaker", "text"], rows, drop_empty=True)


def _print_hits(hits: SearchHits, as_json: bool) -> None:
    if wants_json(as_json):
        for hit in hits:
            print_json({**entry_to_json(hit.entry), "score": hit.score})
        return
    rows = []
    for hit in hits:
        value = f"<{len(hit.value)} bytes>" if isinstance(hit.value, bytes) else json_text(hit.value)
        rows.append((hit.key, f"{hit.score:.3f}", value))
    print_table(["key", "score", "value"], rows)
