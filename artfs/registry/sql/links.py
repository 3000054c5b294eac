"""Portfolios in SQL: links to versions that were logged in other collections.

`link` and `unlink` run in a writing transaction of their caller. A link takes the index ``collections.links_made``, which only grows: the
row of a link is removed with it, and its index is never used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from artfs.errors import InvalidInputError
from artfs.model.names import LATEST
from artfs.registry.port import CollectionKind
from artfs.registry.sql.commits import move_aliases, touch
from artfs.registry.sql.rows import ensure_collection, find_membership, find_source
from artfs.registry.sql.schema import aliases, collections, entities, memberships, projects
from artfs.registry.sql.shown import load_version, load_versions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

    from artfs.model.names import ArtifactRef, CollectionRef
    from artfs.registry.port import Version


def links(connection: Connection, version_id: str) -> list[Version]:
    """Return a version as each portfolio shows it that links it."""
    return load_versions(
        connection,
        memberships.c.version_id == version_id,
        memberships.c.is_source == 0,
        order=(entities.c.name, projects.c.name, collections.c.name),
    )


def link(connection: Connection, version_id: str, portfolio: CollectionRef, names: Iterable[str]) -> int:
    """Link a version in a portfolio and move aliases to it; return its membership there. See the port."""
    source_id = find_source(connection, version_id)
    collection = ensure_collection(connection, portfolio)
    _settle_portfolio(connection, portfolio, collection, _type(connection, source_id))
    here = (memberships.c.collection_id == collection.id, memberships.c.version_id == version_id)
    query = select(memberships.c.id).where(*here)
    if connection.scalar(query) is None:
        index = collection.links_made
        member = {"collection_id": collection.id, "version_id": version_id, "version_index": index, "is_source": 0}
        connection.execute(insert(memberships).values(member))
        connection.execute(update(collections).where(collections.c.id == collection.id).values(links_made=index + 1))
    membership_id = int(connection.execute(query).scalar_one())
    move_aliases(connection, collection.id, membership_id, dict.fromkeys([*names, LATEST]))
    return membership_id


def unlink(connection: Connection, ref: ArtifactRef) -> Version:
    """Remove a link with its aliases; return it as it was. See the port."""
    member = find_membership(connection, ref)
    if member.is_source:
        raise InvalidInputError(
            f"{ref} was logged there: it is not a link", hint="delete the version, or unlink it from a portfolio"
        )
    found = load_version(connection, member.id)
    connection.execute(delete(aliases).where(aliases.c.membership_id == member.id))
    connection.execute(delete(memberships).where(memberships.c.id == member.id))
    touch(connection, member.collection_id)
    return found


def _settle_portfolio(connection: Connection, ref: CollectionRef, collection: Row[Any], kind: str) -> None:
    """Make a collection a portfolio of a type, or see that it is."""
    if collection.kind == CollectionKind.PORTFOLIO.value:
        if collection.type != kind:
            raise InvalidInputError(
                f"{ref} links artifacts of type {collection.type!r}, not {kind!r}", hint="link to another portfolio"
            )
        return
    members = select(memberships.c.id).where(memberships.c.collection_id == collection.id).limit(1)
    if connection.scalar(members) is not None:
        raise InvalidInputError(
            f"{ref} is not a portfolio: versions are logged there", hint="link to a portfolio, or to a new name"
        )
    values = {"kind": CollectionKind.PORTFOLIO.value, "type": kind}
    connection.execute(update(collections).where(collections.c.id == collection.id).values(values))


def _type(connection: Connection, membership_id: int) -> str:
    """Return the type of the collection of a membership."""
    query = select(collections.c.type).select_from(memberships).join(collections)
    return str(connection.execute(query.where(memberships.c.id == membership_id)).scalar_one())
