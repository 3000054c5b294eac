"""What an administrator does with a block cache as a whole: look what is in it, make it smaller, prove it, empty it.

All of it is safe while others use the cache: bytes are removed by `artfs.cache.eviction` alone, and what is found damaged is forgotten as
in any read. Unlike reads, these methods say why when the cache cannot be used: UnreachableError.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, NamedTuple

from artfs.cache.cachefile import CacheFile
from artfs.cache.sweep import sweep, sweep_temporaries
from artfs.errors import BusyError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from artfs.cache.datafiles import Content
    from artfs.cache.keeper import Keeper
    from artfs.cache.ledger import Kept
    from artfs.cache.shelf import Shelf

_ALL = 1 << 62
_OTHERS_SECONDS = 10.0  # for which another process that evicts is waited for


class Space(NamedTuple):
    """How full a cache is, in bytes of disk space. ``most``: what it may hold before it evicts, by its limits and its disk."""

    most: int
    used: int
    pinned: int


class Upkeep:
    """The upkeep of one cache. Blocks; thread-safe."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    @contextlib.contextmanager
    def _keeper(self) -> Iterator[Keeper]:
        keeper = self._shelf.open_keeper()
        if keeper is None:
            raise UnreachableError(f"the block cache cannot be used: {self._shelf.trouble}")
        try:
            yield keeper
        except (OSError, sqlite3.Error) as error:
            self._shelf.failed(keeper, error)
            raise UnreachableError(f"the block cache cannot be used: {error}") from error

    def contents(self) -> Sequence[Kept]:
        """Return what is recorded of each content."""
        with self._keeper() as keeper:
            keeper.flush()
            return keeper.world.ledger.kept()

    def space(self) -> Space:
        """Return how full the cache is, and how full it may be."""
        with self._keeper() as keeper:
            keeper.flush()
            return Space(keeper.room.most(), keeper.room.used, keeper.world.ledger.pinned_bytes())

    def is_pinned(self, name: str) -> bool:
        """Whether anybody pins a content of a name."""
        with self._keeper() as keeper:
            return keeper.world.ledger.is_pinned(name)

    def shrink(self, size: int | None = None) -> int:
        """Evict until all blocks take at most ``size`` bytes, or, without it, what the limits allow now.

        Less goes where the rest is pinned, or being written. Returns how many bytes of disk space this process has evicted since it
        opened the cache: it keeps to the limits by itself, too.
        """
        with self._keeper() as keeper:
            while self._evict(keeper, lambda: self._excess(keeper, size)):
                pass
            return keeper.evictor.evicted_bytes

    @staticmethod
    def _excess(keeper: Keeper, size: int | None) -> int:
        keeper.flush()
        if size is not None:
            return max(0, keeper.world.ledger.totals.bytes - size)
        keeper.room.refresh(now=True)
        return keeper.room.shortage()

    def clear(self, *, pinned: bool = False) -> int:
        """Evict everything but what is pinned, or that, too; return how many bytes of disk space are free again.

        Pins stay: they hold for what comes.
        """
        with self._keeper() as keeper:
            keeper.flush()
            freed = 0
            while gone := self._evict(keeper, lambda: _ALL):
                freed += gone
            if pinned:
                freed += sum(self._drop(keeper, kept) for kept in keeper.world.ledger.kept() if kept.pinned)
            return freed

    def drop(self, contents: Sequence[Kept]) -> int:
        """Evict contents, pinned or not; return how many bytes of disk space are free again."""
        with self._keeper() as keeper:
            return sum(self._drop(keeper, kept) for kept in contents)

    def _drop(self, keeper: Keeper, kept: Kept) -> int:
        self._shelf.known(kept.content).drop()
        keeper.evictor.drop(kept.content)
        return kept.bytes

    @staticmethod
    def _evict(keeper: Keeper, needed: Callable[[], int]) -> int:
        give_up = time.monotonic() + _OTHERS_SECONDS
        while (freed := keeper.evictor.evict(needed)) is None:
            if time.monotonic() > give_up:
                raise BusyError("another process is evicting from the block cache", hint="try again later")
            time.sleep(0.05)
        return freed

    def tidy(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Remove what processes that were killed have left. What is younger than an hour may be in the making, and stays."""
        with self._keeper() as keeper, contextlib.suppress(InterruptedError):
            sweep(keeper.world, stopped, always=True)
            sweep_temporaries(self._shelf.cache_dir)

    def check(self, content: Content) -> tuple[int, list[int]]:
        """Read every block of a content from the disk; return how many bytes they are, and which were damaged, and are forgotten now.

        UnreachableError if the disk is what fails.
        """
        file = CacheFile(self._shelf.known(content))
        if not file.load():
            raise UnreachableError(f"the block cache cannot be used: {self._shelf.trouble}")
        read, damaged = 0, []
        for number in range(content.blocks):
            found = file.check(number) if file.has(number) else None
            if found is not None:
                read += content.length(number)
            if found is False:
                damaged.append(number)
        return read, damaged
