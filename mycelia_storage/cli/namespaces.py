"""``namespaces``: list, create, delete, show."""

from __future__ import annotations

from typing import Any

import click

from ..contract import NamespaceInfo, StorageBackend
from ..errors import InvalidValue, NamespaceNotFound
from ..indexes import index_to_json
from ..records import parse_json
from .opening import db_option, json_option, open_existing, open_to_read, open_to_write
from .output import json_text, note, print_json, print_table, time_text, wants_json


@click.group("namespaces")
def namespaces_command() -> None:
    """List, create, delete and show namespaces."""


@namespaces_command.command("list")
@db_option
@click.option("--prefix", metavar="NAMESPACE", help="Only this namespace and those below it.")
@json_option
def list_namespaces(db: str, prefix: str | None, as_json: bool) -> None:
    """List the namespaces with the number of their entries."""
    with open_to_read(db) as storage, storage.transaction(read_only=True) as snapshot:
        infos = [info for name in snapshot.list_namespaces(prefix=prefix) if (info := snapshot.get_namespace(name))]
    if wants_json(as_json):
        for info in infos:
            print_json(info._asdict())
        return
    rows = [
        (
            info.name,
            info.entries,
            "yes" if info.track_changes else "",
            json_text(info.metadata) if info.metadata else "",
        )
        for info in infos
    ]
    print_table(["namespace", "entries", "tracks changes", "metadata"], rows, drop_empty=True)


@namespaces_command.command("show")
@click.argument("namespace")
@db_option
@json_option
def show_namespace(namespace: str, db: str, as_json: bool) -> None:
    """Show one namespace with its indexes."""
    with open_to_read(db) as storage:
        info = _info(storage, namespace)
        indexes = {name: index_to_json(index) for name, index in storage.list_indexes(namespace).items()}
    data: dict[str, Any] = {**info._asdict(), "indexes": indexes}
    if wants_json(as_json):
        print_json(data)
        return
    data["created_at"] = time_text(info.created_at)
    rows = [(name, value if isinstance(value, str) else json_text(value)) for name, value in data.items()]
    print_table(["", ""], rows)


@namespaces_command.command("create")
@click.argument("namespace")
@db_option
@click.option("--metadata", metavar="JSON", help="The namespace's metadata, a JSON object.")
@click.option("--track-changes", is_flag=True, help="Log every write, for `watch`.")
@click.option("--exist-ok", is_flag=True, help="Change an existing one instead of failing.")
def create_namespace(namespace: str, db: str, metadata: str | None, track_changes: bool, exist_ok: bool) -> None:
    """Create a namespace."""
    parsed = None
    if metadata is not None:
        try:
            parsed = parse_json(metadata.encode(errors="surrogateescape"))
        except ValueError as error:
            raise InvalidValue(f"--metadata is not JSON: {error}") from None
    with open_to_write(db) as storage:
        storage.create_namespace(namespace, metadata=parsed, exist_ok=exist_ok, track_changes=track_changes)


@namespaces_command.command("delete")
@click.argument("namespace")
@db_option
@click.option("--recursive", is_flag=True, help="With its entries and the namespaces below it.")
def delete_namespace(namespace: str, db: str, recursive: bool) -> None:
    """Delete a namespace; one with content only with --recursive."""
    with open_existing(db) as storage:
        count = storage.delete_namespace(namespace, recursive=recursive)
    note(f"Deleted {namespace} and {count} entries.")


def _info(storage: StorageBackend, namespace: str) -> NamespaceInfo:
    info = storage.get_namespace(namespace)
    if info is None:
        raise NamespaceNotFound(f"no namespace {namespace!r}")
    return info
