"""To whom the mount process says that the mount answers, or why it does not: a command that waits, or the terminal.

A command that waits (`artfs.app.launch`) reads one JSON line from a pipe. In the foreground the mount process has taken the place of
that command: it prints errors as commands do, and gives back the lock that keeps others from mounting meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from artfs.app.logs import is_journal
from artfs.model.secrets import redact_text

if TYPE_CHECKING:
    from artfs.errors import ArtfsError


class Launcher(Protocol):
    """Who waits for the mount."""

    def ready(self, log: str) -> None:
        """Say that the mount answers, and that it logs to a file."""

    def failed(self, error: ArtfsError) -> None:
        """Say why there is no mount, or why there is none any more."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that reads the other end of a pipe."""

    descriptor: int

    def ready(self, log: str) -> None:
        """Let the command return; it hears nothing more."""
        self._say({"ready": True, "log": log, "pid": os.getpid()})
        os.close(self.descriptor)

    def failed(self, error: ArtfsError) -> None:
        """Let the command fail, if it has not returned."""
        try:
            message, hint = redact_text(error.message), redact_text(error.hint)
            self._say({"error": {"type": type(error).__name__, "message": message, "hint": hint}})
        except OSError:
            return  # it has heard that the mount was ready, and has gone

    def _say(self, message: object) -> None:
        os.write(self.descriptor, json.dumps(message).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal, a container or a service manager; ``lock`` is the descriptor that keeps others from mounting, or None."""

    lock: int | None

    def ready(self, log: str) -> None:
        """Let others mount."""
        if self.lock is not None:
            os.close(self.lock)

    def failed(self, error: ArtfsError) -> None:
        """Print what commands print; the journal gets it as an error."""
        prefix = "<3>" if is_journal(sys.stderr, os.environ) else ""
        print(f"{prefix}artfs: {' '.join(redact_text(str(error)).splitlines())}", file=sys.stderr)  # noqa: T201 - it stands for a command
