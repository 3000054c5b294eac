"""The heads of files that lie elsewhere: fetched before the blocks they begin, for a reader that waits for its first byte.

Of many stores, a quarter of a block comes in much less time than a block. The entry proves a head, so that neither the first block nor the
block list is waited for. It is kept in memory until that block has come, which is fetched from where the head ends.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import HEAD_SIZE

if TYPE_CHECKING:
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer, Source

_MOST = 64  # heads in memory: 16 MiB


class Heads:
    """Heads in memory, each by its own digest: what one entry says of its head proves nothing of another's. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: LRUCache[Digest, Buffer] = LRUCache(_MOST)

    def get(self, entry: Entry) -> Buffer | None:
        """Return the head of an entry if it is in memory. Never blocks."""
        head = entry.head
        with self._lock:
            return None if head is None else self._kept.get(head)

    def fetch(self, entry: Entry, source: Source) -> Buffer | None:
        """Return the head of an entry out of its source; None if that does not have it. Blocks, and raises what the source raises."""
        data = self.get(entry)
        if data is None and entry.head is not None:
            data = source.read(0, HEAD_SIZE)
            if Digest.of(data, Algorithm.BLAKE3) != entry.head:
                return None
            with self._lock:
                self._kept[entry.head] = data
        return data

    def before(self, entry: Entry, source: Source) -> Source:
        """Return the source of an entry, of which the head is not asked for again if it is in memory."""
        head = self.get(entry)
        return source if head is None else _Headed(head, source)

    def forget(self, entry: Entry) -> None:
        """Let go of the head of an entry, whose first block is there now. Never blocks."""
        head = entry.head
        with self._lock:
            if head is not None:
                self._kept.pop(head, None)


class _Headed:
    """A source whose first bytes are in memory. Who closes the source behind it is who has opened that."""

    def __init__(self, head: Buffer, source: Source) -> None:
        self._head = memoryview(head)
        self._source = source
        self.local = source.local
        self.size = source.size

    def read(self, offset: int, size: int) -> Buffer:
        """Return bytes at an offset, fewer only at the end."""
        first = self._head[offset : offset + size]
        if not first:
            return self._source.read(offset, size)
        if len(first) == size:
            return first
        return b"".join([first, self._source.read(len(self._head), size - len(first))])

    def read_nowait(self, offset: int, size: int) -> bytes | None:
        """Return what the source has without blocking."""
        return self._source.read_nowait(offset, size)

    def close(self) -> None:
        """Do nothing."""
