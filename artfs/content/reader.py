"""Read the bytes of entries, proven block by block, from the store or from where a reference points.

Synchronous and thread-safe; `artfs.content.pipeline` makes it asynchronous for the mount. Local content is proven each time it is
read from disk, so damage is found whenever it happens; remote content comes out of the block cache (`artfs.content.remote`). The
last blocks are kept in memory, because the kernel asks for a block in several pieces.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.content.heads import Heads
from artfs.content.packs import Flights, Pack, place_of
from artfs.content.proof import block_count, block_length, content_key, describe, is_provable
from artfs.errors import ArtfsError, ChangedError, IntegrityError, NotFoundError
from artfs.model.digest import Digest
from artfs.model.entry import BLOCK_SIZE
from artfs.storage.files import FileSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artfs.content.origin import Opened, Origins
    from artfs.content.proof import ContentKey, Prover
    from artfs.content.remote import Remote
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer

log = logging.getLogger(__name__)

_MEMORY_BYTES = 72 << 20  # all that is read ahead, and more: what does not fit is read again from the disk
_EXPORT_RUN = 8  # blocks in one request of an export of remote content
_EXPORT_AHEAD = 4  # requests under way at once


class Reader:
    """Reads proven bytes."""

    def __init__(self, origins: Origins, prover: Prover, remote: Remote) -> None:
        self._origins = origins
        self._prover = prover
        self._remote = remote
        self._lock = threading.Lock()
        self._blocks: LRUCache[tuple[ContentKey, int], Buffer] = LRUCache(
            _MEMORY_BYTES, getsizeof=lambda data: len(data) + 200
        )
        self._reported: LRUCache[str, bool] = LRUCache(4096)
        self._flights: Flights[tuple[object, int], Buffer] = Flights()
        self._heads = Heads()
        self.damaged = 0  # blocks or contents that were not what the manifest names, or not there

    def is_local(self, entry: Entry) -> bool:
        """Whether reading an entry costs no network."""
        return self._origins.is_local(entry)

    def service(self, entry: Entry) -> str:
        """Name the service that has the bytes of a remote entry."""
        return self._origins.service(entry)

    # Without waiting --------------------------------------------------------------------------------------------

    def peek(self, entry: Entry, number: int, offset: int, size: int) -> Buffer | None:
        """Return bytes of a block if nothing has to be waited for; IntegrityError if they are damaged. Never blocks."""
        with self._lock:
            data = self._blocks.get((content_key(entry), number))
        if data is None and self._origins.is_local(entry):
            data = self._try_local(entry, number)
        elif data is None and entry.packed is not None:
            data = self._try_packed(entry)
        if data is not None:
            return memoryview(data)[offset : offset + size]
        if self._origins.is_local(entry) or entry.packed is not None:
            return None
        return self._remote.piece_nowait(entry, number, offset, size)

    def _try_packed(self, entry: Entry) -> Buffer | None:
        place, pieces = place_of(entry), []
        for number, offset, size in place.pieces(entry.size):
            piece = self.peek(place.content, number, offset, size)
            if piece is None:
                return None
            pieces.append(piece)
        return self.take_out(entry, pieces)

    def take_out(self, entry: Entry, pieces: list[Buffer]) -> Buffer | None:
        """Return a small file out of the pieces of its pack, and keep it in memory; None if that is not what they are. Never blocks."""
        data = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)  # a copy: it keeps no whole block in memory
        if not self._prover.try_prove(entry, 0, data):
            return None
        self._keep(entry, 0, [data])
        return data

    def peek_head(self, entry: Entry, start: int, end: int) -> Buffer | None:
        """Return bytes of the head of an entry if it is in memory. Never blocks."""
        head = self._heads.get(entry)
        return None if head is None else memoryview(head)[start:end]

    def in_memory(self, entry: Entry, number: int) -> bool:
        """Whether a block is in memory. Never blocks."""
        with self._lock:
            return (content_key(entry), number) in self._blocks

    def release(self, entry: Entry, *numbers: int) -> None:
        """Forget remote blocks that are not expected to be read again soon. Never blocks."""
        if not self._origins.is_local(entry):
            with self._lock:
                for number in numbers:
                    self._blocks.pop((content_key(entry), number), None)

    def is_here(self, entry: Entry, number: int) -> bool:
        """Whether a block is on this machine, as far as is known. Never blocks."""
        if self._origins.is_local(entry):
            return True
        place = place_of(entry)
        if place.content is entry:
            return self._remote.is_present(entry, number)
        return all(self._remote.is_present(place.content, one) for one in range(place.first, place.last + 1))

    def _try_local(self, entry: Entry, number: int) -> Buffer | None:
        opened = self._origins.opened(entry)
        if opened is None:
            return None
        data = opened.source.read_nowait(number * BLOCK_SIZE, block_length(entry.size, number))
        if data is None:
            return None
        answer = self._prover.try_prove(entry, number, data)
        return None if answer is None else self._accept(entry, number, data, proven=answer)

    def is_prepared(self, entry: Entry) -> bool:
        """Whether `prepare` has nothing to do. Never blocks."""
        return self._origins.is_local(entry) or not is_provable(entry) or self._prover.knows(entry)

    # Blocking ---------------------------------------------------------------------------------------------------

    def cached_blocks(self, entry: Entry, first: int, last: int) -> list[Buffer] | None:
        """Return neighbouring blocks of remote content out of the cache; None if they are not all there."""
        found = self._remote.cached_blocks(entry, first, last)
        if found is not None:
            self._keep(entry, first, found)
        return found

    def prepare(self, entry: Entry) -> None:
        """Have the block list of an entry in memory, if it has one. What goes wrong shows when it is read."""
        self._prover.list_of(entry)

    def head(self, entry: Entry) -> list[Buffer]:
        """Return the head of a remote entry, which is kept until its first block comes; nothing if that has to tell what is wrong."""
        head = None
        with contextlib.suppress(NotFoundError, IntegrityError):
            head = self._heads.fetch(entry, self._origins.open(entry).source)
        return [] if head is None else [head]

    def block(self, entry: Entry, number: int) -> Buffer:
        """Return a block, blocking as long as it takes; IntegrityError if it is damaged or missing."""
        return self.blocks(entry, number, number)[0]

    def blocks(self, entry: Entry, first: int, last: int) -> list[Buffer]:
        """Return neighbouring blocks; see `block`. What has to be fetched comes in as few requests as there are gaps."""
        try:
            if self._origins.is_local(entry):
                return [self._local_block(entry, number) for number in range(first, last + 1)]
            kept = self._in_memory(entry, first, last)
            if kept is not None:
                return kept
            if entry.packed is not None:
                return [self._packed(entry)]
            found = self._remote.blocks(entry, lambda: self._heads.before(entry, self._open(entry).source), first, last)
        except NotFoundError as error:
            if entry.ref is not None or isinstance(entry, Pack):
                raise
            raise self._missing(entry) from error
        except ChangedError:  # nothing is damaged
            self._origins.forget(entry)
            raise
        except IntegrityError:
            if not isinstance(entry, Pack):
                self._damaged(entry, first)
            raise
        self._keep(entry, first, found)
        if first == 0:
            self._heads.forget(entry)
        return found

    def _packed(self, entry: Entry) -> Buffer:
        """Return a small file out of its pack, blocks of which several threads may want at once."""
        pack, first, last, _ = place_of(entry)
        data = None
        with contextlib.suppress(IntegrityError):  # the pack may be cut off behind this file
            keys: list[tuple[object, int]] = [(content_key(pack), number) for number in range(first, last + 1)]
            data = self._cut(entry, self._flights.join(keys, lambda mine: self.blocks(pack, mine[0][1], mine[-1][1])))
        if data is None:
            again: tuple[object, int] = ("again", *content_key(entry)), first
            (data,) = self._flights.join([again], lambda _: [self._fetched_again(entry)])
        return data

    def _fetched_again(self, entry: Entry) -> Buffer:
        """Return a small file that its pack did not have as it came, or as it is in the cache: it may be damaged there only.

        Where it is the entry that is wrong, its neighbours are right, and stay in the cache.
        """
        pack, first, last, _ = place_of(entry)
        kept = self._in_memory(pack, first, last)  # somebody else may have done this
        data = None if kept is None else self._cut(entry, kept)
        if data is None:
            source = self._origins.open(pack).source
            fresh = [source.read(number * BLOCK_SIZE, BLOCK_SIZE) for number in range(first, last + 1)]
            data = self._cut(entry, fresh)
            if data is None:
                raise IntegrityError(f"{describe(entry)} is damaged: its bytes do not match the manifest")
            self._replace(pack, first, fresh)
        return data

    def _cut(self, entry: Entry, blocks: list[Buffer]) -> Buffer | None:
        place = place_of(entry)
        pieces = place.pieces(entry.size)
        return self.take_out(
            entry, [memoryview(blocks[number - place.first])[at : at + size] for number, at, size in pieces]
        )

    def _replace(self, pack: Entry, first: int, fresh: list[Buffer]) -> None:
        """Have right blocks of a pack in the place of wrong ones, and whatever else may be wrong of it fetched anew."""
        self._keep(pack, first, fresh)
        with self._lock:
            for number in range(block_count(pack.size)):
                if not first <= number < first + len(fresh):
                    self._blocks.pop((content_key(pack), number), None)
        self._remote.replace(pack, first, fresh)

    def prove(self, entries: Sequence[Entry]) -> list[ArtfsError | None]:
        """Prove small files that lie in packs; return what is wrong with each."""
        found: list[ArtfsError | None] = []
        for entry in entries:
            try:
                self.block(entry, 0)
                self.release(entry, 0)
                found.append(None)
            except ArtfsError as error:
                found.append(error)
        return found

    def _in_memory(self, entry: Entry, first: int, last: int) -> list[Buffer] | None:
        key, kept = content_key(entry), []
        with self._lock:
            for number in range(first, last + 1):
                data = self._blocks.get((key, number))
                if data is None:
                    return None
                kept.append(data)
        return kept

    def _keep(self, entry: Entry, first: int, blocks: list[Buffer]) -> None:
        key = content_key(entry)
        with self._lock:
            for number, data in enumerate(blocks, first):
                self._blocks[key, number] = data

    def _local_block(self, entry: Entry, number: int) -> Buffer:
        with self._lock:
            data = self._blocks.get((content_key(entry), number))
        if data is None:
            opened = self._open(entry)  # held until the end: it closes the source when nobody does
            data = opened.source.read(number * BLOCK_SIZE, block_length(entry.size, number))
            data = self._accept(entry, number, data, proven=self._prover.prove(entry, number, data, opened.source))
        return data

    def complete(self, entry: Entry) -> None:
        """Prove a remote content that is complete now; see `Remote.complete`."""
        try:
            self._remote.complete(entry)
        except IntegrityError:
            with self._lock:
                for number in range(block_count(entry.size)):
                    self._blocks.pop((content_key(entry), number), None)
            self._damaged(entry, 0)
            raise

    def needs_completion(self, entry: Entry) -> bool:
        """Whether `complete` has something to do. Never blocks."""
        return not self._origins.is_local(entry) and self._remote.needs_completion(entry)

    def state(self, entry: Entry) -> tuple[str, str]:
        """Return how much of an entry is on this machine (yes, partly, no), and whether what is served is proven or provisional.

        May block.
        """
        if not self._origins.is_local(entry):
            return self._remote.state(entry)
        return "yes" if self._origins.has(entry) else "no", "proven"

    def export(self, entry: Entry) -> Iterator[Buffer]:
        """Yield all the bytes of an entry in order, each piece proven before it is yielded; see `artfs.content.remote` for trust."""
        if entry.size == 0:
            self.check_empty(entry)
            if entry.ref is not None:
                yield from self._export_unsized(entry)
            return
        if self._origins.is_local(entry) or entry.size <= _EXPORT_RUN * BLOCK_SIZE:
            yield from self._export_in_turn(entry)
        else:
            yield from self._export_ahead(entry)
        if self.needs_completion(entry):
            self.complete(entry)

    def _export_in_turn(self, entry: Entry) -> Iterator[Buffer]:
        run = 1 if self._origins.is_local(entry) else _EXPORT_RUN
        count = block_count(entry.size)
        for first in range(0, count, run):
            yield from self.blocks(entry, first, min(first + run, count) - 1)

    def _export_ahead(self, entry: Entry) -> Iterator[Buffer]:
        """Yield a big remote content, with a few requests under way at any time."""
        count = block_count(entry.size)
        runs = deque((first, min(first + _EXPORT_RUN, count) - 1) for first in range(0, count, _EXPORT_RUN))
        with ThreadPoolExecutor(_EXPORT_AHEAD, thread_name_prefix="artfs-fetch") as pool:
            tasks = deque(
                pool.submit(self.blocks, entry, *runs.popleft()) for _ in range(min(_EXPORT_AHEAD, len(runs)))
            )
            try:
                while tasks:
                    yield from tasks.popleft().result()
                    if runs:
                        tasks.append(pool.submit(self.blocks, entry, *runs.popleft()))
            finally:
                for task in tasks:
                    task.cancel()

    def share(self, entry: Entry, target: int) -> bool:
        """Let an empty open file share the blocks that hold an entry on this machine, instead of a copy; False where that cannot be.

        Nothing is proven: the caller compares the digest of what it has got. May block.
        """
        if entry.ref is not None or not entry.size or entry.packed is not None:
            return False
        if not self._origins.is_local(entry):
            return self._remote.share(entry, target)
        source = self._open(entry).source
        return isinstance(source, FileSource) and source.share(target)

    def close(self) -> None:
        """Wait until what was fetched is in the cache."""
        self._remote.close()

    def read_unsized(self, entry: Entry, offset: int, size: int) -> Buffer:
        """Return bytes of a reference whose size was not recorded; fewer, or none, at its end. Nothing of it is proven or cached."""
        opened = self._open(entry)
        return opened.source.read(offset, size)

    def _export_unsized(self, entry: Entry) -> Iterator[Buffer]:
        offset = 0
        while data := self.read_unsized(entry, offset, BLOCK_SIZE):
            yield data
            offset += len(data)

    def check_empty(self, entry: Entry) -> None:
        """Prove an entry without bytes: its digest is that of nothing, or it is a reference of unknown size."""
        if entry.ref is None and Digest.of(b"", entry.algorithm).raw != entry.blob.raw:
            raise IntegrityError(f"{describe(entry)} is named with the size 0, which its digest denies")

    def _open(self, entry: Entry) -> Opened:
        try:
            return self._origins.open(entry)
        except NotFoundError as error:
            if entry.ref is not None or isinstance(entry, Pack):
                raise
            raise self._missing(entry) from error

    def _missing(self, entry: Entry) -> IntegrityError:
        self._report(entry, 0)
        return IntegrityError(f"{describe(entry)} is missing in the store")

    def _accept(self, entry: Entry, number: int, data: Buffer, *, proven: bool) -> Buffer:
        if not proven:
            self._damaged(entry, number)
            raise IntegrityError(f"{describe(entry)} is damaged in block {number}: its bytes do not match the manifest")
        with self._lock:
            self._blocks[content_key(entry), number] = data
        return data

    def _damaged(self, entry: Entry, number: int) -> None:
        self._origins.forget(entry)
        self._report(entry, number)

    def _report(self, entry: Entry, number: int) -> None:
        with self._lock:
            self.damaged += 1
            known = self._reported.get(entry.digest, False)
            self._reported[entry.digest] = True
        if not known:
            log.error(
                "%s cannot be read: block %d is damaged or missing (entry %r)", describe(entry), number, entry.path
            )
