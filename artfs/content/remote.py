"""Blocks of content that lies elsewhere: out of the block cache, or fetched, proven and cached.

How a fetched block is trusted:

============  ========================================================================================================
listed        one block, or a block list: each block is proven when it comes
small         no list, up to `SMALL`: fetched whole and proven before the first byte is served; so is everything if ``strict``
packed        in a pack, whose blocks are kept as they come: the reader proves what it takes out of them, by the digest of the file
provisional   no list and big, or no digest of content: the source is pinned, blocks are served as they come, and the whole is proven
              when it is complete; what is not what the manifest names is thrown away and refused from then on
============  ========================================================================================================

Synchronous and thread-safe; everything here may block but for what says otherwise.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.content.behind import WriteBehind
from artfs.content.kept import KeptFiles
from artfs.content.packs import Pack, place_of
from artfs.content.proof import (
    SMALL,
    block_count,
    block_length,
    cache_name,
    checksum_of,
    content_key,
    describe,
    is_provable,
)
from artfs.errors import IntegrityError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE
from artfs.storage.files import share_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.cache.blocks import BlockCache
    from artfs.cache.cachefile import CacheFile
    from artfs.content.origin import Opened
    from artfs.content.proof import ContentKey, Prover
    from artfs.model.entry import Entry
    from artfs.storage.files import FileSource
    from artfs.storage.port import Buffer, Source

log = logging.getLogger(__name__)

_RUN = 8  # blocks in one request, when a whole content is read
_MD5 = re.compile(r"[0-9a-f]{32}")


class Remote:
    """Remote content behind a block cache, which the first call of ``cache`` makes. ``strict`` serves nothing before it is proven.

    ``open_kept`` opens what another program may have of an entry on this machine (`artfs.content.kept`).
    """

    def __init__(
        self,
        prover: Prover,
        cache: Callable[[], BlockCache],
        *,
        strict: bool = False,
        open_kept: Callable[[Entry], FileSource | None] | None = None,
    ) -> None:
        self._prover = prover
        self._kept = None if open_kept is None else KeptFiles(open_kept, prover, cache)
        self._get_cache = cache
        self._made: BlockCache | None = None
        self._strict = strict
        self._lock = threading.Lock()
        self._refused: LRUCache[ContentKey, str] = LRUCache(4096)
        self._completing: set[str] = set()
        self._behind = WriteBehind()

    @property
    def _cache(self) -> BlockCache:
        if self._made is None:
            self._made = self._get_cache()
        return self._made

    # Without waiting --------------------------------------------------------------------------------------------

    def piece_nowait(self, entry: Entry, number: int, offset: int, size: int) -> memoryview | None:
        """Return bytes of a cached block from memory or the page cache; None where that would wait. Never blocks."""
        file = self._opened(entry)
        if file is None:
            return None
        return file.read_nowait(number, offset, size, only_proven=self._only_proven(entry))

    def is_present(self, entry: Entry, number: int) -> bool:
        """Whether a block is in the cache, as far as is known without waiting."""
        file = self._opened(entry)
        return file is not None and file.has(number) and (file.proven(number) or not self._only_proven(entry))

    def _opened(self, entry: Entry) -> CacheFile | None:
        return self._cache.opened(cache_name(entry), entry.size)

    def _only_proven(self, entry: Entry) -> bool:
        """Whether a block that was kept as it came must not be served."""
        if not is_provable(entry):
            return False
        listed = entry.block_list is not None or self._prover.knows(entry)
        return listed or self._strict or entry.size <= SMALL

    # What is known ----------------------------------------------------------------------------------------------

    def state(self, entry: Entry) -> tuple[str, str]:
        """Return how much is in the cache (yes, partly, no), and whether what is served is proven or provisional."""
        self._behind.drain()
        place = place_of(entry)
        if place.content is not entry:
            missing = len(self._file(place.content).missing(place.first, place.last))
            return "no" if missing > place.last - place.first else "partly" if missing else "yes", "proven"
        file = self._file(entry)
        proven = (
            self._only_proven(entry) or file.sealed or (is_provable(entry) and self._prover.list_of(entry) is not None)
        )
        there = file.whole or entry.size == 0
        cached = "yes" if there else "partly" if file.count else "no"
        return cached, "proven" if proven else "provisional"

    def _file(self, entry: Entry) -> CacheFile:
        return self._cache.file(cache_name(entry), entry.size)

    def share(self, entry: Entry, target: int) -> bool:
        """Let an empty open file share the blocks of a content that is whole in the cache; False where that cannot be.

        Other processes may evict from it meanwhile: the caller proves what it has got.
        """
        file = self._file(entry)
        if self._kept is not None and not file.whole:
            self._kept.get(entry, patient=True)
        path = file.path if file.whole else None
        if path is None:
            return False
        try:
            with path.open("rb") as source:
                return share_blocks(source.fileno(), target)
        except OSError:
            return False

    # Blocks -----------------------------------------------------------------------------------------------------

    def cached_blocks(self, entry: Entry, first: int, last: int) -> list[Buffer] | None:
        """Return neighbouring blocks out of the cache; None if any of them is not there, or is damaged."""
        file, only_proven = self._file(entry), self._only_proven(entry)
        found: list[Buffer] = []
        for number in range(first, last + 1):
            data = file.read(number, only_proven=only_proven)
            if data is None:
                return None
            found.append(data)
        return found

    def blocks(self, entry: Entry, open_source: Callable[[], Source], first: int, last: int) -> list[Buffer]:
        """Return the blocks ``first`` to ``last``, fetching what the cache does not have, neighbours in one request.

        ``open_source`` is called only if something has to be fetched. IntegrityError if the origin does not have what the
        manifest names; what the source raises.
        """
        with self._lock:
            refused = self._refused.get(content_key(entry))
        if refused is not None:
            raise IntegrityError(refused)
        file = self._file(entry)
        kept = None
        if self._kept is not None and not (file.sealed and file.whole):
            kept = self._kept.get(entry, patient=self._strict)
        if self._must_prove_whole(entry, file):
            self._fetch_whole(entry, open_source(), file)
        found: dict[int, Buffer] = {}
        for number in range(first, last + 1):
            data = file.read(number, only_proven=self._only_proven(entry))
            if data is not None:
                found[number] = data
        for start, end in _gaps(found, first, last):
            if kept is not None and self._take(entry, kept, file, start, end, found):
                continue
            try:
                self._fetch(entry, open_source(), file, start, end, found)
            except UnreachableError:
                kept = None if self._kept is None else self._kept.get(entry, patient=True)
                if kept is None or not self._take(entry, kept, file, start, end, found):
                    raise
        return [found[number] for number in range(first, last + 1)]

    def _take(
        self, entry: Entry, kept: Opened, file: CacheFile, first: int, last: int, found: dict[int, Buffer]
    ) -> bool:
        """Have blocks of what another program keeps, proven like those that are fetched; False if they are not right."""
        try:
            self._fetch(entry, kept.source, file, first, last, found)
        except (IntegrityError, UnreachableError):
            if self._kept is not None:
                self._kept.refuse(entry, kept)
            return False
        return True

    def _must_prove_whole(self, entry: Entry, file: CacheFile) -> bool:
        if file.sealed and file.whole:
            return False
        if not is_provable(entry):
            return self._strict and not file.whole and not isinstance(entry, Pack)
        return (entry.size <= SMALL or self._strict) and not self._prover.may_know(entry)

    def _fetch(
        self, entry: Entry, source: Source, file: CacheFile, first: int, last: int, found: dict[int, Buffer]
    ) -> None:
        """Fetch blocks in one request, and keep those that are what they should be. Proven ones are written behind the reader's back."""
        data = self._read(entry, source, first, last)
        blocks = self._prover.list_of(entry) if is_provable(entry) else None  # on its way since the file was opened
        if blocks is None and self._only_proven(entry):  # the list that the manifest names is damaged or gone
            self._fetch_whole(entry, source, file)
            blocks = self._prover.list_of(entry)
        for number in range(first, last + 1):
            block = data[(number - first) * BLOCK_SIZE :][:BLOCK_SIZE]
            if blocks is None:
                file.write(number, block, proven=False)
            else:
                if not self._prover.proves(entry, blocks, number, block):
                    block = self._read(entry, source, number, number)  # once more: it may have been damaged on its way
                    if not self._prover.proves(entry, blocks, number, block):
                        raise IntegrityError(
                            f"{describe(entry)} is damaged in block {number}: its bytes do not match the manifest"
                        )
                self._behind.put(file, number, block, checksum_of(blocks, number))
            found[number] = block

    @staticmethod
    def _read(entry: Entry, source: Source, first: int, last: int) -> memoryview:
        offset = first * BLOCK_SIZE
        size = min((last + 1) * BLOCK_SIZE, entry.size) - offset
        data = memoryview(source.read(offset, size))
        if len(data) != size:
            raise IntegrityError(
                f"{describe(entry)} is shorter than the manifest says: it ends before byte {offset + size}"
            )
        return data

    # The whole --------------------------------------------------------------------------------------------------

    def _fetch_whole(self, entry: Entry, source: Source, file: CacheFile) -> None:
        """Read everything, and prove it before any of it is served."""
        whole, digests = entry.algorithm.hasher(), []
        for first in range(0, block_count(entry.size), _RUN):
            last = min(first + _RUN, block_count(entry.size)) - 1
            data: memoryview | None = None
            for number in range(first, last + 1):
                kept = file.read(number)
                if kept is None:
                    if data is None:
                        data = self._read(entry, source, first, last)
                    block: Buffer = data[(number - first) * BLOCK_SIZE :][:BLOCK_SIZE]
                else:
                    block = kept
                digest = Digest.of(block, Algorithm.BLAKE3).raw
                if kept is None:
                    file.write(number, block, proven=False, checksum=digest)
                whole.update(block)
                digests.append(digest)
        if is_provable(entry):
            self._conclude(entry, file, whole.digest(), digests)

    def complete(self, entry: Entry) -> None:
        """Prove a content whose blocks are all cached but were served as they came; IntegrityError if it is not what it should be.

        Nothing if it is not complete, is proven already, or cannot be proven. What a list has proven block by block is not read again. To
        be called after each fetch of a big one.
        """
        name, file = cache_name(entry), self._file(entry)
        expected = self._expected(entry)
        if file.sealed or not file.whole or expected is None or file.seal_if_proven():
            return
        with self._lock:
            if name in self._completing:
                return
            self._completing.add(name)
        try:
            whole, digests = entry.algorithm.hasher(), []
            for number in range(block_count(entry.size)):
                data = file.read(number)
                if data is None:
                    return  # evicted, or damaged: another fetch completes it again
                whole.update(data)
                digests.append(Digest.of(data, Algorithm.BLAKE3).raw)
            if is_provable(entry):
                self._conclude(entry, file, whole.digest(), digests)
            elif whole.digest() == expected:
                file.seal(digests)
        finally:
            with self._lock:
                self._completing.discard(name)

    @staticmethod
    def _expected(entry: Entry) -> bytes | None:
        """Return the digest that the whole must have. The ETag of an S3 object often is its MD5: then it proves, else it says nothing."""
        if is_provable(entry):
            return entry.blob.raw
        return bytes.fromhex(entry.digest) if _MD5.fullmatch(entry.digest) else None

    def _conclude(self, entry: Entry, file: CacheFile, digest: bytes, digests: list[bytes]) -> None:
        if digest == entry.blob.raw:
            if entry.size > BLOCK_SIZE:
                self._prover.learn(entry, digests)
            file.seal(digests)
            return
        file.drop()
        message = f"{describe(entry)} is damaged: its bytes do not match the manifest"
        with self._lock:
            self._refused[content_key(entry)] = message
        raise IntegrityError(message)

    def replace(self, pack: Entry, first: int, blocks: list[Buffer]) -> None:
        """Forget a pack of which something is not what it should be, but for blocks of which a part was proven."""
        file = self._file(pack)
        file.drop()
        for number, data in enumerate(blocks, first):
            if len(data) == block_length(pack.size, number):
                file.write(number, data, proven=False)

    def close(self) -> None:
        """Wait until everything that came is in the cache."""
        if self._kept is not None:
            self._kept.close()
        self._behind.drain()

    def needs_completion(self, entry: Entry) -> bool:
        """Whether `complete` has to be called after fetches of an entry. Never blocks."""
        file = self._opened(entry)
        return file is not None and file.whole and not file.sealed and self._expected(entry) is not None


def _gaps(found: dict[int, Buffer], first: int, last: int) -> list[tuple[int, int]]:
    """Return the runs of numbers that were not found."""
    gaps: list[tuple[int, int]] = []
    for number in range(first, last + 1):
        if number in found:
            continue
        if gaps and gaps[-1][1] == number - 1:
            gaps[-1] = (gaps[-1][0], number)
        else:
            gaps.append((number, number))
    return gaps
