"""The read path of the mount: one fetch for each block whoever waits, and read-ahead for who reads in order.

Runs on the event loop. What is in memory, or can be read and proven without waiting, is answered without suspending; everything
else is fetched by worker threads, at most `MAX_FETCHES` at once, so that cold reads cannot take the threads of others.
Between awaits a task owns the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from artfs.content.proof import block_count
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from artfs.content.reader import Reader
    from artfs.model.entry import Entry

MAX_FETCHES = 16
READ_AHEAD = 8
"""Blocks that are fetched before a sequential reader asks for them."""


class _Fetch:
    """A block on its way: who waits, and what came."""

    __slots__ = ("data", "done", "error")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.data: bytes | None = None
        self.error: Exception | None = None


class Pipeline:
    """Reads entries for the mount. ``nursery`` is the mount's: read-ahead runs in it."""

    def __init__(self, reader: Reader, nursery: trio.Nursery) -> None:
        self._reader = reader
        self._nursery = nursery
        self._limiter = trio.CapacityLimiter(MAX_FETCHES)
        self._fetches: dict[tuple[str, int], _Fetch] = {}
        self._last: LRUCache[str, int] = LRUCache(1024)  # the block last read of each file

    async def read(self, entry: Entry, offset: int, size: int) -> bytes | memoryview:
        """Return ``size`` proven bytes at ``offset``, fewer at the end of the file. Raises what `Reader.block` raises."""
        if entry.size == 0:
            self._reader.check_empty(entry)
        end = min(offset + size, entry.size)
        if offset >= end:
            return b""
        first, last = offset // BLOCK_SIZE, (end - 1) // BLOCK_SIZE
        pieces: list[memoryview] = []
        for number in range(first, last + 1):
            data = self._reader.block_in_memory(entry, number)
            if data is None:
                data = await self._block(entry, number)
            start = number * BLOCK_SIZE
            pieces.append(memoryview(data)[max(offset - start, 0) : end - start])
        self._read_ahead(entry, first, last)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _block(self, entry: Entry, number: int) -> bytes:
        fetch = self._fetches.get((entry.digest, number))
        if fetch is None:
            data = self._reader.try_block(entry, number)
            if data is not None:
                return data
            fetch = self._start(entry, number)
        await fetch.done.wait()
        if fetch.error is not None:
            raise fetch.error
        if fetch.data is None:  # the mount is ending
            raise trio.BrokenResourceError
        return fetch.data

    def _start(self, entry: Entry, number: int) -> _Fetch:
        fetch = self._fetches[entry.digest, number] = _Fetch()
        self._nursery.start_soon(self._run, entry, number, fetch)
        return fetch

    async def _run(self, entry: Entry, number: int, fetch: _Fetch) -> None:
        try:
            fetch.data = await trio.to_thread.run_sync(self._reader.block, entry, number, limiter=self._limiter)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the block
            fetch.error = error
        finally:
            del self._fetches[entry.digest, number]
            fetch.done.set()

    def _read_ahead(self, entry: Entry, first: int, last: int) -> None:
        """Fetch the next blocks when a file is read in order: from its start, or from the block read before."""
        total = block_count(entry.size)
        if total == 1:
            return
        before = self._last.get(entry.digest)
        self._last[entry.digest] = last
        if last == before or not (first == 0 or (before is not None and first in {before, before + 1})):
            return
        for number in range(last + 1, min(last + 1 + READ_AHEAD, total)):
            if (entry.digest, number) not in self._fetches and self._reader.block_in_memory(entry, number) is None:
                self._start(entry, number)
