"""What the directories of a registry show: the collections of a project, and the versions and aliases of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from artfs.errors import NotFoundError
from artfs.model.names import CollectionRef, version_index
from artfs.registry.port import (
    AliasInfo,
    CollectionInfo,
    CollectionKind,
    CollectionListing,
    State,
    VersionInfo,
)
from artfs.registry.sql.rows import find_collection, find_project, parse_time
from artfs.registry.sql.schema import aliases, collections, memberships, versions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Select

_MAX_INDEX = (1 << 31) - 1  # of the column


def collection_infos(connection: Connection, entity: str, project: str) -> list[CollectionInfo]:
    """Return the collections of a project by name."""
    project_id = find_project(connection, entity, project)
    query = _infos_query().where(collections.c.project_id == project_id).order_by(collections.c.name)
    return [_info(CollectionRef(entity, project, row.name), row) for row in connection.execute(query)]


def collection_info(connection: Connection, collection: CollectionRef) -> CollectionInfo:
    """Return one collection."""
    found = find_collection(connection, collection)
    return _info(collection, connection.execute(_infos_query().where(collections.c.id == found.id)).one())


def _infos_query() -> Select[Any]:
    published = versions.c.state != State.PENDING.value
    return (
        select(
            collections,
            func.count(versions.c.id).filter(versions.c.state == State.COMMITTED.value).label("committed"),
            func.count(versions.c.id).filter(published).label("published"),
        )
        .select_from(collections)
        .outerjoin(memberships, memberships.c.collection_id == collections.c.id)
        .outerjoin(versions, memberships.c.version_id == versions.c.id)
        .group_by(collections.c.id)
    )


def _info(ref: CollectionRef, row: Row[Any]) -> CollectionInfo:
    return CollectionInfo(
        ref=ref,
        kind=CollectionKind(row.kind),
        type=_shown_type(row, published=row.published > 0),
        description=row.description,
        version_count=row.committed,
        created_at=parse_time(row.created_at),
        updated_at=parse_time(row.updated_at),
    )


def find(connection: Connection, collection: CollectionRef, name: str) -> VersionInfo | AliasInfo:
    """Return what a collection shows under a name."""
    row, index = find_collection(connection, collection), version_index(name)
    if index is None:
        query = (
            select(aliases.c.name, memberships.c.version_index, aliases.c.updated_at)
            .select_from(aliases)
            .join(memberships)
            .where(aliases.c.collection_id == row.id, aliases.c.name == name)
        )
        alias = connection.execute(query).first()
        if alias is not None:
            return AliasInfo(alias.name, alias.version_index, parse_time(alias.updated_at))
    elif index <= _MAX_INDEX:
        version_query = (
            select(versions.c.id, versions.c.created_at)
            .select_from(memberships)
            .join(versions)
            .where(memberships.c.collection_id == row.id, memberships.c.version_index == index)
            .where(versions.c.state == State.COMMITTED.value)
        )
        version = connection.execute(version_query).first()
        if version is not None:
            return VersionInfo(version.id, index, parse_time(version.created_at))
    raise NotFoundError(f"{collection} has no {name!r}")


def listing(connection: Connection, collection: CollectionRef) -> CollectionListing:
    """Return the versions and aliases of a collection."""
    row = find_collection(connection, collection)
    version_query = (
        select(versions.c.id, memberships.c.version_index, versions.c.created_at)
        .select_from(memberships)
        .join(versions)
        .where(memberships.c.collection_id == row.id, versions.c.state == State.COMMITTED.value)
        .order_by(memberships.c.version_index)
    )
    alias_query = (
        select(aliases.c.name, memberships.c.version_index, aliases.c.updated_at)
        .select_from(aliases)
        .join(memberships)
        .where(aliases.c.collection_id == row.id)
        .order_by(aliases.c.name)
    )
    published = (
        select(versions.c.id)
        .select_from(memberships)
        .join(versions)
        .where(memberships.c.collection_id == row.id, versions.c.state != State.PENDING.value)
        .limit(1)
    )
    return CollectionListing(
        kind=CollectionKind(row.kind),
        type=_shown_type(row, published=connection.scalar(published) is not None),
        created_at=parse_time(row.created_at),
        updated_at=parse_time(row.updated_at),
        versions=tuple(
            VersionInfo(version_id, index, parse_time(created))
            for version_id, index, created in connection.execute(version_query)
        ),
        aliases=tuple(
            AliasInfo(name, index, parse_time(updated)) for name, index, updated in connection.execute(alias_query)
        ),
    )


def _shown_type(row: Row[Any], *, published: bool) -> str | None:
    """Return the type of a collection once it had a version: a portfolio is made with its first one, which may be gone again."""
    found: str | None = row.type
    return found if published or row.kind == CollectionKind.PORTFOLIO.value else None
