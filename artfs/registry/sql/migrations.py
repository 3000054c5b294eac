"""Bring the schema of a registry to the one that this program knows, step by step, in one transaction.

Step N turns schema N-1 into schema N; step 1 makes everything. Steps are never edited once released: a change of
`artfs.registry.sql.schema` gets a new one. A registry with a higher number was written by a newer program and is refused.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import insert, inspect, select, text, update

from artfs.errors import SchemaError
from artfs.registry.sql import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection


def _create(connection: Connection) -> None:
    schema.metadata.create_all(connection)
    connection.execute(insert(schema.about).values(only=1, registry_id=uuid.uuid4().hex, schema_version=0))


def _add_repeats(connection: Connection) -> None:
    schema.repeats.create(connection, checkfirst=True)


_COLUMNS_OF_3 = (
    ("collections", "description", "TEXT"),
    ("collections", "links_made", "INTEGER DEFAULT '0' NOT NULL"),
    ("versions", "ttl_seconds", "BIGINT"),
    ("runs", "state", "TEXT DEFAULT 'finished' NOT NULL"),
    ("runs", "config", "TEXT DEFAULT '{}' NOT NULL"),
    ("runs", "metadata", "TEXT DEFAULT '{}' NOT NULL"),
    ("runs", "exit_code", "BIGINT"),
    ("runs", "finished_at", "TEXT"),
)
_LINKS_OF_3 = """
    UPDATE collections SET links_made =
        (SELECT COALESCE(MAX(version_index) + 1, 0) FROM memberships WHERE collection_id = collections.id)
    WHERE kind = 'portfolio'
"""


def _add_runs_and_links(connection: Connection) -> None:
    """Add what is recorded of runs, links, collections and how long versions are kept; step 1 makes the columns, too."""
    inspector = inspect(connection)
    present = {table: {column["name"] for column in inspector.get_columns(table)} for table, _, _ in _COLUMNS_OF_3}
    for table, column, kind in _COLUMNS_OF_3:
        if column not in present[table]:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column} {kind}"))
    connection.execute(text(_LINKS_OF_3))


def _add_sweeps(connection: Connection) -> None:
    """Add what is recorded of removals from the store. From here on, programs are refused that commit without looking at it."""
    present = {column["name"] for column in inspect(connection).get_columns("versions")}
    if "sweeps_seen" not in present:
        connection.execute(text("ALTER TABLE versions ADD COLUMN sweeps_seen BIGINT DEFAULT '0' NOT NULL"))
    for table in (schema.sweeps, schema.condemned, schema.collector):
        table.create(connection, checkfirst=True)


STEPS: Sequence[Callable[[Connection], None]] = (_create, _add_repeats, _add_runs_and_links, _add_sweeps)


def is_current(connection: Connection, where: str) -> bool:
    """Whether no step is missing, so that nobody has to wait for a writer. SchemaError if the registry is newer."""
    return _version(connection, where) == len(STEPS)


def migrate(connection: Connection, where: str) -> str:
    """Run the missing steps in the caller's transaction, and return the id of the registry. SchemaError if it is newer."""
    found = _version(connection, where)
    for step in STEPS[found:]:
        step(connection)
    if found < len(STEPS):
        connection.execute(update(schema.about).values(schema_version=len(STEPS)))
    return str(connection.execute(select(schema.about.c.registry_id)).scalar_one())


def _version(connection: Connection, where: str) -> int:
    present = inspect(connection).has_table(schema.about.name)
    found = connection.execute(select(schema.about.c.schema_version)).scalar_one() if present else 0
    if found > len(STEPS):
        raise SchemaError(
            f"the registry {where} has schema {found}, and this artfs knows up to {len(STEPS)}: a newer artfs wrote it",
            hint="upgrade artfs, or use another --registry",
        )
    return int(found)
