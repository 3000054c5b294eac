"""The values of a registry as JSON text and back, for who keeps answers on disk (`artfs.registry.remembered`).

Fields that were added to a value later may be missing: an answer of an earlier program is as good as it was then.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from artfs.errors import InvalidInputError
from artfs.model.digest import Algorithm, Digest
from artfs.model.names import CollectionRef
from artfs.model.run import RunInfo, RunState
from artfs.registry.port import (
    AliasInfo,
    CollectionInfo,
    CollectionKind,
    CollectionListing,
    ManifestFile,
    State,
    Version,
    VersionInfo,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


def encode(answer: object) -> str:
    """Return an answer of a reading method of the port as text: ASCII, as metadata may hold halves of surrogate pairs."""
    return json.dumps(_plain(answer), separators=(",", ":"))


def _plain(value: object) -> object:
    match value:
        case Digest():
            return str(value)
        case datetime():
            return value.isoformat()
        case State() | CollectionKind() | RunState():
            return value.value
        case Algorithm():
            return value.name
        case list() | tuple():
            return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def decode_names(text: str) -> list[str]:
    """Return a list of names."""
    found = _load(text)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise InvalidInputError("a remembered answer is no list of names")
    return cast("list[str]", found)


def decode_listing(text: str) -> CollectionListing:
    """Return the listing of a collection."""
    found = _load(text)
    return CollectionListing(
        kind=CollectionKind(found["kind"]),
        type=found["type"],
        created_at=datetime.fromisoformat(found["created_at"]),
        updated_at=datetime.fromisoformat(found["updated_at"]),
        versions=tuple(
            VersionInfo(info["id"], info["index"], datetime.fromisoformat(info["created_at"]))
            for info in found["versions"]
        ),
        aliases=tuple(
            AliasInfo(info["name"], info["index"], datetime.fromisoformat(info["updated_at"]))
            for info in found["aliases"]
        ),
    )


def decode_collection_infos(text: str) -> list[CollectionInfo]:
    """Return a list of collections."""
    return [_collection_info(found) for found in _load(text)]


def decode_collection_info(text: str) -> CollectionInfo:
    """Return a collection."""
    return _collection_info(_load(text))


def decode_truth(text: str) -> bool:
    """Return whether something was there."""
    found = _load(text)
    if not isinstance(found, bool):
        raise InvalidInputError("a remembered answer is neither true nor false")
    return found


def decode_found(text: str) -> VersionInfo | AliasInfo:
    """Return what a collection has shown under a name."""
    found = _load(text)
    if "created_at" in found:
        return VersionInfo(found["id"], found["index"], datetime.fromisoformat(found["created_at"]))
    return AliasInfo(found["name"], found["index"], datetime.fromisoformat(found["updated_at"]))


def assemble_listing(seen: Iterable[str], info: str | None) -> CollectionListing:
    """Return a listing made of what was seen of a collection name by name; ``info`` is the answer about the collection, if it was seen."""
    found = [decode_found(text) for text in seen]
    versions = sorted((one for one in found if isinstance(one, VersionInfo)), key=lambda one: one.index)
    aliases = sorted((one for one in found if isinstance(one, AliasInfo)), key=lambda one: one.name)
    times = [one.created_at for one in versions] + [one.updated_at for one in aliases]
    about = None if info is None else decode_collection_info(info)
    return CollectionListing(
        kind=CollectionKind.SEQUENCE if about is None else about.kind,
        type=None if about is None else about.type,
        created_at=min(times) if about is None else about.created_at,
        updated_at=max(times) if about is None else about.updated_at,
        versions=tuple(versions),
        aliases=tuple(aliases),
    )


def _collection_info(found: dict[str, Any]) -> CollectionInfo:
    changed: dict[str, Any] = {
        "ref": CollectionRef(**found["ref"]),
        "kind": CollectionKind(found["kind"]),
        "created_at": datetime.fromisoformat(found["created_at"]),
        "updated_at": datetime.fromisoformat(found["updated_at"]),
    }
    return CollectionInfo(**{**found, **changed})


def decode_version(text: str) -> Version:
    """Return a version."""
    return _version(_load(text))


def decode_versions(text: str) -> list[Version]:
    """Return a list of versions."""
    return [_version(found) for found in _load(text)]


def _version(found: dict[str, Any]) -> Version:
    algorithm, _, digest = found["manifest"]["digest"].partition(":")
    manifest = ManifestFile(Digest.from_hex(digest, Algorithm(algorithm)), found["manifest"]["size"])
    changed: dict[str, Any] = {
        "collection": CollectionRef(**found["collection"]),
        "source": CollectionRef(**found["source"]),
        "state": State(found["state"]),
        "algorithm": Algorithm[found["algorithm"]],
        "manifest": manifest,
        "aliases": tuple(found["aliases"]),
        "tags": tuple(found["tags"]),
        "created_at": datetime.fromisoformat(found["created_at"]),
        "updated_at": datetime.fromisoformat(found["updated_at"]),
    }
    return Version(**{**found, **changed})


def decode_run(text: str) -> RunInfo:
    """Return a run."""
    return _run(_load(text))


def decode_run_or_none(text: str) -> RunInfo | None:
    """Return a run, or none."""
    found = _load(text)
    return None if found is None else _run(found)


def decode_runs(text: str) -> list[RunInfo]:
    """Return a list of runs."""
    return [_run(found) for found in _load(text)]


def _run(found: dict[str, Any]) -> RunInfo:
    finished = found.get("finished_at")
    changed: dict[str, Any] = {
        "created_at": datetime.fromisoformat(found["created_at"]),
        "state": RunState(
            found.get("state", RunState.FINISHED.value)
        ),  # as `sql.migrations` has it for runs of that time
        "finished_at": None if finished is None else datetime.fromisoformat(finished),
    }
    return RunInfo(**{**found, **changed})


def _load(text: str) -> Any:  # noqa: ANN401 - JSON that `encode` wrote
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"a remembered answer is damaged: {error}") from error
