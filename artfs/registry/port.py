"""The port of a registry: entities, projects, collections, versions, aliases, and who made and used them.

Implementations are synchronous and thread-safe: the mount calls them from worker threads, the CLI directly. Values that
they return are snapshots. Names are checked by the callers (`artfs.model.names`); a registry refuses what it cannot record.

The protocol of a commit is `reserve` then `publish`: a reserved version is ``PENDING`` and invisible to every listing; `publish`
makes version and aliases visible in one transaction. Both are idempotent by ``client_id``, so that a commit may be repeated from
any step after a crash.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from artfs.model.digest import Algorithm, Digest
    from artfs.model.entry import JsonValue
    from artfs.model.names import ArtifactRef, CollectionRef, RunRef
    from artfs.model.run import RunChange, RunInfo
    from artfs.registry.sweeps import Relied, Sweep


class State(enum.Enum):
    """The state of a version."""

    PENDING = "PENDING"
    COMMITTED = "COMMITTED"
    DELETED = "DELETED"


class CollectionKind(enum.Enum):
    """Where versions are logged, or where versions of other collections are linked."""

    SEQUENCE = "sequence"
    PORTFOLIO = "portfolio"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """Where the manifest of a version is: a blob in the store, named by the MD5 of its bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version as seen through one collection: all that a registry says of it.

    ``id`` is unique in the registry and never used again; it is base64 text, as `artfs.model.reference.artifact_uri` needs it, which
    a uuid in hex digits is, too. ``index`` is its index in the collection it was looked up
    in, ``source`` and ``source_index`` say where it was logged (the same, but for links in a portfolio). ``size`` is the sum of
    the entries' sizes in bytes.
    """

    id: str
    collection: CollectionRef
    index: int
    source: CollectionRef
    source_index: int
    type: str
    state: State
    digest: str
    algorithm: Algorithm
    manifest: ManifestFile
    commit_hash: str
    size: int
    file_count: int
    description: str | None
    metadata: Mapping[str, JsonValue]
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    ttl_seconds: int | None = None

    @property
    def is_link(self) -> bool:
        """Whether the version was looked up in a portfolio, where it is linked, not in the collection where it was logged."""
        return self.collection != self.source


@dataclass(frozen=True, slots=True)
class VersionChange:
    """What to change of a version; what is left out stays as it is.

    ``description``, ``metadata`` and ``ttl_seconds`` are pairs: what the caller has seen, and what it shall be. Metadata are merged by
    their top-level keys (`artfs.model.metadata.merge_metadata`). Aliases and tags are added and removed one by one.
    """

    description: tuple[str | None, str | None] | None = None
    metadata: tuple[Mapping[str, JsonValue], Mapping[str, JsonValue]] | None = None
    ttl_seconds: tuple[int | None, int | None] | None = None
    add_aliases: tuple[str, ...] = ()
    remove_aliases: tuple[str, ...] = ()
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection in a list of them.

    ``version_count`` counts what is COMMITTED, None where that is not known; ``type`` is None before the first version.
    """

    ref: CollectionRef
    kind: CollectionKind
    type: str | None
    description: str | None
    version_count: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AliasInfo:
    """An alias of a collection: its name, the index it points at and when it last moved."""

    name: str
    index: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """The part of a version that a directory listing needs."""

    id: str
    index: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CollectionListing:
    """What the directory of a collection shows: its COMMITTED versions by index, and its aliases by name.

    ``type`` is None until the first version is published.
    """

    kind: CollectionKind
    type: str | None
    created_at: datetime
    updated_at: datetime
    versions: tuple[VersionInfo, ...]
    aliases: tuple[AliasInfo, ...]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a commit asks a registry to record; the same ``client_id`` is the same version. ``run`` is ``entity/project/id``."""

    client_id: str
    collection: CollectionRef
    type: str | None
    digest: str
    algorithm: Algorithm
    size: int
    file_count: int
    description: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """A version that belongs to one commit. ``index`` is -1 where the registry gives it with the publication only.

    ``existing``: nothing is left to commit, the version is COMMITTED. ``own``: by this commit, earlier; else it has the same content.
    ``seen`` is the last sweep of the store that was over with all before it (`artfs.registry.sweeps`).
    """

    id: str
    index: int
    existing: bool
    own: bool
    seen: int = 0


class Registry(Protocol):
    """Who knows what exists. Every method may raise UnreachableError."""

    @property
    def id(self) -> str:
        """A name of this registry that is the same on every machine and for ever."""

    @property
    def default_entity(self) -> str:
        """The entity of references that name none."""

    def close(self) -> None:
        """Give back connections. The registry is not used afterwards."""

    # What exists ------------------------------------------------------------------------------------------------

    def entities(self) -> Sequence[str]:
        """Return the names of the entities, the default entity among them, sorted."""

    def projects(self, entity: str) -> Sequence[str]:
        """Return the names of the projects, sorted; NotFoundError if there is no such entity."""

    def collections(self, entity: str, project: str) -> Sequence[str]:
        """Return the names of the collections, sorted; NotFoundError if there is no such project."""

    def entity_exists(self, entity: str) -> bool:
        """Whether there is an entity, also one that `entities` does not list because it is not the caller's."""

    def project_exists(self, entity: str, project: str) -> bool:
        """Whether there is a project."""

    def collection_info(self, collection: CollectionRef) -> CollectionInfo:
        """Return one of `collection_infos`, without asking for the others; NotFoundError if there is no such collection."""

    def find(self, collection: CollectionRef, name: str) -> VersionInfo | AliasInfo:
        """Return what the directory of a collection shows under a name, without asking for the others: see `listing`.

        An index such as ``v3`` names a COMMITTED version, anything else an alias. NotFoundError.
        """

    def listing(self, collection: CollectionRef) -> CollectionListing:
        """Return what the directory of a collection shows; NotFoundError if there is no such collection."""

    def version(self, ref: ArtifactRef) -> Version:
        """Return a COMMITTED version by alias or index; NotFoundError, VersionDeletedError."""

    def version_by_id(self, version_id: str) -> Version:
        """Return a COMMITTED version by its id, as the collection shows it where it was logged; NotFoundError, VersionDeletedError.

        What the caller may not see is PermissionDeniedError or NotFoundError, as everywhere: an id opens nothing that a name does not.
        """

    def version_of_commit(self, client_id: str) -> Version:
        """Return the COMMITTED version that a commit has made, or has found with its content; NotFoundError, VersionDeletedError.

        ``ID:latest`` is the latest version of a collection by the id that the W&B SDK has given it: only such a server knows those.
        """

    def versions(self, collection: CollectionRef) -> Sequence[Version]:
        """Return all COMMITTED versions by index; NotFoundError if there is no such collection."""

    def collection_infos(self, entity: str, project: str) -> Sequence[CollectionInfo]:
        """Return the collections of a project by name; NotFoundError if there is no such project."""

    def links(self, version_id: str) -> Sequence[Version]:
        """Return a version as each portfolio shows it that links it, by the names of the portfolios."""

    # Making places ----------------------------------------------------------------------------------------------

    def create_entity(self, entity: str) -> None:
        """Make an entity; ExistsError."""

    def create_project(self, entity: str, project: str) -> None:
        """Make a project; ExistsError; NotFoundError if there is no such entity."""

    def create_collection(self, collection: CollectionRef) -> None:
        """Make an empty sequence without a type yet; ExistsError; NotFoundError if there is no such project."""

    def remove_entity(self, entity: str) -> None:
        """Remove an entity without projects; NotEmptyError, NotFoundError."""

    def remove_project(self, entity: str, project: str) -> None:
        """Remove a project without collections and runs; NotEmptyError, NotFoundError."""

    def remove_collection(self, collection: CollectionRef) -> None:
        """Remove a collection that never had a version; NotEmptyError, NotFoundError."""

    # Commit -----------------------------------------------------------------------------------------------------

    def reserve(self, new: NewVersion) -> Reservation:
        """Give a new version its id and index as PENDING, making entity, project and collection where missing.

        Returns the COMMITTED ``latest`` as ``existing`` if it has the same digest: there is nothing to commit. The same
        ``client_id`` gets the same reservation. InvalidInputError if the type is not the collection's, or the collection is
        a portfolio.
        """

    def publish(
        self, client_id: str, manifest: ManifestFile, aliases: Sequence[str], relied: Relied | None = None
    ) -> Version:
        """Make a reserved version COMMITTED, and move ``latest`` and the aliases to it, in one transaction.

        CollectedError, and nothing is changed, if what the version relies on may have been removed from the store meanwhile.

        If another commit has published the same digest as ``latest`` meanwhile, the reservation is dropped and that version
        is returned, with the aliases moved to it. Repeating it returns the same version. NotFoundError without a reservation.
        """

    def sweeps(self, after: int) -> Sequence[Sweep]:
        """Return the next sweeps of the store after one, by number, some at a time; none if there is no later one."""

    def abandon(self, client_id: str) -> None:
        """Drop a PENDING reservation; nothing if there is none."""

    def add_aliases(self, ref: ArtifactRef, aliases: Sequence[str]) -> Version:
        """Move aliases to a version, in one transaction; NotFoundError."""

    # Change -----------------------------------------------------------------------------------------------------

    def rename_alias(self, collection: CollectionRef, old: str, new: str) -> None:
        """Give an alias another name, replacing the new name if it exists, in one transaction; NotFoundError."""

    def remove_alias(self, collection: CollectionRef, alias: str) -> None:
        """Remove an alias; NotFoundError."""

    def set_description(self, ref: ArtifactRef, description: str | None) -> None:
        """Replace the description of a version; NotFoundError."""

    def set_metadata(self, ref: ArtifactRef, metadata: Mapping[str, JsonValue]) -> None:
        """Replace the metadata of a version; NotFoundError."""

    def change_version(self, ref: ArtifactRef, change: VersionChange) -> Version:
        """Change a version in one transaction, and return it as it is then; NotFoundError.

        ConflictError, and nothing is changed, where somebody else has changed the same thing since the caller has seen it, to
        something else than the caller wants. An alias is removed only if it is still of this version.
        """

    def set_collection_description(self, collection: CollectionRef, description: str | None) -> None:
        """Replace the description of a collection; NotFoundError."""

    def delete_version(self, ref: ArtifactRef, *, delete_aliases: bool = False) -> Version:
        """Make a version DELETED, for ever; return it as it was. NotFoundError, BusyError if it has aliases."""

    def link(self, version_id: str, portfolio: CollectionRef, aliases: Sequence[str]) -> Version:
        """Link a COMMITTED version in a portfolio, and move ``latest`` and the aliases there to it, in one transaction.

        The portfolio, and what it lies in, is made where missing, and has the type of its first version. A version that is linked
        there already keeps its index. An index is never used again, not even after `unlink`. InvalidInputError if the collection
        is a sequence that had versions, or has another type; NotFoundError, VersionDeletedError.
        """

    def unlink(self, ref: ArtifactRef) -> Version:
        """Remove a link from its portfolio with its aliases there; return it as it was. The version itself stays.

        NotFoundError; InvalidInputError if the collection is the one where the version was logged.
        """

    # Lineage ----------------------------------------------------------------------------------------------------

    def logged_by(self, version_id: str) -> RunInfo | None:
        """Return the run that logged a version."""

    def used_by(self, version_id: str) -> Sequence[RunInfo]:
        """Return the runs that used a version, oldest use first."""

    def run(self, ref: RunRef) -> RunInfo:
        """Return a run; NotFoundError."""

    def runs(self, entity: str, project: str) -> Sequence[RunInfo]:
        """Return the runs of a project, oldest first; NotFoundError if there is no such project."""

    def logged(self, ref: RunRef) -> Sequence[Version]:
        """Return the COMMITTED versions that a run logged, oldest first, each as where it was logged; NotFoundError."""

    def used(self, ref: RunRef) -> Sequence[Version]:
        """Return the COMMITTED versions that a run used, first use first, each as where it was logged; NotFoundError."""

    def record_run(self, run: RunInfo) -> None:
        """Record a run, making its entity and project where missing; nothing if it is recorded already."""

    def change_run(self, ref: RunRef, change: RunChange) -> RunInfo:
        """Change a run in one transaction, and return it as it is then; NotFoundError.

        ConflictError, and nothing is changed, where somebody else has changed the same thing since the caller has seen it, to
        something else than the caller wants.
        """

    def record_logged(self, run: RunInfo, version_id: str) -> None:
        """Record which run logged a version, and the run where it is not; the first one that says so stays; NotFoundError.

        NotSupportedError where that is recorded when a commit begins (`NewVersion.run`), and was not.
        """

    def record_use(self, run: RunInfo, version_id: str) -> None:
        """Record that a run used a version, and the run where it is not; nothing if it is recorded already; NotFoundError."""
