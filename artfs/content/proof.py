"""How a block of an entry is proven to be what the manifest names.

Up to one block, the digest of the entry proves it. Above that a list of BLAKE3 block digests does: the one that the
manifest names (a blob of the store), or one derived by reading the whole content once and checking its digest. So no byte
is served that the manifest does not vouch for, and a partial read of a big file never needs the whole of it twice.

The digest of a reference to a bucket or to HTTP is no digest of content (an ETag, a URI): nothing here can prove it, and what
pins it is the service that is asked for that ETag or version.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from typing import TYPE_CHECKING, TypeAlias

from cachetools import LRUCache

from artfs.content.packs import Pack
from artfs.errors import ArtfsError, IntegrityError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE
from artfs.model.reference import FILE_SCHEME, redact, uri_scheme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.cache.blocklists import BlockLists
    from artfs.model.entry import Entry, JsonValue
    from artfs.storage.port import BlobStore, Buffer, Source

log = logging.getLogger(__name__)

ContentKey: TypeAlias = "tuple[str, JsonValue, int, str | None]"

SMALL = 8 << 20
"""Up to so many bytes, a content without a block list is proven before any of it is served."""

_LISTS_BYTES = 32 << 20  # block lists in memory: enough for 1 TiB of files being read


def block_count(size: int) -> int:
    """Return how many blocks a file of ``size`` bytes has."""
    return -(-size // BLOCK_SIZE)


def block_length(size: int, number: int) -> int:
    """Return how many bytes a block of a file of ``size`` bytes has."""
    return min(BLOCK_SIZE, size - number * BLOCK_SIZE)


def content_key(entry: Entry) -> ContentKey:
    """Return what is proven of an entry: two that differ in any of it are proven apart, although one of them lies."""
    if isinstance(entry, Pack):  # nothing of it is proven: never to be taken for a file that has the same digest
        return entry.digest, "pack", entry.size, None
    if not is_provable(entry):  # nor is this: two objects may have one ETag
        return entry.digest, _object(entry), entry.size, None
    blocks = entry.extra.get("blocks")
    listed = blocks.get("digest") if isinstance(blocks, dict) else None
    return entry.digest, entry.extra.get("alg"), entry.size, listed if isinstance(listed, str) else None


def is_provable(entry: Entry) -> bool:
    """Whether the digest of an entry is that of its content, and proves it. A pack is never read as a whole."""
    if entry.ref is None:
        return not isinstance(entry, Pack)
    return uri_scheme(entry.ref) == FILE_SCHEME


def cache_name(entry: Entry) -> str:
    """Return the name of an entry's content in the block cache: the same for the same content, whoever names it.

    A block that a list has proven is right only if the list is: who names another list for the same digest finds nothing of it. What may be
    cached as it came is that of its store alone.
    """
    if entry.ref is None or is_provable(entry):
        listed = entry.block_list
        name = _blob_name(entry.digest, entry.algorithm)
        if listed is not None:
            return name + listed.hex
        return (
            name if entry.size <= SMALL or entry.store is None or isinstance(entry, Pack) else name + _hex(entry.store)
        )
    what = f"{_object(entry)}\0{entry.digest}\0{entry.size}".encode(errors="surrogateescape")
    return f"ref/{Digest.of(what, Algorithm.BLAKE3).hex}"


def _object(entry: Entry) -> str:
    """Return all that a service is asked for by a reference: what it answers is the content of no other."""
    return f"{entry.ref}\0{entry.extra.get('versionID')}\0{entry.extra.get('etag')}"


@functools.lru_cache(4096)
def _blob_name(digest: str, algorithm: Algorithm) -> str:
    return f"{algorithm.value}/{Digest.from_base64(digest, algorithm).hex}"


@functools.lru_cache(64)
def _hex(store: str) -> str:
    return Digest.of(store.encode(errors="surrogateescape"), Algorithm.BLAKE3).hex


class Prover:
    """Proves blocks. Thread-safe; may read the store, so it is called where blocking is allowed, but for `try_prove`."""

    def __init__(self, store: BlobStore, derived: BlockLists) -> None:
        self._store = store
        self._derived = derived
        self._lock = threading.Lock()
        self._lists: LRUCache[ContentKey, bytes] = LRUCache(_LISTS_BYTES, getsizeof=len)
        self._loading: dict[ContentKey, threading.Lock] = {}
        self._kept = True  # whether the last list could be kept: what prevents it is logged once

    def try_prove(self, entry: Entry, number: int, data: Buffer) -> bool | None:
        """Prove a block from memory alone; None if its block list has to be read first."""
        if len(data) != block_length(entry.size, number):  # the digest may be right, then the size lies
            return False
        if entry.size <= BLOCK_SIZE:
            return Digest.of(data, entry.algorithm).raw == entry.blob.raw
        with self._lock:
            blocks = self._lists.get(content_key(entry))
        return None if blocks is None else _matches(blocks, number, data)

    def prove(self, entry: Entry, number: int, data: Buffer, source: Source) -> bool:
        """Prove a block, reading or deriving the block list where it is not in memory. Blocks."""
        answer = self.try_prove(entry, number, data)
        if answer is None:
            blocks = self.list_of(entry) or self._derive(entry, source)
            answer = _matches(blocks, number, data)
        return answer

    def proves(self, entry: Entry, blocks: bytes, number: int, data: Buffer) -> bool:
        """Prove a block by what `list_of` has returned."""
        if entry.size <= BLOCK_SIZE:
            return self.try_prove(entry, number, data) is True
        return len(data) == block_length(entry.size, number) and _matches(blocks, number, data)

    def list_of(self, entry: Entry) -> bytes | None:
        """Return the block list of an entry, empty up to one block; None if none is known. Blocks."""
        if entry.size <= BLOCK_SIZE:
            return b""
        key = content_key(entry)
        with self._lock:
            known = self._lists.get(key)
            loading = self._loading.setdefault(key, threading.Lock()) if known is None else None
        if known is not None or loading is None:
            return known
        with loading:  # once, whoever asks
            with self._lock:
                known = self._lists.get(key)
            if known is None:
                known = self._load(entry)
        with self._lock:
            self._loading.pop(key, None)
        return known

    def _load(self, entry: Entry) -> bytes | None:
        name = entry.block_list
        blocks = self._derived.find(entry.blob, name, block_count(entry.size))
        if blocks is None and name is not None:
            blocks = self._named(entry, name)
            if blocks is not None and not self._store.local:
                self._keep(name, blocks)  # the content can then be read without the store
        if blocks is not None:
            self._remember(entry, blocks)
        return blocks

    def may_know(self, entry: Entry) -> bool:
        """Whether `list_of` may find a list, without asking the store. Reads local disk."""
        return entry.block_list is not None or self.list_of(entry) is not None

    def knows(self, entry: Entry) -> bool:
        """Whether `try_prove` can tell now. Never blocks."""
        with self._lock:
            return entry.size <= BLOCK_SIZE or content_key(entry) in self._lists

    def learn(self, entry: Entry, digests: Sequence[bytes]) -> bytes:
        """Take the block digests of a content whose whole was proven, and keep them for the next time; return the list."""
        blocks = b"".join(digests)
        self._keep(entry.blob, blocks)
        self._remember(entry, blocks)
        return blocks

    def _remember(self, entry: Entry, blocks: bytes) -> None:
        with self._lock, contextlib.suppress(ValueError):  # a list too long to be kept is read each time
            self._lists[content_key(entry)] = blocks

    def _keep(self, digest: Digest, blocks: bytes) -> None:
        try:
            self._derived.put(digest, [blocks])
            self._kept = True
        except OSError as error:
            log.log(logging.WARNING if self._kept else logging.DEBUG, "block lists cannot be kept: %s", error)
            self._kept = False

    def _named(self, entry: Entry, name: Digest) -> bytes | None:
        """Read the block list that the manifest names; None if it is not there, or damaged."""
        length = 32 * block_count(entry.size)
        try:
            source = self._store.open(name)
            try:
                blocks = bytes(source.read(0, length + 1))
            finally:
                source.close()
        except UnreachableError:
            raise  # it may be had later: nothing is served without it
        except ArtfsError as error:
            log.warning("block list %s of blob %s cannot be read, deriving it: %s", name, entry.blob, error)
            return None
        if len(blocks) != length or Digest.of(blocks, Algorithm.BLAKE3) != name:
            log.warning("block list %s of blob %s is damaged, deriving it", name, entry.blob)
            return None
        return blocks

    def _derive(self, entry: Entry, source: Source) -> bytes:
        """Read the whole content, and return its block list; IntegrityError if it is not what the manifest names."""
        whole, size = entry.algorithm.hasher(), 0
        digests = []
        for number in range(block_count(entry.size)):
            data = source.read(number * BLOCK_SIZE, block_length(entry.size, number))
            whole.update(data)
            size += len(data)
            digests.append(Digest.of(data, Algorithm.BLAKE3).raw)
        if size != entry.size or whole.digest() != entry.blob.raw:
            raise IntegrityError(f"{describe(entry)} is damaged: its bytes do not match the manifest")
        return self.learn(entry, digests)


def checksum_of(blocks: bytes, number: int) -> bytes | None:
    """Return the BLAKE3 that `Prover.list_of` has given for a block; None where it gives none."""
    return blocks[32 * number : 32 * number + 32] or None


def _matches(blocks: bytes, number: int, data: Buffer) -> bool:
    return Digest.of(data, Algorithm.BLAKE3).raw == checksum_of(blocks, number)


def describe(entry: Entry) -> str:
    """Name the bytes of an entry in a message."""
    return f"reference {redact(entry.ref)} ({entry.digest})" if entry.ref else f"blob {entry.blob}"
