"""How inode numbers are made.

============================  =====================================================================================
``1 .. 2**36 - 1``            the upper levels: given out once for each name, for the life of the mount
``slot << 36 | number``       a committed version: the slot of the version on this machine, the number of the node in its manifest
``1 << 62 | counter``         drafts: given out at lookup, taken back when the kernel forgets them
============================  =====================================================================================

Slots are recorded for ever in ``<data>/inodes.sqlite``, shared by all mounts of a machine, so that a version has the same inode
numbers after every restart. The three highest numbers of a slot belong to the hidden ``.artfs/`` directory.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

from artfs.errors import SchemaError, UnreachableError
from artfs.private import make_private
from artfs.sqlite import connect
from artfs.vfs.types import Inode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from artfs.sqlite import Connection

SLOT_BITS = 36
NUMBER_MASK = (1 << SLOT_BITS) - 1
DRAFT_BIT = 1 << 62

META_DIR = NUMBER_MASK
META_MANIFEST = NUMBER_MASK - 1
META_ARTIFACT = NUMBER_MASK - 2

_FORMAT = 1


def version_inode(slot: int, number: int) -> Inode:
    """Return the inode number of a node of a version."""
    return Inode(slot << SLOT_BITS | number)


class Slots:
    """Gives each version of each registry a slot, for ever. Thread-safe; several processes may share the file."""

    def __init__(self, path: Path, registry_id: str) -> None:
        self._path = path
        self._registry = registry_id
        self._lock = threading.Lock()
        self._known: dict[str, int] = {}
        make_private(path.parent)
        with self._transaction() as database:
            (found,) = database.execute("PRAGMA user_version").fetchone()
            if found > _FORMAT:
                raise SchemaError(
                    f"{path} was written by a newer artfs (format {found}, this one knows {_FORMAT})",
                    hint="upgrade artfs",
                )
            database.execute(
                "CREATE TABLE IF NOT EXISTS slots (slot INTEGER PRIMARY KEY, registry TEXT NOT NULL, version TEXT NOT NULL,"
                " UNIQUE (registry, version))"
            )
            database.execute(f"PRAGMA user_version = {_FORMAT}")
        path.chmod(0o600)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Open the file for one transaction; UnreachableError."""
        try:
            with contextlib.closing(connect(self._path, timeout=30, isolation_level=None)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
        except sqlite3.Error as error:
            raise UnreachableError(f"{self._path} cannot be used: {error}") from error

    def known(self, version_id: str) -> bool:
        """Whether the slot of a version is in memory."""
        return version_id in self._known

    def slot(self, version_id: str) -> int:
        """Return a slot that is in memory."""
        return self._known[version_id]

    def load(self, version_ids: Iterable[str]) -> None:
        """Bring the slots of versions into memory, giving new ones where there are none. Blocks."""
        with self._lock:
            wanted = [version_id for version_id in version_ids if version_id not in self._known]
            if not wanted:
                return
            with self._transaction() as database:
                rows = [(self._registry, version_id) for version_id in wanted]
                database.executemany("INSERT OR IGNORE INTO slots (registry, version) VALUES (?, ?)", rows)
                query = "SELECT slot FROM slots WHERE registry = ? AND version = ?"
                found = {version_id: database.execute(query, (self._registry, version_id)).fetchone()[0]
                         for version_id in wanted}  # fmt: skip
            self._known.update(found)
