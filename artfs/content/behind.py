"""Blocks on their way into the block cache, behind the backs of the readers that have them already.

Writing a small file into the cache costs as much as fetching it, and readers need not wait for that. One thread does it, some blocks at
a time, so that threads that fetch have the interpreter lock for themselves. Memory is bounded: who brings more than is being written
waits.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from artfs.content.threads import start

if TYPE_CHECKING:
    from artfs.cache.cachefile import CacheFile
    from artfs.storage.port import Buffer

log = logging.getLogger(__name__)

MOST_BYTES = 32 << 20
"""Bytes that may wait to be written."""

_GATHER_BYTES = 4 << 20  # that are written at once
_GATHER_SECONDS = 0.02  # after which fewer are
_IDLE_SECONDS = 5.0  # after which the thread ends


class _Block(NamedTuple):
    file: CacheFile
    number: int
    data: Buffer
    checksum: bytes | None


class WriteBehind:
    """The queue and its thread, which ends when there is nothing to do. Thread-safe."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._changed = threading.Condition()  # of all below
        self._queue: list[_Block] = []
        self._bytes = 0  # with the block that is being written
        self._count = self._written = 0  # blocks so far
        self._draining = 0  # threads that wait for all of it
        self._running = False

    def put(self, file: CacheFile, number: int, data: Buffer, checksum: bytes | None) -> None:
        """Have a proven block written. Waits while too much is on its way. ``checksum`` is its BLAKE3 if that is known."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes or self._bytes + len(data) <= self._most_bytes)
            before, self._bytes = self._bytes, self._bytes + len(data)
            self._count += 1
            self._queue.append(_Block(file, number, data, checksum))
            if len(self._queue) == 1 or before < _GATHER_BYTES <= self._bytes:
                self._changed.notify_all()
            if not self._running:
                self._running = True
                start(self._write)

    def drain(self) -> None:
        """Wait until everything that was put before is written."""
        with self._changed:
            count = self._count
            self._draining += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._written >= count)
            finally:
                self._draining -= 1

    def _write(self) -> None:
        while blocks := self._next():
            for block in blocks:
                try:
                    block.file.write(block.number, block.data, proven=True, checksum=block.checksum)
                except Exception:  # a block that is not kept is fetched again
                    log.exception("block %d of %s could not be cached", block.number, block.file.name)
            with self._changed:
                self._bytes -= sum(len(block.data) for block in blocks)
                self._written += len(blocks)
                self._changed.notify_all()

    def _next(self) -> list[_Block]:
        """Wait for blocks, and a little longer for more of them; none when nothing came for a while: then the thread ends."""
        with self._changed:
            if self._changed.wait_for(lambda: self._queue, _IDLE_SECONDS):
                self._changed.wait_for(lambda: self._bytes >= _GATHER_BYTES or self._draining, _GATHER_SECONDS)
            else:
                self._running = False
            blocks, self._queue = self._queue, []
            return blocks
