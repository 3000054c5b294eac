"""Whether this user can mount at all, found out before anything is started."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from artfs.errors import PermissionDeniedError, UnreachableError

DEVICE = Path("/dev/fuse")


def check_device() -> None:
    """Refuse with what to do about it when this user cannot open ``/dev/fuse``, or fusermount3 is missing."""
    if not DEVICE.exists():
        raise UnreachableError(f"{DEVICE} does not exist: the kernel has no FUSE loaded", hint="as root: modprobe fuse")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        mode = DEVICE.stat().st_mode & 0o777
        raise PermissionDeniedError(
            f"{DEVICE} cannot be opened by uid {os.geteuid()} (its mode is {mode:04o})",
            hint=f"as root: chmod 0666 {DEVICE}, its mode on every system with udev",
        )
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise UnreachableError(
            "fusermount3 is not installed: ordinary users mount with it", hint="install the package fuse3"
        )
