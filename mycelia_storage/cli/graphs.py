"""``graph``: files in and out, pictures, numbers and SQL of a graph."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..contract import StorageBackend
from ..errors import InvalidInput, StorageError
from ..indexes import VectorIndex
from ..layers.graph import Graph, StorageConfig, Subgraph, VectorConfig
from ..layers.graph.carrying import Carried, export, format_of, load
from ..layers.graph.lines import declared_vectors
from .opening import LONG_TRANSACTION, db_option, json_option, open_to_read, open_to_write
from .output import note, print_json, print_table, wants_json

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FORMATS = click.Choice(["jsonl", "node-link", "graphml"])


@click.group("graph")
def graph_command() -> None:
    """Carry, draw and ask graphs of nodes and relationships.

    GRAPH is the namespace below which one is kept, "graph" by default in programs.
    """


def part_options(command: _Command) -> _Command:
    """Add what says which part of a graph is meant."""
    for option in (
        click.option("--as-of", type=int, metavar="MS", help="Only relationships valid at that time."),
        click.option("--most", type=click.IntRange(1), default=60, show_default=True, help="At most so many nodes."),
        click.option("--type", "types", multiple=True, help="Only relationships of that type; may be repeated."),
        click.option("--hops", type=click.IntRange(0), default=1, show_default=True, help="How far from NODE."),
    ):
        command = option(command)
    return command


@graph_command.command("import")
@click.argument("graph")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", type=_FORMATS, help="What FILE holds, if its name does not tell.")
@click.option(
    "--dimensions", type=int, help="Of vectors, in a new graph; those of the vectors in FILE unless given, or 384."
)
@db_option
def graph_import(graph: str, file: Path, format: str | None, dimensions: int | None, db: str) -> None:
    """Read nodes, relationships and vectors from FILE, replacing those of the same ids.

    Only the format jsonl has vectors. After an error what stands before the line that it names may be stored; reading
    again is safe.
    """
    new = VectorConfig()
    if dimensions is not None:
        new = VectorConfig(dimensions=dimensions)
    elif format_of(file, format) == "jsonl" and file.is_file():  # a pipe can be read but once
        new = declared_vectors(file) or new
    with open_to_write(db) as storage:
        opened = _graph(storage, graph, new)
        opened.initialize()
        _tell("Read", load(opened, file, format))


@graph_command.command("export")
@click.argument("graph")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", type=_FORMATS, help="What to write, if FILE does not tell; - is the output.")
@db_option
def graph_export(graph: str, file: Path, format: str | None, db: str) -> None:
    """Write the graph as it is at one moment to FILE, which must not exist.

    The format jsonl carries everything; the others leave out vectors and what is soft-deleted.
    """
    to_output = str(file) == "-"
    with (
        open_to_read(db, transaction_timeout=LONG_TRANSACTION) as storage,
        storage.transaction(read_only=True) as snapshot,
    ):
        opened = _existing(snapshot, graph)
        carried = export(opened, sys.stdout.buffer if to_output else file, format or ("jsonl" if to_output else None))
        held = opened.get_stats().vectors
    _tell("Wrote", carried)
    if held > carried.vectors:
        note(f"{held} vectors stayed behind: only jsonl carries them.")


@graph_command.command("picture")
@click.argument("graph")
@click.argument("node")
@click.argument("file", type=click.Path(path_type=Path))
@part_options
@db_option
def graph_picture(graph: str, node: str, file: Path, db: str, **chosen: Any) -> None:
    """Draw what lies around NODE into FILE, a PNG, SVG or PDF."""
    if file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InvalidInput("a picture is a .png, .svg or .pdf")
    from ..layers.graph.drawing import draw

    draw(_part(db, graph, node, **chosen), file, title=node)


@graph_command.command("mermaid")
@click.argument("graph")
@click.argument("node")
@part_options
@db_option
def graph_mermaid(graph: str, node: str, db: str, **chosen: Any) -> None:
    """Print what lies around NODE as a Mermaid flowchart."""
    from ..layers.graph.drawing import to_mermaid

    click.echo(to_mermaid(_part(db, graph, node, **chosen)), nl=False)


@graph_command.command("dot")
@click.argument("graph")
@click.argument("node")
@part_options
@db_option
def graph_dot(graph: str, node: str, db: str, **chosen: Any) -> None:
    """Print what lies around NODE in Graphviz's language."""
    from ..layers.graph.drawing import to_dot

    click.echo(to_dot(_part(db, graph, node, **chosen)), nl=False)


@graph_command.command("sql")
@click.argument("graph")
@click.argument("query")
@click.argument("params", nargs=-1)
@click.option("--limit", type=click.IntRange(0), default=1_000, show_default=True, help="At most so many rows.")
@click.option("--timeout", type=float, default=5.0, show_default=True, help="Seconds that it may take.")
@db_option
@json_option
def graph_sql(
    graph: str, query: str, params: tuple[str, ...], limit: int, timeout: float, db: str, as_json: bool
) -> None:
    """Answer a SELECT over nodes, relationships, node_tags and vectors; each ? in it is one of PARAMS.

    PARAMS are texts: CAST(? AS INTEGER) makes a number of one.
    """
    with open_to_read(db) as storage:
        found = _existing(storage, graph).execute_query(query, params, limit=limit, timeout=timeout)
    rows = [tuple(f"<{len(cell)} bytes>" if isinstance(cell, bytes) else cell for cell in row) for row in found.rows]
    if wants_json(as_json):
        for row in rows:
            print_json(dict(zip(found.columns, row, strict=True)))
    else:
        print_table(found.columns, [["" if cell is None else cell for cell in row] for row in rows])
    if found.truncated:
        note(f"There are more than {limit} rows.")


@graph_command.command("stats")
@click.argument("graph")
@db_option
@json_option
def graph_stats(graph: str, db: str, as_json: bool) -> None:
    """Count what the graph holds."""
    with open_to_read(db) as storage:
        stats = _existing(storage, graph).get_stats()
    if wants_json(as_json):
        print_json(stats._asdict())
    else:
        print_table(["", ""], list(stats._asdict().items()))


def _graph(storage: StorageBackend, name: str, new: VectorConfig | None = None) -> Graph:
    """The graph of that name, with the vectors that it was declared with, or will be if it is new."""
    declared = storage.list_indexes(f"{name}/vectors").get("nearest")
    config = new or VectorConfig()
    if isinstance(declared, VectorIndex):
        config = VectorConfig(
            declared.dimensions,
            declared.max_vectors,
            declared.m,
            declared.ef_construction,
            declared.ef,
            declared.metric,
        )
    return Graph(storage, StorageConfig(vector_config=config), name=name)


def _existing(storage: StorageBackend, name: str) -> Graph:
    if storage.get_namespace(f"{name}/nodes") is None:
        raise StorageError(f"there is no graph {name!r}")
    return _graph(storage, name)


def _part(db: str, graph: str, node: str, hops: int, types: tuple[str, ...], most: int, as_of: int | None) -> Subgraph:
    with open_to_read(db) as storage:
        part = _existing(storage, graph).subgraph(
            node, hops=hops, types=types or None, max_nodes=most, max_relationships=most * 5, as_of=as_of
        )
    if not part.nodes:
        raise StorageError(f"there is no node {node!r} in graph {graph!r}")
    if part.truncated:
        note(f"There is more: {len(part.nodes)} nodes and {len(part.relationships)} relationships are shown.")
    return part


def _tell(verb: str, carried: Carried) -> None:
    note(f"{verb} {carried.nodes} nodes, {carried.relationships} relationships and {carried.vectors} vectors.")
