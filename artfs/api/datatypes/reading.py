"""Read objects of a logged artifact.

The JSON file of an object says which media files it needs. Those are downloaded at once, with several threads, to where `Artifact.download`
puts them, and no others; then the class of the SDK makes the object of them. Its ``_artifact_source`` is the artifact of artfs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs.api.datatypes.values import type_map
from artfs.model.reference import names_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wandb.data_types import WBValue

    from artfs.api.artifact import Artifact
    from artfs.api.entries import ArtifactManifest, ArtifactManifestEntry


def read(artifact: Artifact, name: str) -> Any:
    """Return an object, or None. See `artfs.api.datatypes.read`."""
    manifest = artifact.manifest
    found = _find(manifest, name)
    if found is None:
        return None
    entry, kind = found
    if entry.ref is not None and names_version(entry.ref):
        return _read_elsewhere(artifact, entry.ref)
    with Path(entry.download()).open(encoding="utf-8") as file:
        value = json.load(file, object_hook=_repaired)
    needed = {one.path: one for one in map(manifest.get_entry_by_path, _paths(value)) if one is not None}
    artifact.fetch(needed.values(), None)
    result = kind.from_json(value, artifact)  # type: ignore[arg-type]  # it uses few methods, which are the same here
    result._set_artifact_source(artifact, name)  # type: ignore[arg-type]  # as above
    return result


def _find(manifest: ArtifactManifest, name: str) -> tuple[ArtifactManifestEntry, type[WBValue]] | None:
    """Find the file of an object, by its name with or without the suffix of its class.

    Of classes whose suffixes end alike (``table.json``, ``joined-table.json``) it is that of the longest.
    """
    for kind in type_map.values():
        entry = manifest.get_entry_by_path(kind.with_suffix(name))
        if entry is not None:
            fitting = [one for one in type_map.items() if one[1].with_suffix(entry.path) == entry.path]
            return entry, max(fitting, key=lambda one: len(one[0]))[1]
    return None


def _read_elsewhere(artifact: Artifact, ref: str) -> Any:
    version, path = artifact.client.services.targets.version(ref)
    return artifact.of_version(artifact.client, version).get(path)


def _repaired(value: dict[str, Any]) -> dict[str, Any]:
    """Give an Audio without caption the ``null`` that its class writes nowhere and asks for."""
    if value.get("_type") == "audio-file":
        value.setdefault("caption", None)
    return value


def _paths(value: object) -> Iterator[str]:
    """Yield the paths of the files that an object needs besides its own."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(one.values())
            arrays = one.get("serialization_path")
            if isinstance(arrays, dict):
                waiting.append({"type": "classes-file", **arrays})
            path = one.get("path")
            if isinstance(path, str) and (one.get("_type") in type_map or one.get("type") == "classes-file"):
                yield path
