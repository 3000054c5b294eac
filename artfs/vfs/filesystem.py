"""The mount as a whole: one method for each file operation, handed to the part that owns the inode.

Three parts own inodes: `Namespace` the upper levels, `Versions` the committed trees, `DraftTree` the drafts. What
crosses from one to another is decided here: a name in ``.staging/`` or ``.commit/``, and the rename that starts a
commit. Also here: ``-o ro``, what another user may do under ``allow_other``, and whose opens and commits are lineage.
Methods take and return plain values; errors are `ArtfsError` or `OSError`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from artfs.errors import BusyError, ExistsError, NotEmptyError, NotFoundError, PermissionDeniedError, ReadOnlyError
from artfs.model.names import parse_alias, parse_draft
from artfs.staging.journal import Journal
from artfs.vfs import xattrs
from artfs.vfs.inodes import DRAFT_BIT, SLOT_BITS
from artfs.vfs.namespace import Kind
from artfs.vfs.types import ROOT, Attr, Caller, DirEntry, Handle, Inode, Negative, Opened, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from artfs.content.pipeline import Pipeline
    from artfs.registry.port import Registry
    from artfs.staging.drafts import Draft
    from artfs.vfs.catalog import Catalog
    from artfs.vfs.commits import Commits
    from artfs.vfs.drafts import DraftTree
    from artfs.vfs.lineage import Lineage
    from artfs.vfs.namespace import Namespace, Node
    from artfs.vfs.types import Change, Owner
    from artfs.vfs.versions import Versions

_STAGING_PLACES = {Kind.STAGING, Kind.COMMIT}


class FileSystem:
    """Every operation of the mount."""

    def __init__(
        self,
        namespace: Namespace,
        versions: Versions,
        drafts: DraftTree,
        commits: Commits,
        catalog: Catalog,
        registry: Registry,
        pipeline: Pipeline,
        lineage: Lineage,
        statvfs: Callable[[], os.statvfs_result],
        owner: Owner,
        about: Mapping[str, bytes],
        *,
        read_only: bool,
        shared: bool,
    ) -> None:
        self._namespace = namespace
        self._versions = versions
        self._drafts = drafts
        self._commits = commits
        self._catalog = catalog
        self._registry = registry
        self._pipeline = pipeline
        self._lineage = lineage
        self.statvfs = statvfs
        self._about = about
        self._read_only = read_only
        self._shared = shared
        self._writers = {0, os.geteuid(), owner.uid}

    # Names and attributes ---------------------------------------------------------------------------------------

    async def lookup(self, parent: Inode, name: bytes, caller: Caller) -> Attr | Negative:
        """Look a name up. For a draft, the caller reports with `remember` that the kernel was told."""
        if self._shared:
            await self._check(parent, caller, os.X_OK)
        if parent & DRAFT_BIT:
            return await self._drafts.lookup(parent, os.fsdecode(name))
        if parent >> SLOT_BITS:
            return await self._versions.lookup(parent, name)
        node = self._namespace.node(parent)
        if node.kind in _STAGING_PLACES:
            for found, draft in self._staged(parent):
                if found == os.fsdecode(name):
                    return self._drafts.root_attr(draft)
            raise NotFoundError(f"there is no {os.fsdecode(name)!r} here")
        return await self._namespace.lookup(parent, os.fsdecode(name))

    async def getattr(self, ino: Inode) -> Attr:
        """Return the attributes of an inode."""
        if ino & DRAFT_BIT:
            return await self._drafts.getattr(ino)
        if ino >> SLOT_BITS:
            return await self._versions.getattr(ino)
        return await self._namespace.getattr(ino)

    def remember(self, ino: Inode) -> None:
        """Note that the kernel was told of an inode, which it will forget one day. Computed inodes need no count."""
        if ino & DRAFT_BIT:
            self._drafts.remember(ino)

    def forget(self, ino: Inode, lookups: int) -> None:
        """Note that the kernel has forgotten an inode."""
        if ino & DRAFT_BIT:
            self._drafts.forget(ino, lookups)

    async def opendir(self, ino: Inode, caller: Caller) -> Handle:
        """Open a directory; only those of drafts have state."""
        await self._check(ino, caller, os.R_OK)
        if ino & DRAFT_BIT:
            return await self._drafts.opendir(ino)
        return Handle(ino)

    async def readdir(self, handle: Handle, offset: int) -> Iterable[DirEntry]:
        """Return entries of an open directory from an offset on; none at its end."""
        if handle & DRAFT_BIT:
            return await self._drafts.readdir(handle, offset)
        ino = Inode(handle)
        if ino >> SLOT_BITS:
            return await self._versions.readdir(ino, offset)
        entries = await self._namespace.readdir(ino, 0)
        if self._namespace.node(ino).kind in _STAGING_PLACES:
            for name, draft in sorted(self._staged(ino), key=lambda pair: pair[0]):
                entries.append(DirEntry(os.fsencode(name), self._drafts.root_attr(draft), len(entries) + 1))
        return entries[offset:]

    async def releasedir(self, handle: Handle) -> None:
        """Close a directory."""
        if handle & DRAFT_BIT:
            await self._drafts.handles.release(handle)

    async def readlink(self, ino: Inode) -> str:
        """Return the target of an alias or of a symlink in a draft."""
        if ino & DRAFT_BIT:
            return await self._drafts.readlink(ino)
        return await self._namespace.readlink(ino)

    async def access(self, ino: Inode, mode: int, caller: Caller) -> None:
        """Refuse what the caller may not do: ReadOnlyError for writing to what never changes."""
        if mode & os.W_OK:
            self._check_writer(caller, ino)
        await self._check(ino, caller, mode)

    def _staged(self, ino: Inode) -> list[tuple[str, Draft]]:
        node = self._namespace.node(ino)
        if node.kind is Kind.STAGING:
            return [(draft.name, draft) for draft in self._commits.staged(node.collection)]
        return [(job.name, job.draft) for job in self._commits.committing(node.collection)]

    # Changing names ---------------------------------------------------------------------------------------------

    async def mkdir(self, parent: Inode, name: bytes, mode: int, caller: Caller) -> Attr:
        """Make a directory: in a draft, a draft in ``.staging/``, or a place above."""
        self._check_writer(caller, parent)
        text = os.fsdecode(name)
        if parent & DRAFT_BIT:
            return await self._drafts.mkdir(parent, text, mode & ~caller.umask)
        node = self._upper(parent)
        if node.kind is Kind.STAGING:
            return self._drafts.root_attr(await self._commits.create(node.collection, parse_draft(text)))
        return await self._namespace.mkdir(parent, text)

    async def rmdir(self, parent: Inode, name: bytes, caller: Caller) -> None:
        """Remove an empty directory, an empty draft, or an empty place."""
        self._check_writer(caller, parent)
        text = os.fsdecode(name)
        if parent & DRAFT_BIT:
            await self._drafts.rmdir(parent, text)
            return
        node = self._upper(parent)
        if node.kind is Kind.STAGING:
            draft = self._commits.find(node.collection, text)
            if draft.tree.children(""):
                raise NotEmptyError(f"draft {text!r} of {node.collection} is not empty")
            await self._commits.discard(draft)
        else:
            await self._namespace.rmdir(parent, text)

    async def unlink(self, parent: Inode, name: bytes, caller: Caller) -> None:
        """Remove a file of a draft, or an alias."""
        self._check_writer(caller, parent)
        if parent & DRAFT_BIT:
            await self._drafts.unlink(parent, os.fsdecode(name))
        else:
            self._upper(parent)
            await self._namespace.unlink(parent, os.fsdecode(name))

    async def symlink(self, parent: Inode, name: bytes, target: bytes, caller: Caller) -> Attr:
        """Make a symlink in a draft, or an alias."""
        self._check_writer(caller, parent)
        if parent & DRAFT_BIT:
            return await self._drafts.symlink(parent, os.fsdecode(name), os.fsdecode(target))
        self._upper(parent)
        return await self._namespace.symlink(parent, os.fsdecode(name), os.fsdecode(target))

    async def link(self, ino: Inode, parent: Inode, name: bytes, caller: Caller) -> Attr:
        """Make a hard link inside a draft."""
        self._check_writer(caller, parent)
        if not parent & DRAFT_BIT:
            self._upper(parent)
            raise ReadOnlyError("hard links are for drafts", hint="an alias is a symlink: ln -s v3 best")
        if not ino & DRAFT_BIT:
            raise OSError(errno.EXDEV, "hard links do not leave a draft")
        return await self._drafts.link(ino, parent, os.fsdecode(name))

    async def mknod(self, parent: Inode, name: bytes, mode: int, caller: Caller) -> Attr:
        """Make a file, a fifo or a socket in a draft."""
        self._check_writer(caller, parent)
        self._require_draft(parent)
        return await self._drafts.mknod(parent, os.fsdecode(name), mode & ~caller.umask)

    async def rename(
        self,
        parent: Inode,
        name: bytes,
        new_parent: Inode,
        new_name: bytes,
        caller: Caller,
        *,
        replace: bool,
        exchange: bool,
    ) -> None:
        """Rename in a draft, rename an alias or a draft, commit one by moving it into ``.commit/``, or take it back from there."""
        self._check_writer(caller, parent, new_parent)
        old, new = os.fsdecode(name), os.fsdecode(new_name)
        if parent & DRAFT_BIT and new_parent & DRAFT_BIT:
            await self._drafts.rename(parent, old, new_parent, new, replace=replace, exchange=exchange)
            return
        if (parent | new_parent) & DRAFT_BIT:
            raise OSError(errno.EXDEV, "a draft and what surrounds it are different places")
        node, new_node = self._upper(parent), self._upper(new_parent)
        if exchange:
            raise OSError(errno.EINVAL, "names here cannot be exchanged")
        if node.kind is Kind.STAGING and new_node.kind in _STAGING_PLACES:
            if node.collection != new_node.collection:
                raise OSError(errno.EXDEV, "a draft belongs to its collection")
            draft = self._commits.find(node.collection, old)
            if new_node.kind is Kind.COMMIT:
                await self._commit(draft, new, caller)
            else:
                self._rename_draft(draft, parse_draft(new))
        elif node.kind is Kind.COMMIT and new_node.kind is Kind.STAGING and node.collection == new_node.collection:
            await self._commits.take_back(node.collection, old, parse_draft(new))
        elif node.kind in _STAGING_PLACES or new_node.kind in _STAGING_PLACES:
            raise ReadOnlyError("only a draft of the same collection can be moved here")
        else:
            await self._namespace.rename(parent, old, new_parent, new, replace=replace)

    def _rename_draft(self, draft: Draft, name: str) -> None:
        if name == draft.name:
            return
        committing = [job.draft for job in self._commits.committing(draft.collection)]  # they may come back
        if any(other.name == name for other in [*self._commits.staged(draft.collection), *committing]):
            raise ExistsError(f"{draft.collection} has a draft {name!r} already")
        draft.rename(name)

    async def _commit(self, draft: Draft, name: str, caller: Caller) -> None:
        """Start the commit of a draft: a name other than its own is an alias for the version."""
        aliases = [] if name == draft.name else [parse_alias(name)]
        run = await self._lineage.run_of(caller.pid) if caller.uid in self._writers else None
        try:
            await self._drafts.handles.settle(draft)
        except BusyError as error:
            draft.error = error.message  # a rename can only say EBUSY: the draft says which files
            raise
        self._commits.start(draft, name, Journal(aliases=tuple(aliases), run=None if run is None else str(run)))

    # Files ------------------------------------------------------------------------------------------------------

    async def open(self, ino: Inode, flags: int, caller: Caller) -> Opened:
        """Open a file."""
        if ino & DRAFT_BIT:
            if writes(flags):
                self._check_writer(caller)
            await self._check(ino, caller, os.W_OK if writes(flags) else os.R_OK)
            return await self._drafts.open(ino, flags)
        if not ino >> SLOT_BITS:
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        opened = await self._versions.open(ino, flags)
        await self._check(ino, caller, os.R_OK)
        version_id = self._versions.version_of_file(ino)
        if version_id is not None and caller.uid in self._writers:  # anybody can claim to belong to any run
            await self._lineage.opened(caller.pid, version_id)
        return opened

    async def create(self, parent: Inode, name: bytes, flags: int, mode: int, caller: Caller) -> tuple[Opened, Attr]:
        """Make and open a file in a draft."""
        self._check_writer(caller, parent)
        self._require_draft(parent)
        return await self._drafts.create(parent, os.fsdecode(name), flags, mode & ~caller.umask)

    async def read(self, handle: Handle, offset: int, size: int) -> bytes | memoryview:
        """Read from an open file."""
        if handle & DRAFT_BIT:
            return await self._drafts.handles.read(handle, offset, size)
        return await self._versions.read(Inode(handle), offset, size)

    async def write(self, handle: Handle, offset: int, data: bytes) -> int:
        """Write to an open file of a draft."""
        return await self._drafts.handles.write(handle, offset, data)

    async def fsync(self, handle: Handle, *, data_only: bool) -> None:
        """Bring an open file or directory of a draft to the disk."""
        if handle & DRAFT_BIT:
            await self._drafts.handles.fsync(handle, data_only=data_only)

    async def release(self, handle: Handle) -> None:
        """Close a file."""
        if handle & DRAFT_BIT:
            await self._drafts.handles.release(handle)

    async def setattr(self, ino: Inode, change: Change, handle: Handle | None, caller: Caller) -> Attr:
        """Change attributes of what lies in a draft; elsewhere they never change."""
        self._check_writer(caller, ino)
        self._require_draft(ino)
        return await self._drafts.setattr(ino, change, handle)

    # Extended attributes ----------------------------------------------------------------------------------------

    async def xattrs(self, ino: Inode) -> Mapping[str, bytes]:
        """Return the extended attributes of an inode by their names after ``user.artfs.``."""
        if ino & DRAFT_BIT:
            draft = self._drafts.draft_of_root(ino)
            return {} if draft is None else xattrs.of_draft(draft, self._commits)
        if ino >> SLOT_BITS:
            ref = self._versions.root_of(ino)
            if ref is not None:
                return await xattrs.of_version(ref, self._catalog)
            entry = await self._versions.entry(ino)
            return {} if entry is None else await xattrs.of_entry(entry, self._pipeline)
        return self._about if ino == ROOT else {}

    async def set_xattr(self, ino: Inode, name: bytes, value: bytes | None, caller: Caller) -> None:
        """Set or remove (None) an extended attribute."""
        self._check_writer(caller)
        text = xattrs.attribute_name(name)
        if ino & DRAFT_BIT:
            draft = self._drafts.draft_of_root(ino)
            if draft is None:
                raise OSError(errno.EOPNOTSUPP, "extended attributes are for the draft itself")
            if self._commits.is_frozen(draft):
                raise ReadOnlyError(f"draft {draft.name!r} is being committed")
            xattrs.set_of_draft(draft, text, value)
            return
        ref = self._versions.root_of(ino) if ino >> SLOT_BITS else None
        if ref is None:
            raise ReadOnlyError("extended attributes can be set on versions and drafts")
        await xattrs.set_of_version(ref, text, value, self._registry, self._catalog)

    # Who may do what --------------------------------------------------------------------------------------------

    def _check_writer(self, caller: Caller, *places: Inode) -> None:
        for ino in places:
            self._refuse_version(ino)
        if self._read_only:
            raise ReadOnlyError("the mount is read-only (-o ro)")
        if self._shared and caller.uid not in self._writers:
            raise PermissionDeniedError("only the owner of the mount may change anything in it")

    async def _check(self, ino: Inode, caller: Caller, want: int) -> None:
        """Check mode bits for another user under ``allow_other``; the owner's own are checked by the local files."""
        if not self._shared or caller.uid in self._writers:
            return
        # The kernel walks through directories whose names it knows without asking.
        for above in self._drafts.above(ino) if ino & DRAFT_BIT else ():
            await self._check_mode(above, caller, os.X_OK)
        await self._check_mode(ino, caller, want)

    async def _check_mode(self, ino: Inode, caller: Caller, want: int) -> None:
        attr = await self.getattr(ino)
        bits = attr.mode >> (3 if caller.gid == attr.gid else 0) & 0o7
        if want & ~bits & 0o7:
            raise PermissionDeniedError(
                f"mode {stat.filemode(attr.mode)} of uid {attr.uid} does not let uid {caller.uid} in"
            )

    def _require_draft(self, ino: Inode) -> None:
        if not ino & DRAFT_BIT:
            raise ReadOnlyError("files are written in drafts", hint="mkdir .staging/NAME and write there")

    @staticmethod
    def _refuse_version(ino: Inode) -> None:
        if ino >> SLOT_BITS and not ino & DRAFT_BIT:
            raise ReadOnlyError("a committed version never changes", hint="start a draft from it: artfs stage REF")

    def _upper(self, ino: Inode) -> Node:
        self._refuse_version(ino)
        return self._namespace.node(ino)
