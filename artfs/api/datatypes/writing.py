"""Write objects into an artifact that is being made.

The classes of the SDK write themselves into a ``wandb.Artifact``, and into nothing else. `_Target` is one by its class only: each
file goes straight to the artifact of artfs, nothing is staged, no service is started and nothing is asked of a network. Where a file that
an object needs came from another artifact, it is copied under the path that it has there. One object is written at a time: the
SDK changes tables while it writes them.
"""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import wandb
from wandb.data_types import (
    Audio,
    Bokeh,
    BoundingBoxes2D,
    Classes,
    Html,
    Image,
    ImageMask,
    JoinedTable,
    Molecule,
    Object3D,
    PartitionedTable,
    Table,
    Video,
    _SavedModel,
)
from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
from wandb.sdk.lib.paths import LogicalPath

from artfs.api.contents import files_below, temporary_name
from artfs.api.datatypes.values import inside, origin, parts, unchanged
from artfs.errors import InvalidInputError
from artfs.model.digest import Digest
from artfs.model.paths import join, parse_entry_path, split
from artfs.storage.resolver import MAX_OBJECTS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from wandb.data_types import WBValue

    from artfs.api.building import Building
    from artfs.model.entry import Entry

    AnyPath = str | os.PathLike[str]

_ADDABLE = (
    Audio, Bokeh, BoundingBoxes2D, Classes, Html, Image, ImageMask, JoinedTable, Molecule, Object3D, PartitionedTable, Table, Video,
    _SavedModel,
)  # fmt: skip
_NAMED_BY_DIGEST = "media/tables"  # tables that other ones refer to
_ARRAYS = "media/serialized_data/"  # their files are made for this one artifact, in a temporary directory

_one_at_a_time = threading.RLock()


def write(obj: object, name: str, building: Building, *, overwrite: bool) -> str:
    """Add an object, and return the path of the entry that stands for it. See `artfs.api.datatypes.write`."""
    if not isinstance(obj, _ADDABLE):
        names = ", ".join(kind.__name__.removeprefix("_") for kind in _ADDABLE)
        raise TypeError(f"Found object of type {type(obj)}, expected one of: {names}")
    with _one_at_a_time:
        target = _Target(building)
        try:
            return target.write(obj, name, overwrite=overwrite).path
        except BaseException:
            target.take_back()
            raise


class _Target(wandb.Artifact):
    """What the objects write themselves to, for one call of `write`: the few methods of an artifact that they use."""

    def __init__(self, building: Building) -> None:  # the SDK's own has nothing to do here: no id, no cache, no policy
        self._building = building
        self._origins: dict[str, tuple[Any, str]] = {}
        self._made: list[str] = []
        self._depth = 0
        self._manifest: Any = SimpleNamespace(entries=building.entries)  # JoinedTable looks for its tables there

    def write(self, obj: WBValue, name: str, *, overwrite: bool) -> Entry:
        """Write an object and what is in it. One that was added and has not changed since is the entry that it was, whatever its name."""
        known = None if overwrite else self._known(obj)
        values = list(inside(obj))
        self._learn(values)
        for part in parts(obj):
            self._write_part(part)
        with self._inner(), unchanged(values):
            data = json.dumps(obj.to_json(self), sort_keys=True).encode()
        if known is not None and known.digest == Digest.of(data, known.algorithm).base64:
            return known
        entry = self._put(obj.with_suffix(parse_entry_path(name)), data, overwrite=overwrite)
        self._building.objects[id(obj)] = (obj, entry)
        return entry

    def take_back(self) -> None:
        """Remove the files that came to the artifact by this call."""
        for path in self._made:
            if path in self._building.entries:
                self._building.remove(path)

    def _known(self, obj: object) -> Entry | None:
        """Return the entry of an object that was added before, unless it was removed or replaced meanwhile."""
        found = self._building.objects.get(id(obj))
        if found is None or self._building.entries.get(found[1].path) != found[1]:
            return None
        return found[1]

    def _learn(self, values: Sequence[object]) -> None:
        """Note which local files are media of other artifacts."""
        found = filter(None, map(origin, values))
        self._origins.update((path, (artifact, name)) for path, artifact, name in found)

    def _write_part(self, part: Any) -> None:
        """Bring a part of a partitioned table of another artifact, unless it is there."""
        there = self._building.entries.get(part.entry.path)
        if there is not None and there.digest == part.entry.digest:
            return
        table = part.get_part()
        if table is not None:
            with self._inner():
                self.add(table, part.entry.path)
            self._building.objects.pop(id(table), None)  # it is nobody's: not to be kept
        part.free()

    @contextlib.contextmanager
    def _inner(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    # What the objects call --------------------------------------------------------------------------------------------

    def add(self, obj: WBValue, name: AnyPath, overwrite: bool = False) -> ArtifactManifestEntry:
        """Add an object that is a part of another one."""
        known = self._known(obj)
        return _shown(known or self.write(obj, str(name), overwrite=overwrite))

    def add_file(
        self,
        local_path: AnyPath,
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        overwrite: bool = False,
    ) -> ArtifactManifestEntry:
        """Add a media file."""
        path = Path(local_path)
        place = name or path.name
        if is_tmp:
            place = temporary_name(place, self._building.digest_of(path))
        entry = self._add(path, place)
        if is_tmp and place.startswith(_ARRAYS):
            path.unlink()
        return _shown(entry)

    def add_dir(
        self,
        local_path: AnyPath,
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Add a directory, as saved models are one."""
        for file, place in files_below(Path(local_path), name or ""):
            self._add(file, place)

    def add_reference(
        self,
        uri: ArtifactManifestEntry | str,
        name: AnyPath | None = None,
        checksum: bool = True,
        max_objects: int | None = None,
    ) -> Sequence[ArtifactManifestEntry]:
        """Add a media file that lies elsewhere, or a table of another artifact."""
        is_new = str(name or "") not in self._building.entries
        limit = MAX_OBJECTS if max_objects is None else max_objects
        added = self._building.add_reference(str(uri), str(name or ""), checksum=checksum, max_objects=limit)
        self._made.extend(entry.path for entry in added if is_new)
        return [_shown(entry) for entry in added]

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """Return the path at which a file is in the artifact already. One of another artifact is brought here, to be there."""
        found = self._building.path_of_source(Path(local_path))
        if found is None and local_path in self._origins:
            found = self._bring(Path(local_path), *self._origins[local_path])
        return found

    def _bring(self, file: Path, artifact: Any, name: str) -> str:
        if not file.is_file():  # it was downloaded, and removed since
            artifact.get_entry(name).download(str(file.parents[len(PurePosixPath(name).parts) - 1]))
        there = self._building.entries.get(name)
        digest = self._building.digest_of(file)
        if there is not None and there.digest != digest.base64:
            directory, base = split(name)
            name = join(join(directory, digest.hex[:20]), base)
        return self._add(file, name).path

    # Files ------------------------------------------------------------------------------------------------------------

    def _add(self, file: Path, name: str) -> Entry:
        is_new = name not in self._building.entries
        entry = self._building.add_file(file, name, overwrite=False)
        if is_new:
            self._made.append(entry.path)
        self._building.sources[file.absolute()] = entry.path
        return entry

    def _put(self, name: str, data: bytes, *, overwrite: bool) -> Entry:
        """Write the JSON of an object.

        Where an inner object finds another one under its name, which the SDK then silently takes for it, it gets a name of its own.
        """
        digest = Digest.of(data, self._building.algorithm)
        if name.startswith(_NAMED_BY_DIGEST):
            name = temporary_name(name, digest)
        there = self._building.entries.get(name)
        if there is not None and not overwrite:
            if there.digest == digest.base64:
                return there
            if self._depth == 0:
                raise InvalidInputError(
                    f"Cannot add the same path twice: {name!r}", hint="choose another name, or overwrite=True"
                )
            name = temporary_name(name, digest)
            if name in self._building.entries:
                return self._building.entries[name]
        with self._building.new_file(name, "wb", None, overwrite=overwrite) as file:
            file.write(data)
        if there is None or name != there.path:
            self._made.append(name)
        return self._building.entries[name]


def _shown(entry: Entry) -> ArtifactManifestEntry:
    """Return an entry as the SDK has it."""
    return ArtifactManifestEntry(path=LogicalPath(entry.path), digest=entry.digest, size=entry.size, ref=entry.ref)
