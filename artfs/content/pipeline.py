"""The read path of the mount: one fetch for each block whoever waits, and read-ahead for who reads in order.

Runs on the event loop. What is in memory, or can be read and proven without waiting, is answered without suspending; everything
else is fetched by worker threads (`artfs.content.lanes`), neighbouring blocks in one job and in one request. Every wait is bounded.
Between awaits a task owns the state.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import trio

from artfs.content.fetch import Failures, Fetch, until
from artfs.content.lanes import Lanes
from artfs.content.packs import place_of
from artfs.content.proof import block_count, block_length, content_key
from artfs.content.readahead import GRAIN, ReadAhead
from artfs.errors import ArtfsError, IntegrityError, NotFoundError, UnreachableError
from artfs.model.entry import BLOCK_SIZE, HEAD_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from artfs.content.lanes import Lane
    from artfs.content.proof import ContentKey
    from artfs.content.reader import Reader
    from artfs.model.digest import Digest
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer

    ReadBlocks: TypeAlias = Callable[[Entry, int, int], list[Buffer] | None]
    EndOfFetch: TypeAlias = Callable[[Fetch, list[Buffer] | None, Exception | None], None]

log = logging.getLogger(__name__)

RUN = GRAIN
"""The most blocks of one request, which ends at a multiple of it."""

_DISK_RUN = 2  # the same on this machine, where a sequential reader is to have all cores verify
LOCAL_WINDOW = 16
"""Blocks that are read ahead of a sequential reader of what is on this machine; fewer if there are many."""

WINDOW_BYTES = 64 << 20
"""Bytes that are read ahead of all sequential readers together: they share it.

What comes before a slow reader wants it waits in memory. With more than there is room for, it is what the reader wants next that
falls out first, and has to be read again from the cache.
"""

DEADLINE = 90.0
"""Seconds for which a reader waits for a block."""


def deadline_after(retry_seconds: float) -> float:
    """Return for how long readers wait where storage tries again for some seconds: that ends before."""
    return 1.5 * retry_seconds


_ACTIVE = 2.0  # seconds for which a content counts as being read


class Pipeline:
    """Reads entries for the mount, until ``nursery``, which is the mount's, ends."""

    def __init__(self, reader: Reader, nursery: trio.Nursery, deadline: float = DEADLINE) -> None:
        self._reader = reader
        self._deadline = deadline
        self._lanes = Lanes()
        self._token = trio.lowlevel.current_trio_token()
        self._fetches: dict[tuple[ContentKey, int], Fetch] = {}
        self._heads: dict[tuple[ContentKey, Digest], Fetch] = {}
        self._read_ahead = ReadAhead()
        self._active: dict[ContentKey, float] = {}
        self._looked = 0.0  # when those that are not read any more were last taken out
        self._completing: dict[ContentKey, trio.Event] = {}
        self._preparing: set[ContentKey] = set()
        self._failures = Failures()
        nursery.start_soon(self._live)

    async def _live(self) -> None:
        """Let everybody go when the mount ends."""
        try:
            await trio.sleep_forever()
        finally:
            for fetch in (*self._fetches.values(), *self._heads.values()):
                fetch.done.set()
            self._lanes.close()

    @property
    def in_flight(self) -> int:
        """Return how many bytes are being fetched."""
        return self._lanes.in_flight

    async def read(self, entry: Entry, offset: int, size: int) -> Buffer:
        """Return ``size`` bytes at ``offset``, fewer at the end of the file. Raises what `Reader.blocks` raises.

        UnreachableError if they do not come before the deadline.
        """
        if entry.size == 0:
            return await self._read_empty(entry, offset, size)
        end = min(offset + size, entry.size)
        if offset >= end:
            return b""
        if entry.packed is not None and not self._reader.is_local(entry):
            return await self._read_packed(entry, offset, end - offset)
        first, last = offset // BLOCK_SIZE, (end - 1) // BLOCK_SIZE
        found = await self._read_head(entry, offset, end) if end <= HEAD_SIZE else None
        if found is not None:
            return found
        pieces: list[Buffer] = []
        ahead = entry.size > BLOCK_SIZE
        soon = ahead and first > 0  # nothing is to delay the first byte of a file
        for number in range(first, last + 1):
            start = max(offset - number * BLOCK_SIZE, 0)
            length = min(end - number * BLOCK_SIZE, BLOCK_SIZE) - start
            piece = self._reader.peek(entry, number, start, length)
            if piece is None:
                self._failures.raise_again(entry, number)
                if soon:  # before the wait, and after what is waited for
                    if self._is_wanted(entry, number):
                        self._start(entry, number, last, urgent=True)
                    self._look_ahead(entry, first, last)
                    ahead = soon = False
                piece = await self._piece(entry, number, last, start, length)
            pieces.append(piece)
            if start + length == BLOCK_SIZE:  # read to its end: the kernel has it, and memory is for what comes
                self._reader.release(entry, number)
        if ahead and first == 0:  # the reader has its first byte before anything else is begun
            self._token.run_sync_soon(self._look_ahead, entry, first, last)
        elif ahead:
            self._look_ahead(entry, first, last)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_head(self, entry: Entry, start: int, end: int) -> Buffer | None:
        """Return bytes of the head of a remote file, which comes sooner than its first block; None if that is here, or to be waited for."""
        head = entry.head
        if head is None or self._reader.is_here(entry, 0):
            return None
        found = self._reader.peek_head(entry, start, end)
        if found is None and self._is_wanted(entry, 0):
            self._failures.raise_again(entry, 0)
            key = content_key(entry), head  # others may begin with the same bytes, and come from where nothing answers
            fetch = self._heads.get(key)
            if fetch is None:
                fetch = self._heads[key] = Fetch(entry, 0, 0)
                read = partial(self._reader.head, entry)
                fetch.begin(self._network(entry), HEAD_SIZE, read, self._end_head, urgent=True)
            await self._wait(fetch, entry)
            found = None if fetch.blocks == [] else fetch.piece(0, start, end - start)
        if found is not None:
            self._token.run_sync_soon(self._go_on, entry)
        return found

    async def _read_packed(self, entry: Entry, offset: int, size: int) -> Buffer:
        """Return bytes of a small file that lies in a pack, whose blocks are fetched as those of any other content."""
        found = self._reader.peek(entry, 0, offset, size)
        if found is None:
            data = await self._taken_out(entry)
            found = memoryview(data)[offset : offset + size]
        if offset + size == entry.size:
            self._reader.release(entry, 0)
        return found

    async def _taken_out(self, entry: Entry) -> Buffer:
        place = place_of(entry)
        pieces: list[Buffer] = []
        with contextlib.suppress(IntegrityError, NotFoundError):
            for number, start, length in place.pieces(entry.size):
                piece = self._reader.peek(place.content, number, start, length)
                if piece is None:
                    self._failures.raise_again(place.content, number)
                    piece = await self._piece(place.content, number, place.last, start, length, entry)
                pieces.append(piece)
            data = self._reader.take_out(entry, pieces)
            if data is not None:
                return data
        with until(entry, self._deadline):  # once more, to say what is wrong with this file
            return await self._network(entry).workers.run(partial(self._reader.block, entry, 0))

    async def _read_empty(self, entry: Entry, offset: int, size: int) -> Buffer:
        self._reader.check_empty(entry)
        if entry.ref is None:
            return b""
        with until(entry, self._deadline):
            return await self._network(entry).workers.run(partial(self._reader.read_unsized, entry, offset, size))

    def prepare(self, entry: Entry) -> None:
        """Get ready to read a remote file that was opened: what proves it comes while the reader makes up its mind.

        The head of some is proven by the entry alone: then the rest waits until somebody wants more.
        """
        if entry.head is None:
            self._prepare(entry)

    def _prepare(self, entry: Entry) -> None:
        key = content_key(entry)
        if entry.size <= BLOCK_SIZE or key in self._preparing or self._reader.is_prepared(entry):
            return
        self._preparing.add(key)
        self._network(entry).workers.submit(
            partial(self._reader.prepare, entry), lambda *_: self._preparing.discard(key)
        )

    def is_remote(self, entry: Entry) -> bool:
        """Whether the bytes of an entry come over a network."""
        return not self._reader.is_local(entry)

    async def state(self, entry: Entry) -> tuple[str, str]:
        """Return what `Reader.state` says of an entry."""
        return await self._lanes.disk.workers.run(partial(self._reader.state, entry))

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Fetch remote files of one block that will be opened soon."""
        packs: dict[ContentKey, tuple[Entry, set[int]]] = {}
        for entry in entries:
            if self._reader.is_local(entry) or not 0 < entry.size <= BLOCK_SIZE:
                continue
            place = place_of(entry)
            if place.content is not entry:
                _, numbers = packs.setdefault(content_key(place.content), (place.content, set()))
                numbers.update(range(place.first, place.last + 1))
            elif self._is_wanted(entry, 0):
                self._start(entry, 0, 0, urgent=False)
        for pack, numbers in packs.values():
            self._fetch_ahead(pack, numbers)

    def _fetch_ahead(self, pack: Entry, numbers: set[int]) -> None:
        for number in sorted(numbers)[: 2 * RUN]:
            if self._is_wanted(pack, number) and not self._reader.is_here(pack, number):
                last = number
                while last + 1 in numbers:
                    last += 1
                self._start(pack, number, last, urgent=False)

    # For nobody yet ---------------------------------------------------------------------------------------------

    async def bring(self, entry: Entry, first: int, last: int) -> int:
        """Have a block of remote content fetched, and neighbours up to ``last`` that come with it; return the last that came.

        It is for the cache and not kept in memory, and what somebody waits for goes before it. Raises what `Reader.blocks` raises.
        """
        # What is in memory alone would not come into the cache.
        self._reader.release(entry, *(one for one in range(first, last + 1) if not self._reader.is_here(entry, one)))
        fetch = self._fetches.get((content_key(entry), first)) or self._start(entry, first, last, urgent=False)
        await fetch.done.wait()
        if fetch.error is not None:
            raise fetch.error
        if fetch.blocks is None:
            raise UnreachableError("the mount is ending")
        self._reader.release(entry, *range(first, fetch.last + 1))
        return fetch.last

    async def prove(self, entries: Sequence[Entry]) -> list[ArtfsError | None]:
        """Prove small files whose packs were brought; return what is wrong with each."""
        return await self._lanes.disk.workers.run(partial(self._reader.prove, entries))

    async def settle(self, entry: Entry) -> None:
        """Prove a remote content that was fetched as it came, if it is complete; IntegrityError if it is not what it should be."""
        under_way = self._completing.get(content_key(entry))
        if under_way is not None:
            await under_way.wait()
        if self._reader.needs_completion(entry):
            await self._lanes.disk.workers.run(partial(self._reader.complete, entry))

    # Blocks -----------------------------------------------------------------------------------------------------

    async def _piece(
        self, entry: Entry, number: int, last: int, start: int, length: int, wanted: Entry | None = None
    ) -> Buffer:
        """Return a piece of a block that is not in memory, with a fetch of it and of those up to ``last``.

        ``wanted`` is the file that it is for, if that lies in a pack.
        """
        fetch = self._fetches.get((content_key(entry), number))
        if fetch is None:
            fetch = self._start(entry, number, last, urgent=True)
        await self._wait(fetch, wanted or entry)
        if isinstance(fetch.error, IntegrityError) and fetch.first < fetch.last:  # a neighbour may be the damaged one
            fetch = self._fetches.get((content_key(entry), number)) or self._start(entry, number, number, urgent=True)
            await self._wait(fetch, wanted or entry)
        return fetch.piece(number, start, length)

    def _network(self, entry: Entry) -> Lane:
        return self._lanes.of(self._reader.service(entry))

    async def _wait(self, fetch: Fetch, entry: Entry) -> None:
        fetch.lane.budget.promote(fetch.request)
        if not fetch.done.is_set():
            with until(entry, self._deadline):
                await fetch.done.wait()

    def _is_wanted(self, entry: Entry, number: int) -> bool:
        """Whether a block is neither in memory nor on its way."""
        return (content_key(entry), number) not in self._fetches and not self._reader.in_memory(entry, number)

    def _start(self, entry: Entry, first: int, last: int, *, urgent: bool) -> Fetch:
        """Begin to fetch a block together with its neighbours up to ``last`` that are wanted and come from the same place."""
        here = self._reader.is_here(entry, first)
        end, most = first, first + _DISK_RUN - 1 if here else first - first % RUN + RUN - 1
        while (
            end < min(last, most) and self._is_wanted(entry, end + 1) and self._reader.is_here(entry, end + 1) == here
        ):
            end += 1
        fetch = Fetch(entry, first, end)
        for number in range(first, end + 1):
            self._fetches[content_key(entry), number] = fetch
        if here and not self._reader.is_local(entry):
            self._ask(fetch, self._lanes.disk, self._reader.cached_blocks, self._read_cached, urgent=urgent)
        else:
            if not here:
                self._prepare(entry)
            self._ask(
                fetch, self._lanes.disk if here else self._network(entry), self._reader.blocks, self._end, urgent=urgent
            )
        return fetch

    def _ask(self, fetch: Fetch, lane: Lane, read: ReadBlocks, end: EndOfFetch, *, urgent: bool) -> None:
        size = (fetch.last - fetch.first) * BLOCK_SIZE + block_length(fetch.entry.size, fetch.last)
        fetch.begin(lane, size, partial(read, fetch.entry, fetch.first, fetch.last), end, urgent=urgent)

    def _read_cached(self, fetch: Fetch, blocks: list[Buffer] | None, error: Exception | None) -> None:
        """Take blocks out of the cache; if they are not there any more, or damaged, they come over the network."""
        if blocks is None and error is None:
            self._ask(fetch, self._network(fetch.entry), self._reader.blocks, self._end, urgent=True)
        else:
            self._end(fetch, blocks, error)

    def _end(self, fetch: Fetch, blocks: list[Buffer] | None, error: Exception | None) -> None:
        fetch.blocks, fetch.error = blocks, error
        for number in range(fetch.first, fetch.last + 1):
            del self._fetches[content_key(fetch.entry), number]
        self._failures.note(fetch)
        fetch.done.set()
        if self._reader.needs_completion(fetch.entry):
            self._complete(fetch.entry)

    def _end_head(self, fetch: Fetch, blocks: list[Buffer] | None, error: Exception | None) -> None:
        fetch.blocks, fetch.error = blocks, error
        self._heads = {key: other for key, other in self._heads.items() if other is not fetch}
        self._failures.note(fetch)
        fetch.done.set()

    def _complete(self, entry: Entry) -> None:
        """Prove what was served as it came, now that all of it is here. Damage is logged, and refused from now on."""
        key = content_key(entry)
        if key in self._completing:
            return
        self._completing[key] = trio.Event()

        def done(_: None, error: Exception | None) -> None:
            self._completing.pop(key).set()
            if error is not None and not isinstance(error, ArtfsError):  # the reader has logged the others
                log.error("%s could not be completed", entry.path, exc_info=error)

        self._lanes.disk.workers.submit(partial(self._reader.complete, entry), done)

    # Ahead ------------------------------------------------------------------------------------------------------

    def _look_ahead(self, entry: Entry, first: int, last: int) -> None:
        """Fetch what a reader that goes in order will ask for next."""
        self._fetch_each(entry, self._ahead(entry, first, last))

    def _go_on(self, entry: Entry) -> None:
        """Fetch the rest of a first block, of which the reader has the head, and what follows with it."""
        self._fetch_each(entry, range(max(1, self._ahead(entry, 0, 0).stop)))

    def _ahead(self, entry: Entry, first: int, last: int) -> range:
        key, total = content_key(entry), block_count(entry.size)

        def limit(number: int) -> int:
            if number >= total:  # all of it is here or on its way: its share is for the others
                self._active.pop(key, None)
                return LOCAL_WINDOW
            window = self._window(key)
            return min(LOCAL_WINDOW, window) if self._reader.is_here(entry, number) else window

        return self._read_ahead.advance(key, first, last, total, limit)

    def _fetch_each(self, entry: Entry, wanted: range) -> None:
        number = wanted.start
        while number < wanted.stop:
            if self._is_wanted(entry, number):
                number = self._start(entry, number, wanted.stop - 1, urgent=False).last
            number += 1

    def _window(self, key: ContentKey) -> int:
        """Return the largest window of a content in blocks: its share of the memory that all readers have."""
        now = trio.current_time()
        self._active[key] = now
        if now - self._looked > _ACTIVE / 4:
            self._looked = now
            self._active = {other: seen for other, seen in self._active.items() if now - seen < _ACTIVE}
        return max(2, WINDOW_BYTES // BLOCK_SIZE // len(self._active))
