"""Answers of a W&B server as values of the port. They are untrusted: what is not as it should be is an IntegrityError that says where."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from artfs.errors import IntegrityError, InvalidInputError
from artfs.model.digest import Algorithm, Digest
from artfs.model.names import CollectionRef, version_index
from artfs.registry.port import (
    AliasInfo,
    CollectionInfo,
    CollectionKind,
    ManifestFile,
    State,
    Version,
    VersionInfo,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artfs.model.entry import JsonValue

Node = dict[str, Any]

PORTFOLIO = "ArtifactPortfolio"


def field(node: object, name: str, kind: type) -> Any:  # noqa: ANN401 - of that type
    """Return a member of a node; IntegrityError if it is missing, or of another type."""
    found = node.get(name) if isinstance(node, dict) else None
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise IntegrityError(f"the W&B server has answered with a wrong {name!r}: {str(found)[:80]!r}")
    return found


def time(text: object) -> datetime:
    """Return a time, in UTC."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise IntegrityError(f"the W&B server has answered with a time that is none: {str(text)[:80]!r}") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def number(value: object) -> int:
    """Return a count or size, which the server may write as text."""
    try:
        found = int(str(value))
    except ValueError as error:
        raise IntegrityError(f"the W&B server has answered with a number that is none: {str(value)[:80]!r}") from error
    if found < 0:
        raise IntegrityError(f"the W&B server has answered with the number {found}")
    return found


def aliases(node: Node) -> tuple[str, ...]:
    """Return the aliases of a membership, without its index, sorted."""
    names = (str(field(one, "alias", str)) for one in field(node, "aliases", list))
    return tuple(sorted(name for name in names if version_index(name) is None and is_name(name)))


def is_name(text: str) -> bool:
    """Whether a name can be one in a directory; others are left out of listings."""
    if not text or text.startswith(".") or "/" in text or any(ord(char) < 32 for char in text):
        return False
    try:
        return len(text.encode()) <= 255
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def place(node: Node) -> CollectionRef:
    """Return where a collection is."""
    project = field(node, "project", dict)
    return CollectionRef(
        field(field(project, "entity", dict), "name", str), field(project, "name", str), field(node, "name", str)
    )


def collection_info(node: Node, ref: CollectionRef) -> CollectionInfo:
    """Return a collection."""
    kind = CollectionKind.PORTFOLIO if node.get("__typename") == PORTFOLIO else CollectionKind.SEQUENCE
    made = time(field(node, "createdAt", str))
    updated = node.get("updatedAt")
    return CollectionInfo(
        ref=ref,
        kind=kind,
        type=field(field(node, "defaultArtifactType", dict), "name", str),
        description=node.get("description") or None,
        version_count=None,
        created_at=made,
        updated_at=time(updated) if updated else made,
    )


def listed(nodes: Iterable[Node]) -> tuple[tuple[VersionInfo, ...], tuple[AliasInfo, ...]]:
    """Return the COMMITTED versions of memberships by index, and their aliases by name."""
    versions, names = {}, {}
    for node in nodes:
        artifact = node.get("artifact")
        if not isinstance(artifact, dict) or artifact.get("state") != State.COMMITTED.value:
            continue
        index = number(node.get("versionIndex"))
        versions[index] = VersionInfo(field(artifact, "id", str), index, time(field(artifact, "createdAt", str)))
        for name in aliases(node):
            names[name] = AliasInfo(name, index, time(field(node, "createdAt", str)))
    return tuple(versions[index] for index in sorted(versions)), tuple(names[name] for name in sorted(names))


def version(node: Node) -> Version:
    """Return the version of a membership, as its collection shows it."""
    artifact, sequence = field(node, "artifact", dict), field(field(node, "artifact", dict), "artifactSequence", dict)
    return _version(artifact, place(field(node, "artifactCollection", dict)), number(node.get("versionIndex")),
                    _source(sequence), aliases(node))  # fmt: skip


def _source(sequence: Node) -> CollectionRef:
    """Return where a version was logged: of a link from a project that one may not see, the name is all that is told."""
    return CollectionRef("", "", field(sequence, "name", str)) if sequence.get("project") is None else place(sequence)


def _version(artifact: Node, ref: CollectionRef, index: int, source: CollectionRef, names: tuple[str, ...]) -> Version:
    algorithm = Algorithm.XXH128 if artifact.get("digestAlgorithm") == "MANIFEST_XXH128" else Algorithm.MD5
    made = time(field(artifact, "createdAt", str))
    updated = artifact.get("updatedAt")
    ttl = int(str(artifact.get("ttlDurationSeconds") or 0))
    return Version(
        id=field(artifact, "id", str),
        collection=ref,
        index=index,
        source=source,
        source_index=number(artifact.get("versionIndex")),
        type=field(field(artifact, "artifactType", dict), "name", str),
        state=_state(artifact),
        digest=field(artifact, "digest", str),
        algorithm=algorithm,
        manifest=_manifest(artifact),
        commit_hash=str(artifact.get("commitHash") or ""),
        size=number(artifact.get("size")),
        file_count=number(artifact.get("fileCount")),
        description=artifact.get("description") or None,
        metadata=_metadata(artifact.get("metadata")),
        aliases=names,
        tags=tuple(sorted(field(tag, "name", str) for tag in artifact.get("tags") or ())),
        created_at=made,
        updated_at=time(updated) if updated else made,
        ttl_seconds=ttl if ttl > 0 and not artifact.get("ttlIsInherited") else None,
    )


def _state(artifact: Node) -> State:
    try:
        return State(artifact.get("state"))
    except ValueError as error:
        raise IntegrityError(f"the W&B server has answered with the state {artifact.get('state')!r}") from error


def _manifest(artifact: Node) -> ManifestFile:
    found = field(artifact, "currentManifest", dict)
    try:
        digest = Digest.from_base64(field(found, "digest", str))
    except InvalidInputError as error:
        raise IntegrityError(
            f"the W&B server has answered with a wrong digest of a manifest: {error.message}"
        ) from error
    return ManifestFile(digest, number(field(found, "file", dict).get("sizeBytes")))


def _metadata(text: object) -> Mapping[str, JsonValue]:
    """Return metadata, which others may have recorded by other rules than those of `artfs.model.metadata`."""
    try:
        found = json.loads(str(text or "{}"), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"the W&B server has answered with metadata that cannot be: {error}") from error
    if not isinstance(found, dict | None):
        raise IntegrityError(f"the W&B server has answered with metadata that are a {type(found).__name__}")
    return found or {}


def now() -> datetime:
    """Return the present time, as the server writes it: without fractions of a second that it would not keep."""
    return datetime.now(UTC).replace(microsecond=0)
