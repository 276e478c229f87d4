"""Part of a graph as text for Mermaid or Graphviz, or as a picture.

Labels come from anyone: what could end a label or begin markup is written as an entity.
"""

from __future__ import annotations

import html
import warnings
from pathlib import Path
from typing import Any, Final

from ...errors import BackendUnavailable
from .networks import networkx, to_networkx
from .records import Node, Relationship, Subgraph

_LABEL_FIELDS: Final = ("name", "title", "label")
_LONGEST: Final = 40
#: Stands where a label would be empty, which Mermaid does not read.
_NAMELESS: Final = "?"


def label(node: Node) -> str:
    """What a node is called: its data's name, title or label, else its id; cut after 40 characters."""
    fields = node.data if isinstance(node.data, dict) else {}
    named = (_cut(text) for text in map(fields.get, _LABEL_FIELDS) if isinstance(text, str))
    return next(filter(None, named), None) or _cut(node.id) or _NAMELESS


def _cut(text: str) -> str:
    """A text on one line, without what cannot be seen; empty if nothing can."""
    text = "".join(char for char in " ".join(text.split()) if char.isprintable()).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _type(relationship: Relationship) -> str:
    return _cut(relationship.relation_type) or _NAMELESS


def to_mermaid(part: Subgraph) -> str:
    """A Mermaid flowchart."""
    numbers = {id: f"n{number}" for number, id in enumerate(part.nodes)}
    lines = ["flowchart LR"]
    lines += [f'  {numbers[id]}["{_mermaid(label(node))}"]' for id, node in part.nodes.items()]
    for one in part.relationships:
        if one.from_node in numbers and one.to_node in numbers:
            lines.append(f'  {numbers[one.from_node]} -->|"{_mermaid(_type(one))}"| {numbers[one.to_node]}')
    return "\n".join(lines) + "\n"


def _mermaid(text: str) -> str:
    return "".join(char if char.isalnum() or char in " .,:_-/…" else f"#{ord(char)};" for char in text)


def to_dot(part: Subgraph) -> str:
    """A digraph in Graphviz's language."""
    lines = ["digraph graph_part {", "  rankdir=LR;"]
    lines += [f"  {_dot(id)} [label={_dot(label(node))}];" for id, node in part.nodes.items()]
    for one in part.relationships:
        if one.from_node in part.nodes and one.to_node in part.nodes:
            lines.append(f"  {_dot(one.from_node)} -> {_dot(one.to_node)} [label={_dot(_type(one))}];")
    return "\n".join([*lines, "}"]) + "\n"


def _dot(text: str) -> str:
    # With entities nothing is left to end or escape the quotes. What cannot be seen stays, or two ids would be one.
    safe = "".join(char if char.isprintable() and char != "\\" else f"&#{ord(char)};" for char in html.escape(text))
    return f'"{safe}"'


def draw(part: Subgraph, path: Path, *, title: str = "") -> None:
    """A picture of it, PNG, SVG or PDF by the file's name; equal parts look equal. Raises BackendUnavailable."""
    nx = networkx()
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailable("matplotlib is missing: pip install 'mycelia-storage[graph]'") from error
    network = to_networkx(part)
    size = min(30.0, 5 + len(part.nodes) ** 0.5 * 1.6)
    figure = Figure(figsize=(size, size * 0.75))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = nx.spring_layout(network, seed=7, k=1.6 / max(1, len(part.nodes)) ** 0.5)
    types = sorted({node.node_type or "" for node in part.nodes.values()})
    colours: list[Any] = [types.index(node.node_type or "") for node in part.nodes.values()]
    nx.draw_networkx_nodes(
        network, places, ax=axes, node_color=colours, cmap="Set3", vmin=0, vmax=max(11, len(types)), node_size=700
    )
    nx.draw_networkx_edges(network, places, ax=axes, edge_color="#888888", arrows=True, node_size=700)
    # A dollar sign would begin a formula.
    labels = {id: label(node).replace("$", r"\$") for id, node in part.nodes.items()}
    nx.draw_networkx_labels(network, places, labels, font_size=8, ax=axes)
    between: dict[tuple[str, str], dict[str, None]] = {}
    for one in part.relationships:
        ends = (one.from_node, one.to_node)
        if ends[0] in part.nodes and ends[1] in part.nodes:
            between.setdefault(ends, {})[_type(one).replace("$", r"\$")] = None
    simple = nx.DiGraph(network)
    edge_labels = {ends: ", ".join(types) for ends, types in between.items()}
    nx.draw_networkx_edge_labels(simple, places, edge_labels, font_size=6, ax=axes)
    axes.set_axis_off()
    if title:
        axes.set_title(_cut(title).replace("$", r"\$"))
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
