"""Unmount: politely, and by force.

Politely, a mount that is in use stays mounted and the message says who uses it. By force, the connection to the kernel
is cut first, so that no process can hang on it, and the mount point is detached; that works whatever the daemon does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from artfs.app.client import mount_points
from artfs.errors import ArtfsError, BusyError, NotFoundError, PermissionDeniedError, UnreachableError

log = logging.getLogger(__name__)

CONNECTIONS = Path("/sys/fs/fuse/connections")
_DETACH = 2  # MNT_DETACH of umount2(2)
_MAX_USERS = 5
_MOMENT = 1.0  # seconds for which a mount may be busy
_FORCED_WAIT = 5.0  # seconds that a mount process has to end by itself once its connection is cut


def unmount(path: str, *, force: bool = False) -> None:
    """Unmount the artfs mounted at a path, and wait until its process has ended.

    BusyError names who uses it; NotFoundError if nothing of artfs is mounted there.
    """
    mountpoint = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would ask a mount that may be dead
    device = _device(mountpoint)
    if device is None:
        mountpoint = Path(os.path.realpath(path))
        device = _device(mountpoint)
    if device is None:
        raise NotFoundError(f"no artfs is mounted at {path}", hint="findmnt -t fuse.artfs lists the mounts")
    daemon = process_of(mountpoint)
    if force:
        _interrupt(daemon)
        _abort(device, daemon)
        detach(mountpoint)
    elif (stopped := _stopped(mountpoint)) is not None:
        raise BusyError(f"the mount process of {mountpoint} (pid {stopped}) is stopped, and does not answer",
                        hint=f"kill -CONT {stopped} lets it go on, artfs umount --force {mountpoint} ends it")  # fmt: skip
    elif not _umount_when_free(mountpoint):
        users = _users(mountpoint)
        raise BusyError(f"{mountpoint} is in use" + (f" by {', '.join(users)}" if users else ""),
                        hint=f"close it there, or: artfs umount --force {mountpoint}")  # fmt: skip
    if daemon is not None:
        await_end(daemon, _FORCED_WAIT if force else None)


def _umount_when_free(mountpoint: Path) -> bool:
    """Unmount; False if the mount stays busy. A process that asks for a name at that moment makes it busy, too, but not for long."""
    until = time.monotonic() + _MOMENT
    while True:
        last = time.monotonic() > until  # asked before the try: this program may have been held up itself
        if _umount(mountpoint, lazily=False):
            return True
        if last:
            return False
        time.sleep(_MOMENT / 20)


def detach(mountpoint: Path) -> None:
    """Take a mount point out of the tree, now, whoever uses it."""
    if not _umount(mountpoint, lazily=True):
        raise UnreachableError(f"{mountpoint} cannot be detached", hint=f"as root: umount -l {mountpoint}")


def detach_passed(mountpoint: Path | None) -> None:
    """Take away a mount that somebody else has made, where it is to be seen from here and this user may. Never fails."""
    if mountpoint is None or _device(mountpoint) is None:
        return
    try:
        detach(mountpoint)
    except ArtfsError as error:
        log.info("whoever mounted %s has to unmount it: %s", mountpoint, error)


def _device(mountpoint: Path) -> int | None:
    found = [minor for path, minor in mount_points() if path == mountpoint]
    return found[-1] if found else None


def _umount(mountpoint: Path, *, lazily: bool) -> bool:
    """Unmount by system call as root, else by fusermount3, which is allowed to. False if the mount is busy."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(mountpoint), _DETACH if lazily else 0) == 0:
            return True
        number = ctypes.get_errno()
        if number == errno.EBUSY:
            return False
        if number == errno.EINVAL and _device(mountpoint) is None:
            return True  # its process has unmounted it meanwhile
        raise UnreachableError(f"{mountpoint} cannot be unmounted: {os.strerror(number)}")
    command = ["fusermount3", "-u", *(["-z"] if lazily else []), "--", str(mountpoint)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UnreachableError("fusermount3 is not installed", hint="install the package fuse3") from error
    if done.returncode != 0 and _device(mountpoint) is None:
        return True
    if done.returncode != 0 and "busy" not in done.stderr.lower():
        raise PermissionDeniedError(f"{mountpoint} cannot be unmounted: {done.stderr.strip()}")
    return done.returncode == 0


def process_of(mountpoint: Path) -> int | None:
    """Return a descriptor (pidfd) of the process that serves a mount point."""
    pid = daemon_of(mountpoint)
    try:
        return None if pid is None else os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def await_end(daemon: int, timeout: float | None) -> None:
    """Wait until the mount process has ended: until then it finishes commits, and owns its drafts.

    After ``timeout`` seconds it is killed, which loses nothing: commits are journaled, and its drafts are on disk.
    """
    try:
        if not select.select([daemon], [], [], timeout)[0]:
            signal.pidfd_send_signal(daemon, signal.SIGKILL)
            select.select([daemon], [], [], timeout)
    finally:
        os.close(daemon)


def _interrupt(daemon: int | None) -> None:
    """Ask the mount process to end without finishing the commits under way: the next mount resumes them."""
    if daemon is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(daemon, signal.SIGTERM)


def _abort(minor: int, daemon: int | None) -> None:
    """Cut the connection, so that every waiting process gets an error; end the daemon where the kernel lets us not."""
    try:
        (CONNECTIONS / str(minor) / "abort").write_text("1")
    except OSError:
        if daemon is not None:
            signal.pidfd_send_signal(daemon, signal.SIGKILL)  # its end cuts the connection too


def daemon_of(mountpoint: Path) -> int | None:
    """Return the process that serves a mount point, out of the process table: the mount may not answer."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
            ours = directory.stat().st_uid == os.geteuid() or os.geteuid() == 0
        except OSError:
            continue
        if ours and b"artfs.app.daemon" in arguments and os.fsencode(mountpoint) in arguments:
            return int(directory.name)
    return None


def _stopped(mountpoint: Path) -> int | None:
    """Return the process that serves a mount point if a signal has stopped it: an unmount would wait for it."""
    pid = daemon_of(mountpoint)
    try:
        state = "" if pid is None else Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
    return pid if state in {"T", "t"} else None


def _users(mountpoint: Path) -> list[str]:
    """Return the processes that keep a mount busy, as far as this user may look: name and pid."""
    found = []
    inside = f"{mountpoint}/"
    for directory in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            links = [directory / "cwd", directory / "root", directory / "exe", *(directory / "fd").iterdir()]
            targets = [os.readlink(link) for link in links]  # noqa: PTH115 - Path.readlink() would drop ' (deleted)' alike
            mapped = (directory / "maps").read_text(errors="replace")
            name = (directory / "comm").read_text().strip()
        except (OSError, ArtfsError):
            continue
        if inside in mapped or any(target == str(mountpoint) or target.startswith(inside) for target in targets):
            found.append(f"{name} (pid {directory.name})")
        if len(found) == _MAX_USERS:
            break
    return found
