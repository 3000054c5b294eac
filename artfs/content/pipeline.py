"""The read path of the mount: one fetch for each block whoever waits, and read-ahead for who reads in order.

Runs on the event loop. What is in memory, or can be read and proven without waiting, is answered without suspending; everything
else is fetched by worker threads, neighbouring blocks of remote content in one request. The bytes on their way are bounded, and
so is every wait; reads of what is cached have threads of their own, so that they never queue behind those that are not. Between
awaits a task owns the state.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

from artfs.content.budget import Budget
from artfs.content.proof import block_count, block_length, content_key
from artfs.content.readahead import ReadAhead
from artfs.errors import ArtfsError, UnreachableError
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artfs.content.budget import Request
    from artfs.content.proof import ContentKey
    from artfs.content.reader import Reader
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer

MAX_FETCHES = 32
MAX_DISK_READS = 16

IN_FLIGHT = 64 << 20
"""Bytes that are asked for at once."""

RUN = 8
"""The most blocks of one request."""

LOCAL_WINDOW = 8
"""Blocks that are read ahead of a sequential reader of local content."""

WINDOW_BYTES = 64 << 20
"""Bytes that are fetched ahead of all sequential readers of remote content together: they share it."""

DEADLINE = 90.0
"""Seconds for which a reader waits for a block. The retries of storage end before."""

_ACTIVE = 2.0  # seconds for which a content counts as being read


class _Fetch:
    """Neighbouring blocks on their way: who waits, and what came."""

    __slots__ = ("blocks", "done", "error", "first", "request")

    def __init__(self, first: int, request: Request) -> None:
        self.first = first
        self.request = request
        self.done = trio.Event()
        self.blocks: list[Buffer] = []
        self.error: Exception | None = None


class Pipeline:
    """Reads entries for the mount. ``nursery`` is the mount's: fetches run in it."""

    def __init__(self, reader: Reader, nursery: trio.Nursery, deadline: float = DEADLINE) -> None:
        self._reader = reader
        self._nursery = nursery
        self._deadline = deadline
        self._fetch_threads = trio.CapacityLimiter(MAX_FETCHES)
        self._disk_threads = trio.CapacityLimiter(MAX_DISK_READS)
        self._budget = Budget(IN_FLIGHT)
        self._fetches: dict[tuple[ContentKey, int], _Fetch] = {}
        self._read_ahead = ReadAhead()
        self._active: dict[ContentKey, float] = {}
        self._completing: set[ContentKey] = set()

    @property
    def in_flight(self) -> int:
        """Return how many bytes are being fetched."""
        return self._budget.in_use

    async def read(self, entry: Entry, offset: int, size: int) -> Buffer:
        """Return ``size`` bytes at ``offset``, fewer at the end of the file. Raises what `Reader.blocks` raises.

        UnreachableError if they do not come before the deadline.
        """
        if entry.size == 0:
            return await self._read_empty(entry, offset, size)
        end = min(offset + size, entry.size)
        if offset >= end:
            return b""
        first, last = offset // BLOCK_SIZE, (end - 1) // BLOCK_SIZE
        pieces: list[Buffer] = []
        for number in range(first, last + 1):
            start = max(offset - number * BLOCK_SIZE, 0)
            length = min(end - number * BLOCK_SIZE, BLOCK_SIZE) - start
            piece = self._reader.peek(entry, number, start, length)
            if piece is None:
                piece = await self._piece(entry, number, last, start, length)
            pieces.append(piece)
        self._look_ahead(entry, first, last)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_empty(self, entry: Entry, offset: int, size: int) -> Buffer:
        self._reader.check_empty(entry)
        if entry.ref is None:
            return b""
        with _until(entry, self._deadline):
            return await trio.to_thread.run_sync(
                self._reader.read_unsized, entry, offset, size, limiter=self._fetch_threads, abandon_on_cancel=True
            )

    def is_remote(self, entry: Entry) -> bool:
        """Whether the bytes of an entry come over a network."""
        return not self._reader.is_local(entry)

    async def state(self, entry: Entry) -> tuple[str, str]:
        """Return what `Reader.state` says of an entry."""
        return await trio.to_thread.run_sync(self._reader.state, entry, limiter=self._disk_threads)

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Fetch remote files of one block that will be opened soon."""
        for entry in entries:
            if not self._reader.is_local(entry) and 0 < entry.size <= BLOCK_SIZE and self._is_wanted(entry, 0):
                self._start(entry, 0, 0, urgent=False)

    # Blocks -----------------------------------------------------------------------------------------------------

    async def _piece(self, entry: Entry, number: int, last: int, start: int, length: int) -> Buffer:
        """Return a piece of a block that is not in memory: out of the cache, or with a fetch of it and of those up to ``last``."""
        fetch = self._fetches.get((content_key(entry), number))
        if fetch is None and self._reader.is_present(entry, number):
            with _until(entry, self._deadline):
                piece = await trio.to_thread.run_sync(
                    self._reader.piece, entry, number, start, length, limiter=self._disk_threads, abandon_on_cancel=True
                )
            if piece is not None:
                return piece
            fetch = self._fetches.get((content_key(entry), number))  # damaged or evicted: somebody may fetch it by now
        if fetch is None:
            fetch = self._start(entry, number, self._end_of_run(entry, number, last), urgent=True)
        self._budget.promote(fetch.request)
        with _until(entry, self._deadline):
            await fetch.done.wait()
        if fetch.error is not None:
            raise fetch.error
        if not fetch.blocks:  # the mount is ending
            raise UnreachableError("the mount is ending")
        return memoryview(fetch.blocks[number - fetch.first])[start : start + length]

    def _end_of_run(self, entry: Entry, first: int, last: int) -> int:
        """Return the last block that is to be fetched together with ``first``."""
        if self._reader.is_local(entry):
            return first
        end = first
        while end < last and end - first + 1 < RUN and self._is_wanted(entry, end + 1):
            end += 1
        return end

    def _is_wanted(self, entry: Entry, number: int) -> bool:
        """Whether a block is neither in memory, nor in the cache, nor on its way."""
        return not (
            (content_key(entry), number) in self._fetches
            or self._reader.in_memory(entry, number)
            or self._reader.is_present(entry, number)
        )

    def _start(self, entry: Entry, first: int, last: int, *, urgent: bool) -> _Fetch:
        size = sum(block_length(entry.size, number) for number in range(first, last + 1))
        fetch = _Fetch(first, self._budget.ask(size, urgent=urgent))
        for number in range(first, last + 1):
            self._fetches[content_key(entry), number] = fetch
        self._nursery.start_soon(self._run, entry, first, last, fetch)
        return fetch

    async def _run(self, entry: Entry, first: int, last: int, fetch: _Fetch) -> None:
        try:
            await fetch.request.granted.wait()
            limiter = self._disk_threads if self._reader.is_local(entry) else self._fetch_threads
            fetch.blocks = await trio.to_thread.run_sync(
                self._reader.blocks, entry, first, last, limiter=limiter, abandon_on_cancel=True
            )
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the block
            fetch.error = error
        finally:
            self._budget.give_back(fetch.request)
            for number in range(first, last + 1):
                del self._fetches[content_key(entry), number]
            fetch.done.set()
        if self._reader.needs_completion(entry):
            await self._complete(entry)

    async def _complete(self, entry: Entry) -> None:
        """Prove what was served as it came, now that all of it is here. Damage is logged, and refused from now on."""
        key = content_key(entry)
        if key in self._completing:
            return
        self._completing.add(key)
        try:
            await trio.to_thread.run_sync(self._reader.complete, entry, limiter=self._disk_threads)
        except ArtfsError:
            pass  # the reader has logged it
        finally:
            self._completing.discard(key)

    # Ahead ------------------------------------------------------------------------------------------------------

    def _look_ahead(self, entry: Entry, first: int, last: int) -> None:
        """Fetch what a reader that goes in order will ask for next."""
        total = block_count(entry.size)
        if total == 1:
            return
        key, local = content_key(entry), self._reader.is_local(entry)
        limit = LOCAL_WINDOW if local else self._window(key)
        wanted = self._read_ahead.advance(key, first, last, total, limit)
        number = wanted.start
        while number < wanted.stop:
            if not self._is_wanted(entry, number):
                number += 1
                continue
            end = self._end_of_run(entry, number, wanted.stop - 1)
            self._start(entry, number, end, urgent=False)
            number = end + 1

    def _window(self, key: ContentKey) -> int:
        """Return the largest window of a content in blocks: its share of the memory that all readers have."""
        now = trio.current_time()
        self._active[key] = now
        if len(self._active) > 1:
            self._active = {other: seen for other, seen in self._active.items() if now - seen < _ACTIVE}
        return max(2, WINDOW_BYTES // BLOCK_SIZE // len(self._active))


@contextlib.contextmanager
def _until(entry: Entry, seconds: float) -> Iterator[None]:
    """Turn a wait that has become too long into an error that says so."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise UnreachableError(f"{entry.path} did not come within {seconds:.0f} s")
