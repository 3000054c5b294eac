"""The files of an artifact: adding them before it is logged, reading them after."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from artfs.api.attributes import Attributes
from artfs.api.entries import ArtifactManifest, ArtifactManifestEntry
from artfs.errors import ArtifactFinalizedError, InvalidInputError, NotFoundError, PermissionDeniedError
from artfs.model.digest import version_digest
from artfs.model.names import version_name
from artfs.model.paths import join, split
from artfs.model.reference import names_version, uri_scheme

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from artfs.api.building import Building
    from artfs.api.files import ArtifactFiles
    from artfs.model.digest import Digest
    from artfs.registry.port import Version

    AnyPath = str | os.PathLike[str]


class Contents(Attributes):
    """What an artifact does with files."""

    _final = False

    def _open_building(self, what: str) -> Building:
        """Return where files are added; ArtifactFinalizedError if none can be any more."""
        is_being_logged = self._pending is not None and not self._pending.failed
        if self._building is not None and self._final and not is_being_logged:
            raise ArtifactFinalizedError(
                f"'{what}' cannot be used: artifact {self._name!r} is finalized", hint="log it"
            )
        if self._building is None or is_being_logged:
            raise ArtifactFinalizedError(
                f"'{what}' cannot be used: artifact {self._name!r} was logged already",
                hint="change a copy: artifact.new_draft()",
            )
        return self._building

    # What it holds ----------------------------------------------------------------------------------------------

    @property
    def manifest(self) -> ArtifactManifest:
        """The artifact's manifest: the list of all its contents. It can't be changed once the artifact has been logged."""
        seen = self._version_or_none()
        if seen is None and self._building is not None:
            return ArtifactManifest.of_draft(self._any(), self._building.entries, self._building.algorithm)
        seen = self._logged("manifest")
        return ArtifactManifest.of_index(self._any(), self._client.services.open_index(seen), seen.algorithm)

    @property
    def digest(self) -> str:
        """The logical digest of the artifact: the checksum of its contents, 32 hex digits.

        If an artifact has the same digest as the current ``latest`` version, then ``log_artifact`` is a no-op.
        """
        seen = self._version_or_none()
        if seen is None and self._building is not None:
            entries = sorted((path, entry.digest) for path, entry in dict(self._building.entries).items())
            return version_digest(entries, self._building.algorithm)
        return self._logged("digest").digest

    @property
    def size(self) -> int:
        """The total size of the artifact in bytes, references included as far as their size is known."""
        seen = self._version_or_none()
        if seen is None and self._building is not None:
            return sum(entry.size for entry in dict(self._building.entries).values())
        return self._logged("size").size

    # Adding -----------------------------------------------------------------------------------------------------

    def add_file(
        self,
        local_path: AnyPath,
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",  # the file is copied in any case, so it may change afterwards
        overwrite: bool = False,
    ) -> ArtifactManifestEntry:
        """Add a local file to the artifact, and return the added manifest entry.

        ``name`` is its path in the artifact, by default the basename of the file. With ``is_tmp`` its name (up to the first dot) is
        replaced by one made of its digest. The file is copied: it may change or go afterwards. ArtifactFinalizedError; ValueError if
        it is no file, or the path has another content already and ``overwrite`` is false.
        """
        building = self._open_building("add_file")
        if policy not in {"mutable", "immutable"}:
            raise InvalidInputError(f"policy is 'mutable' or 'immutable', not {policy!r}")
        path = Path(local_path)
        place = name or path.name
        if is_tmp:
            place = temporary_name(place, building.digest_of(path))
        entry = building.add_file(path, place, overwrite=overwrite)
        building.sources[path.absolute()] = entry.path
        return ArtifactManifestEntry(self._any(), entry)

    def add_dir(
        self,
        local_path: AnyPath,
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Add a local directory to the artifact: its files, and those of its directories, symlinks followed.

        ``name`` is its path in the artifact, by default the root. With ``merge``, a file replaces another one at the same path.
        ArtifactFinalizedError; ValueError if it is no directory, or a path has another content already.
        """
        building = self._open_building("add_dir")
        root = Path(local_path)
        if not root.is_dir():
            raise InvalidInputError(f"Path is not a directory: {root}")
        prefix = "" if name is None or name in {".", "./"} else name.strip("/")
        building.add_files(files_below(root, prefix), overwrite=merge)
        building.sources[root.absolute()] = prefix

    def add_reference(
        self,
        uri: ArtifactManifestEntry | str,
        name: str | None = None,
        checksum: bool = True,
        max_objects: int | None = None,
    ) -> Sequence[ArtifactManifestEntry]:
        """Add a reference denoted by a URI to the artifact, and return the added manifest entries.

        ``uri``: http(s), s3, gs, file or any other scheme, or an entry of a logged artifact (`get_entry`). A prefix or a directory stands
        for everything below it; ``name`` is where that goes, by default the root. Without ``checksum`` nothing is looked at, and one entry
        stands for all of it. ``max_objects`` limits what a prefix may hold (10,000,000 unless given). ArtifactFinalizedError; ValueError
        for what is no URI, or more than that; NotFoundError, PermissionDeniedError, UnreachableError.
        """
        from artfs.storage.resolver import MAX_OBJECTS

        building = self._open_building("add_reference")
        if isinstance(uri, ArtifactManifestEntry):
            name = name or uri.path
            uri = uri.ref_url()
        if uri_scheme(str(uri)) is None:
            raise InvalidInputError(
                f"References must be URIs: {uri!r} has no scheme", hint="write s3://..., file:///..."
            )
        limit = MAX_OBJECTS if max_objects is None else max_objects
        entries = building.add_reference(str(uri), name or "", checksum=checksum, max_objects=limit)
        return [ArtifactManifestEntry(self._any(), entry) for entry in entries]

    @contextlib.contextmanager
    def new_file(
        self,
        name: str,
        mode: str | None = None,
        encoding: str | None = None,
        policy: str | None = "mutable",
    ) -> Iterator[IO[Any]]:
        """Open a new file that is added to the artifact when the ``with`` block ends well, and forgotten when it raises.

        ``mode`` is ``"x"`` or ``"w"``, text, by default, or with ``"b"`` for bytes; ``"w"`` replaces a file of that name.
        ArtifactFinalizedError; ValueError if there is a file of that name.
        """
        building = self._open_building("new_file")
        mode = mode or "x"
        if not mode or not set(mode) <= set("wxbt+") or not set(mode) & set("wx"):
            raise InvalidInputError(f"a new file is opened with mode 'x', 'w', 'xb' or 'wb', not {mode!r}")
        with building.new_file(name, mode, encoding, overwrite="w" in mode) as file:
            yield file

    def remove(self, item: AnyPath | ArtifactManifestEntry) -> None:
        """Remove a file, a reference, or all of a directory. ArtifactFinalizedError; FileNotFoundError if there is nothing."""
        building = self._open_building("remove")
        path = item.path if isinstance(item, ArtifactManifestEntry) else str(item)
        try:
            building.remove(path)
        except NotFoundError as error:
            raise FileNotFoundError(error.message) from error

    def add(self, obj: Any, name: str, overwrite: bool = False) -> ArtifactManifestEntry:
        """Add ``obj``, a data type of the W&B SDK, and return the added manifest entry. Needs ``pip install 'artfs[wandb]'``.

        One of Bokeh, JoinedTable, PartitionedTable, Table, Classes, ImageMask, BoundingBoxes2D, Audio, Image, Video, Html, Object3D.
        ArtifactFinalizedError; TypeError for anything else; ValueError if the name is taken by something else and ``overwrite`` is false.
        """
        from artfs.api.datatypes import write

        building = self._open_building("add")
        path = write(obj, name, building, overwrite=overwrite)
        return ArtifactManifestEntry(self._any(), building.entries[path])

    def __setitem__(self, name: str, obj: Any) -> ArtifactManifestEntry:
        return self.add(obj, name)

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """Return the path that a local file was added under by `add_file`; None if it was not."""
        return None if self._building is None else self._building.path_of_source(Path(local_path))

    def staged_path(self, path: str) -> str | None:
        """Return where the copy of a file lies that was added; None once the artifact is logged."""
        return None if self._building is None else self._building.local_path(path)

    # Reading ----------------------------------------------------------------------------------------------------

    def get_entry(self, name: AnyPath) -> ArtifactManifestEntry:
        """Return the file at a path. ArtifactNotLoggedError; KeyError if there is none."""
        self._logged("get_entry")
        path = str(name)
        found = self.manifest.get_entry_by_path(path)
        if found is None:
            raise KeyError(f"Path not contained in artifact: {path}")
        return found

    def get_path(self, name: AnyPath) -> ArtifactManifestEntry:
        """Return the file at a path, whose ``download()`` fetches it. The same as `get_entry`."""
        return self.get_entry(name)

    def get(self, name: str) -> Any:
        """Return the object that was added under a name; None if there is none. Only its own files are fetched.

        Needs ``pip install 'artfs[wandb]'``. ArtifactNotLoggedError.
        """
        from artfs.api.datatypes import read

        self._logged("get")
        return read(self._any(), name)

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def files(self, names: Sequence[str] | None = None, per_page: int = 50, start: str | None = None) -> ArtifactFiles:
        """Return the files stored in this artifact: all, or those of ``names`` (a name that is not there is left out)."""
        from artfs.api.files import ArtifactFiles

        del per_page, start  # how a server is asked; the manifest is on this machine by now
        self._logged("files")
        return ArtifactFiles(self._any(), names)

    def _default_root(self, include_version: bool = True) -> str:
        seen = self._logged("download")
        name = seen.source.collection + (f":{version_name(seen.source_index)}" if include_version else "")
        return str(Path(os.environ.get("ARTFS_ARTIFACT_DIR") or "artifacts").absolute() / name)

    def _local_path_to_name(self, file_path: str) -> str | None:
        """Return the path in the artifact of a file that was downloaded to the default root, wherever that was then. The W&B SDK asks."""
        root, manifest, file = Path(self._default_root()).name, self.manifest, Path(file_path).absolute()
        for place in file.parents:
            path = file.relative_to(place).as_posix()
            if place.name == root and manifest.get_entry_by_path(path) is not None:
                return path
        return None

    def place_of(self, entry: ArtifactManifestEntry, root: AnyPath | None) -> Path:
        """Return where a download puts an entry."""
        return Path(root or self._default_root()).absolute() / entry.path

    def fetch(self, entries: Iterable[ArtifactManifestEntry], root: AnyPath | None) -> None:
        """Write files below a directory."""
        from artfs.api.placing import place

        place(
            self._client, self._logged("download"), [one.entry for one in entries], Path(root or self._default_root())
        )

    def download(
        self,
        root: AnyPath | None = None,
        recursive: bool = False,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: AnyPath | None = None,
        multipart: bool | None = None,
    ) -> str:
        """Download the contents of the artifact below ``root``, every byte checked, and return that path.

        ``root`` is ``./artifacts/NAME:vN`` by default (``ARTFS_ARTIFACT_DIR`` replaces ``./artifacts``). Files of the artifact that are
        there with the right content stay, with other content they are replaced; other files are left untouched. With ``recursive`` the
        artifacts that references lead to are downloaded, too, each to its own default place. ``path_prefix`` limits it to a file or what
        lies below a directory. With ``allow_missing_references`` what references do not find is left out.
        ArtifactNotLoggedError, IntegrityError (a ValueError), NotFoundError, UnreachableError, NoSpaceError.
        """
        from artfs.api.placing import place_version

        seen = self._logged("download")
        target = Path(root or self._default_root())
        prefix = None if path_prefix is None else str(path_prefix)
        place_version(self._client, seen, target, prefix=prefix, skip_missing=allow_missing_references)
        if recursive:
            for version in self._dependencies():
                self._any().of_version(self._client, version).download(recursive=True)
        return str(root or target)

    def _dependencies(self) -> list[Version]:
        """Return the versions that entries refer to, those that are not there any more left out."""
        found: dict[str, Version] = {}
        for uri in dict.fromkeys(entry.ref for entry in self.manifest.entries.values() if entry.ref):
            if names_version(uri):
                with contextlib.suppress(NotFoundError):
                    version, _ = self._client.services.targets.version(uri)
                    found.setdefault(version.id, version)
        return list(found.values())

    def checkout(self, root: AnyPath | None = None) -> str:
        """Replace the specified root directory with the contents of the artifact, and return its path.

        WARNING: This DELETES all files in ``root`` that are not included in the artifact, when all of the artifact is there; what stands in
        the way of one of its files, before. Symlinks in it are deleted, never followed. ``root`` is ``./artifacts/NAME`` by default.
        """
        from artfs.api.placing import replace_directory

        seen = self._logged("checkout")
        target = Path(root or self._default_root(include_version=False))
        replace_directory(self._client, seen, target)
        return str(root or target)

    def verify(self, root: AnyPath | None = None) -> None:
        """Verify that the actual contents of a directory match the manifest: every file, and none besides.

        ``root`` is that of `download` by default, and the artifact is downloaded to it if it is not there. References are not verified.
        ValueError names the first file that differs, is missing, or does not belong.
        """
        from artfs.api.placing import verify_directory

        seen = self._logged("verify")
        target = Path(root or self._default_root())
        if not root and not target.exists():
            self.download()
        verify_directory(target, self._client.services.open_index(seen))

    def file(self, root: AnyPath | None = None) -> str:
        """Download a single file artifact to ``root`` (default: that of `download`), and return the path of the file.

        ValueError if the artifact has more than one file, or none.
        """
        seen = self._logged("file")
        if seen.file_count != 1:
            raise InvalidInputError(
                f"This artifact contains {seen.file_count} files, not one", hint="call download() to get all of them"
            )
        (entry,) = self.manifest.entries.values()
        return entry.download(root)

    def _any(self) -> Any:
        return self


def temporary_name(name: str, digest: Digest) -> str:
    """Return a path whose name is made of a digest up to the first dot, as the W&B SDK makes it for temporary files."""
    directory, base = split(name)
    return join(directory, ".".join([digest.hex[:20], *base.split(".")[1:]]))


def files_below(root: Path, prefix: str) -> Iterator[tuple[Path, str]]:
    """Yield the files below a directory with their paths in an artifact.

    InvalidInputError for a cycle of symlinks, and for what is no file; PermissionDeniedError for a directory that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise PermissionDeniedError(f"{error.filename} cannot be listed: {error.strerror}") from error

    for directory, names, files in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(directory)
        real = here.resolve()
        for name in names:
            below = here / name
            if below.is_symlink() and real.is_relative_to(below.resolve()):
                raise InvalidInputError(f"{below} leads back to a directory above it")
        names.sort()
        relative = here.relative_to(root).as_posix()
        for name in sorted(files):
            _check_file(here / name)
            yield here / name, "/".join(part for part in (prefix, relative, name) if part not in {"", "."})


def _check_file(path: Path) -> None:
    """InvalidInputError for what no version can hold; to open a fifo would wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = "is a symlink to nowhere" if path.is_symlink() else f"cannot be added: {error.strerror}"
        raise InvalidInputError(f"{path} {reason}") from error
    if not stat.S_ISREG(mode):
        raise InvalidInputError(f"{path} is a device, a socket or a fifo")
