"""A check of the registry: its file, its schema, and what its tables say of each other."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, text

from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.model.reference import redact, uri_scheme
from artfs.registry.port import CollectionKind, State
from artfs.registry.sql.engine import Database, check_url
from artfs.registry.sql.migrations import is_current
from artfs.registry.sql.rows import parse_time
from artfs.registry.sql.schema import aliases, collections, entities, memberships, projects, versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Select

    from artfs.config import Config

_MOST = 20  # complaints of SQLite about its file


def check_registry(config: Config) -> Iterator[Finding]:
    """Look through a registry that is a database. It is neither made nor brought to another schema."""
    name = redact(config.registry)
    if uri_scheme(config.registry) in {"http", "https"}:
        yield ok("registry", f"{name} is a W&B server, which looks after registry and store itself")
        return
    if check_url(config.registry) == "sqlite":
        from artfs.registry.sql.sqlite import sqlite_path

        if not sqlite_path(config.registry).exists():
            if any((config.data_dir / "drafts").glob("*/*")) or any((config.data_dir / "store").glob("registries/*")):
                yield problem(
                    "registry", f"{name} is missing, and there are drafts or objects of it", "restore it from a backup"
                )
            else:
                yield warning("registry", f"{name} is made when it is first used")
            return
    with contextlib.closing(Database(config.registry)) as database:
        with database.reading() as connection:
            found = list(_check_file(connection)) if database.name.startswith("sqlite") else []
            if not found and not is_current(connection, database.name):
                found.append(
                    problem("registry", f"{name} has the schema of an earlier artfs", "artfs ls brings it up to date")
                )
            yield from found
            if found:
                return
            count = connection.scalar(select(func.count()).where(versions.c.state == State.COMMITTED.value))
            found = [
                *_check_aliases(connection, config.registry),
                *_check_versions(connection),
                *_check_links(connection),
            ]
        yield from found
        yield ok("registry", f"{name} holds {count:,} {'version' if count == 1 else 'versions'}")


def _check_file(connection: Connection) -> Iterator[Finding]:
    """Let SQLite look through its file."""
    hint = "stop every mount, and restore the registry from a backup, or try sqlite3 FILE .recover"
    for (line,) in connection.execute(text(f"PRAGMA integrity_check({_MOST})")).all():
        if line != "ok":
            yield problem("registry", f"its file is damaged: {line}", hint)
    for table, row, parent, _ in connection.execute(text("PRAGMA foreign_key_check")).all():
        yield problem("registry", f"row {row} of {table} names a row of {parent} that is not there", hint)


def _named() -> Select[Any]:
    """Begin a query of memberships with the name of their collection."""
    name = entities.c.name + "/" + projects.c.name + "/" + collections.c.name
    return (
        select(name.label("collection"))
        .select_from(collections)
        .join(projects, collections.c.project_id == projects.c.id)
        .join(entities, projects.c.entity_id == entities.c.id)
    )


def _check_aliases(connection: Connection, url: str) -> Iterator[Finding]:
    query = (
        _named()
        .add_columns(aliases.c.id, aliases.c.name, memberships.c.collection_id, aliases.c.collection_id.label("own"))
        .add_columns(versions.c.state)
        .join(aliases, aliases.c.collection_id == collections.c.id)
        .outerjoin(memberships, aliases.c.membership_id == memberships.c.id)
        .outerjoin(versions, memberships.c.version_id == versions.c.id)
        .where(
            (versions.c.state.is_distinct_from(State.COMMITTED.value))
            | (memberships.c.collection_id != collections.c.id)
        )
    )
    for row in connection.execute(query):
        what = "of another collection" if row.collection_id not in {None, row.own} else "that does not exist any more"
        yield problem(
            "registry",
            f"the alias {row.name} of {row.collection} is of a version {what}",
            f"artfs fsck --fix removes it; or set it anew: artfs alias {row.collection}:vN {row.name}",
            partial(_remove_alias, url, row.id),
        )


def _remove_alias(url: str, alias_id: int) -> None:
    with contextlib.closing(Database(url)) as database, database.writing() as connection:
        connection.execute(delete(aliases).where(aliases.c.id == alias_id))


def _check_versions(connection: Connection) -> Iterator[Finding]:
    """See that each version has one place where it was logged, a list of files, and values that can be read."""
    sources = (
        select(memberships.c.version_id, func.count().label("places"))
        .where(memberships.c.is_source == 1)
        .group_by(memberships.c.version_id)
        .subquery()
    )
    query = select(versions, sources.c.places).outerjoin(sources, sources.c.version_id == versions.c.id)
    hint = "restore the registry from a backup"
    for row in connection.execution_options(yield_per=1000).execute(query):
        if row.places != 1:
            yield problem(
                "registry", f"version {row.id} has {row.places or 0} places where it was logged, not one", hint
            )
        if row.state not in {state.value for state in State}:
            yield problem("registry", f"version {row.id} has the unknown state {row.state!r}", hint)
        if row.state == State.COMMITTED.value and row.manifest_id is None:
            yield problem("registry", f"version {row.id} has no list of files", hint)
        try:
            parse_time(row.created_at), parse_time(row.updated_at)
            if not isinstance(json.loads(row.metadata), dict):
                raise TypeError("metadata that are no object")
        except (ValueError, TypeError) as error:
            yield problem("registry", f"version {row.id} cannot be read: {error}", hint)


def _check_links(connection: Connection) -> Iterator[Finding]:
    """See that portfolios only link, that sequences only log, and that no index of a portfolio is given twice."""
    sequence = collections.c.kind == CollectionKind.SEQUENCE.value
    wrong = (
        _named()
        .add_columns(memberships.c.version_index, collections.c.kind)
        .join(memberships, memberships.c.collection_id == collections.c.id)
        .where((sequence & (memberships.c.is_source == 0)) | (~sequence & (memberships.c.is_source == 1)))
    )
    for row in connection.execute(wrong):
        yield problem(
            "registry",
            f"{row.collection}:v{row.version_index} is not what a {row.kind} holds",
            "restore the registry from a backup",
        )
    high = (
        _named()
        .add_columns(func.max(memberships.c.version_index).label("highest"), collections.c.links_made)
        .join(memberships, memberships.c.collection_id == collections.c.id)
        .where(~sequence)
        .group_by(entities.c.name, projects.c.name, collections.c.name, collections.c.links_made)
        .having(func.max(memberships.c.version_index) >= collections.c.links_made)
    )
    for row in connection.execute(high):
        yield warning(
            "registry",
            f"{row.collection} counts {row.links_made} links, and has v{row.highest}",
            "restore the registry from a backup: the next link would get an index that exists",
        )
