"""What this process has still to write into the ledger: changes in their order, and when blocks were last used.

Changes are recorded in groups: one transaction for all that came since the last. A block that is on its way keeps its lock (see
`artfs.cache.datafiles`) until it is recorded; a bounded number may be, and writers wait for the others.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.cache.rows import Written

if TYPE_CHECKING:
    from artfs.cache.datafiles import Content, DataFile
    from artfs.cache.ledger import Ledger
    from artfs.cache.room import Room
    from artfs.cache.rows import Change

MAX_ON_THE_WAY = 128
"""Blocks, and so open files, that may wait to be recorded."""

_WAIT_SECONDS = 5.0
_GROUP_SECONDS = 0.1  # for more to come: a transaction costs as much as the blocks of a few small files
_TOUCH_SECONDS = 5.0
_MAX_TOUCHES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Item:
    change: Change
    file: DataFile | None
    cost: int


class Recorder:
    """The queue of one open ledger. Thread-safe."""

    def __init__(self, ledger: Ledger, room: Room) -> None:
        self._ledger = ledger
        self._room = room
        self._writing = threading.Lock()  # held while recording
        self._changed = threading.Condition()  # of all below; never held while anything waits for a disk
        self._queue: list[_Item] = []
        self._being_recorded: list[_Item] = []
        self._on_the_way = 0
        self._touched: dict[Content, dict[int, int]] = {}
        self._touches = 0
        self._touches_recorded = time.monotonic()
        self._stopped = False

    def begin(self) -> bool:
        """Take a place for a block on its way; False if none gets free in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._on_the_way < MAX_ON_THE_WAY or self._stopped, _WAIT_SECONDS):
                return False
            self._on_the_way += 1
            return not self._stopped

    def abandon(self) -> None:
        """Give a place back, because the block was not written."""
        with self._changed:
            self._on_the_way -= 1
            self._changed.notify_all()

    def written(self, change: Written, file: DataFile, cost: int) -> None:
        """Have a block recorded whose place, room and lock are taken; they are given back then."""
        self._put(_Item(change, file, cost))

    def add(self, change: Change, cost: int = 0) -> None:
        """Have another change recorded; ``cost`` is the room that was taken for it."""
        self._put(_Item(change, None, cost))

    def _put(self, item: _Item) -> None:
        with self._changed:
            self._queue.append(item)
            if len(self._queue) in {1, MAX_ON_THE_WAY // 2}:
                self._changed.notify_all()

    def pending(self, content: Content) -> list[Change]:
        """Return the changes of a content that are not surely in the ledger, in their order."""
        with self._changed:
            items = (*self._being_recorded, *self._queue)
        return [item.change for item in items if item.change.content == content]

    def touch(self, content: Content, number: int) -> None:
        """Note that a block is used now."""
        with self._changed:
            self._touched.setdefault(content, {})[number] = time.time_ns()
            self._touches += 1
            if self._touches == _MAX_TOUCHES:
                self._changed.notify_all()

    def wait(self) -> bool:
        """Wait until something is to be recorded, a little longer for more to come, but not for ever; False once stopped."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._queue or self._stopped or self._touches >= _MAX_TOUCHES, _TOUCH_SECONDS
            )
            if self._queue:
                self._changed.wait_for(lambda: len(self._queue) >= MAX_ON_THE_WAY // 2 or self._stopped, _GROUP_SECONDS)
            return not self._stopped

    def stop(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def record(self, *, touches: bool = False) -> list[Content]:
        """Record what there is, and, if asked or if it is time, what was used; return the contents used. Raises sqlite3.Error.

        What could not be recorded stays in the queue.
        """
        with self._writing:
            with self._changed:
                items, self._queue = self._queue, []
                self._being_recorded = items
                touched: dict[Content, dict[int, int]] = {}
                late = time.monotonic() - self._touches_recorded > _TOUCH_SECONDS or self._touches >= _MAX_TOUCHES
                if touches or late:
                    touched, self._touched, self._touches = self._touched, {}, 0
                    self._touches_recorded = time.monotonic()
            if not items and not touched:
                return []
            try:
                with self._ledger.transaction() as transaction:
                    transaction.record([item.change for item in items], touched)
            except BaseException:
                with self._changed:
                    self._queue[:0] = items
                    self._being_recorded = []
                raise
            self._room.settle(sum(item.cost for item in items), self._ledger.totals.bytes)
            with self._changed:
                self._being_recorded = []
                self._on_the_way -= sum(item.file is not None for item in items)
                self._changed.notify_all()
            for item in items:
                if item.file is not None and isinstance(item.change, Written):
                    item.file.unlock(item.change.number)
            return list(touched)
