"""Run what may hang: a mount that does not answer, a disk that is away, a network.

Each call has a thread that is left alone when its time is over. The thread keeps nothing alive: when the process ends, the kernel
ends it, and a request to a dead mount with it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class LateError(Exception):
    """A call has not come back in its time."""


class Bounded(Generic[T]):
    """A call under way. It begins when this is made, and has so many seconds from then."""

    def __init__(self, call: Callable[[], T], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._result: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="artfs-doctor")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as error:  # noqa: BLE001 - `result` raises it
            self._error = error

    def result(self) -> T:
        """Wait for the end, and return or raise what the call did; LateError if it is not there in time."""
        self._thread.join(max(0.0, self._until - time.monotonic()))
        if self._error is not None:
            raise self._error
        if not self._result:
            raise LateError(f"no answer within {self._seconds:g} s")
        return self._result[0]


def run_bounded(call: Callable[[], T], seconds: float) -> T:
    """Run a call and return its result; LateError if it takes longer."""
    return Bounded(call, seconds).result()
