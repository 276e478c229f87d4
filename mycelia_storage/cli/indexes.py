"""``index``: create, drop, list."""

from __future__ import annotations

from typing import get_args

import click

from ..indexes import FieldIndex, Index, Metric, TextIndex, VectorIndex, index_to_json
from .opening import LONG_TRANSACTION, db_option, json_option, open_existing, open_to_read, open_to_write
from .output import not_found, print_json, print_table, wants_json


@click.group("index")
def index_command() -> None:
    """Create, drop and list the indexes of a namespace."""


@index_command.command("create")
@click.argument("namespace")
@click.argument("fields", nargs=-1, metavar="[FIELD]...")
@db_option
@click.option("--name", help="The index's name; without it, its fields.")
@click.option("--unique", is_flag=True, help="Refuse a second entry with the same values.")
@click.option("--text", is_flag=True, help="A full-text index; title=2.0 is a field of that weight.")
@click.option("--every-word", is_flag=True, help="With --text: keep stop words and word endings, for other languages.")
@click.option("--vector", type=int, metavar="DIMENSIONS", help="A vector index; it has no fields.")
@click.option("--metric", type=click.Choice(get_args(Metric)), help="With --vector: cosine (the default), l2 or dot.")
def create_index(
    namespace: str,
    fields: tuple[str, ...],
    db: str,
    name: str | None,
    unique: bool,
    text: bool,
    every_word: bool,
    vector: int | None,
    metric: Metric | None,
) -> None:
    """Index NAMESPACE and print the index's name.

    By a field, or by several in this order; with --text the words of fields, of the whole value if none is named; with
    --vector entries that are vectors.
    """
    _check_create(fields, unique, text, every_word, vector, metric)
    index: Index
    if text:
        weights = dict(map(_weighted, fields)) or {"$value": 1.0}
        index = TextIndex(weights, language=None if every_word else "english")
    elif vector is not None:
        index = VectorIndex(vector, metric or "cosine")
    else:
        index = FieldIndex(fields, unique=unique)
    with open_to_write(db, transaction_timeout=LONG_TRANSACTION) as storage:
        print_json(storage.create_index(namespace, index, name=name))


def _check_create(
    fields: tuple[str, ...], unique: bool, text: bool, every_word: bool, vector: int | None, metric: str | None
) -> None:
    if text + unique + (vector is not None) > 1:
        raise click.UsageError("give one of --unique, --text and --vector")
    if every_word and not text:
        raise click.UsageError("--every-word goes with --text")
    if metric is not None and vector is None:
        raise click.UsageError("--metric goes with --vector")
    if bool(fields) and vector is not None:
        raise click.UsageError("a vector index has no fields")
    if not fields and not text and vector is None:
        raise click.UsageError("give a field, or --text or --vector")


def _weighted(field: str) -> tuple[str, float]:
    """A field and its weight: ``title=2.0``; one without a number is a name."""
    path, _, weight = field.rpartition("=")
    try:
        return (path, float(weight)) if path else (field, 1.0)
    except ValueError:
        return field, 1.0


@index_command.command("drop")
@click.argument("namespace")
@click.argument("name")
@db_option
@click.pass_context
def drop_index(ctx: click.Context, namespace: str, name: str, db: str) -> None:
    """Drop the index NAME; exit 1 if it does not exist."""
    with open_existing(db) as storage:
        existed = storage.drop_index(namespace, name)
    if not existed:
        not_found(ctx, f"no index {name!r} in namespace {namespace!r}")


@index_command.command("list")
@click.argument("namespace")
@db_option
@json_option
def list_indexes(namespace: str, db: str, as_json: bool) -> None:
    """List the indexes of NAMESPACE."""
    with open_to_read(db) as storage:
        indexes = storage.list_indexes(namespace)
    if wants_json(as_json):
        for name, index in indexes.items():
            print_json({"name": name, **index_to_json(index)})
        return
    rows = [(name, index.kind, _declared(index)) for name, index in indexes.items()]
    print_table(["name", "kind", "of"], rows)


def _declared(index: Index) -> str:
    """A declaration in a few words."""
    if isinstance(index, FieldIndex):
        return ", ".join(index.paths) + (" (unique)" if index.unique else "")
    if isinstance(index, TextIndex):
        return ", ".join(path if weight == 1 else f"{path} ({weight:g})" for path, weight in index.fields)
    return f"{index.dimensions} dimensions, {index.metric}"
