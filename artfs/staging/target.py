"""Where the files and the manifest of a version go when a draft is committed: one target for each commit.

The order is the protocol: the files first, then the manifest that names them, and the version last. Both methods may be repeated after
a crash, by another process.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from artfs.errors import BusyError
from artfs.model.digest import Algorithm, Digest
from artfs.model.manifest import encode_manifest
from artfs.registry.port import ManifestFile
from artfs.staging.hashing import unchanged
from artfs.staging.packing import Places, small
from artfs.staging.upload import upload, upload_packs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence, Set
    from contextlib import AbstractContextManager

    from artfs.model.entry import Entry, Packed
    from artfs.registry.port import NewVersion, Reservation
    from artfs.staging.drafts import Draft
    from artfs.staging.gathered import Gathered
    from artfs.staging.hashing import Hashed
    from artfs.staging.packing import EarlierVersions
    from artfs.staging.progress import Progress
    from artfs.storage.holds import DraftHold
    from artfs.storage.port import BlobStore

    OpenTarget: TypeAlias = "Callable[[Draft, NewVersion, Reservation], Target]"

_BIND_BATCH = 4096


class Target(Protocol):
    """Takes what one version is made of. Blocks."""

    def store_files(self, draft: Draft, hashed: Sequence[Hashed], progress: Progress) -> None:
        """Bring the files of a draft, as far as they are not there. BusyError names a file that has changed since it was hashed."""

    def named(self, entry: Entry) -> Entry:
        """Return an entry as the manifest is to name it, now that its file is there."""

    @property
    def homes(self) -> frozenset[str]:
        """The versions whose files are used for those of the draft."""

    def store_manifest(self, entries: Gathered) -> ManifestFile:
        """Bring the manifest of all the entries of a version, whose files are there."""

    def missing(self, blobs: Iterable[Digest]) -> set[Digest]:
        """Return those of the blobs that are not there."""

    def restore(self, draft: Draft, hashed: Iterable[Hashed], missing: Set[Digest], progress: Progress) -> Set[Digest]:
        """Bring files again that were removed after `store_files`; return the blobs of those that were still here.

        They may lie elsewhere than before, so the manifest has to be stored again.
        """

    def published(self) -> None:
        """Let go of what was held for the commit: a version needs it now."""


class StoreTarget:
    """A store of blobs. ``on_step`` is told the name of each step when it is done.

    In a store elsewhere, small files go into packs; ``earlier`` finds them in those of earlier versions, and ``keep`` is given new ones.
    ``hold`` keeps what is moved into a store on this machine from being removed there; a store elsewhere needs none.
    """

    def __init__(
        self,
        store: BlobStore,
        on_step: Callable[[str], None] = lambda _: None,
        hold: DraftHold | None = None,
        earlier: EarlierVersions | None = None,
        keep: Callable[[Packed, bytes], None] | None = None,
    ) -> None:
        self._store = store
        self._on_step = on_step
        self._hold = hold
        self._earlier = earlier
        self._keep = keep
        self._places = Places()

    def store_files(self, draft: Draft, hashed: Sequence[Hashed], progress: Progress) -> None:
        """Move the files into a store that is here, or upload them to one that is elsewhere."""
        if self._store.local:
            self._adopt(draft, hashed, progress)
        else:
            self._upload(draft, hashed, progress)
        self._on_step("adopted")

    def _upload(self, draft: Draft, hashed: Sequence[Hashed], progress: Progress) -> None:
        few = small(hashed)
        if len(few) > 1 and self._earlier is not None:
            progress.begin("comparing", len(few))
            found = self._earlier.find(draft, {blob: one.item.size for blob, one in few.items()}, progress)
            known = {blob: lying for blob, lying in found.items() if lying is not None}
            gone = self._store.missing({lying.packed.pack for lying in known.values()})
            self._places.add({blob: lying for blob, lying in known.items() if lying.packed.pack not in gone})
            alone = found.keys() - known.keys()
            few = {blob: one for blob, one in few.items() if blob not in alone and not self._places.has(blob)}
        self._pack(draft, list(few.values()), progress)
        upload(draft, [one for one in hashed if self.named(one.entry).packed is None], self._store, progress)

    def _pack(self, draft: Draft, files: Sequence[Hashed], progress: Progress) -> None:
        """Upload files in packs, but for those that would be alone."""
        self._places.add(upload_packs(draft, files, self._store, progress, self._keep))

    def named(self, entry: Entry) -> Entry:
        """Return an entry with the place of its file, if that lies in a pack."""
        return self._places.named(entry)

    @property
    def homes(self) -> frozenset[str]:
        """The versions that have small files in packs already."""
        return self._places.homes

    def _adopt(self, draft: Draft, hashed: Sequence[Hashed], progress: Progress) -> None:
        """Move the files of the draft into the store. Each is bound to its entry before it leaves."""
        progress.begin("storing", len(hashed), sum(one.item.size for one in hashed))
        for start in range(0, len(hashed), _BIND_BATCH):
            batch = hashed[start : start + _BIND_BATCH]
            draft.tree.bind((one.item.path, one.entry, one.item.mode, one.item.mtime_ns) for one in batch)
            self._on_step("bound")
            with self._holding(batch):
                for one in batch:
                    self._adopt_file(draft, one)
                    progress.advance(1, one.item.size)

    def _holding(self, batch: Sequence[Hashed]) -> AbstractContextManager[None]:
        """Hold the blobs of files: the store is the only place of their bytes as soon as they have moved."""
        lists = (name for one in batch if (name := one.entry.block_list) is not None)
        return self._held(chain((one.entry.blob for one in batch), lists))

    def _held(self, blobs: Iterable[Digest]) -> AbstractContextManager[None]:
        return nullcontext() if self._hold is None else self._hold.adding(blobs)

    def _adopt_file(self, draft: Draft, one: Hashed) -> None:
        if not unchanged(draft, one.item):
            raise BusyError(f"{one.item.path} has changed while it was being committed", hint="try again")
        block_list = one.entry.block_list
        if block_list is not None:
            self._store.write(block_list, [one.blocks])
        self._store.adopt(one.entry.blob, Path(draft.tree.local_path(one.item.path)))

    def store_manifest(self, entries: Gathered) -> ManifestFile:
        """Write the manifest as a blob: it is read twice, as its name is needed first."""
        hasher, size = Algorithm.MD5.hasher(), 0
        for piece in encode_manifest(map(self.named, entries)):
            hasher.update(piece)
            size += len(piece)
        digest = Digest(Algorithm.MD5, hasher.digest())
        with self._held([digest]):
            self._store.write(digest, encode_manifest(map(self.named, entries)))
        self._store.sync()
        self._on_step("stored")
        return ManifestFile(digest, size)

    def missing(self, blobs: Iterable[Digest]) -> set[Digest]:
        """Ask the store."""
        return self._store.missing(blobs)

    def restore(self, draft: Draft, hashed: Iterable[Hashed], missing: Set[Digest], progress: Progress) -> Set[Digest]:
        """Upload files again; those that have moved into a store here are held, so that none of them is missing."""
        if self._store.local:
            return set()
        lost = [one for one in hashed if not missing.isdisjoint(self.named(one.entry).stored)]
        few = {one.entry.blob: one for one in lost if self.named(one.entry).packed is not None}
        self._places.forget(few)
        self._pack(draft, list(few.values()), progress)
        alone = [one for one in lost if self.named(one.entry).packed is None]
        upload(draft, alone, self._store, progress)
        return {name for one in lost for name in self.named(one.entry).stored}

    def published(self) -> None:
        """End the hold."""
        if self._hold is not None:
            self._hold.end()
