"""Which column each shape of a drawing stands in, and in which order the shapes of a column stand.

The method of Sugiyama: circles are broken by turning edges round; columns by the longest path, with what is upstream of the root moved
as near to it as it goes; an edge over several columns gets a bend in each of them; then sweeps that order each column by the
barycentres of its neighbours, of which the order with the fewest crossings is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_BENDS = 20_000
_SWEEPS = 12


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge as the drawing needs it: from column to column through its bends, to the right. ``turned``: its arrow is at the left."""

    points: tuple[int, ...]
    turned: bool


@dataclass(frozen=True, slots=True)
class Layers:
    """Columns of point numbers, from left to right and from top to bottom. Points below ``shapes`` are shapes, the others are bends."""

    shapes: int
    columns: list[list[int]]
    wires: list[Wire]


def arrange(shapes: int, edges: Sequence[tuple[int, int]], root: int) -> Layers:
    """Arrange shapes 0, 1, ... with edges between them; all are connected with ``root``."""
    edges = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1]))
    turned = _turned(shapes, edges)
    straight = [(b, a) if (a, b) in turned else (a, b) for a, b in edges]
    layer = _layer(shapes, straight, root)
    wires = _wires(shapes, edges, turned, layer)
    columns: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for shape in range(shapes):
        columns[layer[shape]].append(shape)
    for wire in wires:
        for offset, bend in enumerate(wire.points[1:-1], start=1):
            columns[layer[wire.points[0]] + offset].append(bend)
    pairs = [pair for wire in wires for pair in zip(wire.points, wire.points[1:], strict=False)]
    return Layers(shapes, _ordered(columns, pairs), wires)


def neighbours_of(pairs: Iterable[tuple[int, int]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return for each point its neighbours to the left, and those to the right."""
    left: dict[int, list[int]] = {}
    right: dict[int, list[int]] = {}
    for a, b in pairs:
        right.setdefault(a, []).append(b)
        left.setdefault(b, []).append(a)
    return left, right


def _turned(shapes: int, edges: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the edges that close a circle in a walk through all of them."""
    after = neighbours_of(edges)[1]
    found: set[tuple[int, int]] = set()
    is_open, done = set[int](), set[int]()
    for start in range(shapes):
        stack = [] if start in done else [(start, iter(after.get(start, ())))]
        is_open.update(shape for shape, _ in stack)
        while stack:
            here, rest = stack[-1]
            there = next(rest, None)
            if there is None:
                stack.pop()
                is_open.remove(here)
                done.add(here)
            elif there in is_open:
                found.add((here, there))
            elif there not in done:
                is_open.add(there)
                stack.append((there, iter(after.get(there, ()))))
    return found


def _layer(shapes: int, edges: Sequence[tuple[int, int]], root: int) -> list[int]:
    """Return the column of each shape of a graph without circles; the leftmost is 0."""
    before, after = neighbours_of(edges)
    missing = [len(before.get(shape, ())) for shape in range(shapes)]
    order = [shape for shape in range(shapes) if not missing[shape]]
    layer = [0] * shapes
    for here in order:  # grows meanwhile
        for there in after.get(here, ()):
            layer[there] = max(layer[there], layer[here] + 1)
            missing[there] -= 1
            if not missing[there]:
                order.append(there)
    downstream = {root}
    for here in order:
        if here in downstream:
            downstream.update(after.get(here, ()))
    for here in reversed(order):
        if here not in downstream and here in after:
            layer[here] = min(layer[there] for there in after[here]) - 1
    leftmost = min(layer)
    return [column - leftmost for column in layer]


def _wires(
    shapes: int, edges: Sequence[tuple[int, int]], turned: set[tuple[int, int]], layer: Sequence[int]
) -> list[Wire]:
    """Give the edges their bends, the short ones first, until there are too many."""
    found: dict[tuple[int, int], Wire] = {}
    point = shapes
    for edge in sorted(edges, key=lambda edge: abs(layer[edge[0]] - layer[edge[1]])):
        a, b = reversed(edge) if edge in turned else edge
        bends = layer[b] - layer[a] - 1
        if point - shapes + bends > MAX_BENDS:
            bends = 0
        found[edge] = Wire((a, *range(point, point + bends), b), edge in turned)
        point += bends
    return [found[edge] for edge in edges]


def _ordered(columns: list[list[int]], pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    left, right = neighbours_of(pairs)
    best, fewest = [list(column) for column in columns], _crossings(columns, right)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        forward = sweep % 2 == 0
        beside = left if forward else right
        place = {point: float(index) for column in columns for index, point in enumerate(column)}
        for column in columns if forward else reversed(columns):
            weight = {
                point: sum(place[other] for other in beside[point]) / len(beside[point])
                if point in beside
                else place[point]
                for point in column
            }
            column.sort(key=weight.__getitem__)
            place.update((point, float(index)) for index, point in enumerate(column))
        crossings = _crossings(columns, right)
        if crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    return best


def _crossings(columns: Sequence[Sequence[int]], right: dict[int, list[int]]) -> int:
    """Count the crossings between neighbouring columns, with a Fenwick tree."""
    place = {point: index for column in columns for index, point in enumerate(column)}
    beside = {point: number for number, column in enumerate(columns) for point in column}
    found = 0
    for number, column in enumerate(columns):
        size = len(columns[number + 1]) if number + 1 < len(columns) else 0
        tree, count = [0] * (size + 1), 0
        for point in column:
            ends = sorted(place[other] for other in right.get(point, ()) if beside[other] == number + 1)
            for end in ends:
                at, not_after = end + 1, 0
                while at:
                    not_after += tree[at]
                    at &= at - 1
                found += count - not_after
            for end in ends:
                at = end + 1
                while at <= size:
                    tree[at] += 1
                    at += at & -at
            count += len(ends)
    return found
