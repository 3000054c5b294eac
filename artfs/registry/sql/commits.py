"""The commit protocol in SQL: reserve, publish, abandon; and the aliases that move with it.

Each function runs in a writing transaction of its caller, which is alone in changing the database: what it has read stays true
until it ends. That is why two committers never get the same index, and why ``latest`` is always the version published last.
"""

from __future__ import annotations

import secrets
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import LATEST
from artfs.registry.port import CollectionKind, Reservation, State
from artfs.registry.sql.rows import encode_metadata, ensure_collection, now
from artfs.registry.sql.schema import (
    aliases,
    collections,
    manifests,
    memberships,
    repeats,
    versions,
)
from artfs.registry.sql.sweeping import last_over, require_kept

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

    from artfs.registry.port import ManifestFile, NewVersion
    from artfs.registry.sweeps import Relied

DEFAULT_TYPE = "dataset"


def reserve(connection: Connection, new: NewVersion) -> Reservation:
    """Give a commit its version. See the port."""
    known = by_client(connection, new.client_id)
    if known is not None:
        published, own = known.state != State.PENDING.value, known.client_id == new.client_id
        return Reservation(known.version_id, known.version_index, existing=published, own=own, seen=known.sweeps_seen)
    collection = ensure_collection(connection, new.collection)
    if collection.kind != CollectionKind.SEQUENCE.value:
        raise InvalidInputError(f"{new.collection} is a portfolio: versions are linked there, not logged")
    _settle_type(connection, collection, new)
    latest = _latest(connection, collection.id)
    if latest is not None and latest.digest == new.digest:
        return Reservation(latest.version_id, latest.version_index, existing=True, own=False)
    query = select(func.max(memberships.c.version_index)).where(memberships.c.collection_id == collection.id)
    highest = connection.scalar(query)
    index = 0 if highest is None else highest + 1
    version_id, time, seen = uuid.uuid4().hex, now(), last_over(connection)
    row = {
        "id": version_id,
        "client_id": new.client_id,
        "state": State.PENDING.value,
        "digest": new.digest,
        "algorithm": new.algorithm.name,
        "commit_hash": secrets.token_hex(20),
        "size": new.size,
        "file_count": new.file_count,
        "description": new.description,
        "metadata": encode_metadata(new.metadata),
        "created_at": time,
        "updated_at": time,
        "sweeps_seen": seen,
    }
    connection.execute(insert(versions).values(row))
    member = {"collection_id": collection.id, "version_id": version_id, "version_index": index, "is_source": 1}
    connection.execute(insert(memberships).values(member))
    return Reservation(version_id, index, existing=False, own=True, seen=seen)


def _settle_type(connection: Connection, collection: Row[Any], new: NewVersion) -> None:
    if collection.type is None:
        kind = new.type or DEFAULT_TYPE
        connection.execute(update(collections).where(collections.c.id == collection.id).values(type=kind))
    elif new.type not in {None, collection.type}:
        raise InvalidInputError(
            f"{new.collection} holds artifacts of type {collection.type!r}, not {new.type!r}",
            hint="leave the type out, or commit to another collection",
        )


def publish(
    connection: Connection, client_id: str, manifest: ManifestFile, names: Iterable[str], relied: Relied | None = None
) -> int:
    """Make a reserved version COMMITTED and move its aliases; return its membership. See the port."""
    reserved = by_client(connection, client_id)
    if reserved is None:
        raise NotFoundError(f"commit {client_id} has no reservation")
    membership_id, collection_id = reserved.membership_id, reserved.collection_id
    wanted = dict.fromkeys([*names, LATEST])
    if reserved.state == State.PENDING.value:
        latest = _latest(connection, collection_id)
        if latest is not None and latest.digest == reserved.digest:
            connection.execute(delete(versions).where(versions.c.id == reserved.version_id))
            membership_id = latest.membership_id
            connection.execute(insert(repeats).values(client_id=client_id, membership_id=membership_id))
        else:
            if relied is not None:
                require_kept(connection, relied)
            time = now()
            values = {"manifest_id": _manifest_id(connection, manifest), "state": State.COMMITTED.value,
                      "created_at": time, "updated_at": time}  # fmt: skip
            connection.execute(update(versions).where(versions.c.id == reserved.version_id).values(values))
        move_aliases(connection, collection_id, membership_id, wanted)
    return int(membership_id)


def abandon(connection: Connection, client_id: str) -> None:
    """Drop a PENDING version; a collection that never had another one has no type again."""
    reserved = by_client(connection, client_id)
    if reserved is None or reserved.state != State.PENDING.value:
        return
    connection.execute(delete(versions).where(versions.c.id == reserved.version_id))
    collection = reserved.collection_id
    others = select(memberships.c.id).where(memberships.c.collection_id == collection)
    if connection.execute(others).first() is None:
        connection.execute(update(collections).where(collections.c.id == collection).values(type=None))


def move_aliases(connection: Connection, collection_id: int, membership_id: int, names: Iterable[str]) -> None:
    """Point aliases of a collection at a membership."""
    time = now()
    for name in names:
        here = (aliases.c.collection_id == collection_id, aliases.c.name == name)
        connection.execute(delete(aliases).where(*here))
        row = {"collection_id": collection_id, "name": name, "membership_id": membership_id, "updated_at": time}
        connection.execute(insert(aliases).values(row))
    touch(connection, collection_id)


def touch(connection: Connection, collection_id: int) -> None:
    """Note that what the directory of a collection shows has changed."""
    connection.execute(update(collections).where(collections.c.id == collection_id).values(updated_at=now()))


def by_client(connection: Connection, client_id: str) -> Row[*tuple[Any, ...]] | None:
    """Return the version that a commit has reserved, or has found published instead."""
    query = (
        select(
            memberships.c.id.label("membership_id"),
            memberships.c.collection_id,
            memberships.c.version_id,
            memberships.c.version_index,
            versions.c.client_id,
            versions.c.state,
            versions.c.digest,
            versions.c.sweeps_seen,
        )
        .select_from(memberships)
        .join(versions)
    )
    own = query.where(versions.c.client_id == client_id, memberships.c.is_source == 1)
    found = query.join(repeats, repeats.c.membership_id == memberships.c.id).where(repeats.c.client_id == client_id)
    return connection.execute(own).first() or connection.execute(found).first()


def _latest(connection: Connection, collection_id: int) -> Row[*tuple[Any, ...]] | None:
    query = (
        select(
            memberships.c.id.label("membership_id"),
            memberships.c.version_id,
            memberships.c.version_index,
            versions.c.digest,
        )
        .select_from(aliases)
        .join(memberships, aliases.c.membership_id == memberships.c.id)
        .join(versions, memberships.c.version_id == versions.c.id)
        .where(aliases.c.collection_id == collection_id, aliases.c.name == LATEST)
        .where(versions.c.state == State.COMMITTED.value)
    )
    return connection.execute(query).first()


def _manifest_id(connection: Connection, manifest: ManifestFile) -> int:
    query = select(manifests.c.id).where(manifests.c.digest == manifest.digest.base64)
    if connection.scalar(query) is None:
        connection.execute(insert(manifests).values(digest=manifest.digest.base64, size=manifest.size))
    return int(connection.execute(query).scalar_one())
