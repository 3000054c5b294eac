"""How a block of an entry is proven to be what the manifest names.

Up to one block, the digest of the entry proves it. Above that a list of BLAKE3 block digests does: the one that the
manifest names (a blob of the store), or one derived by reading the whole content once and checking its digest. So no byte
is served that the manifest does not vouch for, and a partial read of a big file never needs the whole of it twice.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.errors import ArtfsError, IntegrityError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from artfs.cache.blocklists import BlockLists
    from artfs.model.entry import Entry
    from artfs.storage.port import BlobStore, Source

log = logging.getLogger(__name__)

_LISTS_BYTES = 32 << 20  # block lists in memory: enough for 1 TiB of files being read


def block_count(size: int) -> int:
    """Return how many blocks a file of ``size`` bytes has."""
    return -(-size // BLOCK_SIZE)


class Prover:
    """Proves blocks. Thread-safe; may read the store, so it is called where blocking is allowed, but for `try_prove`."""

    def __init__(self, store: BlobStore, derived: BlockLists) -> None:
        self._store = store
        self._derived = derived
        self._lock = threading.Lock()
        self._lists: LRUCache[tuple[str, int], bytes] = LRUCache(_LISTS_BYTES, getsizeof=len)

    def try_prove(self, entry: Entry, number: int, data: bytes) -> bool | None:
        """Prove a block from memory alone; None if its block list has to be read first."""
        if entry.size <= BLOCK_SIZE:
            return Digest.of(data, entry.algorithm).raw == entry.blob.raw
        with self._lock:
            blocks = self._lists.get((entry.digest, entry.size))
        return None if blocks is None else _matches(blocks, number, data)

    def prove(self, entry: Entry, number: int, data: bytes, source: Source) -> bool:
        """Prove a block, reading or deriving the block list where it is not in memory. Blocks."""
        answer = self.try_prove(entry, number, data)
        if answer is None:
            blocks = self._named(entry) or self._derived.get(entry.blob, block_count(entry.size))
            if blocks is None:
                blocks = self._derive(entry, source)
            with self._lock:
                self._lists[entry.digest, entry.size] = blocks
            answer = _matches(blocks, number, data)
        return answer

    def _named(self, entry: Entry) -> bytes | None:
        """Read the block list that the manifest names; None if there is none, or it is damaged."""
        name = entry.block_list
        if name is None:
            return None
        length = 32 * block_count(entry.size)
        try:
            source = self._store.open(name)
            try:
                blocks = source.read(0, length + 1)
            finally:
                source.close()
        except ArtfsError as error:
            log.warning("block list %s of blob %s cannot be read, deriving it: %s", name, entry.blob, error)
            return None
        if len(blocks) != length or Digest.of(blocks, Algorithm.BLAKE3) != name:
            log.warning("block list %s of blob %s is damaged, deriving it", name, entry.blob)
            return None
        return blocks

    def _derive(self, entry: Entry, source: Source) -> bytes:
        """Read the whole content; IntegrityError if it is not what the manifest names."""
        whole = entry.algorithm.hasher()
        digests = []
        for number in range(block_count(entry.size)):
            data = source.read(number * BLOCK_SIZE, min(BLOCK_SIZE, entry.size - number * BLOCK_SIZE))
            whole.update(data)
            digests.append(Digest.of(data, Algorithm.BLAKE3).raw)
        if whole.digest() != entry.blob.raw:
            raise IntegrityError(f"{describe(entry)} is damaged: its bytes do not match the manifest")
        try:
            self._derived.put(entry.blob, digests)
        except OSError as error:
            log.warning("the block list of %s cannot be kept: %s", describe(entry), error)
        return b"".join(digests)


def _matches(blocks: bytes, number: int, data: bytes) -> bool:
    return Digest.of(data, Algorithm.BLAKE3).raw == blocks[32 * number : 32 * number + 32]


def describe(entry: Entry) -> str:
    """Name the bytes of an entry in a message."""
    return f"reference {entry.ref} ({entry.digest})" if entry.ref else f"blob {entry.blob}"
