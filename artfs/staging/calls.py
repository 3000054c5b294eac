"""System calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


def process_umask() -> int:
    """Return the umask of this process without changing it."""
    with Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o777


def exchange_names(first: str, second: str) -> None:
    """Swap two names, atomically. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(first), -100, os.fsencode(second), 2) != 0:  # AT_FDCWD, RENAME_EXCHANGE
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), second)
