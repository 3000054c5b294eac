"""How long the reads of a service take, and how many more of them it may be asked for: what `artfs.storage.hedge` decides by."""

from __future__ import annotations

import math
import threading
from collections import deque

SAMPLES = 32
"""Reads of a size that must have been seen before one counts as slow."""

FLOOR = 0.05
"""Seconds: nothing that comes sooner is slow."""

SHARE, BURST = 0.03, 3.0
"""Second requests per request, and how many of them may be saved up: an origin that is slow with everything is asked for no more than
3 % more."""

QUIET = 10.0
"""Seconds without second requests after a service has failed or has asked to be left alone, if it does not ask for longer."""

_WINDOW = 256  # reads that are remembered of each size
_EVERY = 8  # reads after which the slowest are looked for again


class _Recent:
    """The last reads of one size, and what 99 of 100 of them stay below; None until there are enough."""

    __slots__ = ("counted", "patience", "seconds")

    def __init__(self) -> None:
        self.seconds: deque[float] = deque(maxlen=_WINDOW)
        self.counted = 0
        self.patience: float | None = None

    def add(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.counted += 1
        if len(self.seconds) >= SAMPLES and self.counted % _EVERY == 0:
            ordered = sorted(self.seconds)
            self.patience = max(FLOOR, ordered[math.ceil(0.99 * len(ordered)) - 1])


class Latencies:
    """What is known of one service. Thread-safe. Times are in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[int, _Recent] = {}
        self._tokens = 1.0
        self._quiet_until = -math.inf

    def patience(self, size: int, now: float) -> float | None:
        """Return the seconds after which a read of so many bytes is slow; None if no second request may be sent anyway."""
        with self._lock:
            if self._tokens < 1.0 or now < self._quiet_until:
                return None
            recent = self._sizes.get(_size_class(size))
            return None if recent is None else recent.patience

    def took(self, size: int, seconds: float) -> None:
        """Note a read that was answered."""
        with self._lock:
            self._tokens = min(BURST, self._tokens + SHARE)
            self._sizes.setdefault(_size_class(size), _Recent()).add(seconds)

    def failed(self, now: float, retry_after: float | None) -> None:
        """Note a read that was not answered, or was answered with a plea for less."""
        with self._lock:
            self._quiet_until = max(self._quiet_until, now + max(QUIET, retry_after or 0.0))

    def take(self, now: float) -> bool:
        """Whether a second request may be sent now; it is counted as sent."""
        with self._lock:
            if self._tokens < 1.0 or now < self._quiet_until:
                return False
            self._tokens -= 1.0
            return True


def _size_class(size: int) -> int:
    """Return the same number for sizes that take about as long: within a factor of four."""
    return (size.bit_length() + 1) // 2
