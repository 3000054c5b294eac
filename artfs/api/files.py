"""`ArtifactFiles` and `File`: the files of a version, as `Artifact.files` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from artfs.errors import ExistsError
from artfs.model.digest import Algorithm

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from artfs.api.artifact import Artifact
    from artfs.api.entries import ArtifactManifestEntry


class File:
    """A file of a version. ``size`` is in bytes."""

    def __init__(self, entry: ArtifactManifestEntry) -> None:
        self._entry = entry
        self.name = entry.path
        self.size = entry.size
        self.digest = entry.digest

    @property
    def md5(self) -> str | None:
        """The base64 of the MD5 of the bytes; None where the manifest has another digest."""
        entry = self._entry.entry
        return entry.digest if entry.ref is None and entry.algorithm is Algorithm.MD5 else None

    @property
    def mimetype(self) -> str | None:
        """The type that the name suggests."""
        import mimetypes

        return mimetypes.guess_type(self.name)[0]

    @property
    def url(self) -> str:
        """A URI that stands for the file: that of a reference, or one in this registry."""
        return self._entry.ref or self._entry.ref_url()

    @property
    def updated_at(self) -> str:
        """When the version was made: files of a version never change."""
        return self._entry.parent_artifact().created_at

    def download(self, root: str | os.PathLike[str] = ".", replace: bool = False, exist_ok: bool = False) -> Path:
        """Write the file below a directory, every byte checked, and return its path.

        ExistsError (also a ValueError) if it is there, unless ``replace`` it or ``exist_ok``, which leaves what is there.
        """
        place = Path(root) / self.name
        if place.exists() and not replace:
            if exist_ok:
                return place
            raise ExistsError(
                f"{place} exists already", hint="use replace=True to write it anew, exist_ok=True to keep it"
            )
        return Path(self._entry.download(root))

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.size} bytes)>"


class ArtifactFiles(Sequence[File]):
    """The files of a version by path: all, or those that were asked for. They are read as they are asked for."""

    def __init__(self, artifact: Artifact, names: Sequence[str] | None) -> None:
        self._entries = artifact.manifest.entries
        self._names = None if names is None else [name for name in names if name in self._entries]

    def __iter__(self) -> Iterator[File]:
        names = self._entries if self._names is None else self._names
        return (File(self._entries[name]) for name in names)

    def __len__(self) -> int:
        return len(self._entries) if self._names is None else len(self._names)

    @overload
    def __getitem__(self, index: int) -> File: ...

    @overload
    def __getitem__(self, index: slice) -> list[File]: ...

    def __getitem__(self, index: int | slice) -> File | list[File]:
        if self._names is None:
            self._names = list(self._entries)
        if isinstance(index, slice):
            return [File(self._entries[name]) for name in self._names[index]]
        return File(self._entries[self._names[index]])

    def __repr__(self) -> str:
        return f"<ArtifactFiles ({len(self)})>"
