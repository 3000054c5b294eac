"""PostgreSQL as the database of a registry: shared by machines.

A writing transaction takes an advisory lock at its start, so that it is alone in changing the registry, as with SQLite; each is a
few statements long. Every wait has an end: connecting, a statement, a lock, a connection that died without a word. A password comes
from the URL, ``~/.pgpass`` or ``PGPASSWORD``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from artfs.errors import ArtfsError, InvalidInputError, NoSpaceError, PermissionDeniedError, UnreachableError
from artfs.model.reference import redact

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_WRITERS = 0x617274_6673  # the advisory lock of those who change a registry; any number that nobody else uses
_OPTIONS = "-c statement_timeout=30s -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s"
_ARGUMENTS = {
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
    "application_name": "artfs",
    "options": _OPTIONS,
}


def postgres_engine(url: str) -> Engine:
    """Return an engine for a ``postgresql://`` URL; nothing is connected yet."""
    try:
        import psycopg  # noqa: F401 - the driver that SQLAlchemy imports by name
    except ImportError as error:
        raise InvalidInputError(
            "the Python package psycopg is not installed", hint="pip install 'artfs[postgres]'"
        ) from error
    try:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as error:  # ValueError: of a port that is no number
        raise InvalidInputError(
            f"registry {redact(url)!r} is no URL", hint="write postgresql://user@host/database"
        ) from error
    if not parsed.database:
        raise InvalidInputError(
            f"registry {redact(url)!r} names no database", hint="write postgresql://user@host/database"
        )
    # Stated, as a server may prefer another level: a writer's view of the database has to begin after it has got the lock.
    engine = create_engine(
        parsed,
        isolation_level="READ COMMITTED",
        connect_args=_ARGUMENTS,
        pool_pre_ping=True,
        pool_recycle=600,
        pool_size=8,
        max_overflow=8,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("artfs_writing", False):
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS})

    return engine


def postgres_error(name: str, original: object, reason: str) -> ArtfsError:
    """Return the error of artfs for one of PostgreSQL, by its SQLSTATE; the driver raises a DataError of its own without one."""
    import psycopg

    state = str(getattr(original, "sqlstate", None) or "")
    if state in {"53100", "53200"}:
        return NoSpaceError(f"no space left for the registry {name}", hint="free some space on its server")
    if state.startswith("22") or isinstance(original, psycopg.DataError):
        return InvalidInputError(f"the registry {name} cannot record this: {reason}")
    if (
        state.startswith("28")
        or state == "42501"
        or "password authentication failed" in reason
        or "no password" in reason
    ):
        return PermissionDeniedError(
            f"the registry {name} refuses access: {reason}", hint="check user and password (~/.pgpass)"
        )
    return UnreachableError(f"the registry {name} cannot be used: {reason}")
