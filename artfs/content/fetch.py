"""One fetch of the read path: what is on its way, for whom it may be waited, and what came of it."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from artfs.content.proof import content_key
from artfs.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.content.budget import Request
    from artfs.content.lanes import Lane
    from artfs.content.proof import ContentKey
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer

_LONG, _REMEMBERED = 5.0, 3.0
"""Seconds: who has waited that long for an error does not wait again when it asks within the other. The kernel asks twice for the
first page of a read-ahead that fails."""


class Fetch:
    """Neighbouring blocks on their way: who waits, and what came."""

    __slots__ = ("begun", "blocks", "done", "entry", "error", "first", "lane", "last", "request")

    def __init__(self, entry: Entry, first: int, last: int) -> None:
        self.entry = entry
        self.first = first
        self.last = last
        self.begun = trio.current_time()
        self.done = trio.Event()
        self.blocks: list[Buffer] | None = None
        self.error: Exception | None = None
        self.lane: Lane
        self.request: Request

    def begin(
        self,
        lane: Lane,
        size: int,
        read: Callable[[], list[Buffer] | None],
        end: Callable[[Fetch, list[Buffer] | None, Exception | None], None],
        *,
        urgent: bool,
    ) -> None:
        """Have a thread of a lane call ``read`` when the lane has ``size`` bytes for it; then ``end`` is called on the event loop."""

        def done(blocks: list[Buffer] | None, error: Exception | None) -> None:
            lane.budget.give_back(self.request)
            end(self, blocks, error)

        self.lane = lane
        self.request = lane.budget.ask(size, lambda: lane.workers.submit(read, done), urgent=urgent)

    def piece(self, number: int, offset: int, size: int) -> Buffer:
        """Return bytes of a block that has come; raises what went wrong."""
        if self.error is not None:
            raise self.error
        if self.blocks is None:
            raise UnreachableError("the mount is ending")
        return memoryview(self.blocks[number - self.first])[offset : offset + size]


class Failures:
    """Errors that somebody has just waited long for."""

    def __init__(self) -> None:
        self._of: LRUCache[tuple[ContentKey, int], tuple[float, Exception]] = LRUCache(1024)

    def note(self, fetch: Fetch) -> None:
        """Remember how a fetch has ended, if that was late and with an error."""
        now = trio.current_time()
        if fetch.error is not None and now - fetch.begun > _LONG:
            for number in range(fetch.first, fetch.last + 1):
                self._of[content_key(fetch.entry), number] = now, fetch.error

    def raise_again(self, entry: Entry, number: int) -> None:
        """Raise the error of a block that was just waited for, if there is one."""
        at, error = self._of.get((content_key(entry), number), (-math.inf, None))
        if error is not None and trio.current_time() - at < _REMEMBERED:
            raise error


@contextlib.contextmanager
def until(entry: Entry, seconds: float) -> Iterator[None]:
    """Turn a wait that has become too long into an error that says so."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise UnreachableError(f"{entry.path} did not come within {seconds:.0f} s")
