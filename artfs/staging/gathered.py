"""The entries that a version will hold, sorted by path, as a commit gathers them: those of the draft in memory, the others on disk.

A reference may stand for millions of objects. Above `IN_MEMORY` such entries they go to ``<draft>/gathered.sqlite``, a file of this commit
alone: it is made anew by each attempt, removed at its end, and goes with the draft after a crash. What is gathered is read several
times: once to check it and to find the digest of the version, twice to write the manifest.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import json
import sqlite3
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from artfs.errors import InvalidInputError, NoSpaceError, UnreachableError
from artfs.model.digest import version_digest
from artfs.model.entry import Entry
from artfs.model.manifest import MAX_ENTRIES
from artfs.sqlite import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from artfs.model.digest import Algorithm
    from artfs.sqlite import Connection

Line: TypeAlias = "tuple[str, str, int]"

IN_MEMORY = 10_000

_BATCH = 4096
_PAGE_CACHE_KIB = 16384
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE entries (
    path   TEXT    NOT NULL,
    number INTEGER NOT NULL,  -- in the order in which they came: a path that comes twice is refused later, by its name
    digest TEXT    NOT NULL,
    size   INTEGER NOT NULL,
    ref    TEXT,
    birth  TEXT,
    extra  TEXT,              -- JSON
    home   TEXT,
    PRIMARY KEY (path, number)
) WITHOUT ROWID;
"""
_by_path = attrgetter("path")
_scan = json.JSONDecoder().raw_decode  # at half the price of `json.loads`
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Totals:
    """What a version has as a whole. ``size`` is the sum of its entries' sizes in bytes."""

    digest: str
    size: int
    count: int


class Gathered:
    """Entries by path. Iterating yields them sorted, as often as wanted, when all are there. Used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "gathered.sqlite"
        self._database: Connection | None = None
        self._own: list[Entry] = []
        self._entries: list[Entry] = []
        self._spilled = 0
        self._homes: set[str] = set()

    @property
    def homes(self) -> frozenset[str]:
        """The versions that files are taken over from."""
        return frozenset(self._homes)

    def add_own(self, entries: Iterable[Entry]) -> None:
        """Take entries that are in memory anyway."""
        at = len(self._own)
        self._own.extend(entries)
        self._homes.update(entry.home for entry in self._own[at:] if entry.home is not None)

    def add(self, entry: Entry) -> None:
        """Take an entry of those that may be many; NoSpaceError if the disk is full."""
        self._entries.append(entry)
        if entry.home is not None:
            self._homes.add(entry.home)
        if self._database is None and len(self._entries) > IN_MEMORY:
            self._database = self._open()
        if self._database is not None and len(self._entries) >= _BATCH:
            self._spill(self._database)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries sorted by path."""
        if self._database is None:
            return iter(sorted(self._own + self._entries, key=_by_path))
        self._spill(self._database)
        stored = self._stored(self._database)
        return heapq.merge(sorted(self._own, key=_by_path), stored, key=_by_path) if self._own else stored

    def _open(self) -> Connection:
        with self._converted():
            self._path.unlink(missing_ok=True)
            database = connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                self._path.chmod(0o600)
                database.executescript(_SCHEMA + f"PRAGMA cache_size = -{_PAGE_CACHE_KIB};")
            except BaseException:
                database.close()
                raise
            return database

    def _spill(self, database: Connection) -> None:
        rows = (
            (entry.path, number, entry.digest, entry.size, entry.ref, entry.birth_artifact_id,
             _dumps(entry.extra) if entry.extra else None, entry.home)
            for number, entry in enumerate(self._entries, self._spilled)
        )  # fmt: skip
        with self._converted():
            database.execute("BEGIN")
            database.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            database.execute("COMMIT")
        self._spilled += len(self._entries)
        self._entries.clear()

    def lines(self) -> Iterator[Line]:
        """Yield path, digest and size of each entry, sorted by path: less work than whole entries."""
        own = sorted((entry.path, entry.digest, entry.size) for entry in chain(self._own, self._entries))
        if self._database is None:
            return iter(own)
        stored = self._rows(self._database, "path, digest, size")
        return heapq.merge(own, stored) if own else stored

    def _stored(self, database: Connection) -> Iterator[Entry]:
        columns = "path, digest, size, ref, birth, extra, home"
        for path, digest, size, ref, birth, extra, home in self._rows(database, columns):
            yield Entry(path, digest, size, ref, birth, _scan(extra)[0] if extra else {}, home)

    def _rows(self, database: Connection, columns: str) -> Iterator[Any]:
        with self._converted():
            yield from database.execute(f"SELECT {columns} FROM entries ORDER BY path, number")  # noqa: S608 - no input

    @contextlib.contextmanager
    def _converted(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "full" in str(error) or getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
                raise NoSpaceError(f"no space left for the list of files in {self._path.parent}") from error
            raise UnreachableError(f"the list of files in {self._path.parent} cannot be kept: {error}") from error

    def close(self) -> None:
        """Forget everything."""
        self._own.clear()
        self._entries.clear()
        if self._database is not None:
            self._database.close()
            self._database = None
            self._path.unlink(missing_ok=True)


def check(lines: Iterable[Line], algorithm: Algorithm) -> Totals:
    """Return the totals of entries by their lines, which come sorted.

    InvalidInputError for a path that comes twice, or is a file and a directory, and for more entries than a manifest may have.
    What references and symlinks stand for may be there already.
    """
    size = count = 0
    shorter: list[str] = []  # the paths that the present one begins with; all that do come right after each of them

    def checked() -> Iterator[tuple[str, str]]:
        nonlocal size, count
        for path, digest, length in lines:
            while shorter and not path.startswith(shorter[-1]):
                shorter.pop()
            for other in shorter:
                _refuse_conflict(other, path)
            shorter.append(path)
            size += length
            count += 1
            if count > MAX_ENTRIES:
                raise InvalidInputError(f"a version has at most {MAX_ENTRIES:,} files")
            yield path, digest

    return Totals(version_digest(checked(), algorithm), size, count)


def _refuse_conflict(path: str, longer: str) -> None:
    if path == longer:
        raise InvalidInputError(f"{path} comes twice: as a file, and as what a reference or a symlink stands for")
    if longer[len(path)] == "/":
        raise InvalidInputError(f"{path} is a file, and a directory with {longer} in it")
