"""`SqlRegistry`: the port of a registry on a SQL database. Each method is one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from artfs.errors import BusyError, ExistsError, NotEmptyError, NotFoundError
from artfs.registry.port import State
from artfs.registry.sql import changes, commits, lineage, links, listings, rows, sweeping
from artfs.registry.sql.engine import Database
from artfs.registry.sql.migrations import is_current, migrate
from artfs.registry.sql.schema import aliases, collections, entities, memberships, projects, runs, versions
from artfs.registry.sql.shown import load_version, load_versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from artfs.model.entry import JsonValue
    from artfs.model.names import ArtifactRef, CollectionRef, RunRef
    from artfs.model.run import RunChange, RunInfo
    from artfs.registry.port import (
        AliasInfo,
        CollectionInfo,
        CollectionListing,
        ManifestFile,
        NewVersion,
        Reservation,
        Version,
        VersionChange,
        VersionInfo,
    )
    from artfs.registry.sweeps import Relied, Sweep


class SqlRegistry:
    """A registry on a SQL database. The methods are documented at `artfs.registry.port.Registry`."""

    def __init__(self, database: Database, default_entity: str) -> None:
        self._database = database
        self.default_entity = default_entity
        with database.reading() as connection:
            current = is_current(connection, database.name)
        with database.reading() if current else database.writing() as connection:
            self.id = migrate(connection, database.name)

    def close(self) -> None:
        """Give back connections."""
        self._database.close()

    # What exists ------------------------------------------------------------------------------------------------

    def entities(self) -> Sequence[str]:
        """Return the names of the entities."""
        with self._database.reading() as connection:
            return sorted({self.default_entity, *connection.scalars(select(entities.c.name))})

    def entity_exists(self, entity: str) -> bool:
        """Whether there is an entity."""
        with self._database.reading() as connection:
            query = select(entities.c.id).where(entities.c.name == entity)
            return entity == self.default_entity or connection.scalar(query) is not None

    def project_exists(self, entity: str, project: str) -> bool:
        """Whether there is a project."""
        with self._database.reading() as connection:
            query = select(projects.c.id).select_from(projects).join(entities)
            here = query.where(entities.c.name == entity, projects.c.name == project)
            return connection.scalar(here) is not None

    def projects(self, entity: str) -> Sequence[str]:
        """Return the names of an entity's projects."""
        with self._database.reading() as connection:
            query = (
                select(projects.c.name)
                .select_from(projects)
                .join(entities)
                .where(entities.c.name == entity)
                .order_by(projects.c.name)
            )
            found = list(connection.scalars(query))
            if not found and entity != self.default_entity:
                rows.find_entity(connection, entity)
            return found

    def collections(self, entity: str, project: str) -> Sequence[str]:
        """Return the names of a project's collections."""
        with self._database.reading() as connection:
            project_id = rows.find_project(connection, entity, project)
            query = (
                select(collections.c.name).where(collections.c.project_id == project_id).order_by(collections.c.name)
            )
            return list(connection.scalars(query))

    def listing(self, collection: CollectionRef) -> CollectionListing:
        """Return the versions and aliases of a collection."""
        with self._database.reading() as connection:
            return listings.listing(connection, collection)

    def version(self, ref: ArtifactRef) -> Version:
        """Return a COMMITTED version."""
        with self._database.reading() as connection:
            return load_version(connection, rows.find_membership(connection, ref).id)

    def version_by_id(self, version_id: str) -> Version:
        """Return a COMMITTED version by its id."""
        with self._database.reading() as connection:
            return load_version(connection, rows.find_source(connection, version_id))

    def version_of_commit(self, client_id: str) -> Version:
        """Return the COMMITTED version that a commit has made."""
        with self._database.reading() as connection:
            made = commits.by_client(connection, client_id)
            if made is None or made.state == State.PENDING.value:
                raise NotFoundError(f"there is no version of the commit {client_id!r}")
            return load_version(connection, rows.find_source(connection, made.version_id))

    def versions(self, collection: CollectionRef) -> Sequence[Version]:
        """Return all COMMITTED versions of a collection."""
        with self._database.reading() as connection:
            row = rows.find_collection(connection, collection)
            here = memberships.c.collection_id == row.id
            return load_versions(connection, here, order=[memberships.c.version_index])

    def collection_infos(self, entity: str, project: str) -> Sequence[CollectionInfo]:
        """Return the collections of a project."""
        with self._database.reading() as connection:
            return listings.collection_infos(connection, entity, project)

    def collection_info(self, collection: CollectionRef) -> CollectionInfo:
        """Return one collection."""
        with self._database.reading() as connection:
            return listings.collection_info(connection, collection)

    def find(self, collection: CollectionRef, name: str) -> VersionInfo | AliasInfo:
        """Return what a collection shows under a name."""
        with self._database.reading() as connection:
            return listings.find(connection, collection, name)

    def links(self, version_id: str) -> Sequence[Version]:
        """Return a version as each portfolio shows it that links it."""
        with self._database.reading() as connection:
            return links.links(connection, version_id)

    # Making places ----------------------------------------------------------------------------------------------

    def create_entity(self, entity: str) -> None:
        """Make an entity."""
        with self._database.writing() as connection:
            if connection.scalar(select(entities.c.id).where(entities.c.name == entity)) is not None:
                raise ExistsError(f"the entity {entity!r} exists already")
            rows.ensure_entity(connection, entity)

    def create_project(self, entity: str, project: str) -> None:
        """Make a project."""
        with self._database.writing() as connection:
            if entity != self.default_entity:
                rows.find_entity(connection, entity)
            entity_id = rows.ensure_entity(connection, entity)
            query = select(projects.c.id).where(projects.c.entity_id == entity_id, projects.c.name == project)
            if connection.scalar(query) is not None:
                raise ExistsError(f"the project {entity}/{project} exists already")
            rows.ensure_project(connection, entity, project)

    def create_collection(self, collection: CollectionRef) -> None:
        """Make an empty sequence."""
        with self._database.writing() as connection:
            project = rows.find_project(connection, collection.entity, collection.project)
            query = select(collections.c.id).where(
                collections.c.project_id == project, collections.c.name == collection.collection
            )
            if connection.scalar(query) is not None:
                raise ExistsError(f"the collection {collection} exists already")
            rows.insert_collection(connection, project, collection.collection)

    def remove_entity(self, entity: str) -> None:
        """Remove an entity without projects."""
        with self._database.writing() as connection:
            entity_id = rows.find_entity(connection, entity)
            self._require_none(connection, projects.c.entity_id == entity_id, f"the entity {entity!r} has projects")
            connection.execute(delete(entities).where(entities.c.id == entity_id))

    def remove_project(self, entity: str, project: str) -> None:
        """Remove a project without collections and runs."""
        name = f"the project {entity}/{project}"
        with self._database.writing() as connection:
            project_id = rows.find_project(connection, entity, project)
            self._require_none(connection, collections.c.project_id == project_id, f"{name} has collections")
            self._require_none(connection, runs.c.project_id == project_id, f"{name} has runs")
            connection.execute(delete(projects).where(projects.c.id == project_id))

    def remove_collection(self, collection: CollectionRef) -> None:
        """Remove a collection that never had a version."""
        with self._database.writing() as connection:
            row = rows.find_collection(connection, collection)
            message = f"the collection {collection} has, or had, versions"
            self._require_none(connection, memberships.c.collection_id == row.id, message)
            if row.links_made:
                raise NotEmptyError(message)
            connection.execute(delete(collections).where(collections.c.id == row.id))

    @staticmethod
    def _require_none(connection: Connection, condition: object, message: str) -> None:
        if connection.scalar(select(func.count()).where(condition)):  # type: ignore[arg-type]  # a column expression
            raise NotEmptyError(message)

    # Commit -----------------------------------------------------------------------------------------------------

    def reserve(self, new: NewVersion) -> Reservation:
        """Give a new version its id and index as PENDING."""
        with self._database.writing() as connection:
            return commits.reserve(connection, new)

    def publish(
        self, client_id: str, manifest: ManifestFile, aliases: Sequence[str], relied: Relied | None = None
    ) -> Version:
        """Make a reserved version COMMITTED and move its aliases."""
        with self._database.writing() as connection:
            return load_version(connection, commits.publish(connection, client_id, manifest, aliases, relied))

    def sweeps(self, after: int) -> Sequence[Sweep]:
        """Return the next sweeps of the store."""
        with self._database.reading() as connection:
            return sweeping.next_sweeps(connection, after)

    def abandon(self, client_id: str) -> None:
        """Drop a PENDING reservation."""
        with self._database.writing() as connection:
            commits.abandon(connection, client_id)

    def add_aliases(self, ref: ArtifactRef, aliases: Sequence[str]) -> Version:
        """Move aliases to a version."""
        with self._database.writing() as connection:
            member = rows.find_membership(connection, ref)
            commits.move_aliases(connection, member.collection_id, member.id, dict.fromkeys(aliases))
            return load_version(connection, member.id)

    # Change -----------------------------------------------------------------------------------------------------

    def rename_alias(self, collection: CollectionRef, old: str, new: str) -> None:
        """Give an alias another name, replacing what has it."""
        with self._database.writing() as connection:
            row = rows.find_collection(connection, collection)
            here = (aliases.c.collection_id == row.id, aliases.c.name == old)
            member = connection.scalar(select(aliases.c.membership_id).where(*here))
            if member is None:
                raise NotFoundError(f"{collection} has no alias {old!r}")
            if old != new:
                commits.move_aliases(connection, row.id, member, [new])
                connection.execute(delete(aliases).where(*here))

    def remove_alias(self, collection: CollectionRef, alias: str) -> None:
        """Remove an alias."""
        with self._database.writing() as connection:
            row = rows.find_collection(connection, collection)
            here = (aliases.c.collection_id == row.id, aliases.c.name == alias)
            if not connection.execute(delete(aliases).where(*here)).rowcount:
                raise NotFoundError(f"{collection} has no alias {alias!r}")
            commits.touch(connection, row.id)

    def set_description(self, ref: ArtifactRef, description: str | None) -> None:
        """Replace the description of a version."""
        with self._database.writing() as connection:
            changes.set_values(connection, ref, {"description": description})

    def set_metadata(self, ref: ArtifactRef, metadata: Mapping[str, JsonValue]) -> None:
        """Replace the metadata of a version."""
        text = rows.encode_metadata(metadata)
        with self._database.writing() as connection:
            changes.set_values(connection, ref, {"metadata": text})

    def change_version(self, ref: ArtifactRef, change: VersionChange) -> Version:
        """Change a version."""
        with self._database.writing() as connection:
            return load_version(connection, changes.change_version(connection, ref, change))

    def set_collection_description(self, collection: CollectionRef, description: str | None) -> None:
        """Replace the description of a collection."""
        with self._database.writing() as connection:
            changes.set_collection_description(connection, collection, description)

    def delete_version(self, ref: ArtifactRef, *, delete_aliases: bool = False) -> Version:
        """Make a version DELETED."""
        with self._database.writing() as connection:
            member = rows.find_membership(connection, ref)
            found = load_version(connection, member.id)
            everywhere = select(memberships.c.id).where(memberships.c.version_id == member.version_id)
            names = list(connection.scalars(select(aliases.c.name).where(aliases.c.membership_id.in_(everywhere))))
            if names and not delete_aliases:
                raise BusyError(
                    f"{found.collection}:v{found.index} has the aliases {', '.join(sorted(set(names)))}",
                    hint="remove them first, or use --delete-aliases",
                )
            connection.execute(delete(aliases).where(aliases.c.membership_id.in_(everywhere)))
            row = {"state": State.DELETED.value, "updated_at": rows.now()}
            connection.execute(update(versions).where(versions.c.id == member.version_id).values(row))
            commits.touch(connection, member.collection_id)
            return found

    def link(self, version_id: str, portfolio: CollectionRef, aliases: Sequence[str]) -> Version:
        """Link a version in a portfolio."""
        with self._database.writing() as connection:
            return load_version(connection, links.link(connection, version_id, portfolio, aliases))

    def unlink(self, ref: ArtifactRef) -> Version:
        """Remove a link from its portfolio."""
        with self._database.writing() as connection:
            return links.unlink(connection, ref)

    # Lineage ----------------------------------------------------------------------------------------------------

    def logged_by(self, version_id: str) -> RunInfo | None:
        """Return the run that logged a version."""
        with self._database.reading() as connection:
            return lineage.logged_by(connection, version_id)

    def used_by(self, version_id: str) -> Sequence[RunInfo]:
        """Return the runs that used a version."""
        with self._database.reading() as connection:
            return lineage.used_by(connection, version_id)

    def run(self, ref: RunRef) -> RunInfo:
        """Return a run."""
        with self._database.reading() as connection:
            return lineage.find_run(connection, ref)

    def runs(self, entity: str, project: str) -> Sequence[RunInfo]:
        """Return the runs of a project."""
        with self._database.reading() as connection:
            return lineage.list_runs(connection, entity, project)

    def logged(self, ref: RunRef) -> Sequence[Version]:
        """Return the versions that a run logged."""
        with self._database.reading() as connection:
            return lineage.versions_logged(connection, ref)

    def used(self, ref: RunRef) -> Sequence[Version]:
        """Return the versions that a run used."""
        with self._database.reading() as connection:
            return lineage.versions_used(connection, ref)

    def record_run(self, run: RunInfo) -> None:
        """Record a run."""
        with self._database.writing() as connection:
            lineage.record_run(connection, run)

    def change_run(self, ref: RunRef, change: RunChange) -> RunInfo:
        """Change a run."""
        with self._database.writing() as connection:
            return lineage.change_run(connection, ref, change)

    def record_logged(self, run: RunInfo, version_id: str) -> None:
        """Record that a run logged a version."""
        with self._database.writing() as connection:
            lineage.record_logged(connection, run, version_id)

    def record_use(self, run: RunInfo, version_id: str) -> None:
        """Record that a run used a version."""
        with self._database.writing() as connection:
            lineage.record_use(connection, run, version_id)


def open_registry(url: str, default_entity: str) -> SqlRegistry:
    """Open a registry by URL, making it if it is not there. SchemaError if a newer program wrote it."""
    database = Database(url)
    try:
        return SqlRegistry(database, default_entity)
    except BaseException:
        database.close()
        raise
