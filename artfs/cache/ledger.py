"""The ledger of the block cache: which blocks are on disk, with the checksum of each, when it was last used, and what is pinned.

A SQLite file in WAL mode, shared by processes; the schema below is its reference. It survives the end of a process at any moment,
and of the machine: the last moments may be missing, which are misses. A row promises nothing: every block is checked against its
checksum before its first use. The checksum of a block that is not proven is kept as its complement, so that a flipped bit in
``proven`` makes a miss and not a proof. Numbers of files are never remembered from one transaction to the next.

Methods raise sqlite3.Error; `is_damage` tells a damaged ledger from a disk or a lock that fails.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import threading
from typing import TYPE_CHECKING, NamedTuple

from artfs.cache.datafiles import Content, valid_content
from artfs.cache.rows import Rows, parse_rows
from artfs.cache.transaction import Transaction
from artfs.model.entry import BLOCK_SIZE
from artfs.sqlite import connect, no_fork, rest_for_forks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artfs.sqlite import Connection

FORMAT = 1
"""Raised with every change of the schema, of the data files or of the counters. It is part of the directory name."""

SCHEMA = """
CREATE TABLE files (
    id     INTEGER PRIMARY KEY,
    name   TEXT    NOT NULL,     -- kind/hex
    size   INTEGER NOT NULL,     -- bytes of the whole content
    sealed INTEGER NOT NULL,     -- 1: the whole was proven once
    UNIQUE (name, size)
);
CREATE TABLE blocks (
    file     INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    checksum BLOB    NOT NULL,   -- BLAKE3 of the block, complemented while it is not proven
    proven   INTEGER NOT NULL,   -- 1: it is what the name of the file promises
    bytes    INTEGER NOT NULL,   -- the disk space it takes
    used     INTEGER NOT NULL,   -- when it was last used: nanoseconds since 1970
    PRIMARY KEY (file, number)
) WITHOUT ROWID;
CREATE INDEX blocks_by_used ON blocks (used);
CREATE TABLE pins (
    owner TEXT NOT NULL,
    name  TEXT NOT NULL,         -- of files of any size, there or not
    PRIMARY KEY (owner, name)
) WITHOUT ROWID;
CREATE INDEX pins_by_name ON pins (name);
CREATE TABLE totals (            -- one row
    bytes  INTEGER NOT NULL,
    blocks INTEGER NOT NULL,
    files  INTEGER NOT NULL
);
CREATE TRIGGER block_added AFTER INSERT ON blocks BEGIN
    UPDATE totals SET bytes = bytes + new.bytes, blocks = blocks + 1;
END;
CREATE TRIGGER block_removed AFTER DELETE ON blocks BEGIN
    UPDATE totals SET bytes = bytes - old.bytes, blocks = blocks - 1;
END;
CREATE TRIGGER file_added AFTER INSERT ON files BEGIN UPDATE totals SET files = files + 1; END;
CREATE TRIGGER file_removed AFTER DELETE ON files BEGIN UPDATE totals SET files = files - 1; END;
INSERT INTO totals VALUES (0, 0, 0);
"""

_BUSY_SECONDS = 5.0
_IDLE_CONNECTIONS = 4
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH,
           sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE}  # fmt: skip


class LedgerDamagedError(sqlite3.DatabaseError):
    """The file is a database, and not a ledger of this format."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the ledger has to be begun anew: its file holds something else than what was written to it."""
    return isinstance(error, LedgerDamagedError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk has no room for the ledger to grow."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


class Totals(NamedTuple):
    """Sums over all blocks; ``bytes`` is disk space."""

    bytes: int
    blocks: int
    files: int


class Kept(NamedTuple):
    """What is recorded of one content. ``bytes`` is disk space, ``used`` nanoseconds since 1970 of the last use of any block."""

    content: Content
    blocks: int
    bytes: int
    used: int
    pinned: bool


class Ledger:
    """An open ledger. Thread-safe; reads do not wait for writes. ``totals`` is as of the last write of this process."""

    def __init__(self, path: Path) -> None:
        self._address = f"{path.absolute().as_uri()}?mode=rw"
        self._lock = threading.Lock()  # of the pool: never held while SQLite works
        self._writing = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        self._writer: Connection | None = None
        with no_fork():
            try:
                with _readable_errors():
                    self._check(self._write())
                    self.totals = _totals(self._write())
            except BaseException:
                self.rest()
                raise
        rest_for_forks(self)

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty ledger. The file must not be there."""
        database = connect(path, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(f"BEGIN; {SCHEMA}; PRAGMA user_version = {FORMAT}; COMMIT;")
        finally:
            database.close()
        path.chmod(0o600)

    def rest(self) -> None:
        """Close the connections; the next use opens them again."""
        idle, self._idle = self._idle, []
        writer, self._writer = self._writer, None
        for connection in (*idle, *([] if writer is None else [writer])):
            connection.close()

    def _write(self) -> Connection:
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    def _connect(self) -> Connection:
        connection = connect(
            self._address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        # Text that is damaged must be readable enough to be deleted.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            # NORMAL: a machine that stops loses the last transactions, never the file. It waits for the disk at checkpoints only.
            for pragma in ("synchronous = NORMAL", "wal_autocheckpoint = 4000", "cell_size_check = ON",
                           "trusted_schema = OFF", "cache_size = -4096"):  # fmt: skip
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _check(writer: Connection) -> None:
        (version,) = writer.execute("PRAGMA user_version").fetchone()
        if version != FORMAT or _schema(writer) != _expected_schema():
            raise LedgerDamagedError(f"it is no ledger of format {FORMAT}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a write transaction; it is committed at the end, and rolled back by any exception."""
        with no_fork(), self._writing, _readable_errors():
            if self._closed:
                raise sqlite3.ProgrammingError("the ledger is closed")
            writer = self._write()
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(writer)
                totals = _totals(writer)
                writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # some errors have rolled back already
                    writer.execute("ROLLBACK")
                raise
            self.totals = totals

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Connection]:
        with no_fork():
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            with _readable_errors():
                if connection is None:
                    connection = self._connect()
                try:
                    yield connection
                except BaseException:
                    connection.close()
                    raise
            with self._lock:
                if not self._closed and len(self._idle) < _IDLE_CONNECTIONS:
                    self._idle.append(connection)
                    return
            connection.close()

    def load(self, content: Content) -> Rows:
        """Return what is recorded of a content. Rows that cannot be are left out."""
        with self._reader() as connection:
            found = connection.execute("SELECT id, sealed FROM files WHERE name = ? AND size = ?", content).fetchone()
            if found is None:
                return Rows()
            blocks = connection.execute(
                "SELECT number, checksum, proven FROM blocks WHERE file = ?", found[:1]
            ).fetchall()
        return parse_rows(content, blocks, sealed=found[1] == 1)

    def block(self, content: Content, number: int) -> bool:
        """Whether a block is recorded."""
        with self._reader() as connection:
            return Transaction(connection).has(content, number)

    def held(self, content: Content) -> int:
        """Return how many bytes of a content are recorded."""
        query = (
            "SELECT count(*), ifnull(max(number), -1) FROM blocks JOIN files ON file = id WHERE name = ? AND size = ?"
        )
        with self._reader() as connection:
            count, last = connection.execute(query, content).fetchone()
        short = BLOCK_SIZE - content.length(content.blocks - 1) if last == content.blocks - 1 else 0
        return int(min(max(count * BLOCK_SIZE - short, 0), content.size))

    def contents(self, kind: str, prefix: str) -> dict[Content, int]:
        """Return the contents of a kind whose hex digits begin with two digits, with the disk space recorded for each."""
        query = """
            SELECT name, size, (SELECT CAST(ifnull(sum(bytes), 0) AS INTEGER) FROM blocks WHERE file = id)
            FROM files WHERE name >= ? AND name < ?"""
        with self._reader() as connection:
            rows = connection.execute(query, (f"{kind}/{prefix}", f"{kind}/{prefix}g")).fetchall()
        return {content: total for name, size, total in rows if (content := valid_content(name, size)) is not None}

    def kinds(self) -> set[str]:
        """Return the kinds of contents that are recorded."""
        with self._reader() as connection:
            rows = connection.execute("SELECT DISTINCT substr(name, 1, instr(name, '/') - 1) FROM files").fetchall()
        return {row[0] for row in rows}  # in a damaged ledger, anything

    def coldest_names(self, limit: int) -> list[Content]:
        """Return up to ``limit`` contents that nobody pins, those with the coldest block first."""
        query = """
            SELECT name, size FROM blocks JOIN files ON file = id
            WHERE name NOT IN (SELECT name FROM pins) GROUP BY file ORDER BY min(used) LIMIT ?"""
        with self._reader() as connection:
            rows = connection.execute(query, (limit,)).fetchall()
        return [content for row in rows if (content := valid_content(*row)) is not None]

    def pinned(self, owner: str) -> frozenset[str]:
        """Return the names that an owner pins."""
        with self._reader() as connection:
            return frozenset(name for (name,) in connection.execute("SELECT name FROM pins WHERE owner = ?", (owner,)))

    def is_pinned(self, name: str) -> bool:
        """Whether anybody pins a name."""
        with self._reader() as connection:
            return Transaction(connection).is_pinned(name)

    def pinned_bytes(self) -> int:
        """Return the disk space of all blocks of pinned names."""
        query = """
            SELECT ifnull(sum(bytes), 0) FROM blocks
            WHERE file IN (SELECT id FROM files WHERE name IN (SELECT name FROM pins))"""
        with self._reader() as connection:
            return int(connection.execute(query).fetchone()[0])

    def kept(self) -> list[Kept]:
        """Return what is recorded of each content, sums over its blocks. Rows that cannot be are left out."""
        query = """
            SELECT name, size, count(*), CAST(sum(bytes) AS INTEGER), max(used), EXISTS (SELECT 1 FROM pins WHERE pins.name = files.name)
            FROM blocks JOIN files ON file = id GROUP BY file"""
        with self._reader() as connection:
            rows = connection.execute(query).fetchall()
        return [
            Kept(content, blocks, total, used, bool(pinned))
            for name, size, blocks, total, used, pinned in rows
            if (content := valid_content(name, size)) is not None
        ]

    def sound(self) -> bool:
        """Whether the pages of the file are in order. Reads all of it."""
        with self._reader() as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))

    def close(self) -> None:
        """Close what is not in use, and the rest when its user is done."""
        with no_fork(), self._writing, self._lock:
            self._closed = True
            self.rest()


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    """Convert the error of the sqlite3 module when the text of an error, which tells of damaged names, is not UTF-8."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise LedgerDamagedError("its schema is damaged") from error


def _totals(writer: Connection) -> Totals:
    rows = writer.execute("SELECT bytes, blocks, files FROM totals").fetchall()
    if len(rows) != 1 or not all(isinstance(value, int) and value >= 0 for value in rows[0]):
        raise LedgerDamagedError("its totals are impossible")
    return Totals._make(rows[0])


def _schema(connection: Connection) -> list[object]:
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


@functools.cache
def _expected_schema() -> list[object]:
    with contextlib.closing(connect(":memory:", isolation_level=None)) as database:
        database.executescript(SCHEMA)
        return _schema(database)
