"""Ask a second time for what does not come when it should: the first good answer is taken, the other one is dropped.

Among many requests there is always one that meets a server that is about to fail, a lost packet or a full queue. A read that takes longer
than 99 of 100 such reads did lately is sent again, on another connection. How often that may be is bounded (`artfs.storage.latencies`),
so that a service that is slow because it is asked too much is not asked for more; nor is one that has just failed.

A request cannot be called back: one that lost the race ends in its own time, and its bytes are thrown away. There are at most `AT_ONCE`
of them, which is also how much memory they may take: so many runs of blocks.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.errors import UnreachableError
from artfs.storage.latencies import Latencies
from artfs.storage.metrics import Metered
from artfs.storage.threads import Threads
from artfs.storage.wrapper import ObjectsWrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.storage.port import Buffer, Locator, Objects

AT_ONCE = 4
"""Reads that are asked for twice at any moment, until both requests have ended."""

_SERVICES = 256  # of which latencies are remembered


class Hedged(ObjectsWrapper):
    """Objects whose slow reads are asked for a second time. ``clock`` is for tests."""

    def __init__(self, inner: Objects, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(inner)
        self._clock = clock
        self.second = Metered(inner)
        """Counts the second requests, as reads."""
        self._threads = Threads("artfs-hedge")
        self._lock = threading.Lock()
        self._services: LRUCache[str, Latencies] = LRUCache(_SERVICES)
        self._racing = 0

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return bytes of a span; from the second request for them if that is the first to be answered."""
        if not locator.hedge:
            return self._inner.read(locator, offset, size)
        latencies = self._latencies(locator.uri)
        first = partial(self._first, latencies, locator, offset, size)
        patience = latencies.patience(size, self._clock())
        if patience is None or self._racing >= AT_ONCE:
            return first()
        race = _Race()
        self._threads.run(partial(race.run, first))
        if not race.decided.acquire(timeout=patience):
            if self._may_race(latencies):
                if race.enter(self._raced):
                    self._threads.run(partial(race.run, partial(self._again, latencies, locator, offset, size)))
                else:
                    self._raced()
            race.decided.acquire()
        return race.result()

    def _first(self, latencies: Latencies, locator: Locator, offset: int, size: int) -> Buffer:
        """Make the first request, and note how it went."""
        started = self._clock()
        try:
            data = self._inner.read(locator, offset, size)
        except UnreachableError as error:
            latencies.failed(self._clock(), error.retry_after)
            raise
        latencies.took(size, self._clock() - started)
        return data

    def _again(self, latencies: Latencies, locator: Locator, offset: int, size: int) -> Buffer:
        """Make the second request."""
        try:
            return self.second.read(locator, offset, size)
        except UnreachableError as error:
            latencies.failed(self._clock(), error.retry_after)
            raise

    def _latencies(self, uri: str) -> Latencies:
        service = "/".join(uri.split("/", 3)[:3])
        with self._lock:
            found = self._services.get(service)
            if found is None:
                found = self._services[service] = Latencies()
            return found

    def _may_race(self, latencies: Latencies) -> bool:
        with self._lock:
            if self._racing >= AT_ONCE or not latencies.take(self._clock()):
                return False
            self._racing += 1
            return True

    def _raced(self) -> None:
        with self._lock:
            self._racing -= 1

    def close(self) -> None:
        """Give back connections, and let the threads end."""
        self._threads.close()
        super().close()


class _Race:
    """One or two requests for the same bytes. ``decided`` can be taken once: when there is an answer, or no hope of one is left.

    Only a service that cannot be reached is no answer: a refusal is one. The first request counts as sent from the start.
    """

    __slots__ = ("_data", "_errors", "_lock", "_on_end", "_over", "_running", "decided")

    def __init__(self) -> None:
        self.decided = threading.Lock()  # a bare lock is the fastest way to wake a thread
        self.decided.acquire()
        self._on_end: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._running = 1
        self._over = False
        self._data: Buffer | None = None
        self._errors: list[BaseException] = []

    def enter(self, on_end: Callable[[], None]) -> bool:
        """Count a second request, unless all is over; ``on_end`` is called when both have ended."""
        with self._lock:
            if self._over:
                return False
            self._running, self._on_end = self._running + 1, on_end
            return True

    def run(self, ask: Callable[[], Buffer]) -> None:
        """Make a request."""
        data, error = None, None
        try:
            data = ask()
        except BaseException as caught:  # noqa: BLE001 - raised where the bytes are waited for
            error = caught
        with self._lock:
            self._running -= 1
            ended = self._running == 0
            if not self._over:
                if error is None:
                    self._data = data
                elif isinstance(error, UnreachableError):
                    self._errors.append(error)
                else:
                    self._errors.insert(0, error)
                if not isinstance(error, UnreachableError) or ended:
                    self._over = True
                    self.decided.release()
        if ended:
            self._on_end()

    def result(self) -> Buffer:
        """Return the bytes that came first, or raise why there are none."""
        data, errors, self._data, self._errors = self._data, self._errors, None, []
        if data is not None:
            return data
        try:
            raise errors[0]
        finally:
            errors.clear()  # else the error would hold itself
