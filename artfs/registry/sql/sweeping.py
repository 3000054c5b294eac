"""Sweeps of the store in SQL: see `artfs.registry.sweeps`. What a commit needs of them runs in a transaction of its caller."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from artfs.errors import BusyError, CollectedError
from artfs.model.digest import Digest
from artfs.model.names import CollectionRef
from artfs.registry import owners
from artfs.registry.port import ManifestFile, State
from artfs.registry.sql.engine import Database
from artfs.registry.sql.rows import format_time, parse_time
from artfs.registry.sql.rows import now as recorded_now
from artfs.registry.sql.schema import (
    aliases,
    collections,
    collector,
    condemned,
    entities,
    manifests,
    memberships,
    projects,
    sweeps,
    versions,
)
from artfs.registry.sweeps import Expired, Kept, Sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import Connection, Row

    from artfs.registry.sweeps import Relied

_AT_ONCE = 16  # sweeps
_PAGE = 1000  # versions
_SILENT = 6 * 3600.0  # seconds after which a collector on another machine is taken for dead


def last_over(connection: Connection) -> int:
    """Return the number of the last sweep that was over with all before it; 0 if there was none."""
    first_open = connection.scalar(select(func.min(sweeps.c.number)).where(sweeps.c.is_over == 0))
    if first_open is not None:
        return int(first_open) - 1
    return int(connection.scalar(select(func.max(sweeps.c.number))) or 0)


def require_kept(connection: Connection, relied: Relied) -> None:
    """CollectedError if a sweep came that the commit has not seen, or a version is not COMMITTED any more that it took from."""
    newest = int(connection.scalar(select(func.max(sweeps.c.number))) or 0)
    if newest > relied.seen:
        raise CollectedError("objects were removed from the store while the commit was under way")
    wanted = sorted(relied.versions)
    for start in range(0, len(wanted), _PAGE):
        part = wanted[start : start + _PAGE]
        query = select(func.count()).where(versions.c.id.in_(part), versions.c.state == State.COMMITTED.value)
        if connection.scalar(query) != len(part):
            raise CollectedError("a version was deleted whose files the commit takes over")


def next_sweeps(connection: Connection, after: int) -> list[Sweep]:
    """Return the next sweeps after one. See the port."""
    query = select(sweeps).where(sweeps.c.number > after).order_by(sweeps.c.number).limit(_AT_ONCE)
    found = []
    for row in connection.execute(query).all():
        names = connection.scalars(select(condemned.c.name).where(condemned.c.sweep == row.number))
        found.append(Sweep(row.number, row.owner, bool(row.is_over), frozenset(names)))
    return found


class SqlSweepBook:
    """The port `artfs.registry.sweeps.SweepBook` on a SQL database, whose schema is the present one."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def close(self) -> None:
        """Give back connections."""
        self._database.close()

    # Which manifests there are ----------------------------------------------------------------------------------

    def kept(self, deleted_since: float) -> Iterator[Kept]:
        """Yield the versions whose objects are kept, a page at a time: what is published meanwhile may be missing."""
        recent = (versions.c.state == State.DELETED.value) & (versions.c.updated_at >= _text(deleted_since))
        kept = (versions.c.state == State.COMMITTED.value) | recent
        after = ""
        while True:
            with self._database.reading() as connection:
                query = _manifest_query().where(kept, versions.c.id > after).order_by(versions.c.id).limit(_PAGE)
                found = connection.execute(query).all()
            if not found:
                return
            for row in found:
                yield _kept(row)
            after = found[-1].id

    def published_since(self, known: Collection[str]) -> Sequence[Kept]:
        """Return the COMMITTED versions but for those known."""
        with self._database.reading() as connection:
            ids = connection.scalars(select(versions.c.id).where(versions.c.state == State.COMMITTED.value))
            new = [version_id for version_id in ids if version_id not in known]
            found: list[Kept] = []
            for start in range(0, len(new), _PAGE):
                query = _manifest_query().where(versions.c.id.in_(new[start : start + _PAGE]))
                found += [_kept(row) for row in connection.execute(query)]
            return found

    # Sweeps -----------------------------------------------------------------------------------------------------

    def begin(self, owner: str) -> None:
        """Become the only collector."""
        with self._database.writing() as connection:
            found = connection.execute(select(collector)).first()
            if found is not None and not owners.is_gone(found.owner):
                silent = datetime.now(UTC).timestamp() - found.beats
                if silent < _SILENT:
                    raise BusyError(
                        f"garbage is being collected already, by {owners.shown(found.owner)}",
                        hint=f"wait for it; one on another machine that has died is taken over after {_SILENT / 3600:.0f} h",
                    )
            connection.execute(delete(collector))
            connection.execute(insert(collector).values(only=1, owner=owner, beats=_beat()))
            connection.execute(update(sweeps).where(sweeps.c.is_over == 0).values(is_over=1))

    def end(self, owner: str) -> None:
        """Let others collect."""
        with self._database.writing() as connection:
            connection.execute(delete(collector).where(collector.c.owner == owner))
            connection.execute(update(sweeps).where(sweeps.c.owner == owner).values(is_over=1))

    def open_sweep(self, owner: str, names: Collection[str]) -> int:
        """Record that objects are about to be removed."""
        with self._database.writing() as connection:
            query = update(collector).where(collector.c.owner == owner).values(beats=_beat())
            if not connection.execute(query).rowcount:
                raise BusyError("somebody else collects garbage by now, as this process was taken for dead")
            number = int(connection.scalar(select(func.max(sweeps.c.number))) or 0) + 1
            connection.execute(insert(sweeps).values(number=number, owner=owner, is_over=0))
            connection.execute(insert(condemned), [{"sweep": number, "name": name} for name in sorted(names)])
            return number

    def close_sweep(self, number: int) -> None:
        """Record that a sweep is over, and forget the names that nobody needs any more, but not the last number."""
        with self._database.writing() as connection:
            connection.execute(update(sweeps).where(sweeps.c.number == number).values(is_over=1))
            pending = versions.c.state == State.PENDING.value
            needed = connection.scalar(select(func.min(versions.c.sweeps_seen)).where(pending))
            over = last_over(connection)
            forgotten = over if needed is None else min(over, int(needed))
            connection.execute(delete(condemned).where(condemned.c.sweep <= forgotten))
            last = select(func.max(sweeps.c.number)).scalar_subquery()
            connection.execute(delete(sweeps).where(sweeps.c.number <= forgotten, sweeps.c.number < last))

    # Versions that run out --------------------------------------------------------------------------------------

    def expired(self, now: float) -> Sequence[Expired]:
        """Return the versions whose time to live has run out."""
        with self._database.reading() as connection:
            query = (
                select(
                    versions.c.id,
                    versions.c.size,
                    versions.c.created_at,
                    versions.c.ttl_seconds,
                    memberships.c.version_index,
                    entities.c.name.label("entity"),
                    projects.c.name.label("project"),
                    collections.c.name.label("collection"),
                )
                .select_from(versions)
                .join(memberships, (memberships.c.version_id == versions.c.id) & (memberships.c.is_source == 1))
                .join(collections, memberships.c.collection_id == collections.c.id)
                .join(projects)
                .join(entities)
                .where(versions.c.state == State.COMMITTED.value, versions.c.ttl_seconds.is_not(None))
                .order_by(entities.c.name, projects.c.name, collections.c.name, memberships.c.version_index)
            )
            return [
                Expired(
                    row.id,
                    CollectionRef(row.entity, row.project, row.collection),
                    row.version_index,
                    row.size,
                    _kept_by(connection, row.id),
                )
                for row in connection.execute(query).all()
                if _has_run_out(row, now)
            ]

    def expire(self, version_id: str, now: float) -> bool:
        """Delete a version if its time has run out."""
        with self._database.writing() as connection:
            query = select(versions.c.created_at, versions.c.ttl_seconds).where(
                versions.c.id == version_id, versions.c.state == State.COMMITTED.value
            )
            row = connection.execute(query).first()
            if row is None or not _has_run_out(row, now) or _kept_by(connection, version_id):
                return False
            time = recorded_now()
            values = {"state": State.DELETED.value, "updated_at": time}
            connection.execute(update(versions).where(versions.c.id == version_id).values(values))
            places = select(memberships.c.collection_id).where(memberships.c.version_id == version_id)
            connection.execute(update(collections).where(collections.c.id.in_(places)).values(updated_at=time))
            return True

    # Commits that never ended -----------------------------------------------------------------------------------

    def stale_commits(self, begun_before: float) -> int:
        """Count the reservations that are older."""
        with self._database.reading() as connection:
            return int(connection.scalar(select(func.count()).select_from(versions).where(*_stale(begun_before))) or 0)

    def drop_stale_commits(self, begun_before: float) -> int:
        """Drop the reservations that are older."""
        with self._database.writing() as connection:
            return int(connection.execute(delete(versions).where(*_stale(begun_before))).rowcount)


def _stale(begun_before: float) -> tuple[Any, ...]:
    return (versions.c.state == State.PENDING.value, versions.c.created_at < _text(begun_before))


def _manifest_query() -> Any:  # noqa: ANN401 - a select
    return (
        select(versions.c.id, versions.c.state, manifests.c.digest, manifests.c.size)
        .select_from(versions)
        .join(manifests)
    )


def _kept(row: Row[Any]) -> Kept:
    manifest = ManifestFile(Digest.from_base64(row.digest), row.size)
    return Kept(row.id, manifest, deleted=row.state != State.COMMITTED.value)


def _has_run_out(row: Any, now: float) -> bool:  # noqa: ANN401 - a row with both columns
    if row.ttl_seconds is None:
        return False
    try:
        return (parse_time(row.created_at) + timedelta(seconds=row.ttl_seconds)).timestamp() < now
    except OverflowError:  # a time to live of more years than there are
        return False


def _kept_by(connection: Connection, version_id: str) -> str:
    """Return what keeps a version whose time has run out: an alias anywhere, or a portfolio that links it."""
    query = select(memberships.c.id, memberships.c.is_source).where(memberships.c.version_id == version_id)
    members = connection.execute(query).all()
    names = connection.scalars(select(aliases.c.name).where(aliases.c.membership_id.in_([row.id for row in members])))
    found = sorted(set(names))
    if found:
        return f"it has the alias {', '.join(found)}" if len(found) == 1 else f"it has the aliases {', '.join(found)}"
    return "a portfolio links it" if any(not row.is_source for row in members) else ""


def _text(time: float) -> str:
    return format_time(datetime.fromtimestamp(max(0.0, time), UTC))


def _beat() -> int:
    return int(datetime.now(UTC).timestamp())
