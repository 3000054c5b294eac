"""The FUSE session of this process: mount, serve until it ends, unmount. pyfuse3 keeps one for each process.

The mount answers when `serve` calls ``ready``: a worker thread has asked it something by then. `Kernel` is the one place that
invalidates what the kernel remembers, from a thread of its own, because a handler that waited for it could deadlock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pyfuse3
import trio

from artfs.errors import PermissionDeniedError, UnreachableError
from artfs.fuse.device import has_name, may_mount
from artfs.fuse.operations import Operations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from artfs.fuse.measures import Measures
    from artfs.fuse.options import MountOptions
    from artfs.vfs.filesystem import FileSystem
    from artfs.vfs.types import Inode

log = logging.getLogger(__name__)

MAX_TASKS = 512
"""Requests served at once: cold reads wait in them, and must leave room for `ls`."""

READ_AHEAD_KIB = 1024


class Kernel:
    """The vfs ``Notifier``: tells the kernel to forget, in order, from one thread."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="artfs-invalidate", daemon=True)
        self._started = False

    def start(self) -> None:
        """Begin to pass on what was asked; the session exists."""
        self._started = True
        self._thread.start()

    def stop(self) -> None:
        """End after what was asked so far. The thread is not waited for: an aborted mount may never answer it."""
        self._queue.put(None)

    def forget_name(self, parent: Inode, name: bytes) -> None:
        """Drop what the kernel knows of a name."""
        if self._started:
            inode, text = pyfuse3.InodeT(parent), pyfuse3.FileNameT(name)
            self._queue.put(lambda: pyfuse3.invalidate_entry(inode, text))

    def forget_attr(self, ino: Inode) -> None:
        """Drop the attributes that the kernel keeps of an inode."""
        if self._started:
            inode = pyfuse3.InodeT(ino)
            self._queue.put(lambda: pyfuse3.invalidate_inode(inode, attr_only=True))

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            with contextlib.suppress(OSError):  # the kernel did not know it, or the mount is gone
                call()


@contextlib.asynccontextmanager
async def mounted(
    filesystem: FileSystem, mountpoint: Path, options: MountOptions, measures: Measures | None = None
) -> AsyncIterator[trio.Event]:
    """Attach the mount point; nothing answers there until `serve` runs. Detaches it at the end. ``measures`` counts what is asked.

    A mount point ``/dev/fd/N`` is one that somebody else has attached, and will detach. The event is set when the kernel has said hello.
    """
    operations, greeted = Operations(filesystem, measures), trio.Event()
    operations.init = greeted.set  # type: ignore[method-assign]  # pyfuse3 calls it at the first request
    try:
        pyfuse3.init(operations, str(mountpoint), options.for_libfuse())
    except RuntimeError as error:
        kind = PermissionDeniedError if _lacks_user_allow_other(options) else UnreachableError
        raise kind(f"mounting {mountpoint} failed: {error}", hint=_why(options)) from error
    try:
        yield greeted
    finally:
        pyfuse3.close(unmount=True)


def _lacks_user_allow_other(options: MountOptions) -> bool:
    if not options.allow_other or os.geteuid() == 0:
        return False
    try:
        lines = Path("/etc/fuse.conf").read_text(errors="replace").splitlines()
    except OSError:
        return True
    return not any(line.strip() == "user_allow_other" for line in lines)


def _why(options: MountOptions) -> str:
    if _lacks_user_allow_other(options):
        return "allow_other needs the line 'user_allow_other' in /etc/fuse.conf"
    if os.geteuid() == 0 and not may_mount():
        return (
            "root may not mount here: start the container with --cap-add SYS_ADMIN; docs/containers.md has ways without"
        )
    if os.geteuid() != 0 and not has_name(os.getuid()):
        return (
            f"fusermount3 mounts for users with a name only, and user id {os.getuid()} has none: it needs a line in /etc/passwd,"
            " which a container started with --user NUMBER does not have"
        )
    if os.geteuid() != 0:
        return "mounting as an ordinary user needs fusermount3 (package fuse3) and a directory of your own"
    return "see the messages above"


async def serve(mountpoint: Path | None, greeted: trio.Event, ready: Callable[[], None]) -> None:
    """Answer requests until the mount is unmounted or `stop_serving` is called. ``ready`` is called when it answers.

    That is when the kernel has said hello, where the mount point is not to be seen from here (None).
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_announce, mountpoint, greeted, ready)
        await pyfuse3.main(min_tasks=4, max_tasks=MAX_TASKS)
        nursery.cancel_scope.cancel()


def stop_serving() -> None:
    """Make `serve` return."""
    pyfuse3.terminate()


async def _announce(mountpoint: Path | None, greeted: trio.Event, ready: Callable[[], None]) -> None:
    if mountpoint is None:
        await greeted.wait()
        ready()
        return
    try:
        device = await trio.to_thread.run_sync(lambda: mountpoint.stat().st_dev, abandon_on_cancel=True)
    except OSError as error:
        raise UnreachableError(f"{mountpoint} does not answer: {error}") from error
    _raise_read_ahead(device)
    ready()


def _raise_read_ahead(device: int) -> None:
    """Let the kernel ask for a block at a time instead of an eighth of one, where it lets us (root)."""
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    with contextlib.suppress(OSError):
        setting.write_text(str(READ_AHEAD_KIB))
