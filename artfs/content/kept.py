"""Files that another program keeps on this machine, used instead of being fetched: what the SDK of W&B has in its own cache.

Such a file is believed in nothing. A content of one block is proven when it is read, as ever. A bigger file is hashed once, all of it,
and its block list derived from that: then each block that is read of it is proven, whatever happens to the file later. Where the
file system can, it is cloned first, and the clone, which nobody else can write to, becomes the content in the block cache without a byte
being copied. It is never a hard link: through the other name its owner could change what the cache has proven.

Nobody waits long for the hash of a big file: while it goes on behind the readers' backs, they have what they want from the server.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from cachetools import LRUCache

from artfs.content.origin import Opened
from artfs.content.packs import Pack
from artfs.content.proof import SMALL, block_count, block_length, cache_name, content_key
from artfs.errors import ArtfsError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE
from artfs.storage.files import FileSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artfs.cache.blocks import BlockCache
    from artfs.content.proof import ContentKey, Prover
    from artfs.model.entry import Entry

log = logging.getLogger(__name__)

PATIENCE = 0.3
"""Seconds from the beginning of a proof for which readers wait for it: about 100 MB."""

_AT_ONCE = 2  # big files that are hashed
_OPEN_FILES = 64
_REFUSED = 4096


class _Proof(NamedTuple):
    began: float
    future: Future[Opened | None]


class KeptFiles:
    """The files of another program. Thread-safe. ``open_file`` opens what may be the bytes of an entry, or returns None."""

    def __init__(
        self, open_file: Callable[[Entry], FileSource | None], prover: Prover, cache: Callable[[], BlockCache]
    ) -> None:
        self._open_file = open_file
        self._prover = prover
        self._get_cache = cache
        self._lock = threading.Lock()
        self._proven: LRUCache[ContentKey, Opened] = LRUCache(_OPEN_FILES)
        self._refused: LRUCache[ContentKey, tuple[int, ...]] = LRUCache(_REFUSED)  # which file was wrong
        self._proofs: dict[ContentKey, _Proof] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._ended = False

    def get(self, entry: Entry, *, patient: bool = False) -> Opened | None:
        """Return a file whose blocks `Prover.list_of` can prove; None if there is none, or it is not proven yet. Blocks.

        The blocks may be in the block cache after that. If ``patient``, the proof is waited for, however long it takes.
        """
        if entry.ref is not None or not entry.size or isinstance(entry, Pack):
            return None
        key = content_key(entry)
        with self._lock:
            found, proof = self._proven.get(key), self._proofs.get(key)
        if found is not None and self._prover.list_of(entry) is not None:
            return found
        if proof is None:
            opened = self._open(entry, key)
            if opened is None or entry.size <= BLOCK_SIZE:
                return opened
            if entry.size <= SMALL:
                return self._prove(entry, key, opened)
            proof = self._begin(entry, key, opened)
        try:
            return proof.future.result(None if patient else max(0.0, proof.began + PATIENCE - time.monotonic()))
        except TimeoutError:
            return None

    def refuse(self, entry: Entry, opened: Opened) -> None:
        """Note that a file does not have, or has no more, what it should have."""
        key = content_key(entry)
        with self._lock:
            self._proven.pop(key, None)
            if isinstance(opened.source, FileSource):
                self._refused[key] = opened.source.identity
        log.info("what another program keeps as %s is not that: it is fetched instead", entry.blob)

    def close(self) -> None:
        """Give up what is being proven."""
        with self._lock:
            self._ended = True
            pool = self._pool
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _open(self, entry: Entry, key: ContentKey) -> Opened | None:
        source = self._open_file(entry)
        if source is None:
            return None
        opened = Opened(source)
        with self._lock:
            is_refused = self._refused.get(key) == source.identity
        if is_refused:
            return None
        if source.size != entry.size:
            self.refuse(entry, opened)
            return None
        return opened

    def _begin(self, entry: Entry, key: ContentKey, opened: Opened) -> _Proof:
        with self._lock:
            proof = self._proofs.get(key)
            if proof is None and self._ended:
                proof = _Proof(0.0, Future())
                proof.future.set_result(None)
            elif proof is None:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="artfs-kept")
                proof = _Proof(time.monotonic(), self._pool.submit(self._prove, entry, key, opened))
                self._proofs[key] = proof
        return proof

    def _prove(self, entry: Entry, key: ContentKey, opened: Opened) -> Opened | None:
        try:
            return self._prove_now(entry, key, opened)
        except (OSError, ArtfsError) as error:
            log.info("what another program keeps as %s cannot be read: %s", entry.blob, error)
            return None
        finally:
            with self._lock:
                self._proofs.pop(key, None)

    def _prove_now(self, entry: Entry, key: ContentKey, opened: Opened) -> Opened | None:
        cache, source = self._get_cache(), opened.source
        with cache.spare() as path:
            clone = None if path is None else _clone(source, path)
            digests = self._digests(entry, clone or opened)
            if digests is None:
                return None
            if digests == []:
                self.refuse(entry, opened)
                return None
            self._prover.learn(entry, digests)
            if path is not None and clone is not None and not cache.adopt(cache_name(entry), path, entry.size, digests):
                log.debug("%s is not taken into the block cache as a whole", entry.blob)
        with self._lock:
            self._proven[key] = opened
        return opened

    def _digests(self, entry: Entry, opened: Opened) -> list[bytes] | None:
        """Return the BLAKE3 of each block; an empty list if the whole is wrong, None if it was given up."""
        whole, digests = entry.algorithm.hasher(), []
        for number in range(block_count(entry.size)):
            if self._ended:
                return None
            data = opened.source.read(number * BLOCK_SIZE, block_length(entry.size, number))
            whole.update(data)
            digests.append(Digest.of(data, Algorithm.BLAKE3).raw)
        return digests if whole.digest() == entry.blob.raw else []


def _clone(source: object, path: Path) -> Opened | None:
    """Give a new file the content of another one, and open it for reading; None, and no file, where the file systems cannot."""
    if isinstance(source, FileSource):
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            cloned = source.share(target)
        finally:
            os.close(target)
        if cloned:
            return Opened(FileSource(os.open(path, os.O_RDONLY | os.O_CLOEXEC), f"{path}"))
        path.unlink()
    return None
