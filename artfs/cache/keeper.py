"""What keeps an open world of the block cache: the thread that records and evicts, and the one that tidies.

The rest of the cache uses `recorder`, `evictor` and `room` of the keeper in use. A keeper ends with its world: after a failure that
means another world, a new one takes its place.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from artfs.cache.eviction import Evictor
from artfs.cache.recorder import Recorder
from artfs.cache.sweep import sweep

if TYPE_CHECKING:
    from artfs.cache.room import Room
    from artfs.cache.shelf import Shelf
    from artfs.cache.world import World

log = logging.getLogger(__name__)

_FUTILE_SECONDS = 10.0


class Keeper:
    """One open world. What stops its threads from working is told to the shelf, which decides what becomes of it."""

    def __init__(self, world: World, room: Room, shelf: Shelf) -> None:
        self.world = world
        self.room = room
        self.recorder = Recorder(world.ledger, room)
        self.evictor = Evictor(world, self.recorder, room, shelf.forget)
        self._shelf = shelf
        self._ended = threading.Event()
        self._futile_until = 0.0
        room.settle(0, world.ledger.totals.bytes)
        room.refresh(now=True)
        self._threads = [
            threading.Thread(target=self._keep, name="artfs-cache", daemon=True),
            threading.Thread(target=self._tidy, name="artfs-cache-sweep", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def ended(self) -> bool:
        """Whether this keeper is not in use any more."""
        return self._ended.is_set()

    def _keep(self) -> None:
        going_on = True
        while going_on:
            if not self._shelf.writable:
                self._ended.wait(1.0)
            else:
                try:
                    self._work()
                except (OSError, sqlite3.Error) as error:
                    self._shelf.failed(self, error, writing=True)
                    self._ended.wait(0.1)
            going_on = self.recorder.wait() and not self.ended

    def _work(self) -> None:
        if not self.world.intact():
            raise FileNotFoundError("the directory of the block cache is gone")
        self._shelf.used(self.evictor.record())
        self.room.refresh()
        if self.room.shortage() and time.monotonic() >= self._futile_until:
            self._make_room()

    def _make_room(self) -> None:
        if not self.evictor.evict(self.evictor.shortage) and self.room.shortage():
            self._futile_until = time.monotonic() + _FUTILE_SECONDS  # all is pinned, or another process is at it

    def _tidy(self) -> None:
        try:
            sweep(self.world, self._ended.is_set)
        except InterruptedError:
            pass
        except (OSError, sqlite3.Error) as error:
            self._shelf.failed(self, error, writing=True)

    def flush(self) -> None:
        """Record everything that is known. Raises OSError and sqlite3.Error."""
        self._shelf.used(self.evictor.record(touches=True))

    def end(self) -> None:
        """Stop the threads without waiting for them. What is not recorded is forgotten."""
        self._ended.set()
        self.recorder.stop()

    def close(self) -> None:
        """Stop the threads, and leave the world."""
        self.end()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self.world.close()
