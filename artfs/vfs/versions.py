"""Committed versions: immutable trees, read out of their manifest's index, bytes out of the pipeline.

There is no state for an open file or directory: reads and listings are by inode and offset. Names, attributes and pages never
expire, and a name that is not there stays away. Only ``.artfs/artifact.json`` and the attributes of the version change.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from artfs.content.siblings import Siblings
from artfs.errors import NotFoundError, ReadOnlyError, VersionDeletedError
from artfs.model.entry import OF_MANIFEST, Entry
from artfs.model.names import version_name
from artfs.model.paths import EntryPath
from artfs.registry.summary import version_summary
from artfs.vfs.inodes import META_ARTIFACT, META_DIR, META_MANIFEST, NUMBER_MASK, SLOT_BITS, version_inode
from artfs.vfs.types import FOREVER, Attr, DirEntry, Handle, Inode, Negative, Opened, Owner, directory_attr, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from artfs.cache.index import Indexes, ManifestIndex, Node
    from artfs.content.pipeline import Pipeline
    from artfs.model.entry import JsonValue
    from artfs.model.names import ArtifactRef, CollectionRef
    from artfs.registry.port import ManifestFile, Version, VersionInfo
    from artfs.vfs.catalog import Catalog
    from artfs.vfs.inodes import Slots

META_NAME = b".artfs"
_META_FILES = {b"manifest.json": META_MANIFEST, b"artifact.json": META_ARTIFACT}
_CHUNK = 1024  # directory entries made at once
_FIRST_OFFSET = 3  # of the node with the number 0; below are '.' and '..'


@dataclass(slots=True)
class MountedVersion:
    """A version that the kernel may know: which one it is, and what of it never changes."""

    id: str
    slot: int
    ref: ArtifactRef
    created_ns: int
    parent: Inode
    manifest: ManifestFile | None = None
    loading: trio.Lock = field(default_factory=trio.Lock)


@dataclass(slots=True)
class _Chunk:
    entries: list[DirEntry]
    position: dict[int, int]  # the place of the entry that follows an offset


class Versions:
    """The trees of all committed versions. ``open_index`` opens the index of one, and may block."""

    def __init__(
        self,
        catalog: Catalog,
        indexes: Indexes,
        slots: Slots,
        pipeline: Pipeline,
        open_index: Callable[[Version], ManifestIndex],
        owner: Owner,
    ) -> None:
        self._catalog = catalog
        self._indexes = indexes
        self._slots = slots
        self._pipeline = pipeline
        self._open_index = open_index
        self._owner = owner
        self._mounted: dict[int, MountedVersion] = {}
        self._by_id: dict[tuple[str, CollectionRef], MountedVersion] = {}
        self._chunks: LRUCache[int, _Chunk] = LRUCache(32)
        self._siblings = Siblings()

    # Roots ------------------------------------------------------------------------------------------------------

    async def mount(self, collection: CollectionRef, parent: Inode, infos: Sequence[VersionInfo]) -> None:
        """Make versions of a collection known, so that `root_attr` can answer for them."""
        unknown = [info for info in infos if (info.id, collection) not in self._by_id]
        if not unknown:
            return
        # A link in a portfolio is a tree of its own: the same content under another inode number.
        names = {info.id: f"{info.id}@{collection}" for info in unknown}
        if not all(map(self._slots.known, names.values())):
            await trio.to_thread.run_sync(self._slots.load, names.values())
        for info in unknown:
            slot = self._slots.slot(names[info.id])
            ref = collection.at(version_name(info.index))
            mounted = MountedVersion(info.id, slot, ref, nanoseconds(info.created_at), parent)
            self._mounted[slot] = self._by_id[info.id, collection] = mounted

    def root_attr(self, collection: CollectionRef, info: VersionInfo, ttl: float) -> Attr:
        """Return the attributes of a mounted version's root; its name under the collection is good for ``ttl`` seconds."""
        mounted = self._by_id[info.id, collection]
        return self._root_attr(mounted, ttl)

    def _root_attr(self, mounted: MountedVersion, ttl: float) -> Attr:
        ino = version_inode(mounted.slot, 0)
        return directory_attr(ino, 0o555, self._owner, mounted.created_ns, ttl, FOREVER)

    def root_of(self, ino: Inode) -> ArtifactRef | None:
        """Return the reference of the version whose root an inode is."""
        return None if ino & NUMBER_MASK else self._version_of(ino).ref

    def version_of_file(self, ino: Inode) -> str | None:
        """Return the id of the version that a file is an entry of; None for the hidden files."""
        return None if ino & NUMBER_MASK >= META_ARTIFACT else self._version_of(ino).id

    # Names and attributes ---------------------------------------------------------------------------------------

    async def lookup(self, parent: Inode, name: bytes) -> Attr | Negative:
        """Look a name up in a directory of a version."""
        mounted, number = self._version_of(parent), parent & NUMBER_MASK
        if number == META_DIR:
            meta = _META_FILES.get(name)
            return Negative(FOREVER) if meta is None else await self._meta_attr(mounted, meta)
        index = self._index(mounted) or await self._load(mounted)
        try:
            node = index.child(number, name.decode())
        except UnicodeDecodeError:  # no manifest can hold such a name
            return Negative(FOREVER)
        if node is not None:
            return self._attr(mounted, node)
        if number == 0 and name == META_NAME:
            return await self._meta_attr(mounted, META_DIR)
        return Negative(FOREVER)

    async def getattr(self, ino: Inode) -> Attr:
        """Return the attributes of an inode."""
        mounted, number = self._version_of(ino), ino & NUMBER_MASK
        if number == 0:
            return self._root_attr(mounted, 0.0)
        if number >= META_ARTIFACT:
            return await self._meta_attr(mounted, number)
        index = self._index(mounted) or await self._load(mounted)
        return self._attr(mounted, index.node(number))

    async def readdir(self, ino: Inode, offset: int) -> Iterable[DirEntry]:
        """Return entries of a directory from an offset on; nothing at its end. There may be more after the last one."""
        mounted, number = self._version_of(ino), ino & NUMBER_MASK
        if number == META_DIR:
            return await self._meta_entries(mounted, offset)
        chunk = self._chunks.get(ino)
        if chunk is None or offset not in chunk.position:
            index = self._index(mounted) or await self._load(mounted)
            chunk = self._chunks[ino] = self._list(mounted, index, number, offset)
        return chunk.entries[chunk.position[offset] :]

    def _list(self, mounted: MountedVersion, index: ManifestIndex, number: int, offset: int) -> _Chunk:
        entries: list[DirEntry] = []
        if offset < 2:
            node = index.node(number)
            parent = mounted.parent if number == 0 else version_inode(mounted.slot, node.parent)
            own = self._attr(mounted, node)
            entries = [DirEntry(b".", own, 1), DirEntry(b"..", own._replace(ino=parent), 2)][offset:]
        after = offset - _FIRST_OFFSET if offset >= _FIRST_OFFSET else -1
        entries.extend(
            DirEntry(os.fsencode(node.name), self._attr(mounted, node), node.number + _FIRST_OFFSET)
            for node in index.children(number, after, _CHUNK)
        )
        position = {entry.next: place for place, entry in enumerate(entries[:-1], 1)}
        position[offset] = 0
        return _Chunk(entries, position)

    def _attr(self, mounted: MountedVersion, node: Node) -> Attr:
        number, _, _, is_dir, size, executable = node
        owner, time = self._owner, mounted.created_ns
        ino = Inode(mounted.slot << SLOT_BITS | number)
        if is_dir:
            mode = stat.S_IFDIR | owner.mode(0o555)
            return Attr(ino, mode, 2 + size, 0, 0, owner.uid, owner.gid, time, time, time, FOREVER, FOREVER)
        mode = stat.S_IFREG | owner.mode(0o555 if executable else 0o444)
        return Attr(ino, mode, 1, size, (size + 511) >> 9, owner.uid, owner.gid, time, time, time, FOREVER, FOREVER)

    # Bytes ------------------------------------------------------------------------------------------------------

    async def open(self, ino: Inode, flags: int) -> Opened:
        """Open a file for reading; ReadOnlyError for anything else."""
        if writes(flags):
            raise ReadOnlyError(f"{self._version_of(ino).ref} is committed: it never changes")
        direct = ino & NUMBER_MASK == META_ARTIFACT
        if not direct and ino & NUMBER_MASK < META_ARTIFACT:
            mounted = self._version_of(ino)
            index = self._index(mounted) or await self._load(mounted)
            node = index.node(ino & NUMBER_MASK)
            entry = index.entry(node.number)
            # A reference without a size has as many bytes as come: the kernel must not stop at the size that it sees.
            direct = entry.size == 0 and entry.ref is not None
            if self._pipeline.is_remote(entry):
                self._pipeline.prepare(entry)
                ahead = self._siblings.opened(mounted.slot, index, node)
                self._pipeline.prefetch(index.entry(one.number) for one in ahead)
        return Opened(Handle(ino), keep_cache=True, direct=direct)

    async def read(self, ino: Inode, offset: int, size: int) -> bytes | memoryview:
        """Return proven bytes; IntegrityError if they are damaged."""
        mounted, number = self._version_of(ino), ino & NUMBER_MASK
        if number == META_ARTIFACT:
            return (await self._artifact(mounted))[offset : offset + size]
        if number == META_MANIFEST:
            return await self._pipeline.read(await self._manifest_entry(mounted), offset, size)
        index = self._index(mounted) or await self._load(mounted)
        return await self._pipeline.read(index.entry(number), offset, size)

    async def entry(self, ino: Inode) -> Entry | None:
        """Return the manifest entry of a file; None for directories and the hidden files."""
        mounted, number = self._version_of(ino), ino & NUMBER_MASK
        if number in {0, META_DIR, META_MANIFEST, META_ARTIFACT}:
            return None
        index = self._index(mounted) or await self._load(mounted)
        return None if index.node(number).is_dir else index.entry(number)

    # The hidden directory ---------------------------------------------------------------------------------------

    async def _meta_attr(self, mounted: MountedVersion, number: int) -> Attr:
        ino = version_inode(mounted.slot, number)
        if number == META_DIR:
            return directory_attr(ino, 0o555, self._owner, mounted.created_ns, FOREVER, FOREVER)
        ttl = FOREVER
        if number == META_ARTIFACT:
            size = len(await self._artifact(mounted))
            ttl = self._catalog.ttl_left(mounted.ref)
        else:
            size = (await self._manifest_entry(mounted)).size
        mode, time, owner = stat.S_IFREG | self._owner.mode(0o444), mounted.created_ns, self._owner
        return Attr(ino, mode, 1, size, (size + 511) >> 9, owner.uid, owner.gid, time, time, time, FOREVER, ttl)

    async def _meta_entries(self, mounted: MountedVersion, offset: int) -> Iterable[DirEntry]:
        attrs = [(name, await self._meta_attr(mounted, number)) for name, number in sorted(_META_FILES.items())]
        return [DirEntry(name, attr, place) for place, (name, attr) in enumerate(attrs, 1)][offset:]

    async def _artifact(self, mounted: MountedVersion) -> bytes:
        version = await self._catalog.version(mounted.ref)
        logged_by, used_by = await self._catalog.lineage(version.id)
        summary = version_summary(version, logged_by, used_by)
        return json.dumps(summary, indent=2, ensure_ascii=False).encode() + b"\n"

    async def _manifest_entry(self, mounted: MountedVersion) -> Entry:
        manifest = mounted.manifest
        if manifest is None:
            manifest = (await self._catalog.version(mounted.ref)).manifest
        extra: dict[str, JsonValue] = {OF_MANIFEST: True}
        return Entry(EntryPath("manifest.json"), manifest.digest.base64, manifest.size, extra=extra, home=mounted.id)

    # Loading ----------------------------------------------------------------------------------------------------

    def _version_of(self, ino: Inode) -> MountedVersion:
        return self._mounted[ino >> SLOT_BITS]

    def _index(self, mounted: MountedVersion) -> ManifestIndex | None:
        return None if mounted.manifest is None else self._indexes.get(mounted.manifest.digest)

    async def _load(self, mounted: MountedVersion) -> ManifestIndex:
        """Find the manifest of a version and open its index; VersionDeletedError if the version is gone."""
        async with mounted.loading:
            index = self._index(mounted)
            if index is not None:
                return index
            try:
                version = await self._catalog.version(mounted.ref)
            except NotFoundError as error:
                raise VersionDeletedError(f"{mounted.ref} was deleted while it was being read") from error
            index = await trio.to_thread.run_sync(self._open_index, version)
            mounted.manifest = version.manifest
            return index


def nanoseconds(time: datetime) -> int:
    """Return a time as nanoseconds since the epoch, to the microsecond that registries keep."""
    seconds = int(time.replace(microsecond=0).timestamp())
    return seconds * 1_000_000_000 + time.microsecond * 1000
