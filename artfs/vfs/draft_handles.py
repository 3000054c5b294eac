"""The open files and directories of drafts: their bytes, copying up, and what a commit waits for.

Reads that are not in the page cache, writes, syncs and copy-ups run in worker threads, so that no reader waits for a writer. While a
thread works on a draft its gate is held: names in it stand still, and no commit begins.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from artfs.errors import BusyError
from artfs.vfs.inodes import DRAFT_BIT
from artfs.vfs.types import Handle, writes

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.content.pipeline import Pipeline
    from artfs.content.reader import Reader
    from artfs.model.entry import Entry
    from artfs.staging.drafts import Draft
    from artfs.staging.overlay import Overlay
    from artfs.vfs.draft_nodes import DraftNode, DraftNodes

T = TypeVar("T")

MAX_DISK_CALLS = 8
_RELEASE_WAIT = 2.0  # seconds: a close() reaches the daemon after the program has gone on


@dataclass(slots=True, eq=False)
class File:
    """An open file. ``fd`` is -1 while the bytes are those of the base; ``entry`` then says which."""

    node: DraftNode
    flags: int
    fd: int
    entry: Entry | None

    @property
    def writable(self) -> bool:
        """Whether it was opened to be written to."""
        return writes(self.flags)


@dataclass(slots=True, eq=False)
class Directory:
    """An open directory, and the names that its listing goes through."""

    node: DraftNode
    names: list[str]


class DraftHandles:
    """What is open in the drafts of a mount."""

    def __init__(self, nodes: DraftNodes, pipeline: Pipeline, reader: Reader) -> None:
        self._nodes = nodes
        self._pipeline = pipeline
        self._reader = reader
        self._handles: dict[int, File | Directory] = {}
        self._counter = 0
        self._gates: dict[str, trio.Lock] = {}
        self._closed = trio.Event()
        self._limiter = trio.CapacityLimiter(MAX_DISK_CALLS)

    # What is open -----------------------------------------------------------------------------------------------

    def add(self, opened: File | Directory) -> Handle:
        """Give a handle to what was opened."""
        opened.node.handles += 1
        self._counter += 1
        handle = Handle(DRAFT_BIT | self._counter)
        self._handles[handle] = opened
        return handle

    def find(self, handle: Handle | None) -> File | None:
        """Return the open file of a handle, if it is one."""
        found = None if handle is None else self._handles.get(handle)
        return found if isinstance(found, File) else None

    def directory(self, handle: Handle) -> Directory:
        """Return an open directory; NotADirectoryError for a file."""
        found = self._handles[handle]
        if not isinstance(found, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        return found

    def gone(self, draft: Draft) -> None:
        """Let go of a draft that was committed or discarded."""
        self._gates.pop(draft.id, None)

    async def pass_gate(self, draft: Draft) -> bool:
        """Wait until no thread works on a draft; return whether one did."""
        gate = self._gates.get(draft.id)
        if gate is None or not gate.locked():
            return False
        async with gate:
            return True

    def gate(self, draft: Draft) -> trio.Lock:
        """Return what is held while a thread works on a draft: names stand still, and no commit begins."""
        return self._gates.setdefault(draft.id, trio.Lock())

    def files(self, node: DraftNode) -> list[File]:
        """Return the open files of a node."""
        return [file for file in self._handles.values() if file.node is node and isinstance(file, File)]

    async def read(self, handle: Handle, offset: int, size: int) -> bytes | memoryview:
        """Read from an open file."""
        file = self.file(handle)
        if file.fd < 0 and file.entry is not None:
            return await self._pipeline.read(file.entry, offset, size)
        fd = await self.fd(file)
        buffer = bytearray(size)
        try:
            count = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except (BlockingIOError, OSError):
            count = -1
        if count != size:  # not in the page cache, or at the end of the file
            return await self.in_thread(os.pread, fd, size, offset)
        return bytes(buffer)

    async def write(self, handle: Handle, offset: int, data: bytes) -> int:
        """Write all of the data; OSError says how it failed."""
        file = self.file(handle)
        fd = await self.fd(file)
        return await self.in_thread(_pwrite_all, fd, data, offset)

    async def fsync(self, handle: Handle, *, data_only: bool) -> None:
        """Bring an open file to the disk."""
        file = self._handles[handle]
        if isinstance(file, File) and file.fd >= 0:
            await self.in_thread(os.fdatasync if data_only else os.fsync, file.fd)

    async def release(self, handle: Handle) -> None:
        """Close a file or directory."""
        opened = self._handles.pop(handle)
        if isinstance(opened, File) and opened.fd >= 0:
            os.close(opened.fd)
        self._nodes.released(opened.node)
        self._closed.set()
        self._closed = trio.Event()

    def file(self, handle: Handle) -> File:
        """Return an open file; IsADirectoryError for a directory."""
        file = self._handles[handle]
        if not isinstance(file, File):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        return file

    async def fd(self, file: File) -> int:
        """Return the descriptor of a file, making its bytes local if they are not."""
        if file.fd < 0:
            await self.make_local(file.node)
        return file.fd

    async def make_local(self, node: DraftNode, *, empty: bool = False) -> None:
        """Copy a file of the base up, whole or empty; nothing if it is local."""
        tree: Overlay = node.draft.tree
        if not tree.copy_up_needed(path_of(node)):
            return
        async with self.gate(node.draft):
            path = path_of(node)
            item = tree.lookup(path)
            if item is None or item.local:
                return
            entry = item.entry
            data = None if empty or entry is None else self._reader.export(entry)
            await self.in_thread(tree.copy_up, path, data)
            for file in self.files(node):  # from now on its bytes are there, also when it has lost its name
                if file.fd < 0:
                    file.fd = tree.open(path, open_flags(file.flags & ~os.O_TRUNC))
            for parent_ino, name in list(node.names):
                found = tree.lookup(path)
                if found is not None:
                    self._nodes.at(self._nodes.get(parent_ino), found, name)

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Do something that waits for the disk."""
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)

    # Freezing ---------------------------------------------------------------------------------------------------

    async def settle(self, draft: Draft) -> None:
        """Wait until no file of a draft is open for writing; BusyError naming them after a moment.

        The kernel reports a close() late and without waiting, so a program that closes and then commits is given a moment.
        """
        gate = self.gate(draft)
        with trio.move_on_after(_RELEASE_WAIT):
            while True:
                if gate.locked():
                    async with gate:
                        pass
                elif self._written(draft):
                    await self._closed.wait()
                else:
                    return
        names = self._written(draft)
        shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
        what = f"has files open for writing: {shown}" if names else "is still being written to"
        raise BusyError(f"draft {draft.name!r} {what}", hint="close them and try again" if names else "try again")

    def _written(self, draft: Draft) -> set[str]:
        return {
            file.node.path or "(a removed file)"
            for file in self._handles.values()
            if isinstance(file, File) and file.writable and file.node.draft is draft
        }


def path_of(node: DraftNode) -> str:
    """Return the path of a node in its draft; FileNotFoundError if it was unlinked."""
    path = node.path
    if path is None:
        raise FileNotFoundError(errno.ENOENT, "the file was removed")
    return path


def open_flags(flags: int) -> int:
    """Return the flags to open the local file with: O_APPEND is the kernel's business, O_TRUNC is left to us."""
    return flags & (os.O_ACCMODE | os.O_TRUNC) | os.O_CLOEXEC | os.O_NOFOLLOW


def _pwrite_all(fd: int, data: bytes, offset: int) -> int:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count
    return len(data)
