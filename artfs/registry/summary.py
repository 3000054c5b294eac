"""A version in words: the attribute names of the W&B ``Artifact`` class, with JSON values.

`show --json`, ``.artfs/artifact.json`` and the extended attributes are all made of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.model.names import version_name
from artfs.model.reference import artifact_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.model.entry import JsonValue
    from artfs.model.run import RunInfo
    from artfs.registry.port import Version


def version_summary(version: Version, logged_by: RunInfo | None, used_by: Sequence[RunInfo]) -> dict[str, JsonValue]:
    """Return everything a registry knows of a version. Sizes are bytes, times are ISO 8601 in UTC, ``ttl`` is seconds."""
    return {
        "id": version.id,
        "uri": artifact_uri(version.id),
        "entity": version.collection.entity,
        "project": version.collection.project,
        "name": f"{version.collection.collection}:{version_name(version.index)}",
        "version": version_name(version.index),
        "source_version": version_name(version.source_index),
        "type": version.type,
        "state": version.state.value,
        "digest": version.digest,
        "commit_hash": version.commit_hash,
        "size": version.size,
        "file_count": version.file_count,
        "description": version.description,
        "metadata": dict(version.metadata),
        "aliases": list(version.aliases),
        "tags": list(version.tags),
        "ttl": version.ttl_seconds,
        "created_at": version.created_at.isoformat(),
        "updated_at": version.updated_at.isoformat(),
        "logged_by": logged_by.path if logged_by else None,
        "used_by": [run.path for run in used_by],
        "manifest": {"digest": version.manifest.digest.base64, "size": version.manifest.size},
    }
