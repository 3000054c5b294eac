"""The locks of drafts: who holds one owns the draft, until it lets go or its process ends, however it ends.

A lock is a flock, which a process shares with the children that it forks: a data loader that outlives its parent would go on owning
the parent's drafts. So a forked child closes its copies of the descriptors at once. It does not unlock, which would unlock for the
parent, too.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "lock"


class DraftLock:
    """A lock that this process holds."""

    __slots__ = ("__weakref__", "_descriptor")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(self)

    @property
    def is_held(self) -> bool:
        """Whether the lock was not released yet; never in a forked child."""
        return self._descriptor >= 0

    def release(self) -> None:
        """Let go of the lock, once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_held: weakref.WeakSet[DraftLock] = weakref.WeakSet()


def _forked() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forked)


def take(directory: Path) -> DraftLock | None:
    """Return the lock of the draft in a directory; None if somebody else holds it, or the draft is gone."""
    try:
        descriptor = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    lock = DraftLock(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.release()
        if isinstance(error, BlockingIOError):
            return None
        raise
    if not directory.exists():  # discarded between the two
        lock.release()
        return None
    return lock


def is_owned(directory: Path) -> bool:
    """Whether somebody owns the draft in a directory."""
    lock = take(directory)
    if lock is not None:
        lock.release()
    return lock is None and directory.exists()
