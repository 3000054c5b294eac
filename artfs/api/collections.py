"""`ArtifactCollection` and `ArtifactType`: what a project holds, and the versions of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artfs.api.artifact import Artifact
from artfs.api.listing import Listing
from artfs.errors import NotFoundError
from artfs.registry.port import CollectionKind

if TYPE_CHECKING:
    from artfs.api.client import Client
    from artfs.model.names import CollectionRef
    from artfs.registry.port import CollectionInfo, CollectionListing


class ArtifactCollection:
    """A named series of versions: a sequence, where they are logged, or a portfolio, which links them."""

    def __init__(self, client: Client, ref: CollectionRef, info: CollectionInfo | None = None) -> None:
        self._client = client
        self._ref = ref
        self._info = info
        self._description: str | None = info.description if info else None
        self._loaded = info is not None

    @property
    def entity(self) -> str:
        """The entity of its project."""
        return self._ref.entity

    @property
    def project(self) -> str:
        """Its project."""
        return self._ref.project

    @property
    def name(self) -> str:
        """Its name."""
        return self._ref.collection

    @property
    def qualified_name(self) -> str:
        """``entity/project/name``."""
        return str(self._ref)

    @property
    def type(self) -> str | None:
        """The type of its artifacts; None before the first one."""
        return self._load().type

    @property
    def created_at(self) -> str:
        """When it was made: ISO 8601, in UTC."""
        return self._load().created_at.isoformat()

    @property
    def description(self) -> str | None:
        """What it is. Set it, then `save`."""
        self._load()
        return self._description

    @description.setter
    def description(self, value: str | None) -> None:
        self._load()
        self._description = value

    @property
    def aliases(self) -> list[str]:
        """The aliases in it, of whichever version."""
        return [alias.name for alias in self._listing().aliases]

    def is_sequence(self) -> bool:
        """Whether versions are logged here; otherwise it links versions of other collections."""
        return self._load().kind is CollectionKind.SEQUENCE

    def artifacts(self, per_page: int = 50) -> Listing[Artifact]:
        """Return its versions, the newest first."""
        del per_page
        found = self._client.registry.versions(self._ref)
        return Listing([Artifact.of_version(self._client, version) for version in reversed(found)])

    def save(self) -> None:
        """Record the description."""
        self._client.registry.set_collection_description(self._ref, self._description)

    def _listing(self) -> CollectionListing:
        return self._client.registry.listing(self._ref)

    def _load(self) -> CollectionInfo:
        if self._info is None:
            infos = self._client.registry.collection_infos(self._ref.entity, self._ref.project)
            found = next((info for info in infos if info.ref == self._ref), None)
            if found is None:
                raise NotFoundError(f"there is no collection {self._ref}")
            self._info, self._description = found, found.description
        return self._info

    def __len__(self) -> int:
        count = self._load().version_count
        return len(self._client.registry.listing(self._ref).versions) if count is None else count

    def __repr__(self) -> str:
        return f"<ArtifactCollection {self._ref}>"


class ArtifactType:
    """A type of artifacts in a project, such as ``dataset``."""

    def __init__(self, client: Client, entity: str, project: str, name: str) -> None:
        self._client = client
        self.entity, self.project, self.name = entity, project, name

    def collections(self, per_page: int = 50) -> Listing[ArtifactCollection]:
        """Return the collections of the type by name."""
        del per_page
        infos = self._client.registry.collection_infos(self.entity, self.project)
        return Listing([ArtifactCollection(self._client, info.ref, info) for info in infos if info.type == self.name])

    def collection(self, name: str) -> ArtifactCollection:
        """Return a collection of the type; NotFoundError."""
        for collection in self.collections():
            if collection.name == name:
                return collection
        raise NotFoundError(f"{self.entity}/{self.project} has no collection {name!r} of type {self.name!r}")

    def __repr__(self) -> str:
        return f"<ArtifactType {self.entity}/{self.project}/{self.name}>"
