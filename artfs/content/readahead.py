"""Which blocks to fetch before they are asked for: several cursors for each content, each with a window that doubles.

Pure bookkeeping, used by `artfs.content.pipeline` on the event loop. A cursor is one reader that goes forward through a file;
small steps back and forth (threads of one reader, the kernel's own read-ahead) do not lose it. A read that continues no
cursor starts a new one, which fetches nothing ahead until it has gone on: random access costs its own blocks only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_WINDOW = 2
"""Blocks ahead of a reader that has begun a file, or has gone on once."""

GRAIN = 8
"""Blocks that have to be missing in a large window before it is filled up: requests of one block each are slow.

Large windows end at multiples of it, where stores that keep objects in parts begin a part: what a request touches only in part they
often read whole.
"""

MAX_CURSORS = 8
SLACK = 2
"""Blocks by which a read may miss its cursor and still continue it."""

_CONTENTS = 1024


@dataclass(slots=True)
class _Cursor:
    next: int  # the block that a reader in order asks for next
    ahead: int  # the first block that was not asked for ahead yet
    window: int  # blocks; 0 until the reader has gone on


class ReadAhead:
    """The cursors of all contents that are being read."""

    def __init__(self) -> None:
        self._contents: LRUCache[object, list[_Cursor]] = LRUCache(_CONTENTS)

    def advance(self, content: object, first: int, last: int, total: int, limit: Callable[[int], int]) -> range:
        """Note a read of the blocks ``first`` to ``last`` of ``total``; return those to fetch ahead now.

        ``limit`` tells the largest window in blocks where a block is the next to fetch. The blocks come in order and begin after
        ``last``; each is returned once for a cursor, so that the caller need not remember. The window doubles with each block that the
        reader goes on.
        """
        cursors = self._contents.get(content)
        if cursors is None:
            cursors = self._contents[content] = []
        cursor = self._find(cursors, first)
        if cursor is None:
            cursor = _Cursor(last + 1, last + 1, FIRST_WINDOW if first == 0 else 0)
            cursors.append(cursor)
            del cursors[:-MAX_CURSORS]
            if first:
                return range(0)
        else:
            cursors.remove(cursor)
            cursors.append(cursor)  # the newest comes last
            if last + 1 > cursor.next:  # it goes on
                cursor.next = last + 1
                cursor.window = max(FIRST_WINDOW, 2 * cursor.window)
        start = max(cursor.ahead, cursor.next)
        cursor.window = min(cursor.window, limit(start))
        if cursor.window - (cursor.ahead - cursor.next) < min(GRAIN, cursor.window // 2):
            return range(0)  # there is enough on its way: the next request is to be a big one
        end = min(cursor.next + cursor.window, total)
        if end < total and end - end % GRAIN > start:
            end -= end % GRAIN
        cursor.ahead = max(cursor.ahead, end)
        return range(start, end)

    @staticmethod
    def _find(cursors: list[_Cursor], first: int) -> _Cursor | None:
        for cursor in reversed(cursors):
            if cursor.next - SLACK <= first <= cursor.next + SLACK:
                return cursor
        return None
