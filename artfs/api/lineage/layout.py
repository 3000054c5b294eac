"""Where everything of a drawing stands: shapes with their words and sizes, and the points of the lines between them.

The order of each column is given (`artfs.api.lineage.layers`); here each point gets as near to the mean of its neighbours as the order
and the distances in its column allow, which is an isotonic regression. Lengths are pixels.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.api.lineage.graph import Direction
from artfs.api.lineage.labels import gap_text, short_lines, tooltip_lines
from artfs.api.lineage.layers import arrange, neighbours_of
from artfs.registry.port import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.api.lineage.graph import Lineage
    from artfs.api.lineage.layers import Layers

MARGIN = 24.0
_HEIGHT = {"version": 46.0, "run": 54.0, "gap": 26.0}
_SPACE = 18.0  # between two shapes of a column
_BEND_SPACE = 10.0
_COLUMN_SPACE = 56.0
_TURNED_OFFSET = 8.0  # below the middle of a shape, for an edge that leads back
_SWEEPS = (24, 200)  # at least and at most: the more points, the fewer


@dataclass(frozen=True, slots=True)
class Shape:
    """What is drawn for a node or a gap. ``kind`` is ``version``, ``run`` or ``gap``; ``lines`` are its words, safe to show."""

    kind: str
    lines: tuple[str, ...]
    tooltip: tuple[str, ...]
    is_root: bool = False

    @property
    def width(self) -> float:
        """The width that the words need: an ellipse is narrower at the height of its second line."""
        title, *rest = (text_width(line) for line in self.lines)
        words = max(title * 7.6, *(width * 6.4 for width in rest), 60.0)
        return words * 1.2 + 32 if self.kind == "run" else words + 28

    @property
    def height(self) -> float:
        """The height of the shape."""
        return _HEIGHT[self.kind]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a drawing: the ends of its straight pieces, from where it begins to its arrow; between the pieces it is curved."""

    pieces: tuple[tuple[float, float, float, float], ...]
    is_gap: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing: shapes with their middles, lines, and its size."""

    shapes: list[tuple[Shape, float, float]]
    lines: list[Line]
    width: float
    height: float


def text_width(text: str) -> float:
    """Return the width of a text in average characters; those of East Asia are wide."""
    return sum(
        0 if unicodedata.combining(char) else 1.8 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def shapes_of(lineage: Lineage) -> tuple[list[Shape], list[tuple[int, int]]]:
    """Return the shapes of nodes and gaps, the root first, and the edges between them by number."""
    number = {key: index for index, key in enumerate(lineage.nodes)}
    shapes = [
        Shape(
            "version" if isinstance(node, Version) else "run",
            short_lines(node),
            tuple(tooltip_lines(node)),
            is_root=key == lineage.root,
        )
        for key, node in lineage.nodes.items()
    ]
    edges = [(number[earlier], number[later]) for earlier, later in lineage.edges]
    for gap in lineage.gaps:
        here, there = number[gap.node], len(shapes)
        shapes.append(Shape("gap", (gap_text(gap),), (gap_text(gap),)))
        edges.append((there, here) if gap.direction is Direction.UP else (here, there))
    return shapes, edges


def draw(shapes: Sequence[Shape], edges: Sequence[tuple[int, int]], root: int = 0) -> Drawing:
    """Lay out shapes and the edges between them, from left to right."""
    layers = arrange(len(shapes), edges, root)
    y = _heights(shapes, layers)
    left_of, right_of = {}, {}
    x = MARGIN
    for column in layers.columns:
        width = max((shapes[point].width for point in column if point < len(shapes)), default=0.0)
        for point in column:
            inset = (width - shapes[point].width) / 2 if point < len(shapes) else 0.0
            left_of[point], right_of[point] = x + inset, x + width - inset
        x += width + _COLUMN_SPACE
    lines = []
    for wire in layers.wires:
        first, *bends, last = wire.points
        offset = _TURNED_OFFSET if wire.turned else 0.0
        pieces = [(right_of[first], y[first] + offset, right_of[first], y[first] + offset)]
        pieces += [(left_of[bend], y[bend], right_of[bend], y[bend]) for bend in bends]
        pieces.append((left_of[last], y[last] + offset, left_of[last], y[last] + offset))
        if wire.turned:
            pieces = [(x2, y2, x1, y1) for x1, y1, x2, y2 in reversed(pieces)]
        is_gap = "gap" in {shapes[first].kind, shapes[last].kind}
        lines.append(Line(tuple(pieces), is_gap))
    middles = [(shape, (left_of[point] + right_of[point]) / 2, y[point]) for point, shape in enumerate(shapes)]
    bottom = max(y[point] + (shapes[point].height / 2 if point < len(shapes) else 0.0) for point in y)
    return Drawing(middles, lines, x - _COLUMN_SPACE + MARGIN, bottom + MARGIN)


def _heights(shapes: Sequence[Shape], layers: Layers) -> dict[int, float]:
    """Return the middle of each point, from top to bottom."""
    pairs = [pair for wire in layers.wires for pair in zip(wire.points, wire.points[1:], strict=False)]
    left, right = neighbours_of(pairs)

    def space(point: int) -> float:
        return shapes[point].height + _SPACE if point < len(shapes) else _BEND_SPACE

    def pull(a: int, b: int) -> float:
        """Return how much a line shall be straight: a long one, and one between two shapes that have no other."""
        if a >= len(shapes) and b >= len(shapes):
            return 8.0
        return 8.0 if len(right[a]) == 1 and len(left[b]) == 1 else 1.0

    offsets = []
    y: dict[int, float] = {}
    for column in layers.columns:
        at, before = 0.0, 0.0
        found: list[float] = []
        for point in column:
            at += (before + space(point)) / 2 if found else 0.0
            before = space(point)
            found.append(at)
        offsets.append(found)
        y.update((point, place - at / 2) for point, place in zip(column, found, strict=True))
    sweeps = max(_SWEEPS[0], min(_SWEEPS[1], 40_000 // len(y)))
    for sweep in range(sweeps):
        forward = sweep % 2 == 0
        both = sweep >= sweeps * 3 // 4  # at the end, each stands between its neighbours of both sides
        for number in range(len(offsets)) if forward else reversed(range(len(offsets))):
            wanted, weights = [], []
            for point, place in zip(layers.columns[number], offsets[number], strict=True):
                pulls = [(other, pull(other, point)) for other in left.get(point, ()) if both or forward]
                pulls += [(other, pull(point, other)) for other in right.get(point, ()) if both or not forward]
                total = sum(strength for _, strength in pulls)
                mean = sum(y[other] * strength for other, strength in pulls) / total if pulls else y[point]
                wanted.append(mean - place)
                weights.append(total or 1.0)
            values = isotonic(wanted, weights)
            y.update(
                (point, value + place)
                for point, place, value in zip(layers.columns[number], offsets[number], values, strict=True)
            )
    top = min(y[point] - (shapes[point].height / 2 if point < len(shapes) else 0.0) for point in y)
    return {point: place - top + MARGIN for point, place in y.items()}


def isotonic(wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the values that never fall and are nearest to those wanted, by least squares: pool adjacent violators."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(wanted, weights, strict=True):
        pool = (value, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            before = pools.pop()
            total = before[1] + pool[1]
            pool = ((before[0] * before[1] + pool[0] * pool[1]) / total, total, before[2] + pool[2])
        pools.append(pool)
    return [value for value, _, count in pools for _ in range(count)]
