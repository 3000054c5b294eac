"""Threads that are kept for the next job: handing one over costs some ten microseconds, starting a thread five times that."""

from __future__ import annotations

import os
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE = 10.0
"""Seconds for which a thread waits for another job before it ends."""


class _Crew:
    """The threads of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.idle = 0  # threads that wait, less the jobs that are handed over already
        self.jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()


class Threads:
    """As many threads as there are jobs at once. Thread-safe, and usable in a forked child, whose threads are its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._crew = _Crew()

    def run(self, job: Callable[[], None]) -> None:
        """Have a job done by another thread, now. It must not raise."""
        crew = self._crew
        if crew.pid != os.getpid():  # threads stay behind in the parent
            crew = self._crew = _Crew()
        with crew.lock:
            waits = crew.idle > 0
            crew.idle -= waits
        crew.jobs.put(job)
        if not waits:
            threading.Thread(target=_work, args=(crew,), name=self._name, daemon=True).start()

    def close(self) -> None:
        """Let the threads that wait end; the others do when they have waited."""
        crew = self._crew
        with crew.lock:
            waiting, crew.idle = crew.idle, 0
        for _ in range(waiting):
            crew.jobs.put(None)


def _work(crew: _Crew) -> None:
    while True:
        try:
            job = crew.jobs.get(timeout=IDLE)
        except Empty:
            with crew.lock:
                if crew.idle > 0:
                    crew.idle -= 1
                    return
            continue  # a job is on its way to this thread
        if job is None:
            return
        job()
        del job  # a thread that waits keeps nothing alive
        with crew.lock:
            crew.idle += 1
