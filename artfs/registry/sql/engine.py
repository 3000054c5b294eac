"""Connections to the database of a registry, and the one place where its failures become errors of artfs.

SQLite is opened in WAL mode, with full durability, so that a published version survives a loss of power; a writing transaction
takes the lock at its start (``BEGIN IMMEDIATE``), so that it never fails in its middle because another process wrote.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from artfs.errors import ArtfsError, IntegrityError, InvalidInputError, NoSpaceError, UnreachableError
from artfs.model.reference import redact

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT = 30.0  # seconds to wait for another writer


class Database:
    """A database by URL. Thread-safe; several processes may use it at once."""

    def __init__(self, url: str) -> None:
        self.name = redact(url)
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise InvalidInputError(
                f"{redact(url)!r} is not a registry", hint="write sqlite:////path/registry.sqlite"
            ) from error
        if parsed.get_backend_name() != "sqlite" or not parsed.database or not parsed.database.startswith("/"):
            raise InvalidInputError(
                f"registry {redact(url)!r} is not supported", hint="write sqlite:////absolute/path/registry.sqlite"
            )
        _make_private(Path(parsed.database))
        self._engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT})
        _set_up_sqlite(self._engine)

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and changes nothing."""
        with self._converted(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is alone in changing the database; it is undone if an error leaves it."""
        with self._converted(), self._engine.connect() as connection:
            connection = connection.execution_options(artfs_writing=True)  # noqa: PLW2901 - the same connection
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def _converted(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._error_of(str(error.orig)) from error
        except SQLAlchemyError as error:
            raise UnreachableError(f"the registry {self.name} failed: {error}") from error

    def _error_of(self, reason: str) -> ArtfsError:
        if "full" in reason:
            return NoSpaceError(f"no space left for the registry {self.name}", hint="free some space on its disk")
        if "not a database" in reason or "malformed" in reason:
            return IntegrityError(f"the registry {self.name} is damaged: {reason}", hint="restore it from a backup")
        return UnreachableError(f"the registry {self.name} cannot be used: {reason}")


def _make_private(path: Path) -> None:
    """Make the file if it is missing, for this user alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise UnreachableError(f"the registry {path} cannot be opened: {error.strerror}") from error


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("artfs_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
