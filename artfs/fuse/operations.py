"""Every FUSE operation: decode the request, call the vfs, encode its answer. Nothing is decided here.

Lookups are counted where the kernel counts them: one for each entry that an answer carries, but for ``.`` and ``..``.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

import pyfuse3

from artfs.fuse.errnos import boundary
from artfs.fuse.measures import Measures
from artfs.vfs.types import Attr, Caller, Change, Handle, Inode, Negative, Opened
from artfs.vfs.xattrs import attribute_name, encode_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyfuse3 import (
        FileHandleT,
        FileNameT,
        FlagT,
        InodeT,
        ModeT,
        ReaddirToken,
        RequestContext,
        SetattrFields,
        XAttrNameT,
    )

    from artfs.vfs.filesystem import FileSystem


log = logging.getLogger(__name__)


def _entry(attr: Attr) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    (
        entry.st_ino,
        entry.st_mode,
        entry.st_nlink,
        entry.st_size,
        entry.st_blocks,
        entry.st_uid,
        entry.st_gid,
        entry.st_atime_ns,
        entry.st_mtime_ns,
        entry.st_ctime_ns,
        entry.entry_timeout,
        entry.attr_timeout,
        entry.st_rdev,
    ) = attr
    entry.st_blksize = 1 << 20
    return entry


def _negative(ttl: float) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(0)
    entry.entry_timeout = ttl
    return entry


def _caller(ctx: RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid, ctx.pid, ctx.umask)


def _file_info(opened: Opened) -> pyfuse3.FileInfo:
    return pyfuse3.FileInfo(
        fh=pyfuse3.FileHandleT(opened.handle),
        keep_cache=opened.keep_cache and not opened.direct,
        direct_io=opened.direct,
    )


class Operations(pyfuse3.Operations):
    """The handlers of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, filesystem: FileSystem, measures: Measures | None = None) -> None:
        super().__init__()
        self._fs = filesystem
        self.measures = Measures() if measures is None else measures

    def _told(self, attr: Attr) -> pyfuse3.EntryAttributes:
        self._fs.remember(attr.ino)
        return _entry(attr)

    @boundary
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        found = await self._fs.lookup(Inode(parent_inode), name, _caller(ctx))
        return _negative(found.ttl) if isinstance(found, Negative) else self._told(found)

    @boundary
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        return _entry(await self._fs.getattr(Inode(inode)))

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, lookups in inode_list:
            try:
                self._fs.forget(Inode(inode), lookups)
            except Exception:  # there is nobody to answer, and nothing may leave
                log.exception("unexpected error in forget of inode %d", inode)

    @boundary
    async def setattr(
        self,
        inode: InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> pyfuse3.EntryAttributes:
        change = Change(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        return _entry(await self._fs.setattr(Inode(inode), change, None if fh is None else Handle(fh), _caller(ctx)))

    @boundary
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return pyfuse3.FileNameT(os.fsencode(await self._fs.readlink(Inode(inode))))

    @boundary
    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        await self._fs.access(Inode(inode), mode, _caller(ctx))
        return True

    # Directories ------------------------------------------------------------------------------------------------

    @boundary
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        return pyfuse3.FileHandleT(await self._fs.opendir(Inode(inode), _caller(ctx)))

    @boundary
    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        reply, remember = pyfuse3.readdir_reply, self._fs.remember
        for name, attr, next_offset in await self._fs.readdir(Handle(fh), start_id):
            if not reply(token, name, _entry(attr), next_offset):
                return
            if name not in {b".", b".."}:
                remember(attr.ino)

    @boundary
    async def releasedir(self, fh: FileHandleT) -> None:
        await self._fs.releasedir(Handle(fh))

    @boundary
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        await self._fs.fsync(Handle(fh), data_only=datasync)

    @boundary
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._told(await self._fs.mkdir(Inode(parent_inode), name, mode, _caller(ctx)))

    @boundary
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._fs.rmdir(Inode(parent_inode), name, _caller(ctx))

    # Names ------------------------------------------------------------------------------------------------------

    @boundary
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._fs.unlink(Inode(parent_inode), name, _caller(ctx))

    @boundary
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._told(await self._fs.symlink(Inode(parent_inode), name, target, _caller(ctx)))

    @boundary
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._told(await self._fs.link(Inode(inode), Inode(new_parent_inode), new_name, _caller(ctx)))

    @boundary
    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._told(await self._fs.mknod(Inode(parent_inode), name, mode, _caller(ctx)))

    @boundary
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        await self._fs.rename(
            Inode(parent_inode_old),
            name_old,
            Inode(parent_inode_new),
            name_new,
            _caller(ctx),
            replace=not flags & pyfuse3.RENAME_NOREPLACE,
            exchange=bool(flags & pyfuse3.RENAME_EXCHANGE),
        )

    # Files ------------------------------------------------------------------------------------------------------

    @boundary
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo:
        return _file_info(await self._fs.open(Inode(inode), flags, _caller(ctx)))

    @boundary
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        opened, attr = await self._fs.create(Inode(parent_inode), name, flags, mode, _caller(ctx))
        return _file_info(opened), self._told(attr)

    @boundary
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        data = await self._fs.read(Handle(fh), off, size)
        self.measures.read_bytes += len(data)
        return data  # type: ignore[return-value]  # any buffer is taken

    @boundary
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        written = await self._fs.write(Handle(fh), off, buf)
        self.measures.written_bytes += written
        return written

    async def flush(self, fh: FileHandleT) -> None:
        # On purpose: writes are passed on at once, so a close has nothing to do, and the kernel stops asking.
        raise pyfuse3.FUSEError(errno.ENOSYS)

    @boundary
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        await self._fs.fsync(Handle(fh), data_only=datasync)

    @boundary
    async def release(self, fh: FileHandleT) -> None:
        await self._fs.release(Handle(fh))

    @boundary
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        found, answer = self._fs.statvfs(), pyfuse3.StatvfsData()
        for name in (
            "f_bsize",
            "f_frsize",
            "f_blocks",
            "f_bfree",
            "f_bavail",
            "f_files",
            "f_ffree",
            "f_favail",
            "f_namemax",
        ):
            setattr(answer, name, getattr(found, name))
        return answer

    # Extended attributes ----------------------------------------------------------------------------------------

    @boundary
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        key = attribute_name(name)
        values = await self._fs.xattrs(Inode(inode))
        if key not in values:
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        return values[key]

    @boundary
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        return [pyfuse3.XAttrNameT(name) for name in encode_names(await self._fs.xattrs(Inode(inode)))]

    @boundary
    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        await self._fs.set_xattr(Inode(inode), name, value, _caller(ctx))

    @boundary
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        if attribute_name(name) not in await self._fs.xattrs(Inode(inode)):
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        await self._fs.set_xattr(Inode(inode), name, None, _caller(ctx))
