"""The walk: from one version or run to all it was made from, and to all that was made of it.

Versions and runs alternate: a run *used* versions and *logged* versions. Upstream of a version is the run that logged it, upstream
of a run what it used; downstream is the same, the other way. The walk goes breadth first, so that a bound cuts off what is farthest.
The two directions do not mix: what else a run upstream has logged is not of the lineage of the root.

Each question is asked once: which one it is follows from the direction and the node. A node at a bound is still asked for its
neighbours, to tell "3 more are not shown" from "nothing more is there".
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, TypeAlias

from artfs.errors import NotFoundError, PermissionDeniedError
from artfs.model.run import RunInfo
from artfs.registry.port import Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from artfs.registry.port import Registry

MAX_NODES = 2_000
EDGES_PER_NODE = 10  # a graph has at most so many edges for each node that it may have

Node: TypeAlias = Version | RunInfo
NodeKey = NewType("NodeKey", str)


class Direction(enum.Enum):
    """Towards what a node was made from, or towards what was made of it."""

    UP = "up"
    DOWN = "down"


class Reason(enum.Enum):
    """Why neighbours are missing: the depth, the size of the graph, or the registry does not show them to this user."""

    DEPTH = "depth"
    SIZE = "size"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Gap:
    """Where the graph is cut: the neighbours of a node in one direction that are not in it. ``count`` is None if nobody knows."""

    node: NodeKey
    direction: Direction
    reason: Reason
    count: int | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """A version or a run with what is upstream and downstream of it.

    ``nodes`` are in the order of their distance from ``root``; ``edges`` go from what was there first to what was made of it: from a
    version to the run that used it, from a run to the version that it logged. Both may lead in circles.
    """

    root: NodeKey
    nodes: Mapping[NodeKey, Node]
    edges: Sequence[tuple[NodeKey, NodeKey]]
    gaps: Sequence[Gap]
    directions: tuple[Direction, ...]

    def neighbours(self, direction: Direction) -> dict[NodeKey, list[NodeKey]]:
        """Return the neighbours of each node that has any in a direction."""
        found: dict[NodeKey, list[NodeKey]] = {}
        for earlier, later in self.edges:
            here, there = (later, earlier) if direction is Direction.UP else (earlier, later)
            found.setdefault(here, []).append(there)
        return found


def node_key(node: Node) -> NodeKey:
    """Return what names a node in a graph. A version is the same one in every collection that shows it."""
    return NodeKey(f"version:{node.id}" if isinstance(node, Version) else f"run:{node.path}")


def trace(
    registry: Registry,
    root: Node,
    *,
    directions: tuple[Direction, ...] = (Direction.UP, Direction.DOWN),
    depth: int | None = None,
    max_nodes: int = MAX_NODES,
) -> Lineage:
    """Walk from a version or run, at most ``depth`` steps in each direction; UnreachableError.

    A step leads from a version to a run or from a run to a version. Neighbours that the registry does not show are a gap, no error.
    """
    walk = _Walk(registry, depth, max_nodes, {node_key(root): root})
    walk.go(root, directions)
    return Lineage(node_key(root), walk.nodes, list(walk.edges), walk.gaps, directions)


class _Walk:
    def __init__(self, registry: Registry, depth: int | None, max_nodes: int, nodes: dict[NodeKey, Node]) -> None:
        self._registry = registry
        self._depth = depth
        self._max_nodes = max_nodes
        self.nodes = nodes
        self.edges: dict[tuple[NodeKey, NodeKey], None] = {}  # a set that keeps its order
        self.gaps: list[Gap] = []

    def go(self, root: Node, directions: tuple[Direction, ...]) -> None:
        """Add what lies in the directions, all at the same pace."""
        seen = {(node_key(root), direction) for direction in directions}
        waiting = deque((root, direction, 0) for direction in directions)
        while waiting:
            node, direction, distance = waiting.popleft()
            key = node_key(node)
            try:
                neighbours = list(self._ask(node, direction))
            except (NotFoundError, PermissionDeniedError):
                self.gaps.append(Gap(key, direction, Reason.HIDDEN, None))
                continue
            reason, missing = Reason.SIZE, 0
            for neighbour in neighbours:
                there = node_key(neighbour)
                edge = (there, key) if direction is Direction.UP else (key, there)
                is_new = (there, direction) not in seen
                if is_new and distance == self._depth:
                    reason, missing = Reason.DEPTH, missing + 1
                elif edge not in self.edges and self._is_full(there):
                    missing += 1
                else:
                    self.edges[edge] = None
                    self.nodes.setdefault(there, neighbour)
                    if is_new:
                        seen.add((there, direction))
                        waiting.append((neighbour, direction, distance + 1))
            if missing:
                self.gaps.append(Gap(key, direction, reason, missing))

    def _is_full(self, another: NodeKey) -> bool:
        too_many_nodes = another not in self.nodes and len(self.nodes) >= self._max_nodes
        return too_many_nodes or len(self.edges) >= self._max_nodes * EDGES_PER_NODE

    def _ask(self, node: Node, direction: Direction) -> Iterator[Node]:
        match node, direction:
            case Version(), Direction.UP:
                by = self._registry.logged_by(node.id)
                if by is not None:
                    yield by
            case Version(), Direction.DOWN:
                yield from self._registry.used_by(node.id)
            case RunInfo(), Direction.UP:
                yield from self._registry.used(node.ref)
            case RunInfo(), Direction.DOWN:
                yield from self._registry.logged(node.ref)
