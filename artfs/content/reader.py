"""Read the bytes of entries, proven block by block, from the store or from where a reference points.

Synchronous and thread-safe; `artfs.content.pipeline` makes it asynchronous for the mount. Every block is proven each time it is
read from disk, so damage is found whenever it happens; the last blocks are kept in memory, because the kernel asks for a
block in several pieces.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.content.proof import Prover, block_count, describe
from artfs.errors import IntegrityError, NotFoundError
from artfs.model.digest import Digest
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.cache.blocklists import BlockLists
    from artfs.model.entry import Entry
    from artfs.storage.port import BlobStore, Source

log = logging.getLogger(__name__)

_MEMORY_BYTES = 64 << 20
_OPEN_SOURCES = 256


class _Opened:
    """An open source; closed when the last reader has let go of it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        weakref.finalize(self, source.close)


class Reader:
    """Reads proven bytes. ``open_reference`` opens a URI as a source, or refuses it."""

    def __init__(self, store: BlobStore, open_reference: Callable[[str], Source], derived: BlockLists) -> None:
        self._store = store
        self._open_reference = open_reference
        self._prover = Prover(store, derived)
        self._lock = threading.Lock()
        self._blocks: LRUCache[tuple[str, int], bytes] = LRUCache(_MEMORY_BYTES, getsizeof=lambda data: len(data) + 200)
        self._sources: LRUCache[tuple[str, str | None], _Opened] = LRUCache(_OPEN_SOURCES)
        self._reported: LRUCache[str, bool] = LRUCache(4096)

    def block_in_memory(self, entry: Entry, number: int) -> bytes | None:
        """Return a block that was proven and is still in memory."""
        with self._lock:
            return self._blocks.get((entry.digest, number))

    def try_block(self, entry: Entry, number: int) -> bytes | None:
        """Return a block if neither opening, reading nor proving it has to wait; IntegrityError if it is damaged."""
        with self._lock:
            opened = self._sources.get((entry.digest, entry.ref))
        if opened is None:
            return None
        data = opened.source.read_nowait(number * BLOCK_SIZE, _length(entry, number))
        if data is None:
            return None
        answer = self._prover.try_prove(entry, number, data)
        return None if answer is None else self._accept(entry, number, data, proven=answer)

    def block(self, entry: Entry, number: int) -> bytes:
        """Return a block, blocking as long as it takes; IntegrityError if it is damaged or missing."""
        data = self.block_in_memory(entry, number)
        if data is None:
            opened = self._open(entry)
            data = opened.source.read(number * BLOCK_SIZE, _length(entry, number))
            try:
                proven = self._prover.prove(entry, number, data, opened.source)
            except IntegrityError:
                self._report(entry, number)
                raise
            data = self._accept(entry, number, data, proven=proven)
        return data

    def export(self, entry: Entry) -> Iterator[bytes]:
        """Yield all the bytes of an entry in order, each piece proven before it is yielded."""
        if entry.size == 0:
            self.check_empty(entry)
        for number in range(block_count(entry.size)):
            yield self.block(entry, number)

    def check_empty(self, entry: Entry) -> None:
        """Prove an entry without bytes: its digest is that of nothing, or it is a reference of unknown size."""
        if entry.ref is None and Digest.of(b"", entry.algorithm).raw != entry.blob.raw:
            raise IntegrityError(f"{describe(entry)} is named with the size 0, which its digest denies")

    def _open(self, entry: Entry) -> _Opened:
        key = (entry.digest, entry.ref)
        with self._lock:
            opened = self._sources.get(key)
        if opened is None:
            if entry.ref is not None:
                opened = _Opened(self._open_reference(entry.ref))
            else:
                try:
                    opened = _Opened(self._store.open(entry.blob))
                except NotFoundError as error:
                    self._report(entry, 0)
                    raise IntegrityError(f"{describe(entry)} is missing in the store") from error
            with self._lock:
                self._sources[key] = opened
        return opened

    def _accept(self, entry: Entry, number: int, data: bytes, *, proven: bool) -> bytes:
        if not proven:
            with self._lock:  # a replaced file must be opened anew
                self._sources.pop((entry.digest, entry.ref), None)
            self._report(entry, number)
            raise IntegrityError(f"{describe(entry)} is damaged in block {number}: its bytes do not match the manifest")
        with self._lock:
            self._blocks[entry.digest, number] = data
        return data

    def _report(self, entry: Entry, number: int) -> None:
        with self._lock:
            known = self._reported.get(entry.digest, False)
            self._reported[entry.digest] = True
        if not known:
            log.error(
                "%s cannot be read: block %d is damaged or missing (entry %r)", describe(entry), number, entry.path
            )


def _length(entry: Entry, number: int) -> int:
    return min(BLOCK_SIZE, entry.size - number * BLOCK_SIZE)
