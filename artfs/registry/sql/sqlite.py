"""SQLite as the database of a registry: one file on this machine, used by several processes at once.

It is opened in WAL mode, with full durability, so that a published version survives a loss of power; a writing transaction takes the
lock at its start (``BEGIN IMMEDIATE``), so that it never fails in its middle because another process wrote.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sqlalchemy import URL, create_engine, event

from artfs.errors import ArtfsError, IntegrityError, InvalidInputError, NoSpaceError, UnreachableError
from artfs.model.reference import redact
from artfs.private import make_closed
from artfs.sqlite import Connection

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import Connection as Connected
    from sqlalchemy import Engine

BUSY_TIMEOUT = 30.0  # seconds to wait for another writer

_SQLITE = re.compile(r"sqlite:///(/[^?]+)", re.DOTALL)


def sqlite_engine(url: str) -> Engine:
    """Open the database of a ``sqlite:////path`` URL, making it if it is not there."""
    path = sqlite_path(url)
    _make_closed(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT, "factory": Connection}
    )
    _set_up_sqlite(engine)
    return engine


def sqlite_error(name: str, _: object, reason: str) -> ArtfsError:
    """Return the error of artfs for one of SQLite."""
    if "full" in reason:
        return NoSpaceError(f"no space left for the registry {name}", hint="free some space on its disk")
    if "not a database" in reason or "malformed" in reason:
        return IntegrityError(f"the registry {name} is damaged: {reason}", hint="restore it from a backup")
    return UnreachableError(f"the registry {name} cannot be used: {reason}")


def sqlite_path(url: str) -> Path:
    """Return the path in a URL, unquoted as in ``file://`` URLs: whether SQLAlchemy does that depends on its version."""
    match = _SQLITE.fullmatch(url)
    path = unquote(match[1], errors="surrogateescape") if match else ""
    if not path or "\0" in path:
        raise InvalidInputError(
            f"registry {redact(url)!r} is not supported", hint="write sqlite:////absolute/path/registry.sqlite"
        )
    return Path(path)


def _make_closed(path: Path) -> None:
    """Make the file if it is missing, for this user alone."""
    try:
        make_closed(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise UnreachableError(f"the registry {path} cannot be opened: {error.strerror}") from error


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turn on WAL. SQLite does not wait for others who do the same at that moment, whatever its timeout."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except connection.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connected) -> None:
        writing = connection.get_execution_options().get("artfs_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
