"""SQLite connections that a fork of the process breaks nothing of: those of artfs are all made by `connect`.

SQLite does not know forks. A mutex that another thread holds at that moment stays locked in the child, which then waits for ever; and
what SQLite knows of the locks on a file is inherited, although the locks are not. Programs that use the API fork (workers of a
DataLoader) while threads of artfs commit and record. So `os.fork` waits here until no thread is inside of SQLite or in a transaction, and
databases that the child will open, too, are closed for that moment (`rest_for_forks`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a fork waits for transactions. One that waits for another writer may take longer: the fork goes on then."""

_ROWS = 256  # that an iteration takes at once
_PAUSE = 0.0005  # seconds


class Resting(Protocol):
    """What has connections to a database that a forked child will open, too."""

    def rest(self) -> None:
        """Close the connections; the next use opens them again. Called while no thread is in `no_fork`."""


def connect(path: str | Path, **arguments: Any) -> Connection:  # noqa: ANN401
    """Open a database: the arguments and errors are those of `sqlite3.connect`."""
    return sqlite3.connect(path, factory=Connection, **arguments)


def rest_for_forks(owner: Resting) -> None:
    """Have something rest before each fork, as long as it lives. It takes its locks and connections in `no_fork` only."""
    _owners.add(owner)


class _Inside(threading.local):
    """How often this thread is inside, by itself and for the one who forks."""

    def __init__(self) -> None:
        self.count = [0]
        _counts[threading.get_ident()] = self.count


class _Fork:
    """A fork under way: which thread forks, and when it has done so."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.done = threading.Event()


_forking: list[_Fork] = []  # one at most
_counts: dict[int, list[int]] = {}
_inside = _Inside()
_forks = threading.Lock()
_owners: weakref.WeakSet[Resting] = weakref.WeakSet()


def _enter() -> list[int]:
    """Go in, as soon as nobody forks. Who is inside already goes on: a fork may wait for it to come out.

    Without a lock: this thread writes first and then looks, and the one that forks does the same the other way round.
    """
    count = _inside.count
    count[0] += 1
    while count[0] == 1 and (fork := _under_way()) is not None:
        count[0] -= 1
        fork.done.wait()
        count[0] += 1
    return count


def _under_way() -> _Fork | None:
    """Return the fork that another thread does now."""
    try:
        fork = _forking[0]
    except IndexError:
        return None
    return None if fork.thread == threading.get_ident() else fork


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Keep other threads from forking the process. Every use of a connection does; they nest."""
    count = _enter()
    try:
        yield
    finally:
        count[0] -= 1


def _before() -> None:
    _forks.acquire()
    _forking.append(_Fork())
    until = time.monotonic() + PATIENCE
    while any(count[0] for count in list(_counts.values()) if count is not _inside.count):
        if time.monotonic() > until:
            log.warning("a fork does not wait any longer for a database that is written to: its child may hang")
            return
        time.sleep(_PAUSE)
    if not _inside.count[0]:
        for owner in list(_owners):
            owner.rest()


def _in_parent() -> None:
    _forking.pop().done.set()
    _forks.release()


def _in_child() -> None:
    for ident in _counts.keys() - {threading.get_ident()}:
        del _counts[ident]
    _forking.clear()
    _forks.release()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


class Cursor(sqlite3.Cursor):
    """A cursor in whose work the process does not fork."""

    connection: Connection

    def execute(self, *arguments: Any) -> Cursor:  # noqa: ANN401
        """Execute a statement."""
        count = _enter()
        try:
            super().execute(*arguments)
        finally:
            self.connection.settle(count)
        return self

    def executemany(self, *arguments: Any) -> Cursor:  # noqa: ANN401
        """Execute a statement for each of some rows."""
        count = _enter()
        try:
            super().executemany(*arguments)
        finally:
            self.connection.settle(count)
        return self

    def executescript(self, *arguments: Any) -> Cursor:  # noqa: ANN401
        """Execute statements."""
        count = _enter()
        try:
            super().executescript(*arguments)
        finally:
            self.connection.settle(count)
        return self

    def fetchone(self) -> Any:  # noqa: ANN401
        """Return a row, or None."""
        count = _enter()
        try:
            return super().fetchone()
        finally:
            count[0] -= 1

    def fetchmany(self, *arguments: Any) -> list[Any]:  # noqa: ANN401
        """Return some rows."""
        count = _enter()
        try:
            return super().fetchmany(*arguments)
        finally:
            count[0] -= 1

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        count = _enter()
        try:
            return super().fetchall()
        finally:
            count[0] -= 1

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        while rows := self.fetchmany(_ROWS):
            yield from rows


class Connection(sqlite3.Connection):
    """A connection in whose work the process does not fork, nor in its transactions: they end in the thread that has begun them."""

    _begun: list[int] | None = None  # the count of the thread that is in a transaction

    def settle(self, count: list[int]) -> None:
        """Come out; who has begun a transaction stays inside until it has ended."""
        try:
            begun = self.in_transaction
        except sqlite3.ProgrammingError:  # it is closed
            begun = False
        if begun and self._begun is None:
            self._begun = count
            return
        count[0] -= 1
        if not begun and self._begun is not None:
            self._begun[0] -= 1
            self._begun = None

    def cursor(self, factory: Callable[[sqlite3.Connection], Any] = Cursor) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Return a cursor."""
        return super().cursor(factory)

    def execute(self, *arguments: Any) -> Cursor:  # noqa: ANN401
        """Execute a statement with a cursor of its own."""
        cursor: Cursor = self.cursor().execute(*arguments)
        return cursor

    def executemany(self, *arguments: Any) -> Cursor:  # noqa: ANN401
        """Execute a statement for each of some rows."""
        cursor: Cursor = self.cursor().executemany(*arguments)
        return cursor

    def executescript(self, *arguments: Any) -> Cursor:  # noqa: ANN401
        """Execute statements."""
        cursor: Cursor = self.cursor().executescript(*arguments)
        return cursor

    def commit(self) -> None:
        """End a transaction."""
        count = _enter()
        try:
            super().commit()
        finally:
            self.settle(count)

    def rollback(self) -> None:
        """Undo a transaction."""
        count = _enter()
        try:
            super().rollback()
        finally:
            self.settle(count)

    def close(self) -> None:
        """Close, without waiting for the end of a transaction."""
        count = _enter()
        try:
            super().close()
        finally:
            self.settle(count)
