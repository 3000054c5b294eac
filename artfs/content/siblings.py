"""Which small files to fetch before they are opened: the next of a directory, when opens follow its order.

Pure bookkeeping over a manifest's index, used on the event loop. A directory is read in order when two opens in a row each took one of
the next few files; from then on the files ahead are named, twice as many each time, as long as the reader keeps to the order. The
numbers of a manifest's index tell what is near, without a question to it: manifests are written in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

if TYPE_CHECKING:
    from artfs.cache.index import ManifestIndex, Node

NEAR = 4
"""How many files after the last one still count as the next: several threads take files in turn."""

FIRST_AHEAD, MOST_AHEAD = 4, 64
MOST_BYTES = 16 << 20
_DIRECTORIES = 256


@dataclass(slots=True)
class _Run:
    """A reader that goes through a directory."""

    last: int = -1  # the number of the file that was opened farthest ahead
    streak: int = 0
    ahead: int = -1  # the number of the last node that was named


class Siblings:
    """The directories that are being read."""

    def __init__(self) -> None:
        self._runs: LRUCache[tuple[int, int], _Run] = LRUCache(_DIRECTORIES)

    def opened(self, version: int, index: ManifestIndex, node: Node) -> list[Node]:
        """Note that a file of a version was opened; return the files to fetch ahead now, in order, each once."""
        key = (version, node.parent)
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = _Run()
        if 0 < node.number - run.last <= NEAR and run.last >= 0:
            run.streak += 1
        elif 0 < run.last - node.number <= NEAR:  # threads take files in turn, not in step
            return []
        else:
            run.streak, run.ahead = 0, -1
        run.last = node.number
        return self._ahead(run, index, node) if run.streak >= 2 else []

    @staticmethod
    def _ahead(run: _Run, index: ManifestIndex, node: Node) -> list[Node]:
        count = min(FIRST_AHEAD << min(run.streak - 2, 10), MOST_AHEAD)
        if run.ahead - node.number > count // 2:
            return []  # there is enough on its way: the next request is for many
        upcoming = index.children(node.parent, max(run.ahead, node.number), count)
        named, size = [], 0
        for one in upcoming:
            size += one.size
            if size > MOST_BYTES:
                break
            run.ahead = one.number
            if not one.is_dir:
                named.append(one)
        return named
