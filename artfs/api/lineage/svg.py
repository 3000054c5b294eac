"""A lineage as an SVG: a drawing of our own, without another program, that any browser shows.

Its colours follow the reader's choice of light or dark. Whatever a registry says is escaped text; there is no script and no address.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from artfs.api.lineage.layout import draw, shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.api.lineage.graph import Lineage
    from artfs.api.lineage.layout import Line, Shape

_STYLE = """\
.paper { fill: #ffffff; }
.version { fill: #eaf2fc; stroke: #3572b0; stroke-width: 1.2; }
.run { fill: #fdf1dd; stroke: #b26f1c; stroke-width: 1.2; }
.gap { fill: none; stroke: none; }
.root { stroke-width: 3; }
.line { fill: none; stroke: #7a8490; stroke-width: 1.3; }
.dashed { stroke-dasharray: 4 4; }
.arrow { fill: #7a8490; }
text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; text-anchor: middle; fill: #1c2733; }
.title { font-size: 13px; font-weight: 600; }
.words { font-size: 11.5px; fill: #55606c; }
@media (prefers-color-scheme: dark) {
.paper { fill: #14181d; }
.version { fill: #16304c; stroke: #6aa7e8; }
.run { fill: #43300f; stroke: #e0a24a; }
.line { stroke: #8b96a3; }
.arrow { fill: #8b96a3; }
text { fill: #eef2f6; }
.words { fill: #b6c0cb; }
}
"""


def render_svg(lineage: Lineage) -> Iterator[str]:
    """Yield the lines of an SVG document."""
    drawing = draw(*shapes_of(lineage))
    width, height = _number(drawing.width), _number(drawing.height)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    )
    root = drawing.shapes[0][0]
    yield f"<title>Lineage of {_text(root.tooltip[0])}</title>"
    yield f"<style>\n{_STYLE}</style>"
    yield '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
    yield ' markerUnits="userSpaceOnUse"><path class="arrow" d="M0 0.5 L8 4 L0 7.5 z"/></marker></defs>'
    yield f'<rect class="paper" width="{width}" height="{height}"/>'
    for line in drawing.lines:
        yield f'<path class="line{" dashed" if line.is_gap else ""}" d="{_path(line)}" marker-end="url(#arrow)"/>'
    for shape, x, y in drawing.shapes:
        yield from _shape(shape, x, y)
    yield "</svg>"


def _shape(shape: Shape, x: float, y: float) -> Iterator[str]:
    names = f"{shape.kind}{' root' if shape.is_root else ''}"
    tooltip = "\n".join(_text(line) for line in shape.tooltip)
    yield f"<g><title>{tooltip}</title>"
    width, height = shape.width, shape.height
    if shape.kind == "run":
        yield (
            f'<ellipse class="{names}" cx="{_number(x)}" cy="{_number(y)}"'
            f' rx="{_number(width / 2)}" ry="{_number(height / 2)}"/>'
        )
    else:
        yield (
            f'<rect class="{names}" x="{_number(x - width / 2)}" y="{_number(y - height / 2)}"'
            f' width="{_number(width)}" height="{_number(height)}" rx="9"/>'
        )
    if len(shape.lines) == 1:
        yield f'<text class="words" x="{_number(x)}" y="{_number(y + 4)}">{_text(shape.lines[0])}</text>'
    else:
        yield f'<text class="title" x="{_number(x)}" y="{_number(y - 4)}">{_text(shape.lines[0])}</text>'
        yield f'<text class="words" x="{_number(x)}" y="{_number(y + 13)}">{_text(shape.lines[1])}</text>'
    yield "</g>"


def _path(line: Line) -> str:
    """Return the path of a line: straight through a column, curved between two."""
    (_, _, x, y), *rest = line.pieces
    found = [f"M{_number(x)} {_number(y)}"]
    for x1, y1, x2, y2 in rest:
        middle = _number((x + x1) / 2)
        found.append(f"C{middle} {_number(y)} {middle} {_number(y1)} {_number(x1)} {_number(y1)}")
        if (x1, y1) != (x2, y2):
            found.append(f"L{_number(x2)} {_number(y2)}")
        x, y = x2, y2
    return " ".join(found)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    return escape(text, quote=True)
