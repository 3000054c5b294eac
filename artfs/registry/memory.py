"""Answers of a registry by question, on disk: what `artfs.registry.remembered` falls back to. Losing it costs the memory only."""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import TYPE_CHECKING

from artfs.private import make_private
from artfs.sqlite import connect, no_fork, rest_for_forks

if TYPE_CHECKING:
    from pathlib import Path

    from artfs.sqlite import Connection

log = logging.getLogger(__name__)

_FORMAT = 1
_BUSY_SECONDS = 5.0


class Memory:
    """Answers by question, in a SQLite file. Its failures cost the memory only: they are logged, once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database: Connection | None = None
        self._broken = False
        rest_for_forks(self)

    def get(self, question: str) -> str | None:
        """Return the answer that was seen last."""
        rows = self._run("SELECT answer FROM seen WHERE question = ?", question)
        return str(rows[0][0]) if rows else None

    def beginning(self, prefix: str) -> dict[str, str]:
        """Return the answers to the questions that begin with a text, by what follows it."""
        rows = self._run(
            "SELECT question, answer FROM seen WHERE question >= ? AND question < ?", prefix, f"{prefix}\U0010ffff"
        )
        return {str(question)[len(prefix) :]: str(answer) for question, answer in rows}

    def put(self, question: str, answer: str) -> None:
        """Remember an answer."""
        self._run("INSERT OR REPLACE INTO seen VALUES (?, ?) ", question, answer)

    def forget(self, question: str) -> None:
        """Forget an answer: what it was about is gone."""
        self._run("DELETE FROM seen WHERE question = ?", question)

    def close(self) -> None:
        """Close the file."""
        with no_fork(), self._lock:
            self.rest()

    def rest(self) -> None:
        """Close the file; the next question opens it again."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _run(self, statement: str, *values: str) -> list[tuple[object, ...]]:
        with no_fork(), self._lock:
            try:
                if self._database is None:
                    self._database = self._open()
                return self._database.execute(statement, values).fetchall()
            except UnicodeEncodeError:  # a question about a name that no registry can hold
                return []
            except (sqlite3.Error, OSError) as error:
                if not self._broken:
                    log.warning("what was seen of the registry cannot be remembered in %s: %s", self._path, error)
                self._broken = True
                return []

    def _open(self) -> Connection:
        make_private(self._path.parent)
        database = connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._path.chmod(0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")  # it is only a memory
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found != _FORMAT:
            database.execute("DROP TABLE IF EXISTS seen")
            database.execute(f"PRAGMA user_version = {_FORMAT}")
        database.execute(
            "CREATE TABLE IF NOT EXISTS seen (question TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
        )
        return database
