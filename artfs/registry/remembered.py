"""A registry that is not on this machine, with a memory on disk: what was seen can be listed without it.

Each answer of a reading method is written to ``<cache>/seen/<name>.sqlite``. When the registry cannot be reached, the answer that was
seen last is given, if there is one, and the registry is not asked again for `PAUSE` seconds, so that listings stay fast;
`health` says since when, and why. Changes always go to the registry, and fail where it is away. The registry is opened when it is
first asked, so that a mount comes up without it.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, TypeVar

from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import version_index
from artfs.registry import codec
from artfs.registry.fallback import Fallback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from artfs.model.entry import JsonValue
    from artfs.model.names import ArtifactRef, CollectionRef, RunRef
    from artfs.model.run import RunChange, RunInfo
    from artfs.registry.memory import Memory
    from artfs.registry.port import (
        AliasInfo,
        CollectionInfo,
        CollectionListing,
        ManifestFile,
        NewVersion,
        Registry,
        Reservation,
        Version,
        VersionChange,
        VersionInfo,
    )
    from artfs.registry.sweeps import Relied, Sweep

log = logging.getLogger(__name__)

T = TypeVar("T")


class RememberedRegistry(Fallback):
    """The port of a registry (`artfs.registry.port.Registry`) over one that may be away."""

    def __init__(self, connect: Callable[[], Registry], memory: Memory, default_entity: str) -> None:
        super().__init__(connect, memory)
        self._default_entity = default_entity

    # What it is -------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The name of the registry; UnreachableError if it is away and was never seen."""
        return self._named("id", lambda registry: [registry.id], codec.decode_names)[0]

    @property
    def default_entity(self) -> str:
        """The entity of references that name none: that of the settings, or what the registry says."""
        return (
            self._default_entity
            or self._named("default_entity", lambda registry: [registry.default_entity], codec.decode_names)[0]
        )

    def seen(self) -> Iterator[Version]:
        """Yield the versions that are remembered one by one. Asks nobody."""
        for prefix in ("version ", "version_by_id "):
            for text in self._memory.beginning(prefix).values():
                with contextlib.suppress(InvalidInputError, KeyError, TypeError, ValueError):  # of another program
                    yield codec.decode_version(text)

    # What exists ------------------------------------------------------------------------------------------------

    def entities(self) -> Sequence[str]:
        """Return the names of the entities."""
        return self._list(
            "entities", lambda registry: list(registry.entities()), codec.decode_names, "entity_exists ", _names_of
        )

    def entity_exists(self, entity: str) -> bool:
        """Whether there is an entity."""
        return self._one(
            f"entity_exists {entity}",
            lambda registry: registry.entity_exists(entity),
            codec.decode_truth,
            lambda: entity in self.entities(),
        )

    def project_exists(self, entity: str, project: str) -> bool:
        """Whether there is a project."""
        return self._one(
            f"project_exists {entity}/{project}",
            lambda registry: registry.project_exists(entity, project),
            codec.decode_truth,
            lambda: project in self.projects(entity),
        )

    def projects(self, entity: str) -> Sequence[str]:
        """Return the names of an entity's projects."""
        question, prefix = f"projects {entity}", f"project_exists {entity}/"
        return self._list(
            question, lambda registry: list(registry.projects(entity)), codec.decode_names, prefix, _names_of
        )

    def collections(self, entity: str, project: str) -> Sequence[str]:
        """Return the names of a project's collections."""
        question = f"collections {entity}/{project}"
        return self._read(question, lambda registry: list(registry.collections(entity, project)), codec.decode_names)

    def listing(self, collection: CollectionRef) -> CollectionListing:
        """Return the versions and aliases of a collection."""

        def assemble(seen: Mapping[str, str]) -> CollectionListing:
            return codec.assemble_listing(seen.values(), self._memory.get(f"collection_info {collection}"))

        question, prefix = f"listing {collection}", f"find {collection} "
        return self._list(
            question, lambda registry: registry.listing(collection), codec.decode_listing, prefix, assemble
        )

    def version(self, ref: ArtifactRef) -> Version:
        """Return a COMMITTED version."""
        return self._named(f"version {ref}", lambda registry: registry.version(ref), codec.decode_version)

    def version_by_id(self, version_id: str) -> Version:
        """Return a COMMITTED version by its id."""
        question = f"version_by_id {version_id}"
        return self._named(question, lambda registry: registry.version_by_id(version_id), codec.decode_version)

    def version_of_commit(self, client_id: str) -> Version:
        """Return the COMMITTED version that a commit has made."""
        question = f"version_of_commit {client_id}"
        return self._named(question, lambda registry: registry.version_of_commit(client_id), codec.decode_version)

    def versions(self, collection: CollectionRef) -> Sequence[Version]:
        """Return all COMMITTED versions of a collection."""
        question = f"versions {collection}"
        return self._read(question, lambda registry: list(registry.versions(collection)), codec.decode_versions)

    def collection_infos(self, entity: str, project: str) -> Sequence[CollectionInfo]:
        """Return the collections of a project."""
        return self._list(
            f"collection_infos {entity}/{project}",
            lambda registry: list(registry.collection_infos(entity, project)),
            codec.decode_collection_infos,
            f"collection_info {entity}/{project}/",
            lambda seen: [codec.decode_collection_info(seen[name]) for name in sorted(seen)],
        )

    def collection_info(self, collection: CollectionRef) -> CollectionInfo:
        """Return one collection."""

        def out_of_list() -> CollectionInfo:
            infos = self.collection_infos(collection.entity, collection.project)
            return _only((info for info in infos if info.ref == collection), f"there is no collection {collection}")

        return self._one(
            f"collection_info {collection}",
            lambda registry: registry.collection_info(collection),
            codec.decode_collection_info,
            out_of_list,
        )

    def find(self, collection: CollectionRef, name: str) -> VersionInfo | AliasInfo:
        """Return what a collection shows under a name."""

        def out_of_list() -> VersionInfo | AliasInfo:
            listing = self.listing(collection)
            found: list[VersionInfo | AliasInfo] = []
            found += [info for info in listing.versions if info.index == version_index(name)]
            found += [alias for alias in listing.aliases if alias.name == name]
            return _only(found, f"{collection} has no {name!r}")

        return self._one(
            f"find {collection} {name}",
            lambda registry: registry.find(collection, name),
            codec.decode_found,
            out_of_list,
        )

    def links(self, version_id: str) -> Sequence[Version]:
        """Return a version as each portfolio shows it that links it."""
        question = f"links {version_id}"
        return self._read(question, lambda registry: list(registry.links(version_id)), codec.decode_versions)

    def logged_by(self, version_id: str) -> RunInfo | None:
        """Return the run that logged a version."""
        question = f"logged_by {version_id}"
        return self._read(question, lambda registry: registry.logged_by(version_id), codec.decode_run_or_none)

    def used_by(self, version_id: str) -> Sequence[RunInfo]:
        """Return the runs that used a version."""
        question = f"used_by {version_id}"
        return self._read(question, lambda registry: list(registry.used_by(version_id)), codec.decode_runs)

    def run(self, ref: RunRef) -> RunInfo:
        """Return a run."""
        return self._read(f"run {ref}", lambda registry: registry.run(ref), codec.decode_run)

    def runs(self, entity: str, project: str) -> Sequence[RunInfo]:
        """Return the runs of a project."""
        question = f"runs {entity}/{project}"
        return self._read(question, lambda registry: list(registry.runs(entity, project)), codec.decode_runs)

    def logged(self, ref: RunRef) -> Sequence[Version]:
        """Return the versions that a run logged."""
        return self._read(f"logged {ref}", lambda registry: list(registry.logged(ref)), codec.decode_versions)

    def used(self, ref: RunRef) -> Sequence[Version]:
        """Return the versions that a run used."""
        return self._read(f"used {ref}", lambda registry: list(registry.used(ref)), codec.decode_versions)

    # Changes ----------------------------------------------------------------------------------------------------

    def create_entity(self, entity: str) -> None:
        """Make an entity."""
        self._write(lambda registry: registry.create_entity(entity))

    def create_project(self, entity: str, project: str) -> None:
        """Make a project."""
        self._write(lambda registry: registry.create_project(entity, project))

    def create_collection(self, collection: CollectionRef) -> None:
        """Make an empty sequence."""
        self._write(lambda registry: registry.create_collection(collection))

    def remove_entity(self, entity: str) -> None:
        """Remove an entity without projects."""
        self._write(lambda registry: registry.remove_entity(entity))

    def remove_project(self, entity: str, project: str) -> None:
        """Remove a project without collections."""
        self._write(lambda registry: registry.remove_project(entity, project))

    def remove_collection(self, collection: CollectionRef) -> None:
        """Remove a collection that never had a version."""
        self._write(lambda registry: registry.remove_collection(collection))

    def reserve(self, new: NewVersion) -> Reservation:
        """Give a new version its id and index as PENDING."""
        return self._write(lambda registry: registry.reserve(new))

    def publish(
        self, client_id: str, manifest: ManifestFile, aliases: Sequence[str], relied: Relied | None = None
    ) -> Version:
        """Make a reserved version COMMITTED."""
        return self._write(lambda registry: registry.publish(client_id, manifest, aliases, relied))

    def sweeps(self, after: int) -> Sequence[Sweep]:
        """Return the next sweeps of the store; never out of memory."""
        return self._write(lambda registry: registry.sweeps(after))

    def abandon(self, client_id: str) -> None:
        """Drop a PENDING reservation."""
        self._write(lambda registry: registry.abandon(client_id))

    def add_aliases(self, ref: ArtifactRef, aliases: Sequence[str]) -> Version:
        """Move aliases to a version."""
        return self._write(lambda registry: registry.add_aliases(ref, aliases))

    def rename_alias(self, collection: CollectionRef, old: str, new: str) -> None:
        """Give an alias another name."""
        self._write(lambda registry: registry.rename_alias(collection, old, new))

    def remove_alias(self, collection: CollectionRef, alias: str) -> None:
        """Remove an alias."""
        self._write(lambda registry: registry.remove_alias(collection, alias))

    def set_description(self, ref: ArtifactRef, description: str | None) -> None:
        """Replace the description of a version."""
        self._write(lambda registry: registry.set_description(ref, description))

    def set_metadata(self, ref: ArtifactRef, metadata: Mapping[str, JsonValue]) -> None:
        """Replace the metadata of a version."""
        self._write(lambda registry: registry.set_metadata(ref, metadata))

    def change_version(self, ref: ArtifactRef, change: VersionChange) -> Version:
        """Change a version."""
        return self._write(lambda registry: registry.change_version(ref, change))

    def set_collection_description(self, collection: CollectionRef, description: str | None) -> None:
        """Replace the description of a collection."""
        self._write(lambda registry: registry.set_collection_description(collection, description))

    def delete_version(self, ref: ArtifactRef, *, delete_aliases: bool = False) -> Version:
        """Make a version DELETED."""
        return self._write(lambda registry: registry.delete_version(ref, delete_aliases=delete_aliases))

    def link(self, version_id: str, portfolio: CollectionRef, aliases: Sequence[str]) -> Version:
        """Link a version in a portfolio."""
        return self._write(lambda registry: registry.link(version_id, portfolio, aliases))

    def unlink(self, ref: ArtifactRef) -> Version:
        """Remove a link from its portfolio."""
        return self._write(lambda registry: registry.unlink(ref))

    def record_run(self, run: RunInfo) -> None:
        """Record a run."""
        self._write(lambda registry: registry.record_run(run))

    def change_run(self, ref: RunRef, change: RunChange) -> RunInfo:
        """Change a run."""
        return self._write(lambda registry: registry.change_run(ref, change))

    def record_logged(self, run: RunInfo, version_id: str) -> None:
        """Record which run logged a version."""
        self._write(lambda registry: registry.record_logged(run, version_id))

    def record_use(self, run: RunInfo, version_id: str) -> None:
        """Record that a run used a version."""
        self._write(lambda registry: registry.record_use(run, version_id))


def _only(found: Iterable[T], missing: str) -> T:
    for one in found:
        return one
    raise NotFoundError(missing)


def _names_of(seen: Mapping[str, str]) -> list[str]:
    return sorted(name for name, answer in seen.items() if codec.decode_truth(answer))
