"""The bytes of one file of a version as the fsspec file system reads them: proven blocks, and those ahead of a reader in order.

Only what is asked for is read, in whole blocks. What is asked for in one piece, and what a reader in order will want next, is
fetched by a few threads that a file system shares (`Fetchers`), as much at a time as there is room for. A child of a fork has its own
threads and begins anew. Errors are those of artfs.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from artfs.content.proof import block_count
from artfs.errors import ArtfsError
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from artfs.api.client import Client
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer

T = TypeVar("T")
R = TypeVar("R")
Span: TypeAlias = "tuple[int, int | None]"
"""Offsets of the first byte and of the one after the last; None is the end of a file whose size is not known."""

_THREADS = 8
_ROOM = 16  # requests under way or not read yet, for all files of a file system: 128 MiB
_AHEAD = 32  # blocks ahead of a reader that goes on in order
RUN = 8
"""Blocks in one request."""

BUFFER = 128 << 10
"""Bytes that are copied at once for small reads."""

_PIECE = 8 << 20  # bytes read at once of what has no known size


class Fetchers:
    """The threads that fetch for the files of one file system. A child of a fork has its own."""

    def __init__(self) -> None:
        self._state = Threads()

    def current(self) -> Threads:
        """Return those of this process."""
        if self._state.pid != os.getpid():
            self._state = Threads()
        return self._state


class Threads:
    """Those of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="artfs-fsspec")
        self._readers = ThreadPoolExecutor(_THREADS, thread_name_prefix="artfs-fsspec-read")  # they wait for the others
        self._room = threading.Semaphore(_ROOM)

    def submit(
        self, fetch: Callable[[Entry, int, int], list[Buffer]], entry: Entry, first: int, last: int
    ) -> _Run | None:
        """Begin a request, if there is room for one more."""
        if not self._room.acquire(blocking=False):
            return None
        return _Run(first, last, self._pool.submit(fetch, entry, first, last), self._room)

    def each(self, work: Callable[[T], R], things: Iterable[T]) -> Iterator[R | OSError]:
        """Yield the results of some reading, several at a time, in order; where it failed, the OSError."""

        def attempt(thing: T) -> R | OSError:
            try:
                return work(thing)
            except OSError as error:
                return error

        return self._readers.map(attempt, things)


class _Run:
    """A request for neighbouring blocks. It takes its room until its result is taken or it is dropped."""

    def __init__(self, first: int, last: int, future: Future[list[Buffer]], room: threading.Semaphore) -> None:
        self.first = first
        self.last = last
        self._future = future
        self._room = room

    def take(self) -> list[Buffer] | None:
        """Return the blocks; None if they could not be had: who asks again gets the reason."""
        try:
            return self._future.result()
        except ArtfsError:
            return None
        finally:
            self._room.release()

    def drop(self) -> None:
        """Do without it."""
        self._future.cancel()
        self._room.release()


class Content(Protocol):
    """The bytes of a file. ``size`` is None where it is not known."""

    size: int | None

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill a buffer from an offset on; fewer bytes than fit come at the end, or where more would have to be waited for."""

    def pieces(self, offset: int, end: int | None) -> Iterator[Buffer]:
        """Yield the bytes from an offset to another one, or to the end."""

    def find_end(self) -> int:
        """Return the size, reading everything if need be."""

    def drop(self) -> None:
        """Forget what was fetched ahead."""


def content_of(client: Client, fetchers: Fetchers, entry: Entry) -> Content:
    """Return the bytes of an entry that leads nowhere else."""
    if entry.size:
        return Blocks(client, fetchers, entry)
    if entry.ref is None:
        client.services.reader.check_empty(entry)
        return Blocks(client, fetchers, entry)
    return Unsized(client, entry)


class Blocks:
    """A file of known size."""

    def __init__(self, client: Client, fetchers: Fetchers, entry: Entry) -> None:
        self.size: int | None = entry.size
        self._client = client
        self._fetchers = fetchers
        self._entry = entry
        self._count = block_count(entry.size)
        self._local = client.services.reader.is_local(
            entry
        )  # proving is faster than handing blocks from thread to thread
        self._pid = os.getpid()
        self._first = 0
        self._blocks: list[Buffer] = []  # the request that was read last, from the block `_first` on
        self._running: deque[_Run] = deque()  # those after it, in order
        self._streak = 0  # how many requests went on where the last one ended

    def read_into(self, offset: int, target: memoryview) -> int:
        """See `Content`. A small read ends at the end of a block."""
        end = min(offset + len(target), self._entry.size)
        if len(target) <= BUFFER:
            end = min(end, (offset // BLOCK_SIZE + 1) * BLOCK_SIZE)
        filled = 0
        for piece in self.pieces(offset, end):
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def pieces(self, offset: int, end: int | None) -> Iterator[Buffer]:
        """See `Content`."""
        end = self._entry.size if end is None else min(end, self._entry.size)
        if offset >= end:
            return
        last = (end - 1) // BLOCK_SIZE
        for number in range(offset // BLOCK_SIZE, last + 1):
            start = number * BLOCK_SIZE
            data = self._block(number, last)
            if offset > start or end < start + len(data):
                data = memoryview(data)[max(offset - start, 0) : end - start]
            yield data

    def find_end(self) -> int:
        """See `Content`."""
        return self._entry.size

    def drop(self) -> None:
        """See `Content`."""
        if self._pid == os.getpid():
            for run in self._running:
                run.drop()
        self._running.clear()
        self._first, self._blocks, self._pid = 0, [], os.getpid()

    def _block(self, number: int, last: int) -> Buffer:
        """Return a block; those up to ``last`` will be asked for next."""
        if self._pid != os.getpid():
            self.drop()
        if not self._first <= number < self._first + len(self._blocks):
            self._first, self._blocks = self._advance(number, last)
        return self._blocks[number - self._first]

    def _advance(self, number: int, last: int) -> tuple[int, list[Buffer]]:
        """Return the request that has a block: one that is under way, or a new one. Begin those for what comes next."""
        if self._local:
            return number, self._fetch(self._entry, number, number)
        self._streak = self._streak + 1 if number == self._first + len(self._blocks) else 0
        while self._running and not self._running[0].first <= number <= self._running[-1].last:
            self._running.popleft().drop()
        while self._running and self._running[0].last < number:
            self._running.popleft().drop()
        ahead = min(_AHEAD, 1 << self._streak) if self._streak > 1 else 0
        wanted = min(max(last, number + ahead), self._count - 1)
        if not self._running:
            own = min(number + RUN - 1, last)
            self._begin(own + 1, wanted)
            return number, self._fetch(self._entry, number, own)
        run = self._running.popleft()
        self._begin((self._running[-1] if self._running else run).last + 1, wanted)
        return run.first, run.take() or self._fetch(self._entry, run.first, run.last)

    def _begin(self, first: int, wanted: int) -> None:
        """Begin requests for the blocks up to the one wanted; small ones only where nothing else is under way."""
        threads = self._fetchers.current()
        while first <= wanted and len(self._running) * RUN < _AHEAD:
            last = min(first + RUN - 1, wanted)
            if last - first + 1 < RUN and self._running and last < self._count - 1:
                return
            run = threads.submit(self._fetch, self._entry, first, last)
            if run is None:
                return
            self._running.append(run)
            first = last + 1

    def _fetch(self, entry: Entry, first: int, last: int) -> list[Buffer]:
        return fetch(self._client, entry, first, last)


class Unsized:
    """A reference whose size was not recorded: read as it comes, neither proven nor cached."""

    def __init__(self, client: Client, entry: Entry) -> None:
        self.size: int | None = None
        self._client = client
        self._entry = entry

    def read_into(self, offset: int, target: memoryview) -> int:
        """See `Content`."""
        data = self._read(offset, len(target))
        target[: len(data)] = data
        return len(data)

    def pieces(self, offset: int, end: int | None) -> Iterator[Buffer]:
        """See `Content`."""
        while end is None or offset < end:
            data = self._read(offset, _PIECE if end is None else min(_PIECE, end - offset))
            if not data:
                return
            yield data
            offset += len(data)

    def find_end(self) -> int:
        """See `Content`."""
        return sum(len(piece) for piece in self.pieces(0, None))

    def drop(self) -> None:
        """See `Content`."""

    def _read(self, offset: int, size: int) -> Buffer:
        return self._client.services.reader.read_unsized(self._entry, offset, size)


def fetch(client: Client, entry: Entry, first: int, last: int) -> list[Buffer]:
    """Return neighbouring blocks, and prove the whole if they were the last ones that it lacked."""
    reader = client.services.reader
    blocks = reader.blocks(entry, first, last)
    if reader.needs_completion(entry):
        reader.complete(entry)
    return blocks


# Slices -------------------------------------------------------------------------------------------------------------


def bounds(content: Content, start: int | None, end: int | None) -> Span:
    """Return the offsets that a slice means, as Python has it; the end is None only where the size is not known."""
    size = content.size
    if size is None:
        if (start or 0) >= 0 and (end is None or end >= 0):
            return start or 0, end
        size = content.find_end()
    first, last, _ = slice(start, end).indices(size)
    return first, max(first, last)


def read(content: Content, start: int, end: int | None) -> bytes:
    """Return the bytes from an offset to another one."""
    try:
        return joined(content.pieces(start, end))
    finally:
        content.drop()


def joined(pieces: Iterator[Buffer]) -> bytes:
    """Return pieces as one, without having all of them twice at any time."""
    first = next(pieces, b"")
    second = next(pieces, None)
    if second is None:
        return bytes(first)
    target = io.BytesIO()
    for piece in (first, second):
        target.write(piece)
    for piece in pieces:
        target.write(piece)
    return target.getvalue()
