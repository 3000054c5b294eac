"""The changes between two versions as a whole: sorted, with renames found, and counted.

They may be millions, so they are in a private database of SQLite, which keeps a few in memory and has the rest in a temporary file that
goes with the process. Used by one thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from artfs.errors import NoSpaceError, UnreachableError
from artfs.model.diff import Change, Kind, Line, order_key
from artfs.sqlite import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BATCH = 4096
_PAGE_CACHE_KIB = 16384
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE changes (
    place       BLOB PRIMARY KEY,  -- the order_key of the path
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,     -- the last part of the path
    top         TEXT NOT NULL,     -- the directory at the top that it lies in, empty if in none
    old_path    TEXT, old_digest TEXT, old_size INTEGER,
    new_path    TEXT, new_digest TEXT, new_size INTEGER
) WITHOUT ROWID;
"""
# Of files with the same bytes, the first that is gone became the first that is new, the second the second; a name that stayed goes first.
_PAIR = """
CREATE TEMP TABLE pairs AS
WITH gone AS (SELECT place, old_digest AS digest, {same} AS same,
                     row_number() OVER (PARTITION BY old_digest, {same} ORDER BY place) AS number
              FROM changes WHERE kind = 'removed' AND old_digest != ''),
     new AS (SELECT place, new_digest AS digest, {same} AS same,
                    row_number() OVER (PARTITION BY new_digest, {same} ORDER BY place) AS number
             FROM changes WHERE kind = 'added' AND new_digest != '')
SELECT gone.place AS gone, new.place AS new FROM gone JOIN new USING (digest, same, number)
"""
_JOIN = """
CREATE UNIQUE INDEX temp.pairs_by_new ON pairs (new);
UPDATE changes SET kind = 'renamed',
    (old_path, old_digest, old_size) = (SELECT o.old_path, o.old_digest, o.old_size
                                        FROM pairs JOIN changes AS o ON o.place = pairs.gone WHERE pairs.new = changes.place)
WHERE place IN (SELECT new FROM pairs);
DELETE FROM changes WHERE place IN (SELECT gone FROM pairs);
DROP TABLE pairs;
"""
_SUMS = """
count(*) FILTER (WHERE kind = 'added'), count(*) FILTER (WHERE kind = 'removed'), count(*) FILTER (WHERE kind = 'changed'),
count(*) FILTER (WHERE kind = 'renamed'), coalesce(sum(coalesce(new_size, 0) - coalesce(old_size, 0)), 0)
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many files were added, removed, changed and renamed, and how many bytes there are more after it."""

    added: int
    removed: int
    changed: int
    renamed: int
    bytes: int

    @property
    def files(self) -> int:
        """How many changes there are."""
        return self.added + self.removed + self.changed + self.renamed

    def json(self) -> dict[str, int]:
        """Return the numbers by name."""
        return asdict(self)


class Changes:
    """Changes, to be iterated by path when all were added. A file that is gone, and new under another path, becomes one rename."""

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        with _converted():
            self._database = connect("", isolation_level=None)
            self._database.executescript(_SCHEMA + f"PRAGMA cache_size = -{_PAGE_CACHE_KIB};")
        self._batch: list[tuple[object, ...]] = []
        self._paired = False
        self.add(changes)

    def add(self, changes: Iterable[Change]) -> None:
        """Take changes, in any order; NoSpaceError if the temporary directory is full."""
        for change in changes:
            path = change.path
            top, slash, _ = path.partition("/")
            sides = [*(change.before or (None, None, None)), *(change.after or (None, None, None))]
            name = path.rpartition("/")[2]
            self._batch.append((order_key(path).encode(), change.kind.value, name, top if slash else "", *sides))
            if len(self._batch) >= _BATCH:
                self._flush()

    def _flush(self) -> None:
        with _converted():
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._batch)
            self._database.execute("COMMIT")
        self._batch.clear()

    def _complete(self) -> None:
        """Find the renames, when everything is there."""
        self._flush()
        if self._paired:
            return
        self._paired = True
        with _converted():
            for same in ("name", "''"):
                self._database.execute(_PAIR.format(same=same))
                self._database.executescript(_JOIN)

    def __iter__(self) -> Iterator[Change]:
        """Yield the changes by path."""
        self._complete()
        columns = "kind, old_path, old_digest, old_size, new_path, new_digest, new_size"
        for kind, *sides in self._rows(f"SELECT {columns} FROM changes ORDER BY place"):  # noqa: S608 - no input
            old, new = sides[:3], sides[3:]
            yield Change(Kind(kind), None if old[0] is None else Line(*old), None if new[0] is None else Line(*new))

    def counts(self) -> Counts:
        """Return the sums over all changes."""
        self._complete()
        return next(Counts(*row) for row in self._rows(f"SELECT {_SUMS} FROM changes"))  # noqa: S608 - no input

    def by_directory(self) -> Iterator[tuple[str, Counts]]:
        """Yield the sums for each directory at the top; the empty name is that of the files beside them."""
        self._complete()
        for top, *sums in self._rows(f"SELECT top, {_SUMS} FROM changes GROUP BY top ORDER BY top"):  # noqa: S608 - no input
            yield top, Counts(*sums)

    def _rows(self, query: str) -> Iterator[Any]:
        with _converted():
            yield from self._database.execute(query)

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _converted() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise NoSpaceError(
                "no space left for the list of changes", hint="set TMPDIR to a directory with more"
            ) from error
        raise UnreachableError(f"the list of changes cannot be kept: {error}") from error
