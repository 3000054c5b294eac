"""What keeps the block cache from working for a while: said once, and tried again later."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

PAUSE = 60.0
"""Seconds after which a cache that failed is tried again."""


class Trouble:
    """Whether something is off, and why. ``what`` is its name in the log. Thread-safe."""

    def __init__(self, what: str, clock: Callable[[], float]) -> None:
        self._what = what
        self._clock = clock
        self._lock = threading.Lock()
        self._until: float | None = None
        self._said = ""

    @property
    def active(self) -> bool:
        """Whether nothing is to be tried now. Never blocks."""
        until = self._until
        return until is not None and self._clock() < until

    @property
    def reason(self) -> str | None:
        """Why it is off; None if it is not."""
        return self._said if self.active else None

    def report(self, reason: object) -> None:
        """Be off from now on. One pause logs one reason, and the same reason again only after it was over."""
        text = str(reason)
        with self._lock:
            known = self.active or self._said == text
            self._until = self._clock() + PAUSE
            if not known:
                self._said = text
        if not known:
            log.warning("%s is off for %.0f s: %s", self._what, PAUSE, text)

    def over(self) -> None:
        """Note that it works. Cheap where it was never off."""
        if self._until is None or self.active:  # what began before the trouble proves nothing
            return
        with self._lock:
            self._until, self._said = None, ""
        log.info("%s works again", self._what)
