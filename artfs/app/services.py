"""The parts that every command and every mount is made of, opened as the settings say. The only place that names implementations."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import IntegrityError, UnreachableError
from artfs.model.digest import Algorithm
from artfs.model.entry import BLOCK_SIZE
from artfs.model.names import version_name
from artfs.private import check_owner, make_private, naming
from artfs.registry.fallback import Health
from artfs.registry.remembered import RememberedRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from artfs.app.backends import Backends
    from artfs.cache.blocks import BlockCache
    from artfs.cache.index import Indexes, ManifestIndex
    from artfs.config import Config
    from artfs.content.following import FollowingReader
    from artfs.content.origin import Origins
    from artfs.content.targets import Targets
    from artfs.content.verify import Verifier
    from artfs.model.entry import Entry, Packed
    from artfs.registry.port import ManifestFile, Registry, Version
    from artfs.staging.base import Base
    from artfs.staging.commit import Committer
    from artfs.staging.drafts import Drafts
    from artfs.staging.links import Links
    from artfs.storage.port import BlobStore
    from artfs.storage.resolver import References

log = logging.getLogger(__name__)


@dataclass
class Services:
    """The registry, and everything else when it is first used. ``shared``: others than this user are served."""

    config: Config
    registry: Registry
    backends: Backends
    shared: bool = False
    mountpoints: Sequence[str] = ()
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _cache: BlockCache | None = None
    _making: threading.RLock = field(default_factory=threading.RLock)

    @cached_property
    def store(self) -> BlobStore:
        """The store."""
        return self.backends.store()

    @cached_property
    def references(self) -> References:
        """Bytes that lie elsewhere; for others, files only below the roots that the configuration names."""
        from artfs.storage.references import FileReferences
        from artfs.storage.resolver import References

        roots = list(self.config.reference_roots) if self.shared else None
        files = FileReferences(roots, [Path(point) for point in self.mountpoints])
        return References(files, self.backends.schemes())

    def cache(self) -> BlockCache:
        """Return the block cache, made when remote content is first read or written, by whichever thread does."""
        with self._making:
            if self._cache is None:
                from artfs.cache.blocks import BlockCache

                settings = self.config
                self._cache = BlockCache(
                    settings.cache_dir, max_bytes=settings.cache_size, keep_free=settings.cache_free
                )
                self._closing.callback(self._cache.close)
            return self._cache

    def health(self) -> Health:
        """Say whether the registry answers. One on this machine always does."""
        return self.registry.health() if isinstance(self.registry, RememberedRegistry) else Health(None, "")

    @property
    def cache_if_made(self) -> BlockCache | None:
        """The block cache, if something remote was used already."""
        return self._cache

    @cached_property
    def indexes(self) -> Indexes:
        """The compiled manifests."""
        from artfs.cache.index import Indexes

        return Indexes(self.config.cache_dir, self.backends.address)

    @cached_property
    def reader(self) -> FollowingReader:
        """Proven bytes."""
        from artfs.cache.blocklists import BlockLists
        from artfs.content.following import FollowingReader
        from artfs.content.proof import Prover
        from artfs.content.remote import Remote

        prover = Prover(self.store, BlockLists(self.config.cache_dir))
        strict = self.config.verify == "strict"
        remote = Remote(prover, self.cache, strict=strict, open_kept=self.backends.open_kept)
        return FollowingReader(self.origins, prover, remote, self.targets)

    @cached_property
    def origins(self) -> Origins:
        """Where bytes come from, not proven yet."""
        from artfs.content.origin import Origins

        return Origins(self.store, self.references.open, self.backends.open_file(self.store, self.indexes.upcoming))

    def verifier(self, advance: Callable[[int, int], object]) -> Verifier:
        """Return what proves entries where they lie. ``advance`` is told files and bytes, and may raise to give up."""
        from artfs.cache.blocklists import BlockLists
        from artfs.content.verify import Verifier

        lists = BlockLists(self.config.cache_dir)
        return Verifier(self.origins, self.targets, lists, self.cache, advance)

    def here(self) -> Callable[[Entry], int]:
        """Return what says how many bytes of an entry are on this machine."""
        from artfs.content.usage import bytes_here

        return bytes_here(self.origins, self.targets, self.cache)

    @cached_property
    def targets(self) -> Targets:
        """What references to other versions lead to."""
        from artfs.content.targets import Targets

        return Targets(self.registry.version_by_id, self.registry.version_of_commit, self.open_index)

    @cached_property
    def drafts(self) -> Drafts:
        """The drafts of this data directory. They are given back at the end."""
        from artfs.staging.drafts import Drafts

        drafts = Drafts(self.config.data_dir / "drafts", self.registry.id, self.open_base)
        self._closing.callback(drafts.close)
        return drafts

    def committer(
        self,
        on_step: Callable[[str], None] = lambda _: None,
        tell: Callable[[str], None] = log.info,
        patience: float | None = None,
    ) -> Committer:
        """Return what makes drafts versions. ``tell`` hears which earlier commits come first; ``patience`` is that of `Turns`."""
        from artfs.staging.commit import Committer
        from artfs.staging.turns import PATIENCE, Turns

        algorithm = Algorithm[self.config.algorithm]
        keep = None if self.store.local else self._keep
        open_target = self.backends.open_target(self.registry, self.store, self.open_index, on_step, self._keep_pack)
        turns = Turns(self.drafts.adopt, self.drafts.leave, tell, PATIENCE if patience is None else patience)
        return Committer(self.registry, open_target, self.links(), self.config.threads, algorithm, on_step, keep, turns)

    def links(self) -> Links:
        """Return what gives the meaning of symlinks and references."""
        from artfs.content.targets import AllReferences
        from artfs.staging.links import Links

        references = AllReferences(self.references, self.targets)
        return Links(self.registry, self.open_index, references, self.mountpoints)

    def _keep(self, entry: Entry, path: Path, checksums: Sequence[bytes]) -> None:
        """Take a file whose bytes are in the store now into the cache, so that it need not be fetched."""
        from artfs.content.proof import cache_name

        self.cache().adopt(cache_name(replace(entry, store=self.backends.address)), path, entry.size, checksums)

    def _keep_pack(self, packed: Packed, data: bytes) -> None:
        """Take a pack that was just put into the store into the cache."""
        from artfs.content.packs import pack_of
        from artfs.content.proof import cache_name

        file = self.cache().file(cache_name(pack_of(packed.pack.base64, packed.size)), packed.size)
        for number, start in enumerate(range(0, packed.size, BLOCK_SIZE)):
            file.write(number, memoryview(data)[start : start + BLOCK_SIZE], proven=False)

    def open_index(self, version: Version) -> ManifestIndex:
        """Return the index of a version; NotFoundError if its manifest is missing. Blocks."""
        return self._open(version.manifest, version.id)

    def open_cached_index(self, version: Version) -> ManifestIndex:
        """Return the index of a version if it is on this machine; UnreachableError if its manifest would have to be fetched."""
        if self.store.local:
            return self.open_index(version)

        def refuse() -> Iterable[bytes]:
            raise UnreachableError(
                f"the list of files of {version.collection}:{version_name(version.index)} is not on this machine",
                hint="look at the version once: artfs ls, or a mount",
            )

        return self.indexes.open(version.manifest.digest, version.manifest.size, refuse, version.id)

    def open_base(self, base: Base) -> ManifestIndex:
        """Return the index of the version that a draft starts from. Blocks."""
        return self._open(base.manifest, base.version_id)

    def _open(self, manifest: ManifestFile, version_id: str) -> ManifestIndex:
        read = partial(self.backends.read_manifest, self.store, manifest, version_id)
        try:
            return self.indexes.open(manifest.digest, manifest.size, read, version_id)
        except IntegrityError:
            if self.store.local:
                raise
            # It may have been damaged on its way.
            return self.indexes.open(manifest.digest, manifest.size, read, version_id)

    def close(self) -> None:
        """Give everything back."""
        if "reader" in self.__dict__:  # what it has fetched is still to be cached
            self.reader.close()
        self._closing.close()
        self.registry.close()
        self.backends.close()


def _claim(config: Config) -> None:
    """Make the data directory; PermissionDeniedError if it or the cache is not this user's, or cannot be used."""
    for name, directory in (("data", config.data_dir), ("cache", config.cache_dir)):
        with naming(name, directory):
            if name == "data":
                make_private(directory)
            elif directory.exists():
                check_owner(directory)


@contextlib.contextmanager
def open_services(config: Config, *, shared: bool = False, mountpoints: Sequence[str] = ()) -> Iterator[Services]:
    """Open the registry, and give back at the end whatever was opened."""
    from artfs.app.backends import Backends

    _claim(config)
    backends = Backends(config)
    services = Services(config, backends.registry(), backends, shared, mountpoints)
    try:
        yield services
    finally:
        services.close()
