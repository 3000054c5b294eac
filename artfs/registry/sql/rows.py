"""From names to rows and from rows to values: the questions that every part of the registry asks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, insert, select

from artfs.errors import InvalidInputError, NotFoundError, VersionDeletedError
from artfs.model.digest import Algorithm, Digest
from artfs.model.names import CollectionRef, version_index, version_name
from artfs.registry.port import CollectionKind, ManifestFile, State, Version
from artfs.registry.sql.schema import aliases, collections, entities, manifests, memberships, projects, tags, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Row, Select

    from artfs.model.entry import JsonValue
    from artfs.model.names import ArtifactRef


def now() -> str:
    """Return the present time as it is recorded."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def parse_time(text: str) -> datetime:
    """Return a recorded time."""
    return datetime.fromisoformat(text)


def encode_metadata(metadata: Mapping[str, JsonValue]) -> str:
    """Return metadata as they are recorded; InvalidInputError for what JSON cannot hold."""
    try:
        return json.dumps(dict(metadata), allow_nan=False)
    except ValueError as error:
        raise InvalidInputError(f"the metadata cannot be recorded: {error}") from error


def find_entity(connection: Connection, entity: str) -> int:
    """Return the id of an entity; NotFoundError."""
    found = connection.scalar(select(entities.c.id).where(entities.c.name == entity))
    if found is None:
        raise NotFoundError(f"there is no entity {entity!r}")
    return int(found)


def find_project(connection: Connection, entity: str, project: str) -> int:
    """Return the id of a project; NotFoundError."""
    query = (
        select(projects.c.id)
        .select_from(projects)
        .join(entities)
        .where(entities.c.name == entity, projects.c.name == project)
    )
    found = connection.scalar(query)
    if found is None:
        raise NotFoundError(f"there is no project {entity}/{project}")
    return int(found)


def find_collection(connection: Connection, ref: CollectionRef) -> Row[Any]:
    """Return the row of a collection; NotFoundError."""
    query = (
        select(collections)
        .select_from(collections)
        .join(projects)
        .join(entities)
        .where(entities.c.name == ref.entity, projects.c.name == ref.project, collections.c.name == ref.collection)
    )
    found = connection.execute(query).first()
    if found is None:
        raise NotFoundError(f"there is no collection {ref}", hint=f"artfs ls {ref.entity}/{ref.project} lists them")
    return found


def ensure_collection(connection: Connection, ref: CollectionRef) -> Row[Any]:
    """Return the row of a collection, making it and what it lies in where missing."""
    ensure_project(connection, ref.entity, ref.project)
    project = find_project(connection, ref.entity, ref.project)
    query = select(collections).where(collections.c.project_id == project, collections.c.name == ref.collection)
    if connection.execute(query).first() is None:
        insert_collection(connection, project, ref.collection)
    return connection.execute(query).one()


def insert_collection(connection: Connection, project: int, name: str) -> None:
    """Make an empty sequence."""
    time, kind = now(), CollectionKind.SEQUENCE.value
    row = {"project_id": project, "name": name, "kind": kind, "created_at": time, "updated_at": time}
    connection.execute(insert(collections).values(row))


def ensure_project(connection: Connection, entity: str, project: str) -> int:
    """Return the id of a project, making it and its entity where missing."""
    entity_id = ensure_entity(connection, entity)
    query = select(projects.c.id).where(projects.c.entity_id == entity_id, projects.c.name == project)
    if connection.scalar(query) is None:
        connection.execute(insert(projects).values(entity_id=entity_id, name=project, created_at=now()))
    return int(connection.execute(query).scalar_one())


def ensure_entity(connection: Connection, entity: str) -> int:
    """Return the id of an entity, making it where missing."""
    query = select(entities.c.id).where(entities.c.name == entity)
    if connection.scalar(query) is None:
        connection.execute(insert(entities).values(name=entity, created_at=now()))
    return int(connection.execute(query).scalar_one())


def find_membership(connection: Connection, ref: ArtifactRef) -> Row[Any]:
    """Return the membership (id, collection_id, version_id, version_index) of a COMMITTED version by alias or index.

    VersionDeletedError if it was deleted, NotFoundError otherwise.
    """
    collection = find_collection(connection, ref.collection)
    query = (
        select(memberships, versions.c.state)
        .select_from(memberships)
        .join(versions)
        .where(memberships.c.collection_id == collection.id)
    )
    index = version_index(ref.alias)
    if index is None:
        query = query.join(aliases, aliases.c.membership_id == memberships.c.id).where(aliases.c.name == ref.alias)
    else:
        query = query.where(memberships.c.version_index == index)
    found = connection.execute(query).first()
    if found is not None and found.state == State.COMMITTED.value:
        return found
    if found is not None and found.state == State.DELETED.value:
        raise VersionDeletedError(f"{ref} was deleted")
    raise NotFoundError(f"there is no version {ref}", hint=_what_there_is(connection, ref.collection, collection.id))


def find_source(connection: Connection, version_id: str) -> tuple[CollectionRef, int]:
    """Return where a COMMITTED version was logged: the collection, and its membership there.

    VersionDeletedError if it was deleted, NotFoundError otherwise.
    """
    query = (
        select(entities.c.name, projects.c.name, collections.c.name, memberships.c.id, versions.c.state)
        .select_from(memberships)
        .join(versions)
        .join(collections, memberships.c.collection_id == collections.c.id)
        .join(projects)
        .join(entities)
        .where(versions.c.id == version_id, memberships.c.is_source == 1)
    )
    found = connection.execute(query).first()
    if found is None or found.state == State.PENDING.value:
        raise NotFoundError(f"there is no version with the id {version_id!r}")
    entity, project, collection, membership_id, state = found
    if state == State.DELETED.value:
        raise VersionDeletedError(
            f"the version with the id {version_id!r}, of {entity}/{project}/{collection}, was deleted"
        )
    return CollectionRef(entity, project, collection), membership_id


def _what_there_is(connection: Connection, ref: CollectionRef, collection_id: int) -> str:
    query = (
        select(func.min(memberships.c.version_index), func.max(memberships.c.version_index))
        .select_from(memberships)
        .join(versions)
        .where(memberships.c.collection_id == collection_id, versions.c.state == State.COMMITTED.value)
    )
    least, most = connection.execute(query).one()
    if least is None:
        return f"{ref} has no versions yet"
    return f"{ref} has {version_name(least)}" + (f" to {version_name(most)}" if most != least else "")


_source = memberships.alias("source")
_source_collection = collections.alias("source_collection")
_source_project = projects.alias("source_project")
_source_entity = entities.alias("source_entity")


def _versions_query() -> Select[Any]:
    """Select memberships with their versions, where they were logged, and their manifests."""
    return (
        select(
            memberships.c.version_index,
            memberships.c.id.label("membership_id"),
            versions,
            manifests.c.digest.label("manifest_digest"),
            manifests.c.size.label("manifest_size"),
            _source.c.version_index.label("source_index"),
            _source_collection.c.name.label("source_name"),
            _source_collection.c.type.label("type"),
            _source_project.c.name.label("source_project"),
            _source_entity.c.name.label("source_entity"),
        )
        .select_from(memberships)
        .join(versions)
        .join(manifests, versions.c.manifest_id == manifests.c.id)
        .join(_source, and_(_source.c.version_id == versions.c.id, _source.c.is_source == 1))
        .join(_source_collection, _source.c.collection_id == _source_collection.c.id)
        .join(_source_project, _source_collection.c.project_id == _source_project.c.id)
        .join(_source_entity, _source_project.c.entity_id == _source_entity.c.id)
    )


def load_version(connection: Connection, ref: CollectionRef, membership_id: int) -> Version:
    """Return the version of a membership, whatever its state."""
    row = connection.execute(_versions_query().where(memberships.c.id == membership_id)).one()
    names = connection.scalars(
        select(aliases.c.name).where(aliases.c.membership_id == membership_id).order_by(aliases.c.name)
    )
    marks = connection.scalars(select(tags.c.name).where(tags.c.version_id == row.id).order_by(tags.c.name))
    return _version(ref, row, list(names), list(marks))


def load_versions(connection: Connection, ref: CollectionRef, collection_id: int) -> list[Version]:
    """Return all COMMITTED versions of a collection by index."""
    query = _versions_query().where(
        memberships.c.collection_id == collection_id, versions.c.state == State.COMMITTED.value
    )
    names: dict[int, list[str]] = {}
    alias_query = select(aliases).where(aliases.c.collection_id == collection_id).order_by(aliases.c.name)
    for alias in connection.execute(alias_query):
        names.setdefault(alias.membership_id, []).append(alias.name)
    marks: dict[str, list[str]] = {}
    tag_query = (
        select(tags)
        .select_from(tags)
        .join(memberships, memberships.c.version_id == tags.c.version_id)
        .where(memberships.c.collection_id == collection_id)
        .order_by(tags.c.name)
    )
    for tag in connection.execute(tag_query):
        marks.setdefault(tag.version_id, []).append(tag.name)
    rows = connection.execute(query.order_by(memberships.c.version_index))
    return [_version(ref, row, names.get(row.membership_id, []), marks.get(row.id, [])) for row in rows]


def _version(ref: CollectionRef, row: Row[Any], names: Sequence[str], marks: Sequence[str]) -> Version:
    return Version(
        id=row.id,
        collection=ref,
        index=row.version_index,
        source=CollectionRef(row.source_entity, row.source_project, row.source_name),
        source_index=row.source_index,
        type=row.type,
        state=State(row.state),
        digest=row.digest,
        algorithm=Algorithm[row.algorithm],
        manifest=ManifestFile(Digest.from_base64(row.manifest_digest), row.manifest_size),
        commit_hash=row.commit_hash,
        size=row.size,
        file_count=row.file_count,
        description=row.description,
        metadata=json.loads(row.metadata),
        aliases=tuple(names),
        tags=tuple(marks),
        created_at=parse_time(row.created_at),
        updated_at=parse_time(row.updated_at),
    )
