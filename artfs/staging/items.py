"""What lies at a path of a draft, wherever its bytes are."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from artfs.model.entry import Entry

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}


@dataclass(frozen=True, slots=True)
class Item:
    """What lies at a path. ``key`` is its identity; ``entry`` says which bytes it has when they are no local file."""

    path: str
    kind: str  # 'file', 'dir', 'symlink' or 'special'
    key: tuple[object, ...]
    local: bool
    mode: int
    nlink: int
    size: int
    blocks: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    entry: Entry | None = None


def local_item(path: str, found: os.stat_result) -> Item:
    """Return the item that a local file is."""
    return Item(
        path,
        _KINDS.get(stat.S_IFMT(found.st_mode), "special"),
        ("local", found.st_dev, found.st_ino),
        True,
        found.st_mode,
        found.st_nlink,
        found.st_size,
        found.st_blocks,
        found.st_uid,
        found.st_gid,
        found.st_atime_ns,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )
