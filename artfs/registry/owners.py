"""Who collects garbage: a process, named so that another one on its machine can tell whether it still runs."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> str:
    """Return the name of this process: ``host pid boot start``, unique for ever."""
    pid = os.getpid()
    return f"{platform.node() or 'unknown'} {pid} {_boot()} {_started(pid)}"


def shown(owner: str) -> str:
    """Return a name as it is shown to people."""
    host, pid = ([*owner.split(" "), "?"])[:2]
    return f"process {pid} on {host}"


def is_gone(owner: str) -> bool:
    """Whether the process is known to have ended. One of another machine never is."""
    parts = owner.split(" ")
    if len(parts) != 4 or parts[0] != (platform.node() or "unknown") or not parts[1].isdigit():
        return False
    return parts[2] != _boot() or parts[3] != _started(int(parts[1]))


def _boot() -> str:
    return _BOOT.read_text().strip()


def _started(pid: int) -> str:
    """Return when a process began, in ticks since the boot; empty if there is none, or it only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]
