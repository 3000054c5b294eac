"""The plain values that file operations take and return: attributes, directory entries, who asks.

Times are nanoseconds since the epoch, timeouts are seconds, names are bytes as the kernel has them.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import NamedTuple, NewType, Protocol

Inode = NewType("Inode", int)
Handle = NewType("Handle", int)

ROOT = Inode(1)
FOREVER = float(10 * 365 * 86400)
"""The timeout of what never changes: ten years, which every kernel's clock arithmetic can take."""


class Attr(NamedTuple):
    """The attributes of an inode, with the seconds for which the kernel may keep the name and the attributes."""

    ino: Inode
    mode: int
    nlink: int
    size: int
    blocks: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    entry_ttl: float
    attr_ttl: float
    rdev: int = 0


class DirEntry(NamedTuple):
    """One name of a directory. ``next`` is the offset from which a listing goes on after it."""

    name: bytes
    attr: Attr
    next: int


class Opened(NamedTuple):
    """An open file. ``keep_cache``: its pages in the kernel stay valid from open to open. ``direct``: no pages are kept."""

    handle: Handle
    keep_cache: bool
    direct: bool = False


class Negative(NamedTuple):
    """The answer to a lookup of what is not there, and for how many seconds that stays true."""

    ttl: float


@dataclass(frozen=True, slots=True)
class Caller:
    """The process on whose behalf an operation runs."""

    uid: int
    gid: int
    pid: int
    umask: int


@dataclass(frozen=True, slots=True)
class Change:
    """What a setattr asks for: None leaves a field as it is."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns what the mount shows, and which mode bits it never shows."""

    uid: int
    gid: int
    umask: int

    def mode(self, bits: int) -> int:
        """Return mode bits without those of the umask."""
        return bits & ~self.umask


class Notifier(Protocol):
    """Tells the kernel to forget. Calls return at once and never fail: the kernel may know nothing of it."""

    def forget_name(self, parent: Inode, name: bytes) -> None:
        """Drop what the kernel knows of a name."""

    def forget_attr(self, ino: Inode) -> None:
        """Drop the attributes that the kernel keeps of an inode."""


def symlink_attr(ino: Inode, target: str, owner: Owner, mtime_ns: int, ttl: float) -> Attr:
    """Return the attributes of a symlink that artfs makes itself."""
    size = len(os.fsencode(target))
    return Attr(ino, stat.S_IFLNK | 0o777, 1, size, 0, owner.uid, owner.gid, mtime_ns, mtime_ns, mtime_ns, ttl, ttl)


def directory_attr(ino: Inode, bits: int, owner: Owner, mtime_ns: int, entry_ttl: float, attr_ttl: float) -> Attr:
    """Return the attributes of a directory whose subdirectories are not counted (``st_nlink`` 1 says so)."""
    mode = stat.S_IFDIR | owner.mode(bits)
    return Attr(ino, mode, 1, 0, 0, owner.uid, owner.gid, mtime_ns, mtime_ns, mtime_ns, entry_ttl, attr_ttl)


def writes(flags: int) -> bool:
    """Whether a file that is opened with the flags may be changed."""
    return bool(flags & os.O_TRUNC) or flags & os.O_ACCMODE != os.O_RDONLY
