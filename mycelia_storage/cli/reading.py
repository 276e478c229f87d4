"""``list``, ``query`` and ``count``: reading many entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import and_
from typing import Any, Final, TypeVar

import click

from ..contract import Entry, StorageBackend
from ..errors import NamespaceNotFound
from ..filters import Filter
from ..where_text import parse_where
from .opening import db_option, json_option, open_to_read
from .output import print_entries, print_json, print_table, wants_json

_Command = TypeVar("_Command", bound=Callable[..., Any])

_LIST_PAGE: Final = 1000
_WHERE_HELP: Final = "A condition, such as 'speaker = \"Melanie\"' or 'session >= 5'. Repeated: all must hold."


def where_option(command: _Command) -> _Command:
    """Add ``--where``."""
    return click.option("--where", multiple=True, metavar="CONDITION", help=_WHERE_HELP)(command)


_limit_option = click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
_offset_option = click.option("--offset", type=click.IntRange(min=0), default=0, help="Pass over the first so many.")


@click.command("list")
@click.argument("namespace")
@db_option
@click.option("--pattern", help="Only keys like this: * is any run, ? one character, all else itself.")
@_limit_option
@_offset_option
@click.option("--after", metavar="KEY", help="Only keys after this one.")
@click.option("--plain", is_flag=True, help="Print keys as they are, one a line, instead of JSON strings.")
@json_option
def list_command(
    namespace: str,
    db: str,
    pattern: str | None,
    limit: int | None,
    offset: int,
    after: str | None,
    plain: bool,
    as_json: bool,
) -> None:
    """List the keys of NAMESPACE in order.

    Piped or with --json each line is a JSON string.
    """
    with open_to_read(db) as storage:
        require_namespace(storage, namespace)
        keys = _keys(storage, namespace, pattern, limit, offset, after)
        if plain:
            for key in keys:
                click.echo(key)
        elif wants_json(as_json):
            for key in keys:
                print_json(key)
        else:
            print_table(["key"], [(key,) for key in keys])


def _keys(
    storage: StorageBackend, namespace: str, pattern: str | None, limit: int | None, offset: int, after: str | None
) -> Iterator[str]:
    """Every key asked for, read in pages."""
    while limit is None or limit > 0:
        wanted = _LIST_PAGE if limit is None else min(limit, _LIST_PAGE)
        page = storage.list(pattern, namespace=namespace, limit=wanted, offset=offset, after=after)
        yield from page
        if len(page) < wanted:
            return
        after, offset = page[-1], 0
        limit = None if limit is None else limit - len(page)


@click.command("query")
@click.argument("namespace")
@db_option
@where_option
@click.option("--sort", multiple=True, metavar="FIELD", help="Sort by this field, -FIELD downwards. Repeatable.")
@_limit_option
@_offset_option
@json_option
def query_command(
    namespace: str,
    db: str,
    where: tuple[str, ...],
    sort: tuple[str, ...],
    limit: int | None,
    offset: int,
    as_json: bool,
) -> None:
    """Print the entries of NAMESPACE that meet every condition.

    Without --sort they come in the order of their keys. Fields of the value are named as they are (speaker,
    user.name, tags[0]); $key, $metadata.x, $created_at and $updated_at reach the rest.
    """
    condition = condition_of(where)
    with open_to_read(db) as storage:
        require_namespace(storage, namespace)
        entries: Iterator[Entry]
        if condition is None and not sort and limit is None and not offset:
            entries = storage.scan(namespace=namespace)
        else:
            entries = iter(
                storage.query(condition, namespace=namespace, sort=list(sort) or None, limit=limit, offset=offset)
            )
        print_entries(entries, as_json)


@click.command("count")
@click.argument("namespace")
@db_option
@where_option
def count_command(namespace: str, db: str, where: tuple[str, ...]) -> None:
    """Print how many entries of NAMESPACE meet every condition."""
    condition = condition_of(where)
    with open_to_read(db) as storage:
        require_namespace(storage, namespace)
        print_json(storage.count(namespace=namespace, filter=condition))


def condition_of(where: tuple[str, ...]) -> Filter | None:
    """The conditions of ``--where`` as one filter. Raises InvalidFilter."""
    return reduce(and_, map(parse_where, where)) if where else None


def require_namespace(storage: StorageBackend, namespace: str) -> None:
    """Raise NamespaceNotFound for a missing one: the contract reads it as empty, a person has more likely mistyped."""
    if storage.get_namespace(namespace) is None:
        raise NamespaceNotFound(f"no namespace {namespace!r}")
