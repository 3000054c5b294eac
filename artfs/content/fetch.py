"""One fetch of the read path: what is on its way, for whom it may be waited, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from artfs.content.budget import Request
    from artfs.content.lanes import Lane
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer


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
