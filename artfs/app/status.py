"""What a mount process says of itself: who serves it, how registry, cache and services do, drafts, commits, and what went wrong.

The operation ``status`` of the control socket. Without ``ask`` it asks nobody and answers at once; with it the registry is asked, and
disks are looked at, for two seconds at most.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import trio

from artfs.model.reference import redact
from artfs.model.secrets import redact_text
from artfs.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from artfs.app.control import Message
    from artfs.app.counters import Counters
    from artfs.app.logs import MountLog
    from artfs.app.reach import Reach
    from artfs.model.entry import JsonValue
    from artfs.staging.drafts import Draft
    from artfs.vfs.commits import Job

_LOOKING = 1.0  # seconds for which the sizes of drafts are added up, and a disk may take to say how full it is


@dataclass(frozen=True, slots=True)
class Status:
    """The operation ``status`` of one mount."""

    counters: Counters
    mountpoint: Path
    log: MountLog
    reach: Reach
    read_only: bool
    metrics_port: int | None

    async def __call__(self, request: Message) -> AsyncGenerator[Message, None]:
        """Say how the mount does; with ``ask`` what has to be asked for, too."""
        result = self._known()
        if request.get("ask"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_registry, result)
                nursery.start_soon(self._look_at_disk, result)
                nursery.start_soon(self._look_at_drafts, result)
        yield {"result": result}

    def _known(self) -> dict[str, JsonValue]:
        services, commits = self.counters.services, self.counters.commits
        cache, health = services.cache_if_made, services.health()
        return {
            "pid": os.getpid(),
            "version": __version__,
            "mountpoint": str(self.mountpoint),
            "read_only": self.read_only,
            "offline": services.config.offline,
            "cache_dir": str(services.config.cache_dir),
            "answers": True,
            "up_seconds": round(time.monotonic() - self.counters.began, 1),
            "log": None if self.log.path is None else str(self.log.path),
            "log_level": self.log.level_name,
            "metrics_port": self.metrics_port,
            "registry": redact(services.config.registry),
            "registry_away_since": None if health.away_since is None else _time(health.away_since),
            "registry_reason": redact_text(health.reason),
            "store": redact(services.config.store),
            "cache": None if cache is None else asdict(cache.statistics()),
            "services": {
                scheme: {operation: asdict(count) for operation, count in counts.items()}
                for scheme, counts in services.backends.counts().items()
            },
            "in_flight": self.counters.in_flight(),
            "away": [
                {"service": trouble.service, "reason": redact_text(trouble.reason), "since": _time(trouble.since)}
                for trouble in services.backends.troubles()
            ],
            "commits": [_commit(job) for job in commits.jobs],
            "errors": self.log.errors(),
        }

    async def _ask_registry(self, result: dict[str, JsonValue]) -> None:
        if self.counters.services.config.offline:
            return
        result["registry_now"] = await self.reach.ask()
        health = self.counters.services.health()
        result["registry_away_since"] = None if health.away_since is None else _time(health.away_since)
        result["registry_reason"] = redact_text(health.reason)

    async def _look_at_disk(self, result: dict[str, JsonValue]) -> None:
        """Say how much is free where the cache lies; null if the disk does not say."""
        result["cache_disk_free"] = None
        directory = self.counters.services.config.cache_dir
        with trio.move_on_after(_LOOKING):
            result["cache_disk_free"] = await trio.to_thread.run_sync(_free, directory, abandon_on_cancel=True)

    async def _look_at_drafts(self, result: dict[str, JsonValue]) -> None:
        commits = self.counters.commits
        drafts = [draft for draft in self.counters.services.drafts.owned() if not commits.is_frozen(draft)]
        result["drafts"] = await trio.to_thread.run_sync(_drafts, drafts, time.monotonic() + _LOOKING)


def _commit(job: Job) -> dict[str, JsonValue]:
    progress = job.progress.snapshot()
    done, seconds = progress["bytes_done"], progress["seconds"]
    rate = done / seconds if isinstance(done, int) and isinstance(seconds, float) and done and seconds else None
    return {
        "collection": str(job.draft.collection),
        "draft": job.draft_name,
        "progress": {**progress, "bytes_per_second": None if rate is None else round(rate)},
        "waiting_for": redact_text(job.waiting_for) or None,
    }


def _drafts(drafts: Sequence[Draft], until: float) -> dict[str, JsonValue]:
    """Return how many drafts there are, how many bytes they have on this machine, and since when the oldest is there.

    ``complete`` is false if there was no time to add all of it up.
    """
    size, complete = 0, True
    for draft in drafts:
        for directory, _, names in os.walk(draft.directory / "tree"):
            if time.monotonic() > until:
                complete = False
                break
            for name in names:
                size += _size_on_disk(os.path.join(directory, name))  # noqa: PTH118 - paths are text there
    oldest = min((draft.created_at for draft in drafts), default=None)
    return {
        "count": len(drafts),
        "bytes": size,
        "complete": complete,
        "oldest": None if oldest is None else oldest.isoformat(timespec="seconds"),
    }


def _size_on_disk(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:  # removed meanwhile
        return 0


def _free(directory: Path) -> int | None:
    """Return how many bytes are free on the disk of a directory, or of the nearest one above that is there."""
    for place in (directory, *directory.parents):
        try:
            found = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return found.f_bavail * found.f_frsize
    return None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
