"""The counters that tell every process sharing a block cache when what it knows of a content may be wrong.

A hole punched into a file reads as zeros, so whoever punches bumps the counter of the content first, and a
reader who verified a block earlier trusts its bytes only if the counter, looked at after the read, is still the one
of before it read the rows of the content from the ledger. The order is: the rows are deleted, the counter is bumped, the hole
is punched. A bump before the deletion would not do: a reader could still load a row under the new counter.

The file is ``epochs``: 65,536 unsigned 32-bit numbers, native order, shared by mapping. Contents that share a counter
disturb each other a little, never wrongly. It is written by ``pwrite``, because a store into a mapping of a full disk is a SIGBUS.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import threading
import weakref
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from pathlib import Path

    from artfs.cache.datafiles import Content

_COUNTERS = 1 << 16
_COUNTER = struct.Struct("=I")
_MAP_LOCKED = 0x2000  # keeps the pages in memory: no read of a counter waits for the disk


class Epochs:
    """The counters in a file. Raises OSError if it is missing or has another length."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        if os.fstat(self._descriptor).st_size != _COUNTERS * _COUNTER.size:
            raise FileNotFoundError(errno.ENOENT, "the counters of the block cache are not whole", str(path))
        self._view = memoryview(_map(self._descriptor)).cast("I")

    @staticmethod
    def create(path: Path) -> None:
        """Make the file, with its disk space. It must not be there."""
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(bytes(_COUNTERS * _COUNTER.size))
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def slot(content: Content) -> int:
        """Return which counter is that of a content."""
        return int(xxhash.xxh3_64_intdigest(f"{content.name}-{content.size}".encode())) % _COUNTERS

    def current(self, slot: int) -> int:
        """Return the value of a counter, from memory."""
        return self._view[slot]

    def bump(self, slot: int) -> tuple[int, int]:
        """Change a counter, and return its value before and after. Raises OSError; then nothing may be punched."""
        with self._lock:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                before = self._view[slot]
                after = (before + 1) & 0xFFFFFFFF
                os.pwrite(self._descriptor, _COUNTER.pack(after), slot * _COUNTER.size)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return before, after

    def intact(self) -> bool:
        """Whether the file is still the one at its path."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False


def _map(descriptor: int) -> mmap.mmap:
    size, flags = _COUNTERS * _COUNTER.size, mmap.MAP_SHARED | mmap.MAP_POPULATE
    try:
        return mmap.mmap(descriptor, size, flags | _MAP_LOCKED, mmap.PROT_READ)
    except OSError:  # more than may be locked
        return mmap.mmap(descriptor, size, flags, mmap.PROT_READ)
