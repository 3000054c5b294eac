"""A lineage in the language of Graphviz, for whoever wants to draw it in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.api.lineage.layout import shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artfs.api.lineage.graph import Lineage
    from artfs.api.lineage.layout import Shape

_STYLE = {
    "version": 'shape=box, style="rounded,filled", fillcolor="#eaf2fc"',
    "run": 'shape=ellipse, style="filled", fillcolor="#fdf1dd"',
    "gap": 'shape=plaintext, fontcolor="#666666"',
}


def render_dot(lineage: Lineage) -> Iterator[str]:
    """Yield the lines of a directed graph. Its nodes are numbered: names are only in labels and tooltips, quoted."""
    shapes, edges = shapes_of(lineage)
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    yield '  node [fontname="sans-serif", fontsize=11];'
    for number, shape in enumerate(shapes):
        yield f"  n{number} [{_attributes(shape)}];"
    for earlier, later in edges:
        style = " [style=dashed]" if "gap" in {shapes[earlier].kind, shapes[later].kind} else ""
        yield f"  n{earlier} -> n{later}{style};"
    yield "}"


def _attributes(shape: Shape) -> str:
    emphasis = ", penwidth=2.5" if shape.is_root else ""
    return f"{_STYLE[shape.kind]}{emphasis}, label={_quoted(shape.lines)}, tooltip={_quoted(shape.tooltip)}"


def _quoted(lines: Sequence[str]) -> str:
    """Quote lines as one string in which Graphviz finds no escapes and no entities of its own."""
    escaped = (line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
