"""Which services do not answer now, since when and why: what `artfs status` says while reads of theirs are tried again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.storage.bucket_uris import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SERVICES = 64


@dataclass(frozen=True, slots=True)
class Trouble:
    """A service (scheme and authority) that has not answered ``since`` then (unix time), and what the last failure was."""

    service: str
    since: float
    reason: str


class Troubles:
    """The services that do not answer. A service that answers anything, a refusal too, is none. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._now: LRUCache[str, Trouble] = LRUCache(_SERVICES)

    def now(self) -> Sequence[Trouble]:
        """Return the services that have failed last, by name."""
        with self._lock:
            return sorted(self._now.values(), key=lambda trouble: trouble.service)

    def answered(self, uri: str) -> None:
        """Note that the service of an object has answered."""
        if self._now:
            with self._lock:
                self._now.pop(service_of(uri), None)

    def failed(self, uri: str, reason: str) -> None:
        """Note that the service of an object has not answered."""
        service = service_of(uri)
        with self._lock:
            known = self._now.get(service)
            self._now[service] = Trouble(service, known.since if known else self._clock(), reason)


def service_of(uri: str) -> str:
    """Return scheme and authority of a URI, without a password."""
    return "/".join(shown(uri).split("/", 3)[:3])
