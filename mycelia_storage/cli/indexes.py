"""``index``: create, drop, list."""

from __future__ import annotations

import click

from ..indexes import FieldIndex, Index, TextIndex, index_to_json
from .opening import LONG_TRANSACTION, db_option, json_option, open_existing, open_to_read, open_to_write
from .output import not_found, print_json, print_table, wants_json


@click.group("index")
def index_command() -> None:
    """Create, drop and list the indexes of a namespace."""


@index_command.command("create")
@click.argument("namespace")
@click.argument("fields", nargs=-1, required=True, metavar="FIELD...")
@db_option
@click.option("--name", help="The index's name; without it, its fields.")
@click.option("--unique", is_flag=True, help="Refuse a second entry with the same values.")
def create_index(namespace: str, fields: tuple[str, ...], db: str, name: str | None, unique: bool) -> None:
    """Index NAMESPACE by a field, or by several in this order, and print the index's name."""
    with open_to_write(db, transaction_timeout=LONG_TRANSACTION) as storage:
        print_json(storage.create_index(namespace, FieldIndex(fields, unique=unique), name=name))


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
