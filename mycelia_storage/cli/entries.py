"""``get``, ``set`` and ``delete``: one entry."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from ..dumps import entry_to_json
from ..errors import InvalidValue
from ..records import parse_json
from .opening import db_option, json_option, open_existing, open_to_read, open_to_write
from .output import not_found, note, print_json, print_pretty_json, wants_json


@click.command("get")
@click.argument("namespace")
@click.argument("key")
@db_option
@click.option("--entry", "whole", is_flag=True, help="Print the whole entry: metadata, version and times too.")
@json_option
@click.pass_context
def get_command(ctx: click.Context, namespace: str, key: str, db: str, whole: bool, as_json: bool) -> None:
    """Print the value of KEY as JSON.

    A value of bytes is written as it is when piped, and as base64 with --json.
    """
    with open_to_read(db) as storage:
        entry = storage.get_entry(key, namespace=namespace)
    if entry is None:
        not_found(ctx, f"no key {key!r} in namespace {namespace!r}")
    elif whole:
        _print_value(entry_to_json(entry), as_json)
    elif not isinstance(entry.value, bytes):
        _print_value(entry.value, as_json)
    elif as_json:
        print_json(base64.b64encode(entry.value).decode())
    elif sys.stdout.isatty():
        note(f"{len(entry.value)} bytes: pipe them somewhere, or give --json for base64")
    else:
        sys.stdout.buffer.write(entry.value)


def _print_value(value: Any, as_json: bool) -> None:
    if wants_json(as_json):
        print_json(value)
    else:
        print_pretty_json(value)


@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("namespace")
@click.argument("key")
@click.argument("value", required=False)
@db_option
@click.option("--string", "as_string", is_flag=True, help="VALUE is text, not JSON.")
@click.option(
    "--bytes-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Store the bytes of this file instead of VALUE.",
)
@click.option("--metadata", metavar="JSON", help="The metadata, a JSON object.")
@click.option("--ttl", type=float, metavar="SECONDS", help="Let the entry expire after this time.")
@click.option("--no-overwrite", is_flag=True, help="Fail if KEY exists.")
@click.option("--if-version", type=int, metavar="VERSION", help="Fail unless KEY has this version; 0: does not exist.")
def set_command(
    namespace: str,
    key: str,
    value: str | None,
    db: str,
    as_string: bool,
    bytes_file: Path | None,
    metadata: str | None,
    ttl: float | None,
    no_overwrite: bool,
    if_version: int | None,
) -> None:
    """Store VALUE, which is JSON, under KEY and print the new version.

    - as VALUE reads it from stdin.
    """
    if (value is None) == (bytes_file is None):
        raise click.UsageError("give either VALUE or --bytes-file")
    parsed: Any
    if bytes_file is not None:
        parsed = bytes_file.read_bytes()
    else:
        text = sys.stdin.buffer.read() if value == "-" else (value or "").encode(errors="surrogateescape")
        parsed = _text_value(text) if as_string else _json_value(text, "VALUE")
    with open_to_write(db) as storage:
        version = storage.set(
            key,
            parsed,
            namespace=namespace,
            metadata=None if metadata is None else _json_value(metadata.encode(errors="surrogateescape"), "--metadata"),
            overwrite=not no_overwrite,
            ttl=ttl,
            if_version=if_version,
        )
    print_json(version)


def _text_value(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise InvalidValue("the text is not UTF-8: store bytes with --bytes-file") from None


def _json_value(text: bytes, what: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        hint = "; for plain text add --string" if what == "VALUE" else ""
        raise click.UsageError(f"{what} is not JSON: {error}{hint}") from None


@click.command("delete")
@click.argument("namespace")
@click.argument("key")
@db_option
@click.option("--if-version", type=int, metavar="VERSION", help="Fail unless KEY has this version.")
@click.pass_context
def delete_command(ctx: click.Context, namespace: str, key: str, db: str, if_version: int | None) -> None:
    """Delete KEY; exit 1 if it does not exist."""
    with open_existing(db) as storage:
        existed = storage.delete(key, namespace=namespace, if_version=if_version)
    if not existed:
        not_found(ctx, f"no key {key!r} in namespace {namespace!r}")
