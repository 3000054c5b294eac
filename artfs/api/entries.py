"""Files of an artifact as the public API shows them: `ArtifactManifestEntry`, and the `ArtifactManifest` that lists them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from artfs.errors import ArtifactNotLoggedError, NotSupportedError
from artfs.model.digest import Algorithm, version_digest
from artfs.model.manifest import MANIFEST_VERSION, STORAGE_POLICY, encode_entry
from artfs.model.reference import artifact_uri

if TYPE_CHECKING:
    import os
    from concurrent.futures import Executor

    from artfs.api.artifact import Artifact
    from artfs.cache.index import ManifestIndex
    from artfs.model.entry import Entry, JsonValue


class ArtifactManifestEntry:
    """One file of an artifact.

    ``path`` is its place in the artifact; ``digest`` the base64 of its MD5 (or what stands for it, for a reference: an ETag, a URI);
    ``size`` is in bytes, 0 where a reference does not say; ``ref`` is the URI of a reference; ``extra`` holds what a reference was
    pinned to. The names are those of the W&B SDK.
    """

    def __init__(self, artifact: Artifact, entry: Entry) -> None:
        self._artifact = artifact
        self.entry = entry

    @property
    def path(self) -> str:
        """The path of the file in the artifact."""
        return self.entry.path

    @property
    def name(self) -> str:
        """The same as ``path``, as older programs call it."""
        return self.entry.path

    @property
    def digest(self) -> str:
        """The digest, as in the manifest."""
        return self.entry.digest

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.entry.size

    @property
    def ref(self) -> str | None:
        """The URI of a reference; None for a file of the artifact itself."""
        return self.entry.ref

    @property
    def extra(self) -> dict[str, JsonValue]:
        """What else the manifest says, by name."""
        return dict(self.entry.extra)

    @property
    def birth_artifact_id(self) -> str | None:
        """The id of the version whose upload stored the bytes, if that is recorded."""
        return self.entry.birth_artifact_id

    @property
    def local_path(self) -> str | None:
        """Where the copy of a file lies that was added to an artifact which is not logged yet; None otherwise."""
        return self._artifact.staged_path(self.path)

    def parent_artifact(self) -> Artifact:
        """Return the artifact that the entry belongs to."""
        return self._artifact

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        skip_cache: bool | None = None,
        executor: Executor | None = None,
    ) -> str:
        """Write the file below ``root`` (default: that of `Artifact.download`), every byte checked, and return its path.

        A file that is there with the right content is left alone. With an ``executor`` the work is done there, and the path is
        returned at once. ArtifactNotLoggedError, IntegrityError, NotFoundError, UnreachableError.
        """
        place = self._artifact.place_of(self, root)
        if executor is not None:
            executor.submit(self._artifact.fetch, [self], root)
        else:
            self._artifact.fetch([self], root)
        return str(place)

    def ref_target(self) -> str:
        """Return the URI of a reference; ValueError for a file."""
        if self.entry.ref is None:
            raise ValueError("Only reference entries support ref_target().")
        return self.entry.ref

    def ref_url(self) -> str:
        """Return a URI that stands for this entry in other artifacts. ArtifactNotLoggedError."""
        version_id = self._artifact.id
        if version_id is None:
            raise ArtifactNotLoggedError(
                "an entry of an artifact that is not logged has no URL", hint="log it, then wait()"
            )
        return artifact_uri(version_id, self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArtifactManifestEntry) and _without_place(self.entry) == _without_place(other.entry)

    def __hash__(self) -> int:
        return hash((self.path, self.digest))

    def __repr__(self) -> str:
        target = f", ref={self.ref!r}" if self.ref else ""
        return f"<ArtifactManifestEntry {self.path!r}, digest={self.digest!r}, size={self.size}{target}>"


def _without_place(entry: Entry) -> Entry:
    """Return an entry without what says where in the store its bytes lie."""
    if "pack" not in entry.extra:
        return entry
    return dataclasses.replace(entry, extra={key: value for key, value in entry.extra.items() if key != "pack"})


class _OfIndex(Mapping[str, ArtifactManifestEntry]):
    """The entries of a version by path, read from its compiled manifest when they are asked for."""

    def __init__(self, artifact: Artifact, index: ManifestIndex) -> None:
        self._artifact = artifact
        self._index = index

    def __getitem__(self, path: str) -> ArtifactManifestEntry:
        node = self._index.find(path) if path else None
        if node is None or node.is_dir:
            raise KeyError(path)
        return ArtifactManifestEntry(self._artifact, self._index.entry(node.number))

    def __iter__(self) -> Iterator[str]:
        return (entry.path for entry in self._index.entries())

    def __len__(self) -> int:
        return self._index.file_count

    def under(self, directory: str) -> Iterator[ArtifactManifestEntry]:
        node = self._index.find(directory.strip("/"))
        if node is not None and node.is_dir:
            yield from (ArtifactManifestEntry(self._artifact, entry) for entry in self._index.entries(node.number))


class _OfDraft(Mapping[str, ArtifactManifestEntry]):
    """The entries of an artifact that is not logged yet. A walk is over those of its beginning: other threads may add some meanwhile."""

    def __init__(self, artifact: Artifact, entries: Mapping[str, Entry]) -> None:
        self._artifact = artifact
        self._entries = entries

    def __getitem__(self, path: str) -> ArtifactManifestEntry:
        return ArtifactManifestEntry(self._artifact, self._entries[path])

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def under(self, directory: str) -> Iterator[ArtifactManifestEntry]:
        prefix = f"{directory.strip('/')}/" if directory.strip("/") else ""
        for path, entry in sorted(dict(self._entries).items()):
            if path.startswith(prefix):
                yield ArtifactManifestEntry(self._artifact, entry)


class ArtifactManifest:
    """The list of an artifact's files. It cannot be changed once the artifact is logged."""

    def __init__(self, entries: _OfIndex | _OfDraft, algorithm: Algorithm) -> None:
        self._entries = entries
        self._algorithm = algorithm

    @classmethod
    def of_index(cls, artifact: Artifact, index: ManifestIndex, algorithm: Algorithm) -> ArtifactManifest:
        """Return the manifest of a version."""
        return cls(_OfIndex(artifact, index), algorithm)

    @classmethod
    def of_draft(cls, artifact: Artifact, entries: Mapping[str, Entry], algorithm: Algorithm) -> ArtifactManifest:
        """Return the manifest of an artifact that is not logged yet: a view, which changes as files are added."""
        return cls(_OfDraft(artifact, entries), algorithm)

    @staticmethod
    def version() -> int:
        """Return the version of the manifest's format."""
        return MANIFEST_VERSION

    @property
    def entries(self) -> Mapping[str, ArtifactManifestEntry]:
        """The entries by path. For a version they are read when they are asked for: there may be millions."""
        return self._entries

    def get_entry_by_path(self, path: str) -> ArtifactManifestEntry | None:
        """Return an entry; None if there is none."""
        return self._entries.get(path)

    def get_entries_in_directory(self, directory: str) -> list[ArtifactManifestEntry]:
        """Return the entries anywhere below a directory; an empty list if there is no such directory."""
        return list(self._entries.under(directory))

    def add_entry(self, entry: ArtifactManifestEntry) -> None:
        """Refuse: entries are added by the methods of the artifact. NotSupportedError."""
        raise NotSupportedError(
            f"{entry.path} cannot be put into a manifest", hint="use Artifact.add_file or add_reference"
        )

    def digest(self) -> str:
        """Return the digest of the content: 32 hex digits, as the W&B SDK computes it."""
        pairs = sorted((path, entry.digest) for path, entry in self._entries.items())
        return version_digest(pairs, self._algorithm)

    def size(self) -> int:
        """Return the sum of the sizes in bytes."""
        return sum(entry.size for entry in self._entries.values())

    def to_manifest_json(self) -> dict[str, JsonValue]:
        """Return the manifest as in its file."""
        import json

        contents: dict[str, Any] = {
            path: json.loads(encode_entry(entry.entry)) for path, entry in self._entries.items()
        }
        return {
            "version": MANIFEST_VERSION,
            "storagePolicy": STORAGE_POLICY,
            "storagePolicyConfig": {"storageLayout": "V2"},
            "contents": contents,
        }
