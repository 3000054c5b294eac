"""What is said of a version or a collection, changed by several clients at once.

Each function runs in a writing transaction of its caller, which is alone in changing the database: between what it compares with what a
client has seen and what it writes, nobody else writes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import delete, insert, select, update

from artfs.errors import ConflictError
from artfs.model.metadata import merge_metadata
from artfs.registry.sql.commits import move_aliases, touch
from artfs.registry.sql.rows import encode_metadata, find_collection, find_membership, now
from artfs.registry.sql.schema import aliases, collections, tags, versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from artfs.model.names import ArtifactRef, CollectionRef
    from artfs.registry.port import VersionChange

T = TypeVar("T", str, int)


def change_version(connection: Connection, ref: ArtifactRef, change: VersionChange) -> int:
    """Change a version; return its membership. What is as wanted already is not written. See the port."""
    member = find_membership(connection, ref)
    values = _changed_values(connection, ref, member.version_id, change)
    tagged = _change_tags(connection, member.version_id, change)
    if values or tagged:
        row = {**values, "updated_at": now()}
        connection.execute(update(versions).where(versions.c.id == member.version_id).values(row))
    if change.add_aliases or change.remove_aliases:
        _change_aliases(connection, member.collection_id, member.id, change)
    return int(member.id)


def set_values(connection: Connection, ref: ArtifactRef, values: Mapping[str, object]) -> None:
    """Replace columns of a version, whatever they hold."""
    member = find_membership(connection, ref)
    row = {**values, "updated_at": now()}
    connection.execute(update(versions).where(versions.c.id == member.version_id).values(row))


def set_collection_description(connection: Connection, ref: CollectionRef, description: str | None) -> None:
    """Replace the description of a collection."""
    row = find_collection(connection, ref)
    connection.execute(update(collections).where(collections.c.id == row.id).values(description=description))
    touch(connection, row.id)


def _changed_values(
    connection: Connection, ref: ArtifactRef, version_id: str, change: VersionChange
) -> dict[str, object]:
    """Return the columns of a version that get other values; ConflictError."""
    query = select(versions.c.description, versions.c.metadata, versions.c.ttl_seconds)
    found = connection.execute(query.where(versions.c.id == version_id)).one()
    values: dict[str, object] = {}
    if change.description is not None and _differs(ref, "description", found.description, *change.description):
        values["description"] = change.description[1]
    if change.ttl_seconds is not None and _differs(ref, "time to live", found.ttl_seconds, *change.ttl_seconds):
        values["ttl_seconds"] = change.ttl_seconds[1]
    if change.metadata is not None:
        text = encode_metadata(merge_metadata(*change.metadata, json.loads(found.metadata)))
        if text != found.metadata:
            values["metadata"] = text
    return values


def _differs(ref: ArtifactRef, what: str, found: T | None, seen: T | None, wanted: T | None) -> bool:
    """Whether something has to be written; ConflictError if it is neither what was seen nor what is wanted."""
    if found == wanted:
        return False
    if found != seen:
        raise ConflictError(
            f"the {what} of {ref} was changed by somebody else meanwhile",
            hint="look at the version again, then change it",
        )
    return True


def _change_tags(connection: Connection, version_id: str, change: VersionChange) -> bool:
    """Add and remove tags; return whether there was anything to do. What is both added and removed is there afterwards."""
    if not (change.add_tags or change.remove_tags):
        return False
    found = set(connection.scalars(select(tags.c.name).where(tags.c.version_id == version_id)))
    gone = found.intersection(change.remove_tags).difference(change.add_tags)
    new = [name for name in dict.fromkeys(change.add_tags) if name not in found]
    if gone:
        connection.execute(delete(tags).where(tags.c.version_id == version_id, tags.c.name.in_(gone)))
    if new:
        connection.execute(insert(tags), [{"version_id": version_id, "name": name} for name in new])
    return bool(gone or new)


def _change_aliases(connection: Connection, collection_id: int, membership_id: int, change: VersionChange) -> None:
    """Move aliases here, and remove those that are here. What is both added and removed is here afterwards."""
    found = set(connection.scalars(select(aliases.c.name).where(aliases.c.membership_id == membership_id)))
    gone = found.intersection(change.remove_aliases).difference(change.add_aliases)
    new = [name for name in dict.fromkeys(change.add_aliases) if name not in found]
    if gone:
        connection.execute(delete(aliases).where(aliases.c.membership_id == membership_id, aliases.c.name.in_(gone)))
        touch(connection, collection_id)
    if new:
        move_aliases(connection, collection_id, membership_id, new)
