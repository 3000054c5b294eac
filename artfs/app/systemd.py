"""What systemd is told of the mount process: ready, alive, stopping (sd_notify(3)), and how it is known to be alive.

A watchdog is told "alive" only after this mount has answered a request that went through the kernel: the event loop ran,
and so did whoever reads ``/dev/fuse``. A process of its own asks, since a thread that waits for its own mount could not be
ended with the process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

_ASK = "import os, sys; os.statvfs(sys.argv[1])"  # the kernel remembers no answer to this
_ALIVE = "WATCHDOG=1"
_PATIENCE = 5.0  # seconds; the event loop waits meanwhile
_SHARE = 3  # asked so many times in the time that systemd waits for one answer


@dataclass(frozen=True, slots=True)
class Systemd:
    """Who has to be told, empty if nobody; ``patience`` is for how many seconds it waits for a sign of life, 0 for ever."""

    address: str
    patience: float

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Systemd:
        """Take what systemd has put into the environment, so that no child takes it too."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        watched = address and microseconds.isdecimal() and pid in {"", str(os.getpid())}
        return cls(address, int(microseconds) / 1_000_000 if watched else 0.0)

    def tell(self, state: str) -> None:
        """Say one or more lines like ``READY=1``, once. Nothing happens where systemd has gone or is slow to listen."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(_PATIENCE if state != _ALIVE else 0)
            try:
                out.sendto(state.encode(), address)
            except OSError:
                return

    async def keep_alive(self, mountpoint: Path | None) -> None:
        """Tell that the mount answers as long as it does; where it is out of sight (None), that the event loop runs."""
        if not self.patience:
            return
        while True:
            with trio.move_on_after(self.patience):
                if mountpoint is None or await _answers(mountpoint):
                    self.tell(_ALIVE)
            await trio.sleep(self.patience / _SHARE)


async def _answers(mountpoint: Path) -> bool:
    """Ask the mount something; whoever asks is killed when this is cancelled."""
    command = [sys.executable, "-I", "-S", "-c", _ASK, str(mountpoint)]
    done = await trio.run_process(command, check=False, stderr=subprocess.DEVNULL)
    return done.returncode == 0
