"""A lineage as a tree for a terminal: the root, then what it was made from, then what was made of it.

A node with more than one parent is drawn whole where it is met first, and marked where it is met again. The walk keeps its own stack:
a chain of versions may be longer than Python's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.api.lineage.graph import Direction, Gap
from artfs.api.lineage.labels import full_line, gap_text, name_line
from artfs.registry.port import Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.api.lineage.graph import Lineage, NodeKey

_BOXES = ("├─ ", "└─ ", "│  ")
_ASCII_BOXES = ("|- ", "`- ", "|  ")


def render_text(lineage: Lineage, *, ascii_only: bool = False) -> Iterator[str]:
    """Yield the lines of the tree. ``ascii_only`` draws it, and everything else, without other characters than those of ASCII."""
    for line in _lines(lineage, _ASCII_BOXES if ascii_only else _BOXES):
        yield line.replace("…", "...").encode("ascii", "backslashreplace").decode() if ascii_only else line


def _lines(lineage: Lineage, boxes: tuple[str, str, str]) -> Iterator[str]:
    root = lineage.nodes[lineage.root]
    yield full_line(root)
    is_version, before = isinstance(root, Version), False
    for direction in lineage.directions:
        if direction is Direction.UP:
            heading, nothing = ("logged by", "no run") if is_version else ("used", "nothing")
        else:
            heading, nothing = ("used by", "no run") if is_version else ("logged", "nothing")
        below = list(_tree(lineage, direction, boxes))
        if below or before:
            yield ""
        yield f"{heading}:" if below else f"{heading}: {nothing}"
        yield from below
        before = bool(below)


def _tree(lineage: Lineage, direction: Direction, boxes: tuple[str, str, str]) -> Iterator[str]:
    neighbours = lineage.neighbours(direction)
    gaps = {gap.node: gap for gap in lineage.gaps if gap.direction is direction}

    def below(key: NodeKey) -> list[NodeKey | Gap]:
        """Return what hangs below a node, the last one first: a stack."""
        found: list[NodeKey | Gap] = [*neighbours.get(key, ()), *([gaps[key]] if key in gaps else ())]
        return found[::-1]

    tee, corner, bar = boxes
    shown = {lineage.root}
    stack = [(below(lineage.root), "")]
    while stack:
        waiting, indent = stack[-1]
        if not waiting:
            stack.pop()
            continue
        item = waiting.pop()
        start = indent + (tee if waiting else corner)
        if isinstance(item, Gap):
            yield start + gap_text(item)
        elif item in shown:
            yield f"{start}{name_line(lineage.nodes[item])} (shown above)"
        else:
            shown.add(item)
            yield start + full_line(lineage.nodes[item])
            stack.append((below(item), indent + (bar if waiting else " " * len(bar))))
