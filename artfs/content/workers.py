"""Threads that work for the event loop: lighter than trio's own, which cost more than the read of a small file does.

A job is a function without arguments; what it returned or raised comes back to the loop, those of several jobs in one wake-up. Every
hand-over between threads is paid for with the interpreter lock, so a job should be as much work as belongs together.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import trio

from artfs.content.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

Done: TypeAlias = "Callable[[Any, Exception | None], None]"


class Workers:
    """At most ``count`` threads, started as they are needed. All methods are for the thread of the loop that made it."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Done] | None] = SimpleQueue()
        self._threads = 0
        self._unfinished = 0
        self._lock = threading.Lock()  # of what is finished
        self._finished: deque[tuple[Done, Any, Exception | None]] = deque()

    def submit(self, job: Callable[[], T], done: Done) -> None:
        """Have a job done. ``done`` is called on the loop with its result and None, or None and its error, unless the loop ends before."""
        self._unfinished += 1
        if self._threads < min(self._unfinished, self._count):
            self._threads += 1
            start(self._work)
        self._jobs.put((job, done))

    async def run(self, job: Callable[[], T]) -> T:
        """Return what a job returns. If the wait for it is cancelled, the job goes on, and its result is thrown away."""
        finished, outcome = trio.Event(), []

        def done(result: T, error: Exception | None) -> None:
            outcome.append((result, error))
            finished.set()

        self.submit(job, done)
        await finished.wait()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Let the threads end when they are free. Jobs that no thread has begun are still done."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = self._count

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            try:
                result, error = job(), None
            except Exception as caught:  # noqa: BLE001 - handed to who asked for the job
                result, error = None, caught
            with self._lock:
                first = not self._finished
                self._finished.append((done, result, error))
            del item, job, done, result, error  # a thread that waits keeps nothing alive
            if first:
                with contextlib.suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, deque()
        self._unfinished -= len(finished)
        for done, result, error in finished:
            done(result, error)
