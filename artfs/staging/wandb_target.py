"""A W&B server as where the files and the manifest of a version go.

A file of the draft is born in this version, or where the server says that it has its bytes from. One of another version keeps its birth, if
that is of the same entity; else it becomes a reference to that version, because bytes are shared within an entity only. The manifest is
written to ``manifest.json`` in the draft's directory first: its digest is told before it is sent.
"""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import BusyError, InvalidInputError, NoSpaceError, NotFoundError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.manifest import encode_manifest
from artfs.model.reference import artifact_uri
from artfs.model.runs import run_or_none
from artfs.registry.port import ManifestFile
from artfs.staging.hashing import unchanged
from artfs.storage.wandb_upload import LocalFile, NewArtifact, WandbUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence, Set

    from artfs.cache.index import ManifestIndex
    from artfs.model.entry import Entry, JsonValue
    from artfs.registry.port import NewVersion, Registry, Reservation, Version
    from artfs.staging.database import DraftDatabase
    from artfs.staging.drafts import Draft
    from artfs.staging.gathered import Gathered
    from artfs.staging.hashing import Hashed
    from artfs.staging.progress import Progress
    from artfs.wandb.session import WandbSession

_PREFIX = "wandb/"  # of keys of the draft's database


class DraftMemory:
    """What the uploads of a commit remember, in the database of its draft."""

    def __init__(self, database: DraftDatabase) -> None:
        self._database = database

    def get(self, name: str) -> JsonValue:
        """Return a value; None if it is not there."""
        return self._database.get(_PREFIX + name)

    def set(self, name: str, value: JsonValue) -> None:
        """Remember a value; None forgets it."""
        self._database.set(_PREFIX + name, value)

    def clear(self) -> None:
        """Forget everything."""
        self._database.execute("DELETE FROM meta WHERE key GLOB ?", f"{_PREFIX}*")


class WandbTarget:
    """Takes the files and the manifest of one version. ``on_step`` is told the name of each step when it is done."""

    def __init__(
        self,
        session: WandbSession,
        draft: Draft,
        new: NewVersion,
        reservation: Reservation,
        others: OtherVersions,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        collection, run = new.collection, run_or_none(new.run)
        here = run is not None and (run.entity, run.project) == (collection.entity, collection.project)
        artifact = NewArtifact(
            reservation.id,
            collection.entity,
            collection.project,
            run.id if run is not None and here else "",
            None if draft.base is None else draft.base.version_id,
        )
        self._upload = WandbUpload(session, artifact, DraftMemory(draft.database))
        self._manifest = draft.directory / "manifest.json"
        self._entity = collection.entity
        self._others = others
        self._on_step = on_step

    def store_files(self, draft: Draft, hashed: Sequence[Hashed], progress: Progress) -> None:
        """Send the files that the server lacks, each content once."""
        wanted = {one.entry.digest: one for one in hashed}
        progress.begin("uploading", len(wanted), sum(one.item.size for one in wanted.values()))
        self._upload.send((_local(draft, one, progress) for one in wanted.values()), progress.advance)
        self._on_step("adopted")

    def named(self, entry: Entry) -> Entry:
        """Return an entry as the manifest names it."""
        extra = {key: value for key, value in entry.extra.items() if key not in {"blocks", "pack"}}
        if entry.ref is not None:
            return dataclasses.replace(entry, extra=extra, birth_artifact_id=None)
        if entry.home is None:
            return dataclasses.replace(entry, extra=extra, birth_artifact_id=self._upload.births[entry.digest])
        if entry.birth_artifact_id is not None and self._others.entity(entry.home) in {None, self._entity}:
            return dataclasses.replace(entry, extra=extra)
        ref = artifact_uri(entry.home, self._others.path(entry.home, entry))
        return dataclasses.replace(entry, extra=extra, ref=ref, birth_artifact_id=None)

    def store_manifest(self, entries: Gathered) -> ManifestFile:
        """Write the manifest, and send it."""
        try:
            manifest = self._write(encode_manifest(map(self.named, entries)))
            self._on_step("written")
            self._upload.send_manifest(self._manifest, manifest.size, manifest.digest)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NoSpaceError(f"no space left for the manifest in {self._manifest.parent}") from error
            raise UnreachableError(f"{self._manifest} cannot be written: {error.strerror}") from error
        finally:
            self._manifest.unlink(missing_ok=True)
        self._on_step("stored")
        return manifest

    @property
    def homes(self) -> frozenset[str]:
        """Return none: where a file was born is the server's affair."""
        return frozenset()

    def missing(self, blobs: Iterable[Digest]) -> set[Digest]:  # the server removes nothing that an artifact names
        """Return none."""
        return set()

    def restore(self, draft: Draft, hashed: Iterable[Hashed], missing: Set[Digest], progress: Progress) -> Set[Digest]:
        """Do nothing: nothing is missing."""
        return set()

    def published(self) -> None:
        """Do nothing: nothing was held."""

    def _write(self, pieces: Iterator[bytes]) -> ManifestFile:
        hasher, size = Algorithm.MD5.hasher(), 0
        with self._manifest.open("wb") as file:
            self._manifest.chmod(0o600)
            for piece in pieces:
                hasher.update(piece)
                size += len(piece)
                file.write(piece)
        return ManifestFile(Digest(Algorithm.MD5, hasher.digest()), size)


def _local(draft: Draft, one: Hashed, progress: Progress) -> LocalFile:
    def check() -> None:
        progress.check()
        if not unchanged(draft, one.item):
            raise BusyError(f"{one.item.path} has changed while it was being committed", hint="try again")

    path = Path(draft.tree.local_path(one.item.path))
    return LocalFile(one.entry.path, path, one.item.size, one.entry.blob, check)


class OtherVersions:
    """What a commit has to know of the versions from which it takes files. Each is looked up once."""

    def __init__(self, registry: Registry, open_index: Callable[[Version], ManifestIndex]) -> None:
        self._registry = registry
        self._open_index = open_index
        self._versions: dict[str, Version | None] = {}
        self._paths: dict[str, dict[tuple[str, int], str]] = {}

    def entity(self, version_id: str) -> str | None:
        """Return the entity that a version belongs to; None if the version is gone."""
        version = self._version(version_id)
        return None if version is None else version.source.entity

    def path(self, version_id: str, entry: Entry) -> str:
        """Return where in a version the content of an entry is, whatever the path of the entry is now. InvalidInputError."""
        version = self._version(version_id)
        if version is None:
            raise InvalidInputError(
                f"{entry.path} is of a version that was deleted", hint="remove it, or copy the file"
            )
        index = self._open_index(version)
        node = index.find(entry.path)
        if node is not None and not node.is_dir and index.entry(node.number).digest == entry.digest:
            return entry.path
        if version_id not in self._paths:
            self._paths[version_id] = {(found.digest, found.size): found.path for found in index.entries()}
        found = self._paths[version_id].get((entry.digest, entry.size))
        if found is None:
            raise InvalidInputError(f"{entry.path} is not in the version from which it should be")
        return found

    def _version(self, version_id: str) -> Version | None:
        if version_id not in self._versions:
            try:
                self._versions[version_id] = self._registry.version_by_id(version_id)
            except NotFoundError:
                self._versions[version_id] = None
        return self._versions[version_id]
