"""How far a commit is: counters that the one who works writes and anybody may read."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from artfs.errors import ArtfsError

if TYPE_CHECKING:
    from artfs.model.entry import JsonValue


class CommitInterrupted(ArtfsError):  # noqa: N818 - not a failure: the commit goes on later
    """A commit was asked to stop; its journal says where it goes on."""


class Progress:
    """The progress of one commit. ``cancelled`` asks it to stop at its next step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.cancelled = threading.Event()
        self._phase = "starting"
        self._files = self._files_total = 0
        self._bytes = self._bytes_total = 0
        self._began = time.monotonic()

    def begin(self, phase: str, files: int = 0, size: int = 0) -> None:
        """Enter a phase with so much to do."""
        with self._lock:
            self._phase, self._began = phase, time.monotonic()
            self._files, self._files_total = 0, files
            self._bytes, self._bytes_total = 0, size

    def advance(self, files: int = 0, size: int = 0) -> None:
        """Count what was done; CommitInterrupted if the commit was asked to stop."""
        with self._lock:
            self._files += files
            self._bytes += size
        self.check()

    def check(self) -> None:
        """CommitInterrupted if the commit was asked to stop."""
        if self.cancelled.is_set():
            raise CommitInterrupted("the commit was interrupted: it goes on later", hint="artfs commit --resume")

    def snapshot(self) -> dict[str, JsonValue]:
        """Return the counters of the present phase; sizes are bytes, ``seconds`` is how long it has lasted."""
        with self._lock:
            return {
                "phase": self._phase,
                "files_done": self._files,
                "files_total": self._files_total,
                "bytes_done": self._bytes,
                "bytes_total": self._bytes_total,
                "seconds": round(time.monotonic() - self._began, 3),
            }
