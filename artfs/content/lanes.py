"""Lanes: threads, and the bytes that they may have on their way, for each place that bytes come from.

What this machine has never queues behind what comes over a network, nor a service that answers behind one that does not.
"""

from __future__ import annotations

from artfs.content.budget import Budget
from artfs.content.workers import Workers

MAX_FETCHES = 32
"""Requests at once to one service."""

MAX_DISK_READS = 16

IN_FLIGHT = 64 << 20
"""Bytes that are asked for at once, in each lane."""

MAX_LANES = 8
"""Services that have a lane of their own; those that come later share one."""


class Lane:
    """Threads and a budget. Used on the event loop."""

    def __init__(self, threads: int) -> None:
        self.workers = Workers(threads)
        self.budget = Budget(IN_FLIGHT)


class Lanes:
    """The lanes of one mount."""

    def __init__(self) -> None:
        self.disk = Lane(MAX_DISK_READS)
        self._services: dict[str, Lane] = {}

    @property
    def in_flight(self) -> int:
        """Return how many bytes are on their way."""
        return self.disk.budget.in_use + sum(lane.budget.in_use for lane in self._services.values())

    def of(self, service: str) -> Lane:
        """Return the lane of a service."""
        lane = self._services.get(service)
        if lane is None:
            key = service if len(self._services) < MAX_LANES else ""
            lane = self._services.get(key) or Lane(MAX_FETCHES)
            self._services[key] = lane
        return lane

    def close(self) -> None:
        """Let the threads end."""
        for lane in (self.disk, *self._services.values()):
            lane.workers.close()
