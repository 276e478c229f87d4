"""``shards``: which shard has what, another shard, and moving what belongs elsewhere."""

from __future__ import annotations

import click

from ..backends.sharded import ShardedStorageBackend
from ..contract import StorageBackend
from ..errors import InvalidInput
from .care import progress_bar
from .opening import LONG_TRANSACTION, db_option, json_option, open_existing, open_to_read
from .output import note, print_json, print_table, wants_json


@click.group("shards")
def shards_command() -> None:
    """Show, add and balance the shards of a sharded storage."""


@shards_command.command("status")
@db_option
@json_option
@click.pass_context
def shards_status(ctx: click.Context, db: str, as_json: bool) -> None:
    """Show each shard with its entries and sizes; exit 1 if one is not healthy."""
    with open_to_read(db) as storage:
        status = _sharded(storage).get_status()
    details = status.details
    if wants_json(as_json):
        for name, shard in details["shards"].items():
            print_json({"shard": name, "in_ring": name in details["ring"], **shard})
    else:
        rows = [
            (name, "yes" if name in details["ring"] else "", shard["entries"], shard["namespaces"], shard["size_bytes"])
            for name, shard in details["shards"].items()
        ]
        print_table(["shard", "takes names", "entries", "namespaces", "bytes"], rows)
        if details["rebalancing"]:
            note("Namespaces are to be moved: run `shards rebalance`.")
    if not status.healthy:
        ctx.exit(1)


@shards_command.command("add")
@click.argument("address")
@db_option
@click.option("--name", help="The name of the new shard; default s and its number.")
def add_shard(address: str, db: str, name: str | None) -> None:
    """Take in the empty storage at ADDRESS, a file or URL; `shards rebalance` then moves what belongs there."""
    with open_existing(db) as storage:
        added = _sharded(storage).add_shard(address, name=name)
    note(f"Added shard {added}. Run `shards rebalance` to move namespaces to it.")


@shards_command.command("pin")
@click.argument("namespace")
@click.argument("shard", required=False)
@db_option
def pin(namespace: str, shard: str | None, db: str) -> None:
    """Give a top-level NAMESPACE to SHARD whatever its hash says, or back to its hash; then `shards rebalance`."""
    with open_existing(db) as storage:
        _sharded(storage).pin(namespace, shard)


@shards_command.command("rebalance")
@db_option
@json_option
def rebalance(db: str, as_json: bool) -> None:
    """Move every namespace whose place has changed, while others go on; interrupted, run it again."""
    with (
        open_existing(db, transaction_timeout=LONG_TRANSACTION) as storage,
        progress_bar("rebalance") as progress,
    ):
        report = _sharded(storage).rebalance(progress=progress)
    if as_json:
        for move in report.moves:
            print_json(move._asdict())
    note(f"Moved {len(report.moves)} namespaces with {report.entries} entries.")


def _sharded(storage: StorageBackend) -> ShardedStorageBackend:
    if not isinstance(storage, ShardedStorageBackend):
        raise InvalidInput("this storage is not sharded; open it as sharded:?shard=ADDRESS to begin")
    return storage
