"""The database of one draft: what it is, what it hides and renames of its base, and the journal of its commit.

One SQLite file, ``draft.sqlite``, written by the process that owns the draft. WAL without a sync for each transaction: a ``kill -9``
loses nothing, a loss of power may lose the last moments, as with the draft's own files. The tables below are the format; paths are
bytes (``os.fsencode``), so that any name of a local file can be kept.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from artfs.errors import IntegrityError, NoSpaceError, SchemaError, UnreachableError
from artfs.sqlite import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from artfs.errors import ArtfsError
    from artfs.model.entry import JsonValue

FORMAT = 1

SCHEMA = """
CREATE TABLE meta (       -- what the draft is: JSON values by name
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE marks (      -- what lies beneath the local files, where it differs from the base
    path     BLOB PRIMARY KEY,
    kind     TEXT NOT NULL,   -- 'whiteout': nothing; 'base': a node of the base; 'blob': a file by its manifest entry
    number   INTEGER,         -- of the node, for 'base'
    entry    TEXT,            -- the entry as in a manifest, for 'blob'
    mode     INTEGER,
    mtime_ns INTEGER
) WITHOUT ROWID;
CREATE TABLE moves (      -- renames of local files that belong to a change of marks, until they are done
    id     INTEGER PRIMARY KEY,
    source BLOB,              -- NULL: the target is removed
    target BLOB NOT NULL
);
CREATE TABLE hashes (     -- what a commit has found out about local files
    path     BLOB PRIMARY KEY,
    entry    TEXT NOT NULL,   -- as in a manifest
    blocks   BLOB,            -- the block list of a file of more than one block
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    ino      INTEGER NOT NULL,
    mode     INTEGER NOT NULL
) WITHOUT ROWID;
"""


class DraftDatabase:
    """An open draft database. Safe to use from any thread: one of them at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._converted():
            self._connection = connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            (found,) = self._connection.execute("PRAGMA user_version").fetchone()
            if found > FORMAT:
                self._connection.close()
                raise SchemaError(f"draft {path.parent} was written by a newer artfs", hint="upgrade artfs")
            if found == 0:
                self._connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
                path.chmod(0o600)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def get(self, key: str) -> JsonValue:
        """Return a value of ``meta``; None if it is not there."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def set(self, key: str, value: JsonValue) -> None:
        """Set a value of ``meta``; None removes it."""
        if value is None:
            self.execute("DELETE FROM meta WHERE key = ?", key)
        else:
            self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, json.dumps(value))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._lock, self._converted():
            return self._connection.execute(query, values).fetchall()

    def stream(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, through a connection of its own: they may be many."""
        with self._converted(), contextlib.closing(connect(self._path, timeout=30)) as connection:
            yield from connection.execute(query, values)

    def execute(self, statement: str, *values: object) -> None:
        """Run one statement."""
        with self._lock, self._converted():
            self._connection.execute(statement, values)

    def execute_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run a statement for each of the rows, in a transaction."""
        with self.transaction():
            self._connection.executemany(statement, rows)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen as a whole or not at all. Transactions do not nest: an inner one is part of the outer."""
        with self._lock, self._converted():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _converted(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._error_of(str(error)) from error

    def _error_of(self, reason: str) -> ArtfsError:
        if "full" in reason:
            return NoSpaceError(f"no space left for draft {self._path.parent.name}", hint="free some space on its disk")
        if "malformed" in reason or "not a database" in reason:
            return IntegrityError(
                f"draft {self._path.parent} is damaged: {reason}", hint="its files are in tree/ there"
            )
        return UnreachableError(f"draft {self._path.parent} cannot be used: {reason}")
