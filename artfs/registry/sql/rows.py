"""From names to rows: the questions that every part of the registry asks, and how times and metadata are recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select

from artfs.errors import InvalidInputError, NotFoundError, VersionDeletedError
from artfs.model.names import version_index, version_name
from artfs.registry.port import CollectionKind, State
from artfs.registry.sql.schema import aliases, collections, entities, memberships, projects, versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row

    from artfs.model.entry import JsonValue
    from artfs.model.names import ArtifactRef, CollectionRef


def now() -> str:
    """Return the present time as it is recorded."""
    return format_time(datetime.now(UTC))


def format_time(time: datetime) -> str:
    """Return a time as it is recorded."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


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


def find_source(connection: Connection, version_id: str) -> int:
    """Return the membership of a COMMITTED version where it was logged.

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
    return int(membership_id)


def _what_there_is(connection: Connection, ref: CollectionRef, collection_id: int) -> str:
    query = (
        select(func.min(memberships.c.version_index), func.max(memberships.c.version_index))
        .select_from(memberships)
        .join(versions)
        .where(memberships.c.collection_id == collection_id, versions.c.state == State.COMMITTED.value)
    )
    least, most = connection.execute(query).one()
    if least is None:
        gone = (
            select(versions.c.id)
            .join(memberships)
            .where(memberships.c.collection_id == collection_id, versions.c.state == State.DELETED.value)
        )
        deleted = connection.execute(gone.limit(1)).first() is not None
        return f"{ref} has no versions any more: all were deleted" if deleted else f"{ref} has no versions yet"
    return f"{ref} has {version_name(least)}" + (f" to {version_name(most)}" if most != least else "")
