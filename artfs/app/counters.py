"""Everything that a mount process counts, in one value: what `artfs stats` shows the changes of, and what the metrics are made from.

All counters begin with the mount and only grow. Making the value asks nobody, waits for nothing, and may be done in any thread.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from artfs.registry.fallback import Fallback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.app.logs import MountLog
    from artfs.app.services import Services
    from artfs.fuse.measures import Measures
    from artfs.model.entry import JsonValue
    from artfs.model.timings import Timings
    from artfs.vfs.commits import Commits

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Counters:
    """The parts of a mount process that count. ``began`` is the time of `time.monotonic` at which it began to serve."""

    services: Services
    commits: Commits
    measures: Measures
    log: MountLog
    began: float

    def value(self) -> dict[str, JsonValue]:
        """Return all counters as JSON: sizes in bytes, times in seconds."""
        cache = self.services.cache_if_made
        value = {
            "seconds": time.monotonic() - self.began,
            "kernel": self._kernel(),
            "cache": None if cache is None else asdict(cache.statistics()),
            "services": self._services(),
            "damaged": self.services.reader.damaged if "reader" in self.services.__dict__ else 0,
            "registry_reachable": self.services.health().away_since is None,
            "drafts": len(self.services.drafts.owned()) if "drafts" in self.services.__dict__ else 0,
            "commits": {**asdict(self.commits.outcomes), "running": len(self.commits.jobs)},
            "messages": self.log.counts(),
            "memory": int(_STATM.read_text().split()[1]) * _PAGE,
            "cpu": time.process_time(),
        }
        return cast("dict[str, JsonValue]", value)

    def in_flight(self) -> dict[str, JsonValue]:
        """Return what each service has not answered yet: requests, and the bytes that they ask for or send."""
        found = cast("Mapping[str, Mapping[str, JsonValue]]", self._services())
        return {name: {"requests": one["in_flight"], "bytes": one["in_flight_bytes"]} for name, one in found.items()}

    def _kernel(self) -> dict[str, JsonValue]:
        """Return what the kernel asked: for each operation how often, how long it took and what it failed with."""
        operations = {
            name: {
                "errors": {str(number): count for number, count in measure.errors.items()},
                **_timings(measure.timings),
            }
            for name, measure in list(self.measures.operations.items())
        }
        value = {
            "operations": operations,
            "in_flight": self.measures.in_flight,
            "read_bytes": self.measures.read_bytes,
            "written_bytes": self.measures.written_bytes,
        }
        return cast("dict[str, JsonValue]", value)

    def _services(self) -> Mapping[str, JsonValue]:
        """Return what each service was asked: the store and references by scheme, and a registry that is elsewhere."""
        found: dict[str, JsonValue] = {}
        for scheme, objects in self.services.backends.metered().items():
            requests, size = objects.in_flight()
            timings = objects.timings()
            operations: dict[str, JsonValue] = {
                name: {"failures": count.failures, "bytes": count.size, **_timings(timings[name])}
                for name, count in objects.counts().items()
                if name in timings
            }
            found[scheme] = {"in_flight": requests, "in_flight_bytes": size, "operations": operations}
        uploads = self.services.backends.uploads
        if uploads is not None:
            sent = {"failures": uploads.failures, "bytes": uploads.size, **_timings(uploads.timings)}
            found["wandb"] = {
                "in_flight": uploads.busy,
                "in_flight_bytes": uploads.busy_size,
                "operations": {"write": sent},
            }
        registry = self.services.registry
        if isinstance(registry, Fallback):
            asked = {"failures": registry.failures, "bytes": 0, **_timings(registry.timings)}
            found["registry"] = {"in_flight": registry.asking, "in_flight_bytes": 0, "operations": {"ask": asked}}
        return found


def _timings(timings: Timings) -> dict[str, JsonValue]:
    buckets: list[JsonValue] = list(timings.cumulative())
    return {"requests": timings.count, "seconds": timings.seconds, "buckets": buckets}
