"""Whether this user can mount at all, found out before anything is started; and mounts that somebody else has made.

Whoever may mount can do so for a process that may not: it opens ``/dev/fuse``, mounts with ``fd=N``, and starts the process
with that descriptor and the mount point ``/dev/fd/N``, as mount.fuse3(8) does for ``drop_privileges``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import re
import select
import shutil
import stat
from pathlib import Path

from artfs.errors import InvalidInputError, PermissionDeniedError, UnreachableError

DEVICE = Path("/dev/fuse")
_NUMBER = os.makedev(10, 229)  # of /dev/fuse, on every Linux
_CAP_SYS_ADMIN = 21
_PASSED = re.compile(r"/dev/fd/(\d{1,9})")


def check_device() -> None:
    """Refuse with what to do about it when this user cannot open ``/dev/fuse``, or fusermount3 is missing."""
    if not DEVICE.exists():
        raise UnreachableError(
            f"{DEVICE} does not exist: the kernel has no FUSE loaded, or this is a container without it",
            hint="as root: modprobe fuse; for a container: --device /dev/fuse",
        )
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        raise _why_not(error) from error
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise UnreachableError(
            "fusermount3 is not installed: ordinary users mount with it", hint="install the package fuse3"
        )


def _why_not(error: OSError) -> PermissionDeniedError | UnreachableError:
    if error.errno == errno.EACCES:
        mode = DEVICE.stat().st_mode & 0o777
        return PermissionDeniedError(
            f"{DEVICE} cannot be opened by uid {os.geteuid()} (its mode is {mode:04o})",
            hint=f"as root: chmod 0666 {DEVICE}, its mode on every system with udev",
        )
    if error.errno == errno.EPERM:
        return PermissionDeniedError(
            f"{DEVICE} may not be opened in this container or unit, whoever asks",
            hint="start it with --device /dev/fuse, or DeviceAllow=/dev/fuse rw; docs/containers.md has ways without",
        )
    return UnreachableError(f"{DEVICE} cannot be opened: {error.strerror}", hint="as root: modprobe fuse")


def passed_device(mountpoint: str) -> int | None:
    """Return the descriptor that ``/dev/fd/N`` names; None for a mount point that is a directory."""
    match = _PASSED.fullmatch(mountpoint)
    return int(match[1]) if match else None


def check_passed(descriptor: int) -> None:
    """Refuse what cannot be a mounted ``/dev/fuse``: InvalidInputError."""
    hint = "whoever mounts opens /dev/fuse, mounts with fd=N, and passes the descriptor on (docs/containers.md)"
    try:
        found, flags = os.fstat(descriptor), fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except OSError as error:
        raise InvalidInputError(f"/dev/fd/{descriptor}: {error.strerror}", hint=hint) from error
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _NUMBER or flags & os.O_ACCMODE != os.O_RDWR:
        raise InvalidInputError(f"/dev/fd/{descriptor} is not {DEVICE}, open for reading and writing", hint=hint)
    poll = select.poll()
    poll.register(descriptor)
    if any(events & select.POLLERR for _, events in poll.poll(0)):
        raise InvalidInputError(f"nothing is mounted with /dev/fd/{descriptor}, or not any more", hint=hint)


def connection_of(descriptor: int) -> int | None:
    """Return the device minor of what is mounted with a descriptor, where the kernel says it (since Linux 6.5)."""
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    match = re.search(r"^fuse_connection:\s*(\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else None


def may_mount() -> bool:
    """Whether this process has the capability to mount (CAP_SYS_ADMIN)."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return match is None or bool(int(match[1], 16) & 1 << _CAP_SYS_ADMIN)


def has_name(uid: int) -> bool:
    """Whether a user has a name in the user database: fusermount3 mounts for nobody else."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
