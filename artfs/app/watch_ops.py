"""What the control socket of a mount process answers to who looks after it: counters, metrics, the level of the log, the end."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from artfs.app.counters import Counters
from artfs.app.openmetrics import serving, text_of
from artfs.app.reach import Reach
from artfs.app.status import Status
from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
    from pathlib import Path

    from artfs.app.control import Message, Operation
    from artfs.app.logs import MountLog
    from artfs.app.services import Services
    from artfs.fuse.measures import Measures
    from artfs.vfs.commits import Commits

_INTERVALS = (0.05, 86400.0)  # seconds
_REPETITIONS = 5.0  # seconds between looks for repeated messages that the log is to count


@contextlib.asynccontextmanager
async def watched(
    services: Services,
    commits: Commits,
    measures: Measures,
    log: MountLog,
    mountpoint: Path,
    end: Callable[[bool], None],
    nursery: trio.Nursery,
    *,
    read_only: bool,
) -> AsyncIterator[Mapping[str, Operation]]:
    """Serve metrics while the body runs, where the settings say so; gives the operations for the control socket.

    They may be called as long as ``nursery`` is open. Raises what `artfs.app.openmetrics.Server` raises.
    """
    counters = Counters(services, commits, measures, log, time.monotonic())
    async with serving(services.config.metrics_port, counters.value) as port:
        nursery.start_soon(_say_repetitions, log)
        status = Status(counters, mountpoint, log, Reach(services.registry, nursery), read_only, port)
        yield WatchOperations(counters, status, log, end).table


async def _say_repetitions(log: MountLog) -> None:
    while True:
        await trio.sleep(_REPETITIONS)
        log.say_due()


@dataclass(frozen=True, slots=True)
class WatchOperations:
    """The operations. ``end`` ends the mount; its argument is whether commits under way stop at their next step."""

    counters: Counters
    status: Status
    log: MountLog
    end: Callable[[bool], None]

    @property
    def table(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "status": self.status,
            "stats": self.stats,
            "metrics": self.metrics,
            "log_level": self.log_level,
            "shutdown": self.shutdown,
        }

    async def stats(self, request: Message) -> AsyncGenerator[Message, None]:
        """Report all counters now and then ``count`` times after ``interval`` seconds each; without end if ``count`` is null."""
        interval, count = request.get("interval", 1.0), request.get("count", 0)
        if not isinstance(interval, int | float) or not _INTERVALS[0] <= interval <= _INTERVALS[1]:
            raise InvalidInputError(f"{interval!r} is no interval: {_INTERVALS[0]} to {_INTERVALS[1]:.0f} seconds")
        if count is not None and (not isinstance(count, int) or count < 0):
            raise InvalidInputError(f"{count!r} is no number of reports")
        done, due = 0, trio.current_time()
        yield {"progress": self.counters.value()}
        while count is None or done < count:
            due = max(due + interval, trio.current_time())
            await trio.sleep_until(due)
            done += 1
            yield {"progress": self.counters.value()}
        yield {"result": {}}

    async def metrics(self, _: Message) -> AsyncGenerator[Message, None]:
        """Return the counters as OpenMetrics text."""
        yield {"result": {"openmetrics": await trio.to_thread.run_sync(text_of, self.counters.value())}}

    async def log_level(self, request: Message) -> AsyncGenerator[Message, None]:
        """Log from a ``level`` on, and say from which one; ``reset`` is that of the settings. Without ``level``, say it only."""
        level = request.get("level")
        if level is not None:
            self.log.set_level(str(level))
        yield {"result": {"level": self.log.level_name, "configured": self.log.configured}}

    async def shutdown(self, request: Message) -> AsyncGenerator[Message, None]:
        """End the mount, wherever it is mounted. Commits under way are finished first, unless there is ``haste``.

        There is no result: that the connection ends is the answer.
        """
        self.end(bool(request.get("haste")))
        yield {"progress": {"ending": True}}
        await trio.sleep_forever()
