"""At most so many bytes asked for at once, whoever asks: memory is bounded, and a slow service is not buried in requests."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from artfs.errors import UnreachableError
from artfs.storage.wrapper import ObjectsWrapper

if TYPE_CHECKING:
    from artfs.storage.port import Buffer, Locator, Objects

WAIT = 120.0  # seconds that a read waits for its turn


class ByteLimit:
    """A budget of bytes, given out in the order of asking. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._free = self._size = size
        self._condition = threading.Condition()
        self._waiting: deque[object] = deque()

    @property
    def in_use(self) -> int:
        """Return how many bytes are given out."""
        return self._size - self._free

    def acquire(self, size: int, timeout: float) -> bool:
        """Take bytes, all of the budget at most; False if they did not become free within the timeout (seconds)."""
        size, turn = min(size, self._size), object()
        with self._condition:
            self._waiting.append(turn)
            try:
                granted = self._condition.wait_for(lambda: self._waiting[0] is turn and self._free >= size, timeout)
                if granted:
                    self._free -= size
            finally:
                self._waiting.remove(turn)
                self._condition.notify_all()
            return granted

    def release(self, size: int) -> None:
        """Give bytes back."""
        with self._condition:
            self._free += min(size, self._size)
            self._condition.notify_all()


class Limited(ObjectsWrapper):
    """Objects of which at most ``limit`` bytes are being read at any moment."""

    def __init__(self, inner: Objects, limit: ByteLimit) -> None:
        super().__init__(inner)
        self._limit = limit

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return bytes of a span, when it is its turn."""
        if not self._limit.acquire(size, WAIT):
            raise UnreachableError(
                f"no read of {size} bytes could begin within {WAIT:.0f} s: others are being waited for"
            )
        try:
            return self._inner.read(locator, offset, size)
        finally:
            self._limit.release(size)
