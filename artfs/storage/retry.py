"""Try again what a service failed to do: reads and questions, until a deadline.

Only UnreachableError is tried again: an answer, even a refusal, is final. The pause doubles, has jitter, and is never shorter than what
the service asks for (Retry-After). Writes and listings are not retried here: their libraries do that part by part.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from artfs.errors import ArtfsError, UnreachableError
from artfs.storage.bucket_uris import shown
from artfs.storage.troubles import Troubles
from artfs.storage.wrapper import ObjectsWrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.storage.port import Buffer, Locator, ObjectInfo, Objects

T = TypeVar("T")

DEADLINE = 60.0  # seconds from the first try to the last error
FIRST_PAUSE, LAST_PAUSE = 0.1, 8.0  # seconds


class Retrying(ObjectsWrapper):
    """Objects that are asked again. ``clock`` and ``sleep`` are for tests."""

    def __init__(
        self,
        inner: Objects,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        self.troubles = Troubles()
        self._deadline = deadline
        self._clock = clock
        self._sleep = sleep

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return bytes of a span; UnreachableError after the deadline."""
        return self._run(locator.uri, lambda: self._inner.read(locator, offset, size))

    def describe(self, uri: str, version: str | None = None) -> ObjectInfo:
        """Return what the service says of an object; UnreachableError after the deadline."""
        return self._run(uri, lambda: self._inner.describe(uri, version))

    def _run(self, uri: str, ask: Callable[[], T]) -> T:
        started, tries = self._clock(), 0
        while True:
            try:
                answer = ask()
            except UnreachableError as error:
                tries += 1
                self.troubles.failed(uri, error.message)
                pause = min(LAST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                pause = max(pause, error.retry_after or 0.0)
                elapsed = self._clock() - started
                if elapsed + pause > self._deadline:
                    often = "1 try" if tries == 1 else f"{tries} tries"
                    raise UnreachableError(
                        f"{shown(uri)} cannot be reached: gave up after {often} in {elapsed:.0f} s: {error.message}",
                        hint=error.hint,
                    ) from error
            except ArtfsError:
                self.troubles.answered(uri)
                raise
            else:
                self.troubles.answered(uri)
                return answer
            self._sleep(pause)
