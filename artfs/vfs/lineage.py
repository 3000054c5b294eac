"""Lineage with no code: which run uses which versions, seen from what its processes open, and written down in the background.

`Lineage.opened` is called for every file of a version that is opened for reading. A use is noted once; one task (`Lineage.record`)
writes what was noted to the registry, so that no reader waits for it. What cannot be written because the registry is away is tried again;
what is of a run that the registry does not know is dropped.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import trio

from artfs.errors import ArtfsError, NotFoundError, UnreachableError

if TYPE_CHECKING:
    from artfs.model.names import RunRef
    from artfs.model.run import RunInfo
    from artfs.registry.port import Registry
    from artfs.vfs.catalog import Catalog
    from artfs.vfs.processes import Processes

    Use = tuple[RunRef, str]  # a run, and the id of a version

log = logging.getLogger(__name__)

MAX_NOTED = 100_000
UNKNOWN_FOR = 10.0  # seconds until the registry is asked again for a run that it did not know
_MAX_UNKNOWN = 1000
_FIRST_RETRY, _LAST_RETRY = 2.0, 60.0  # seconds between tries of a registry that cannot be reached


class Lineage:
    """The uses that a mount has seen."""

    def __init__(self, processes: Processes, registry: Registry, catalog: Catalog) -> None:
        self._processes = processes
        self._registry = registry
        self._catalog = catalog
        self._noted: dict[Use, None] = {}  # written, or to be: the oldest are forgotten first, and may be noted again
        self._waiting: dict[Use, None] = {}
        self._unknown: dict[RunRef, float] = {}  # when the registry is to be asked again
        self._wake = trio.Event()
        self._tried = trio.Event()
        self._tries = 0
        self._trying = False
        self._away = ""

    @property
    def away(self) -> str:
        """Why uses cannot be written down now; empty if they can."""
        return self._away

    async def run_of(self, pid: int) -> RunRef | None:
        """Return the run that a process belongs to."""
        return await self._processes.run_of(pid)

    async def opened(self, pid: int, version_id: str) -> None:
        """Note that a process has opened a file of a version."""
        run = await self._processes.run_of(pid)
        if run is None or (run, version_id) in self._noted:
            return
        if run in self._unknown and trio.current_time() < self._unknown[run]:
            return
        use = (run, version_id)
        self._noted[use] = self._waiting[use] = None
        if len(self._noted) > MAX_NOTED:
            del self._noted[next(iter(self._noted))]
        if not self._away:  # else it waits for the next try
            self._wake.set()

    async def flush(self, seconds: float) -> int:
        """Write down now what was noted so far. Return how many uses are still to be written, after so many seconds at most."""
        enough = self._tries + (2 if self._trying else 1)
        self._wake.set()
        with trio.move_on_after(seconds):
            while self._waiting and self._tries < enough:
                await self._tried.wait()
        return len(self._waiting)

    async def record(self) -> None:
        """Write down what is noted, until cancelled."""
        delay = 0.0
        while True:
            with trio.move_on_after(delay if self._waiting else math.inf):
                await self._wake.wait()
            self._wake = trio.Event()
            self._trying = True
            self._away = await self._write_all()
            self._trying = False
            self._tries += 1
            tried, self._tried = self._tried, trio.Event()
            tried.set()
            delay = min(max(2 * delay, _FIRST_RETRY), _LAST_RETRY) if self._away else 0.0

    async def _write_all(self) -> str:
        """Write down everything that waits. Return why the registry cannot be reached; empty if it can."""
        written, reason = False, ""
        try:
            while self._waiting:
                use = next(iter(self._waiting))
                written |= await self._write(use)
                del self._waiting[use]
        except UnreachableError as error:
            log.info("%d uses of versions wait for the registry: %s", len(self._waiting), error)
            reason = error.message
        if written:
            self._catalog.forget()  # what was shown of `used_by`
        return reason

    async def _write(self, use: Use) -> bool:
        """Write down a use. False if that cannot be done, ever."""
        run, version_id = use
        try:
            known = await self._catalog.call(self._find, run)
            if known is None:
                self._ignore(run)
                return False
            await self._catalog.call(self._registry.record_use, known, version_id)
        except UnreachableError:
            raise
        except NotFoundError as error:  # it was deleted meanwhile
            log.debug("run %s has used version %s: %s", run, version_id, error)
            return False
        except ArtfsError as error:
            log.warning("run %s uses version %s, which cannot be recorded: %s", run, version_id, error)
            return False
        except Exception:  # a mistake of the program must not end the mount
            log.exception("run %s uses version %s, which was not recorded", run, version_id)
            return False
        return True

    def _find(self, run: RunRef) -> RunInfo | None:
        try:
            return self._registry.run(run)
        except NotFoundError:
            return None

    def _ignore(self, run: RunRef) -> None:
        """Forget what was noted of a run that the registry does not know. It may be recorded later, and used again."""
        log.debug("the registry does not know the run %s, which uses versions", run)
        if len(self._unknown) >= _MAX_UNKNOWN:
            self._unknown.clear()
        self._unknown[run] = trio.current_time() + UNKNOWN_FOR
        for use in [use for use in self._noted if use[0] == run]:
            del self._noted[use]
