"""Versions as collections show them: from memberships to the values of the port, many with three queries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select

from artfs.model.digest import Algorithm, Digest
from artfs.model.names import CollectionRef
from artfs.registry.port import ManifestFile, State, Version
from artfs.registry.sql.rows import parse_time
from artfs.registry.sql.schema import aliases, collections, entities, manifests, memberships, projects, tags, versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

_source = memberships.alias("source")
_source_collection = collections.alias("source_collection")
_source_project = projects.alias("source_project")
_source_entity = entities.alias("source_entity")


def load_version(connection: Connection, membership_id: int) -> Version:
    """Return the version of a membership, whatever its state."""
    (found,) = _load(connection, (memberships.c.id == membership_id,), (), ())
    return found


def load_versions(
    connection: Connection, *conditions: ColumnElement[bool], order: Sequence[ColumnElement[Any]]
) -> list[Version]:
    """Return the COMMITTED versions of the memberships that meet conditions, in an order.

    Conditions are on the columns of memberships, and of tables that they join to them. Of its collection, the order may name
    `collections`, `projects` and `entities`.
    """
    return _load(connection, conditions, (versions.c.state == State.COMMITTED.value,), order)


def _load(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    states: Sequence[ColumnElement[bool]],
    order: Sequence[ColumnElement[Any]],
) -> list[Version]:
    names: dict[int, list[str]] = {}
    members = select(memberships.c.id).where(*conditions)
    alias_query = select(aliases).where(aliases.c.membership_id.in_(members)).order_by(aliases.c.name)
    for alias in connection.execute(alias_query):
        names.setdefault(alias.membership_id, []).append(alias.name)
    marks: dict[str, list[str]] = {}
    ids = select(memberships.c.version_id).where(*conditions)
    for tag in connection.execute(select(tags).where(tags.c.version_id.in_(ids)).order_by(tags.c.name)):
        marks.setdefault(tag.version_id, []).append(tag.name)
    rows = connection.execute(_versions_query().where(*conditions, *states).order_by(*order))
    return [_version(row, names.get(row.membership_id, []), marks.get(row.id, [])) for row in rows]


def _versions_query() -> Select[Any]:
    """Select memberships with their collections and versions, where these were logged, and their manifests."""
    return (
        select(
            memberships.c.version_index,
            memberships.c.id.label("membership_id"),
            collections.c.name.label("collection_name"),
            projects.c.name.label("project_name"),
            entities.c.name.label("entity_name"),
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
        .join(collections, memberships.c.collection_id == collections.c.id)
        .join(projects, collections.c.project_id == projects.c.id)
        .join(entities, projects.c.entity_id == entities.c.id)
        .join(versions, memberships.c.version_id == versions.c.id)
        .join(manifests, versions.c.manifest_id == manifests.c.id)
        .join(_source, and_(_source.c.version_id == versions.c.id, _source.c.is_source == 1))
        .join(_source_collection, _source.c.collection_id == _source_collection.c.id)
        .join(_source_project, _source_collection.c.project_id == _source_project.c.id)
        .join(_source_entity, _source_project.c.entity_id == _source_entity.c.id)
    )


def _version(row: Row[Any], names: Sequence[str], marks: Sequence[str]) -> Version:
    return Version(
        id=row.id,
        collection=CollectionRef(row.entity_name, row.project_name, row.collection_name),
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
        ttl_seconds=row.ttl_seconds,
    )
