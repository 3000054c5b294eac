"""The block cache: verified blocks of remote content on local disk. Knows no registry and no network.

`BlockCache` is what others use, with the `CacheFile` of each content. It is safe to use from any thread, and the directory from several
processes. A block that is read is what was written, whatever happened to the disk, or it is a miss; nothing that a disk does raises.

How it is built: `artfs.cache.cachefile` reads and writes, over `artfs.cache.known` (what is in memory of a content) and
`artfs.cache.storing`. `artfs.cache.shelf` has the contents that are open, and decides what a failure means. `artfs.cache.keeper` has the
threads, with `artfs.cache.recorder`, `artfs.cache.eviction` and `artfs.cache.sweep`. `artfs.cache.world` is the directory, with
`artfs.cache.ledger`, `artfs.cache.epochs`, and `artfs.cache.datafiles`, which states the rules of changing a file.

Locks are taken in this order: the evictor's, the recorder's (writing), the ledger's (writing), the shelf's, that of a content, the
queue's. From the shelf's on they are never held while anything waits for a disk.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.cache.cachefile import CacheFile
from artfs.cache.datafiles import Content, parse_content
from artfs.cache.rows import CHECKSUM_SIZE, Adopted
from artfs.cache.shelf import Shelf
from artfs.cache.upkeep import Upkeep
from artfs.cache.world import SPARE
from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from artfs.cache.keeper import Keeper


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a block cache holds, and what it did in this process.

    ``bytes`` is the disk space of the blocks, ``evicted`` counts blocks, ``trouble`` says why the cache is off now.
    """

    bytes: int
    max_bytes: int
    blocks: int
    files: int
    hits: int
    misses: int
    damaged: int
    evicted: int
    trouble: str | None


class BlockCache:
    """The block cache in ``cache_dir``: at most ``max_bytes`` large, and leaving ``keep_free`` bytes on the disk.

    Opening it scans nothing. A cache that cannot be opened is off, and tried again. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self, cache_dir: Path, *, max_bytes: int, keep_free: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._shelf = Shelf(cache_dir, max_bytes, keep_free, clock)
        self._shelf.open_keeper()

    def file(self, name: str, size: int) -> CacheFile:
        """Return a content, with what is known of it loaded. Reads local disk. InvalidInputError if it can be none."""
        file = CacheFile(self._shelf.known(parse_content(name, size)))
        file.load()
        return file

    def held(self, name: str, size: int) -> int:
        """Return how many bytes of a content are here, by what is recorded; nothing is read of them. Reads local disk."""
        keeper = self._shelf.open_keeper()
        if keeper is not None and size:
            try:
                return keeper.world.ledger.held(parse_content(name, size))
            except sqlite3.Error as error:
                self._shelf.failed(keeper, error)
        return 0

    def opened(self, name: str, size: int) -> CacheFile | None:
        """Return a content if what is known of it is in memory. Never blocks."""
        known = self._shelf.opened(Content(name, size))
        return None if known is None or known.state is None else CacheFile(known)

    @contextlib.contextmanager
    def spare(self) -> Iterator[Path | None]:
        """Give the path of a new file for `adopt`, on the file system of the cache; None while there is no cache.

        Nothing is left of it in the end. One that a process was killed over is removed by the sweep.
        """
        keeper = self._shelf.open_keeper()
        if keeper is None or not self._shelf.writable:
            yield None
            return
        path = keeper.world.directory / f"{SPARE}{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def adopt(self, name: str, path: Path, size: int, checksums: Sequence[bytes]) -> bool:
        """Take a private file over as the whole, proven content, by a rename; False if that cannot be: then it stays.

        ``checksums`` are the BLAKE3 of its blocks. Nobody may have the file open for writing.
        """
        content = parse_content(name, size)
        if len(checksums) != content.blocks or any(len(checksum) != CHECKSUM_SIZE for checksum in checksums):
            raise InvalidInputError(f"{len(checksums)} checksums are not those of the blocks of {name}, {size} bytes")
        keeper = self._shelf.open_keeper()
        if keeper is None or not self._shelf.writable or not size:
            return False
        try:
            return self._adopt(keeper, content, path, checksums)
        except (OSError, sqlite3.Error) as error:
            self._shelf.failed(keeper, error, writing=True)
            return False

    def _adopt(self, keeper: Keeper, content: Content, path: Path, checksums: Sequence[bytes]) -> bool:
        try:
            status = path.lstat()
        except OSError:
            return False
        # With a second name somebody could still change the bytes.
        private = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not private or status.st_size != content.size or not keeper.world.data.can_rename(status):
            return False
        cost = sum(content.cost(number) for number in range(content.blocks))
        if not keeper.evictor.make_room(cost, on_disk=False):
            return False
        taken_over = False
        try:
            taken_over = keeper.evictor.adopt(content, path)
        finally:
            if not taken_over:
                keeper.room.release(cost)
        if taken_over:
            self._shelf.known(content).adopted(keeper, Adopted(content, tuple(checksums), time.time_ns()), cost)
        return taken_over

    def pin(self, owner: str, names: Iterable[str]) -> bool:
        """Keep contents of these names, of any size, from being evicted, beside those that the owner pins already.

        Pins hold for all processes, until the ledger is lost. False if they could not be recorded.
        """
        names = [parse_content(name, 0).name for name in names]
        keeper = self._shelf.open_keeper()
        if keeper is None:
            return False
        try:
            with keeper.world.ledger.transaction() as transaction:
                transaction.pin(owner, names)
        except sqlite3.Error as error:
            self._shelf.failed(keeper, error, writing=True)
            return False
        return True

    def unpin(self, owner: str) -> bool:
        """Forget all pins of an owner; False if that could not be recorded."""
        keeper = self._shelf.open_keeper()
        if keeper is None:
            return False
        try:
            with keeper.world.ledger.transaction() as transaction:
                transaction.unpin(owner)
        except sqlite3.Error as error:
            self._shelf.failed(keeper, error, writing=True)
            return False
        return True

    def pinned(self, owner: str) -> frozenset[str]:
        """Return the names that an owner pins; none while the cache is off. Reads local disk."""
        keeper = self._shelf.open_keeper()
        if keeper is not None:
            try:
                return keeper.world.ledger.pinned(owner)
            except sqlite3.Error as error:
                self._shelf.failed(keeper, error)
        return frozenset()

    @property
    def upkeep(self) -> Upkeep:
        """What an administrator does with the cache."""
        return Upkeep(self._shelf)

    def statistics(self) -> CacheStatistics:
        """Return what the cache holds, as of the last time this process recorded something. Never blocks."""
        shelf, keeper = self._shelf, self._shelf.keeper
        return CacheStatistics(
            bytes=0 if keeper is None else keeper.room.known,
            max_bytes=self._max_bytes,
            blocks=0 if keeper is None else keeper.world.ledger.totals.blocks,
            files=0 if keeper is None else keeper.world.ledger.totals.files,
            hits=shelf.hits,
            misses=shelf.misses,
            damaged=shelf.damaged,
            evicted=shelf.evicted,
            trouble=shelf.trouble,
        )

    def flush(self) -> None:
        """Record everything that was written and used until now."""
        keeper = self._shelf.keeper
        if keeper is not None:
            try:
                keeper.flush()
            except (OSError, sqlite3.Error) as error:
                self._shelf.failed(keeper, error, writing=True)

    def close(self) -> None:
        """Record everything, and end. All reads are misses from now on."""
        self.flush()
        self._shelf.close()
