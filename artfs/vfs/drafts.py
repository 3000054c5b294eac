"""File operations in drafts: an ordinary POSIX tree, passed through to the overlay's local files.

Operations on names run on the event loop: they are a system call or two on local disk. The bytes of open files are those of
`artfs.vfs.draft_handles`. All changes come through this mount, so the kernel may keep what it is told.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from artfs.errors import ReadOnlyError
from artfs.model.paths import join, split
from artfs.vfs.draft_handles import Directory, DraftHandles, File, open_flags, path_of
from artfs.vfs.draft_nodes import DraftNode, DraftNodes
from artfs.vfs.types import Attr, DirEntry, Handle, Inode, Opened, Owner, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.content.pipeline import Pipeline
    from artfs.content.reader import Reader
    from artfs.staging.drafts import Draft
    from artfs.staging.items import Item
    from artfs.vfs.types import Change

KEEP = 3600.0
"""For how long (seconds) the kernel keeps names and attributes of a draft."""

_BIG = 64 << 20  # bytes: a file that the disk takes a while to remove


class DraftTree:
    """The operations of the mount inside drafts. POSIX failures leave as plain OSError."""

    def __init__(
        self,
        pipeline: Pipeline,
        reader: Reader,
        is_frozen: Callable[[Draft], bool],
        parent_of: Callable[[Draft], Inode],
        owner: Owner,
    ) -> None:
        self._is_frozen = is_frozen
        self._parent_of = parent_of
        self._owner = owner
        self._euid = os.geteuid()
        self._roots_seen: dict[str, Item] = {}
        self._nodes = DraftNodes()
        self.handles = DraftHandles(self._nodes, pipeline, reader)

    # Nodes ------------------------------------------------------------------------------------------------------

    def root_attr(self, draft: Draft) -> Attr:
        """Return the attributes of a draft's root directory, counting a lookup of the kernel."""
        node = self._nodes.root(draft)
        item = draft.tree.lookup("")
        if item is None and self._is_frozen(draft):
            # Its last step removes the files, and it is listed until the version shows: a listing must not lose it before.
            item = self._roots_seen.get(draft.id)
        if item is None:
            raise FileNotFoundError(errno.ENOENT, "the draft is gone")
        self._roots_seen[draft.id] = item
        return self._attr(node, item)

    def draft_of_root(self, ino: Inode) -> Draft | None:
        """Return the draft whose root an inode is."""
        node = self._nodes.get(ino)
        return node.draft if node.is_root else None

    def above(self, ino: Inode) -> Iterator[Inode]:
        """Yield the directories of the draft that an inode lies in, from the inside to the outside."""
        node = self._nodes.get(ino)
        while node.names:
            node = next(iter(node.names.values()))
            yield node.ino

    def gone(self, draft: Draft) -> None:
        """Let go of a draft that was committed or discarded."""
        self._nodes.drop_root(draft)
        self._roots_seen.pop(draft.id, None)
        self.handles.gone(draft)

    def remember(self, ino: Inode) -> None:
        """Count a lookup: the kernel was told of the inode."""
        self._nodes.get(ino).lookups += 1

    def forget(self, ino: Inode, lookups: int) -> None:
        """Take lookups back."""
        self._nodes.forget(ino, lookups)

    def _attr(self, node: DraftNode, item: Item) -> Attr:
        owner = self._owner
        ours = not item.local or item.uid == self._euid
        uid, gid = (owner.uid, owner.gid) if ours else (item.uid, item.gid)
        return Attr(node.ino, item.mode & ~owner.umask, item.nlink, item.size, item.blocks, uid, gid, item.atime_ns,
                    item.mtime_ns, item.ctime_ns, KEEP, KEEP)  # fmt: skip

    def _item(self, node: DraftNode) -> Item:
        path = path_of(node)
        item = node.draft.tree.lookup(path)
        if item is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such file in the draft", path)
        return item

    def _told(self, parent: DraftNode, name: str) -> Attr:
        """Return the attributes of what lies under a name, which exists."""
        item = parent.draft.tree.lookup(join(path_of(parent), name))
        if item is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such file in the draft", name)
        return self._attr(self._nodes.at(parent, item, name), item)

    # Looking ----------------------------------------------------------------------------------------------------

    async def lookup(self, parent: Inode, name: str) -> Attr:
        """Look a name up; the caller counts the lookup with `remember`."""
        return self._told(self._nodes.get(parent), name)

    async def getattr(self, ino: Inode) -> Attr:
        """Return the attributes of an inode, of an open file even if it was unlinked."""
        node = self._nodes.get(ino)
        if node.path is None:
            return self._unlinked_attr(node)
        return self._attr(node, self._item(node))

    def _unlinked_attr(self, node: DraftNode) -> Attr:
        for file in self.handles.files(node):
            if file.fd >= 0:
                found = os.fstat(file.fd)
                return Attr(node.ino, found.st_mode & ~self._owner.umask, found.st_nlink, found.st_size, found.st_blocks,
                            self._owner.uid, self._owner.gid, found.st_atime_ns, found.st_mtime_ns,
                            found.st_ctime_ns, 0.0, 0.0)  # fmt: skip
            if file.entry is not None:
                size = file.entry.size
                return Attr(node.ino, stat.S_IFREG | self._owner.mode(0o644), 0, size, (size + 511) >> 9, self._owner.uid,
                            self._owner.gid, 0, 0, 0, 0.0, 0.0)  # fmt: skip
        raise FileNotFoundError(errno.ENOENT, "the file was removed")

    async def opendir(self, ino: Inode) -> Handle:
        """Open a directory for listing."""
        node = self._nodes.get(ino)
        return self.handles.add(Directory(node, []))

    async def readdir(self, handle: Handle, offset: int) -> Iterator[DirEntry]:
        """Iterate over the entries from an offset on. The names are those at the time of the first call."""
        directory = self.handles.directory(handle)
        if offset == 0:
            path = path_of(directory.node)
            directory.names = [split(item.path)[1] for item in directory.node.draft.tree.children(path)]
        return self._entries(directory.node, directory.names, offset)

    def _entries(self, node: DraftNode, names: list[str], offset: int) -> Iterator[DirEntry]:
        """Make the entries one by one: a node is made only for what the kernel takes."""
        path = path_of(node)
        if offset < 2:
            own = self._attr(node, self._item(node))
            up = next(iter(node.names.values())).ino if node.names else self._parent_of(node.draft)
            yield from [DirEntry(b".", own, 1), DirEntry(b"..", own._replace(ino=up), 2)][offset:]
        for place, name in enumerate(names[max(offset - 2, 0) :], max(offset, 2) + 1):
            item = node.draft.tree.lookup(join(path, name))
            if item is not None:  # else removed since the listing began
                found = self._nodes.at(node, item, name)
                try:
                    yield DirEntry(os.fsencode(name), self._attr(found, item), place)
                finally:
                    self._nodes.drop_unused(found)  # it did not fit into the answer

    async def readlink(self, ino: Inode) -> str:
        """Return the target of a symlink."""
        node = self._nodes.get(ino)
        return node.draft.tree.readlink(path_of(node))

    # Names ------------------------------------------------------------------------------------------------------

    async def mkdir(self, parent: Inode, name: str, mode: int) -> Attr:
        """Make a directory."""
        node, path = await self._changing(parent, name)
        node.draft.tree.mkdir(path, mode)
        return self._told(node, name)

    async def mknod(self, parent: Inode, name: str, mode: int) -> Attr:
        """Make a regular file, a fifo or a socket; devices are refused by the system or by the commit."""
        node, path = await self._changing(parent, name)
        node.draft.tree.mknod(path, mode)
        return self._told(node, name)

    async def symlink(self, parent: Inode, name: str, target: str) -> Attr:
        """Make a symlink."""
        node, path = await self._changing(parent, name)
        node.draft.tree.symlink(path, target)
        return self._told(node, name)

    async def link(self, ino: Inode, parent: Inode, name: str) -> Attr:
        """Make a hard link; a file of the base is copied up first."""
        node = self._nodes.get(ino)
        if node.draft is not self._nodes.get(parent).draft:
            raise OSError(errno.EXDEV, "hard links do not leave a draft")
        self._require_open(node.draft)
        await self.handles.make_local(node)
        new_parent, path = await self._changing(parent, name)
        node.draft.tree.link(path_of(node), path)
        return self._told(new_parent, name)

    async def unlink(self, parent: Inode, name: str) -> None:
        """Remove a file."""
        await self._keep_written(parent, name)
        node, path = await self._changing(parent, name)
        tree = node.draft.tree
        item = tree.lookup(path)
        if item is not None and item.size > _BIG:
            async with self.handles.gate(node.draft):
                self._require_open(node.draft)
                await self.handles.in_thread(tree.unlink, join(path_of(node), name))
        else:
            tree.unlink(path)
        self._nodes.unname(node, name, gone=item is None or item.nlink <= 1)

    async def rmdir(self, parent: Inode, name: str) -> None:
        """Remove an empty directory."""
        node, path = await self._changing(parent, name)
        node.draft.tree.rmdir(path)
        self._nodes.unname(node, name, gone=True)

    async def rename(
        self, parent: Inode, name: str, new_parent: Inode, new_name: str, *, replace: bool, exchange: bool
    ) -> None:
        """Rename inside a draft."""
        node = self._nodes.get(parent)
        if node.draft is not self._nodes.get(new_parent).draft:
            raise OSError(errno.EXDEV, "files are copied, not moved, from one draft to another")
        if not exchange:
            await self._keep_written(new_parent, new_name)
        new_node, new_path = await self._changing(new_parent, new_name)
        path = join(path_of(node), name)
        tree = node.draft.tree
        replaced, source = tree.lookup(new_path), tree.lookup(path)
        tree.rename(path, new_path, replace=replace, exchange=exchange)
        if exchange:
            self._nodes.exchange(node, name, new_node, new_name)
        elif (
            replaced is None or source is None or replaced.key != source.key
        ):  # else two names of one file: nothing happened
            if replaced is not None:
                self._nodes.unname(new_node, new_name, gone=replaced.nlink <= 1 or replaced.kind == "dir")
            self._nodes.rename(node, name, new_node, new_name)

    async def _changing(self, parent: Inode, name: str) -> tuple[DraftNode, str]:
        """Return the directory and the path of a name that is about to change, when it may."""
        node = self._nodes.get(parent)
        self._require_open(node.draft)
        if await self.handles.pass_gate(node.draft):
            self._require_open(node.draft)  # a commit may have begun
        return node, join(path_of(node), name)

    async def _keep_written(self, parent: Inode, name: str) -> None:
        """Copy a file of the base up whose name is about to go, if somebody has it open who may still write to it."""
        node = self._nodes.known(self._nodes.get(parent), name)
        if node is not None and any(file.writable and file.fd < 0 for file in self.handles.files(node)):
            await self.handles.make_local(node)

    def _require_open(self, draft: Draft) -> None:
        if draft.is_gone:  # a directory of it is still somebody's working directory
            raise FileNotFoundError(errno.ENOENT, "the draft was committed or removed")
        if self._is_frozen(draft):
            raise ReadOnlyError(f"draft {draft.name!r} of {draft.collection} is being committed")

    # Attributes -------------------------------------------------------------------------------------------------

    async def setattr(self, ino: Inode, change: Change, handle: Handle | None) -> Attr:
        """Change mode, owner, size or times."""
        node = self._nodes.get(ino)
        self._require_open(node.draft)
        file = self.handles.find(handle)
        if change.size is not None:
            await self._truncate(node, change.size, file)
        if node.path is not None:
            await self._set_named(node, change)
        return await self.getattr(ino)

    async def _set_named(self, node: DraftNode, change: Change) -> None:
        tree = node.draft.tree
        if change.mode is not None or change.uid is not None or change.gid is not None or change.mtime_ns is not None:
            await self.handles.make_local(node)
        elif change.atime_ns is not None and tree.copy_up_needed(path_of(node)):
            return  # reading times of base files are not kept
        path = path_of(node)
        if change.mode is not None:
            tree.chmod(path, stat.S_IMODE(change.mode))
        if change.uid is not None or change.gid is not None:
            tree.chown(path, self._real(change.uid, self._owner.uid), self._real(change.gid, self._owner.gid))
        if change.atime_ns is not None or change.mtime_ns is not None:
            item = self._item(node)
            atime = item.atime_ns if change.atime_ns is None else change.atime_ns
            tree.utimens(path, atime, item.mtime_ns if change.mtime_ns is None else change.mtime_ns)

    @staticmethod
    def _real(shown: int | None, owner: int) -> int:
        """Return the id to give to chown: the owner that the mount shows is the one that the files have."""
        return -1 if shown is None or shown == owner else shown

    async def _truncate(self, node: DraftNode, size: int, file: File | None) -> None:
        if node.path is not None:
            await self.handles.make_local(node, empty=size == 0)
        if file is not None and file.writable:
            await self.handles.in_thread(os.ftruncate, await self.handles.fd(file), size)
        else:
            async with self.handles.gate(node.draft):
                self._require_open(node.draft)
                await self.handles.in_thread(node.draft.tree.truncate, path_of(node), size)

    # Bytes ------------------------------------------------------------------------------------------------------

    async def create(self, parent: Inode, name: str, flags: int, mode: int) -> tuple[Opened, Attr]:
        """Make and open a file."""
        node, path = await self._changing(parent, name)
        existing = node.draft.tree.lookup(path)
        if existing is not None and flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, "the file is there already", path)
        if existing is not None:
            attr = self._told(node, name)
            try:
                return await self.open(attr.ino, flags), attr
            except BaseException:
                self._nodes.drop_unused(self._nodes.get(attr.ino))
                raise
        fd = node.draft.tree.create(path, open_flags(flags) | os.O_CREAT | os.O_EXCL, mode)
        try:
            attr = self._told(node, name)
        except BaseException:
            os.close(fd)
            raise
        return Opened(self.handles.add(File(self._nodes.get(attr.ino), flags, fd, None)), keep_cache=True), attr

    async def open(self, ino: Inode, flags: int) -> Opened:
        """Open a file. One of the base is copied up when it is first written to, not before."""
        node = self._nodes.get(ino)
        if writes(flags):
            self._require_open(node.draft)
        item = self._item(node)
        if item.kind == "dir":
            raise IsADirectoryError(errno.EISDIR, "is a directory", item.path)
        if item.kind == "special":  # a kernel opens it itself; here it could wait for ever, and the mount with it
            raise OSError(errno.ENXIO, "is a device, a socket or a fifo", item.path)
        if flags & os.O_TRUNC and not item.local:
            await self.handles.make_local(node, empty=True)
            item = self._item(node)
        fd = node.draft.tree.open(item.path, open_flags(flags)) if item.local else -1
        file = File(node, flags, fd, None if item.local else item.entry)
        return Opened(self.handles.add(file), keep_cache=True)
