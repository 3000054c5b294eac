"""Which run a process belongs to: read out of its environment in /proc, once for each process.

A process is known by its number, its start time and where its environment lies: the number is used again one day, and an exec
replaces the environment. What is known is believed for `BELIEVED` seconds and then looked at again, which costs one small read; so the
answer for a process that opens many files is a look into a table. The kernel's numbers are those of threads, each of which has a
directory in /proc. ``environ`` is read in a worker thread: that read waits for the memory map of the process, which another thread of
it can hold while it waits for this very mount.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from artfs.model.runs import RUN_VARIABLE, run_or_none

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.model.names import RunRef

BELIEVED = 0.1  # seconds
MAX_PROCESSES = 4096
PATIENCE = 2.0  # seconds that a reader may wait for the environment of its process: then it belongs to no run
_MAX_THREADS = 8

_PREFIX = f"{RUN_VARIABLE}=".encode()
_STARTED, _ENVIRONMENT = 21, slice(49, 51)  # of the fields of /proc/PID/stat: proc(5) counts them from 1


class _Identity(NamedTuple):
    """What tells a process from another one that has, or had, the same number."""

    started: bytes
    environment: tuple[bytes, ...]


class _Known:
    __slots__ = ("identity", "run", "until")

    def __init__(self, identity: _Identity, run: RunRef | None, until: float) -> None:
        self.identity = identity
        self.run = run
        self.until = until


class Processes:
    """The processes that have opened files of a mount, as many of the latest as `MAX_PROCESSES`."""

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = str(proc)
        self._clock = clock
        self._known: dict[int, _Known] = {}  # in the order in which they were looked at
        self._limiter = trio.CapacityLimiter(_MAX_THREADS)

    def __len__(self) -> int:
        return len(self._known)

    async def run_of(self, pid: int) -> RunRef | None:
        """Return the run of a process or thread; None for one of no run, that has ended, or whose environment is not ours to read."""
        known = self._known.get(pid)
        if known is not None and self._clock() < known.until:
            return known.run
        return await self._look(pid, known)

    async def _look(self, pid: int, known: _Known | None) -> RunRef | None:
        self._known.pop(pid, None)
        identity = self._identify(pid)
        if identity is None:
            return None
        if known is not None and known.identity == identity:
            run = known.run
        else:
            run = None
            with trio.move_on_after(PATIENCE) as patience:
                run = await trio.to_thread.run_sync(self._read_run, pid, limiter=self._limiter, abandon_on_cancel=True)
            if patience.cancelled_caught:
                return None
        self._known[pid] = _Known(identity, run, self._clock() + BELIEVED)
        if len(self._known) > MAX_PROCESSES:
            del self._known[next(iter(self._known))]
        return run

    def _identify(self, pid: int) -> _Identity | None:
        """Return what the process is. Its ``stat`` is made without waiting for anything."""
        try:
            descriptor = os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(descriptor, 4096)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        # The name of the program is in parentheses, and may hold any characters.
        fields = [b"", b"", *text[text.rfind(b")") + 1 :].split()]
        if len(fields) <= _STARTED:
            return None
        return _Identity(fields[_STARTED], tuple(fields[_ENVIRONMENT]))

    def _read_run(self, pid: int) -> RunRef | None:
        try:
            environment = Path(self._proc, str(pid), "environ").read_bytes()
        except OSError:  # it has ended, or belongs to another user
            return None
        for line in environment.split(b"\0"):
            if line.startswith(_PREFIX):
                return run_or_none(os.fsdecode(line[len(_PREFIX) :]))
        return None
