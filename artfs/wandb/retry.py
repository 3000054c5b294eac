"""When a question is asked again: which failures, after which pause, and until when. Shared by all threads of a session.

A failure that another try may mend is a `TryAgainError`; everything else is final. The pause doubles, has jitter, and is never shorter
than what the server asks for: by ``Retry-After`` for this question, by ``RateLimit-*`` (draft-polli-ratelimit-headers-02) or a 429 for all
that this process asks of it.
"""

from __future__ import annotations

import math
import random
import re
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from artfs.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

FIRST_PAUSE, LAST_PAUSE = 0.5, 15.0  # seconds, before jitter
JITTER = 0.25
LONGEST_RESET = 300.0  # seconds: a server that means a point in time, or errs, does not silence us for ever

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


class TryAgainError(UnreachableError):
    """A failure that another try may mend."""


class NoReplyError(TryAgainError):
    """Nobody has answered at all."""


class RateLimit:
    """Until when a server wants no request from this process. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until = -math.inf

    def note(self, status: int, headers: Mapping[str, str]) -> None:
        """Take from a reply what it says of the limit."""
        left, reset = (_number(headers.get(f"RateLimit-{name}", "")) for name in ("Remaining", "Reset"))
        pause = reset if left is not None and left < 1 and reset is not None else 0.0
        if status == 429:
            pause = max(pause, retry_after(headers) or 0.0)
        if pause > 0:
            with self._lock:
                self._until = max(self._until, self._clock() + min(pause, LONGEST_RESET))

    def pause(self) -> float:
        """Return for how many seconds nothing may be asked."""
        with self._lock:
            return max(0.0, self._until - self._clock())


class Patience:
    """How long and how often something is tried. ``clock`` and ``sleep`` are those of `time`, or of a test."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.clock = clock
        self.sleep = sleep

    def run(
        self,
        name: str,
        ask: Callable[[float], T],
        until: float,
        limit: RateLimit | None = None,
        silence: float = math.inf,
    ) -> T:
        """Call ``ask`` with the seconds that are left, until it does not raise TryAgainError; UnreachableError if time is up.

        Where nobody answers at all, that is after ``silence`` seconds.
        """
        started, tries = self.clock(), 0
        while True:
            self._keep_to(limit, name, until)
            left = until - self.clock()
            if left <= 0:
                raise UnreachableError(f"{name}: there was no time left to ask")
            try:
                return ask(left)
            except TryAgainError as error:
                tries += 1
                pause = min(LAST_PAUSE, FIRST_PAUSE * 2 ** min(tries - 1, 10))
                pause *= random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - no secret
                pause = max(pause, error.retry_after or 0.0)
                last = min(until, started + silence) if isinstance(error, NoReplyError) else until
                if self.clock() + pause > last:
                    often = "1 try" if tries == 1 else f"{tries} tries"
                    elapsed = self.clock() - started
                    raise UnreachableError(
                        f"{error.message} (gave up after {often} in {elapsed:.0f} s)",
                        hint=error.hint,
                        retry_after=error.retry_after,
                    ) from error
            self.sleep(pause)

    def _keep_to(self, limit: RateLimit | None, name: str, until: float) -> None:
        """Wait until the server wants to be asked. Those who wait do not all go at once."""
        while limit is not None and (pause := limit.pause()) > 0:
            if self.clock() + pause > until:
                raise UnreachableError(
                    f"{name}: the server wants no more questions for {pause:.0f} s (its rate limit)", retry_after=pause
                )
            self.sleep(pause * random.uniform(1.0, 1.0 + JITTER / 5))  # noqa: S311


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, given as such or as a date."""
    text = headers.get("Retry-After", "")
    if (seconds := _number(text)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text.strip()) else None
