"""``dump``: namespaces as JSON lines that load back with nothing lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..dumps import dump_lines
from ..errors import InvalidInput
from .opening import LONG_TRANSACTION, db_option, open_to_read


@click.command("dump")
@click.argument("namespace", required=False)
@db_option
@click.option("--all", "all_namespaces", is_flag=True, help="Dump every namespace.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write instead of stdout.")
@click.option("--overwrite", is_flag=True, help="Replace the file of --out if it exists.")
def dump_command(namespace: str | None, db: str, all_namespaces: bool, out: Path | None, overwrite: bool) -> None:
    """Write NAMESPACE, or everything with --all, as JSON lines.

    The dump is of one moment and holds values, metadata, versions, times, expiry and indexes. `load NAMESPACE FILE`
    puts one namespace back under any name; `load --all FILE` puts back all.
    """
    if (namespace is None) == (not all_namespaces):
        raise click.UsageError("give either NAMESPACE or --all")
    with (
        open_to_read(db, transaction_timeout=LONG_TRANSACTION) as storage,
        storage.transaction(read_only=True) as snapshot,
    ):
        lines = dump_lines(snapshot, None if namespace is None else [namespace])
        if out is None:
            stdout = sys.stdout.buffer
            for line in lines:
                stdout.write(line)
            stdout.flush()
            return
        if out.exists() and not overwrite:
            raise InvalidInput(f"{os.fspath(out)!r} exists; --overwrite replaces it")
        # Written beside it, so that a dump that fails leaves no half file under the name.
        part = out.with_name(f"{out.name}.{os.getpid()}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            part.replace(out)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
