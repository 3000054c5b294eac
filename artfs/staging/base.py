"""The version that a draft starts from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from artfs.model.digest import Digest
from artfs.model.names import CollectionRef
from artfs.registry.port import ManifestFile

if TYPE_CHECKING:
    from artfs.model.entry import JsonValue
    from artfs.model.names import ArtifactRef


@dataclass(frozen=True, slots=True)
class Base:
    """A version, with what a draft needs of it when the registry is away."""

    version_id: str
    ref: ArtifactRef
    manifest: ManifestFile
    created_at: datetime

    @property
    def created_ns(self) -> int:
        """When the version was made, in nanoseconds since the epoch: the time of its files."""
        return int(self.created_at.replace(microsecond=0).timestamp()) * 10**9 + self.created_at.microsecond * 1000

    def encode(self) -> dict[str, JsonValue]:
        """Return what the database of a draft says of it."""
        collection = self.ref.collection
        return {
            "version_id": self.version_id,
            "entity": collection.entity,
            "project": collection.project,
            "collection": collection.collection,
            "alias": self.ref.alias,
            "manifest": self.manifest.digest.base64,
            "manifest_size": self.manifest.size,
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def decode(cls, said: JsonValue) -> Base:
        """Return what `encode` was called on."""
        found = cast("dict[str, str | int]", said)
        manifest = ManifestFile(Digest.from_base64(str(found["manifest"])), int(found["manifest_size"]))
        collection = CollectionRef(str(found["entity"]), str(found["project"]), str(found["collection"]))
        created_at = datetime.fromisoformat(str(found["created_at"]))
        return cls(str(found["version_id"]), collection.at(str(found["alias"])), manifest, created_at)
