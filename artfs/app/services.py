"""The parts that every command and every mount is made of, opened as the settings say. The only place that names implementations."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.model.digest import Algorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from artfs.cache.index import Indexes, ManifestIndex
    from artfs.config import Config
    from artfs.content.reader import Reader
    from artfs.model.entry import Entry
    from artfs.registry.port import ManifestFile, Registry, Version
    from artfs.staging.commit import Committer
    from artfs.staging.drafts import Base, Drafts
    from artfs.storage.port import BlobStore
    from artfs.storage.references import FileReferences


@dataclass
class Services:
    """The registry, and everything else when it is first used. ``shared``: others than this user are served."""

    config: Config
    registry: Registry
    shared: bool = False
    mountpoints: Sequence[str] = ()
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @cached_property
    def store(self) -> BlobStore:
        """The store."""
        from artfs.storage.files import open_store

        return open_store(self.config.store)

    @cached_property
    def references(self) -> FileReferences:
        """What ``file://`` references may name: for others, only what the configuration says."""
        from artfs.storage.references import FileReferences

        roots = list(self.config.reference_roots) if self.shared else None
        return FileReferences(roots, [Path(point) for point in self.mountpoints])

    @cached_property
    def indexes(self) -> Indexes:
        """The compiled manifests."""
        from artfs.cache.index import Indexes

        return Indexes(self.config.cache_dir)

    @cached_property
    def reader(self) -> Reader:
        """Proven bytes."""
        from artfs.cache.blocklists import BlockLists
        from artfs.content.reader import Reader

        return Reader(self.store, self.references.open, BlockLists(self.config.cache_dir))

    @cached_property
    def drafts(self) -> Drafts:
        """The drafts of this data directory. They are given back at the end."""
        from artfs.staging.drafts import Drafts

        drafts = Drafts(self.config.data_dir / "drafts", self.registry.id, self._open_base)
        self._closing.callback(drafts.close)
        return drafts

    def committer(self, on_step: Callable[[str], None] = lambda _: None) -> Committer:
        """Return what makes drafts versions."""
        from artfs.staging.commit import Committer
        from artfs.staging.links import Links

        links = Links(self.registry, self.open_index, self.references, self.mountpoints)
        algorithm = Algorithm[self.config.algorithm]
        return Committer(self.registry, self.store, links, self.config.threads, algorithm, on_step)

    def read_manifest(self, manifest: ManifestFile) -> Iterable[bytes]:
        """Yield the bytes of a manifest, not proven yet."""
        source = self.store.open(manifest.digest)
        try:
            offset = 0
            while data := source.read(offset, 1 << 20):
                yield data
                offset += len(data)
        finally:
            source.close()

    def open_index(self, version: Version) -> ManifestIndex:
        """Return the index of a version; NotFoundError if its manifest is missing. Blocks."""
        return self._open(version.manifest)

    def _open_base(self, base: Base) -> ManifestIndex:
        return self._open(base.manifest)

    def _open(self, manifest: ManifestFile) -> ManifestIndex:
        return self.indexes.open(manifest.digest, manifest.size, lambda: self.read_manifest(manifest))

    def is_cached(self, entry: Entry) -> bool:
        """Whether the bytes of an entry are on this machine."""
        return entry.ref is None and self.store.has(entry.blob)

    def close(self) -> None:
        """Give everything back."""
        self._closing.close()
        self.registry.close()


@contextlib.contextmanager
def open_services(config: Config, *, shared: bool = False, mountpoints: Sequence[str] = ()) -> Iterator[Services]:
    """Open the registry, and give back at the end whatever was opened."""
    from artfs.registry.sql.registry import open_registry

    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    services = Services(config, open_registry(config.registry, config.entity), shared, mountpoints)
    try:
        yield services
    finally:
        services.close()
