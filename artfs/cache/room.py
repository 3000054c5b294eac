"""How much the block cache may still write: below its size limit, and above the free space it leaves on the disk.

Arithmetic on what is known; the disk is asked once a second, or once for every 16 MiB reserved, whichever is later needed. What other
processes have written and not yet recorded is not known, so several of them may pass the limit for moments.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ASK_SECONDS = 1.0
_ASK_BYTES = 16 << 20
_MOST_SLACK = 1 << 30


class Room:
    """The room of one cache directory, in bytes of disk space. Thread-safe."""

    def __init__(self, directory: Path, max_bytes: int, keep_free: int, clock: Callable[[], float]) -> None:
        self._directory = directory
        self.max_bytes = max_bytes
        self._keep_free = keep_free
        self._clock = clock
        self._lock = threading.Lock()
        self._recorded = 0
        self._reserved = 0
        self._free = 0
        self._on_the_way = 0  # set aside, and not on the disk yet
        self._going = 0  # recorded as evicted, and still on the disk
        self._taken = 0  # all that was ever set aside for the disk
        self._taken_when_asked = 0
        self._asked_at = float("-inf")
        # Evicting a little more than is needed keeps writers from waiting for it each time.
        self._slack = min(max_bytes // 10, _MOST_SLACK)
        self._free_slack = min(keep_free // 10, _MOST_SLACK)

    @property
    def known(self) -> int:
        """The disk space of the blocks that are recorded or on their way in."""
        return self._recorded + self._reserved

    @property
    def used(self) -> int:
        """The disk space of all blocks, those on their way in and out included."""
        return self._recorded + self._reserved + self._going

    def most(self) -> int:
        """Return how many bytes all blocks together may take before any is evicted. Looks at the disk. Raises OSError."""
        self.refresh(now=True)
        with self._lock:
            by_size = self.max_bytes - self._slack // 2
            by_disk = self.used + self._free - self._keep_free - self._free_slack // 2
            return max(0, min(by_size, by_disk))

    def reserve(self, cost: int, *, on_disk: bool = True) -> bool:
        """Set room aside for a write; ``on_disk`` is False for a file that takes its space already."""
        with self._lock:
            if self.used + cost > self.max_bytes or (on_disk and self._free - cost < self._keep_free):
                return False
            self._reserved += cost
            if on_disk:
                self._free -= cost
                self._on_the_way += cost
                self._taken += cost
            return True

    def landed(self, cost: int) -> None:
        """Note that what was set aside is on the disk, or will never be."""
        with self._lock:
            self._on_the_way -= cost

    def release(self, cost: int) -> None:
        """Give back what was set aside, because nothing was written."""
        with self._lock:
            self._reserved -= cost

    def going(self, cost: int) -> None:
        """Note that blocks are about to be recorded as evicted, or, with a negative cost, that they are off the disk."""
        with self._lock:
            self._going += cost

    def settle(self, cost: int, recorded: int) -> None:
        """Note that what was set aside is recorded: ``recorded`` is the sum of all blocks now."""
        with self._lock:
            self._reserved -= cost
            self._recorded = recorded

    def refresh(self, *, now: bool = False) -> None:
        """Ask the disk how much is free, if that is not known well enough. Raises OSError."""
        with self._lock:
            on_the_way, taken = self._on_the_way, self._taken
            known = taken - self._taken_when_asked < _ASK_BYTES and self._clock() - self._asked_at < _ASK_SECONDS
            if known and not now:
                return
            self._taken_when_asked = taken
            self._asked_at = self._clock()
        disk = os.statvfs(self._directory)
        with self._lock:  # the disk may not have counted what landed while it was asked
            self._free = disk.f_bavail * disk.f_frsize - on_the_way - (self._taken - taken)

    def shortage(self, cost: int = 0) -> int:
        """Return how many bytes to evict: 0 while there is room for ``cost`` more, and for half of the slack."""
        with self._lock:
            over = self.used + cost - self.max_bytes
            under = self._keep_free + cost - self._free
            need = 0
            if over + self._slack // 2 > 0:
                need = over + self._slack
            if under + self._free_slack // 2 > 0:
                need = max(need, under + self._free_slack)
            return max(need, 0)
