"""The contents of a block cache that are in memory, the world in use, and what a failure means.

A failure ends in one of three ways. The ledger is damaged: a new world is begun, at once. The directory is gone: the cache is off for a
while, then begun anew. Anything else: writing, or all, is off for a while. Each is logged once.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from artfs.cache.keeper import Keeper
from artfs.cache.known import Known
from artfs.cache.ledger import is_damage, is_full
from artfs.cache.room import Room
from artfs.cache.trouble import Trouble
from artfs.cache.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from artfs.cache.datafiles import Content

_FULL = {errno.ENOSPC, errno.EDQUOT}
_OPEN_CONTENTS = 384  # with those on their way to the ledger, about 512 open files


class Shelf:
    """What the contents of one cache share. Thread-safe; only methods that open a world or take note of a failure use the disk."""

    def __init__(self, cache_dir: Path, max_bytes: int, keep_free: int, clock: Callable[[], float]) -> None:
        self.cache_dir = cache_dir
        self._max_bytes = max_bytes
        self._keep_free = keep_free
        self._clock = clock
        self._reading = Trouble(f"the block cache in {cache_dir}", clock)
        self._writing = Trouble(f"writing to the block cache in {cache_dir}", clock)
        self._opening = threading.Lock()
        self._lock = threading.Lock()  # of all below
        self._keeper: Keeper | None = None
        self._closed = False
        self._all: weakref.WeakValueDictionary[Content, Known] = weakref.WeakValueDictionary()
        self._open: OrderedDict[Content, Known] = OrderedDict()  # the last used comes last
        self.hits = self.misses = self.damaged = 0
        self._evicted = 0  # by keepers that ended

    # --- the world in use

    @property
    def keeper(self) -> Keeper | None:
        """The open world; None if there is none, or reading is off. Never blocks."""
        return None if self._reading.active else self._keeper

    @property
    def writable(self) -> bool:
        """Whether writing is to be tried now. Never blocks."""
        return not self._writing.active

    @property
    def trouble(self) -> str | None:
        """Why the cache, or writing to it, is off now."""
        return self._reading.reason or self._writing.reason

    @property
    def evicted(self) -> int:
        """How many blocks this process has evicted."""
        keeper = self._keeper
        return self._evicted + (0 if keeper is None else keeper.evictor.evicted)

    def open_keeper(self) -> Keeper | None:
        """Open a world if there is none; None while reading is off."""
        keeper = self.keeper
        if keeper is not None or self._closed or self._reading.active:
            return keeper
        with self._opening:
            if self._keeper is None and not self._closed and not self._reading.active:
                self._begin()
            return self.keeper

    def _begin(self, damaged: Keeper | None = None, reason: object = "") -> None:
        try:
            world = open_world(self.cache_dir, None if damaged is None else damaged.world, reason)
            try:
                room = Room(world.directory, self._max_bytes, self._keep_free, self._clock)
                keeper = Keeper(world, room, self)
            except BaseException:
                world.close()
                raise
        except (OSError, sqlite3.Error) as error:
            self._reading.report(_reason(error))
            return
        with self._lock:
            self._keeper = keeper
        self._reading.over()

    def failed(self, keeper: Keeper, error: Exception, *, writing: bool = False) -> None:
        """Take note of what the disk or the ledger answered. Never raises."""
        if keeper.ended:
            return
        if isinstance(error, sqlite3.Error) and is_damage(error):
            with self._opening:
                if self._leave(keeper):
                    self._begin(keeper, error)
        elif not keeper.world.intact():
            with self._opening:
                if self._leave(keeper) and not keeper.world.succeeded():
                    self._reading.report("its directory is gone")
        elif writing:
            self._writing.report(_reason(error))
        else:
            self._reading.report(_reason(error))

    def wrote(self) -> None:
        """Take note that writing works."""
        self._writing.over()

    def _leave(self, keeper: Keeper) -> bool:
        with self._lock:
            if self._keeper is not keeper:
                return False
            self._keeper = None
            self._evicted += keeper.evictor.evicted
        keeper.end()
        keeper.world.close()
        return True

    def close(self) -> None:
        """End the use of the world, and forget all contents."""
        with self._opening, self._lock:
            self._closed = True
            keeper, self._keeper = self._keeper, None
            contents = list(self._open.values())
            self._open.clear()
            self._evicted += 0 if keeper is None else keeper.evictor.evicted
        for known in contents:
            known.release()
        if keeper is not None:
            keeper.close()

    # --- contents

    def known(self, content: Content) -> Known:
        """Return what is known of a content; nothing is loaded."""
        with self._lock:
            known = self._all.get(content)
            if known is None:
                known = self._all[content] = Known(self, content)
            return known

    def opened(self, content: Content) -> Known | None:
        """Return what is known of a content if it is open. Never blocks."""
        with self._lock:
            known = self._open.get(content)
            if known is not None:
                self._open.move_to_end(content)
            return known

    def admit(self, known: Known) -> None:
        """Keep a content open, and close those not used for longest."""
        closed: list[Known] = []
        with self._lock:
            self._open[known.content] = known
            self._open.move_to_end(known.content)
            while len(self._open) > _OPEN_CONTENTS:
                closed.append(self._open.popitem(last=False)[1])
        for other in closed:
            other.release()

    def used(self, contents: Iterable[Content]) -> None:
        """Note that contents were used."""
        with self._lock:
            for content in contents:
                if content in self._open:
                    self._open.move_to_end(content)

    def forget(self, content: Content, numbers: Collection[int] | None, counter: tuple[int, int]) -> None:
        """Forget blocks that this process evicts: see `Known.forget`."""
        with self._lock:
            known = self._all.get(content)
        if known is not None:
            known.forget(numbers, counter)

    def count(self, *, hits: int = 0, misses: int = 0, damaged: int = 0) -> None:
        """Count reads that found a block, or none, and blocks that were damaged. Never blocks."""
        with self._lock:
            self.hits += hits
            self.misses += misses
            self.damaged += damaged


def _reason(error: Exception) -> str:
    if (isinstance(error, OSError) and error.errno in _FULL) or (isinstance(error, sqlite3.Error) and is_full(error)):
        return "the disk is full, and nothing may be evicted"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
