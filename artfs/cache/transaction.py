"""The statements of a write transaction of the ledger (`artfs.cache.ledger` has the schema)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from artfs.cache.rows import Adopted, Gone, Lost, Proven, Written, stored_checksum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artfs.cache.datafiles import Content
    from artfs.cache.rows import Change
    from artfs.sqlite import Connection

_PUT_BLOCK = """
INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (file, number) DO UPDATE
SET checksum = excluded.checksum, proven = excluded.proven, used = excluded.used WHERE excluded.proven >= proven
"""


class ColdBlock(NamedTuple):
    """A block that was not used for long. ``file`` is valid in its transaction only; in a damaged ledger, values are anything."""

    file: int
    name: object
    size: object
    number: int


class Transaction:
    """The statements of one write transaction. Others wait: open files in it, but do nothing slow."""

    def __init__(self, connection: Connection) -> None:
        self._run = connection.execute
        self._run_many = connection.executemany

    def record(self, changes: Iterable[Change], touched: Mapping[Content, Mapping[int, int]]) -> None:
        """Record changes in their order, and when blocks were last used."""
        for change in changes:
            match change:
                case Written(content, number, checksum, proven, used):
                    row = (
                        self._make(content),
                        number,
                        stored_checksum(checksum, proven=proven),
                        proven,
                        content.cost(number),
                        used,
                    )
                    self._run(_PUT_BLOCK, row)
                case Adopted(content, whole, used):
                    adopted = self._make(content)
                    rows = ((adopted, n, value, True, content.cost(n), used) for n, value in enumerate(whole))
                    self._run_many(_PUT_BLOCK, rows)
                    self._run("UPDATE files SET sealed = 1 WHERE id = ?", (adopted,))
                case Proven(content, checksums, sealed):
                    self._prove(content, checksums, sealed=sealed)
                case Lost(content, number, checksum):
                    values = (self.find(content), number, checksum, stored_checksum(checksum, proven=False))
                    self._run("DELETE FROM blocks WHERE file = ? AND number = ? AND checksum IN (?, ?)", values)
                case Gone(content):
                    self.forget(self.find(content))
        update = "UPDATE blocks SET used = ? WHERE file = ? AND number = ? AND used < ?"
        for content, stamps in touched.items():
            file = self.find(content)
            self._run_many(update, [(used, file, number, used) for number, used in stamps.items()])

    def _prove(self, content: Content, checksums: Mapping[int, bytes], *, sealed: bool) -> None:
        file = self.find(content)
        update = (
            "UPDATE blocks SET proven = 1, checksum = ? WHERE file = ? AND number = ? AND NOT proven AND checksum = ?"
        )
        rows = ((value, file, number, stored_checksum(value, proven=False)) for number, value in checksums.items())
        self._run_many(update, rows)
        if sealed:
            self._run("UPDATE files SET sealed = 1 WHERE id = ?", (file,))

    def find(self, content: Content) -> int | None:
        """Return the number of a content's file in this transaction."""
        row = self._run("SELECT id FROM files WHERE name = ? AND size = ?", content).fetchone()
        return None if row is None else int(row[0])

    def _make(self, content: Content) -> int:
        file = self.find(content)
        if file is None:
            file = self._run("INSERT INTO files (name, size, sealed) VALUES (?, ?, 0)", content).lastrowid
        return int(file or 0)

    def coldest(self, stamp: int, limit: int, *, after: bool = False) -> list[ColdBlock]:
        """Return up to ``limit`` blocks last used before a time (or after it), those not used for longest first."""
        query = f"""
            SELECT file, name, size, number FROM blocks LEFT JOIN files ON file = id
            WHERE used {">" if after else "<"} ? ORDER BY used LIMIT ?"""  # noqa: S608 - of two signs
        return [ColdBlock._make(row) for row in self._run(query, (stamp, limit)).fetchall()]

    def numbers(self, file: int) -> list[int]:
        """Return which blocks of a file are recorded."""
        return [number for (number,) in self._run("SELECT number FROM blocks WHERE file = ?", (file,)).fetchall()]

    def has(self, content: Content, number: int) -> bool:
        """Whether a block is recorded."""
        query = "SELECT 1 FROM blocks WHERE file = ? AND number = ?"
        return self._run(query, (self.find(content), number)).fetchone() is not None

    def remove(self, file: int, numbers: Iterable[int]) -> bool:
        """Delete rows of blocks; return whether any are left of the file, whose row goes with the last."""
        self._run_many("DELETE FROM blocks WHERE file = ? AND number = ?", [(file, number) for number in numbers])
        if self._run("SELECT 1 FROM blocks WHERE file = ? LIMIT 1", (file,)).fetchone():
            return True
        self._run("DELETE FROM files WHERE id = ?", (file,))
        return False

    def forget(self, file: int | None) -> None:
        """Delete all rows of a file."""
        self._run("DELETE FROM blocks WHERE file = ?", (file,))
        self._run("DELETE FROM files WHERE id = ?", (file,))

    def warm(self, file: int, numbers: Iterable[int], used: int) -> None:
        """Note that blocks are not cold."""
        update = "UPDATE blocks SET used = ? WHERE file = ? AND number = ?"
        self._run_many(update, [(used, file, number) for number in numbers])

    def is_pinned(self, name: str) -> bool:
        """Whether anybody pins a name."""
        return self._run("SELECT 1 FROM pins WHERE name = ?", (name,)).fetchone() is not None

    def pin(self, owner: str, names: Iterable[str]) -> None:
        """Add names to those that an owner pins."""
        self._run_many("INSERT OR IGNORE INTO pins VALUES (?, ?)", [(owner, name) for name in names])

    def unpin(self, owner: str) -> None:
        """Forget what an owner pins. Its blocks, which may have been set warm for being pinned, are used just now at most."""
        now = time.time_ns()
        files = "SELECT id FROM files WHERE name IN (SELECT name FROM pins WHERE owner = ?)"
        self._run(f"UPDATE blocks SET used = ? WHERE used > ? AND file IN ({files})", (now, now, owner))  # noqa: S608 - no input
        self._run("DELETE FROM pins WHERE owner = ?", (owner,))

    def recount(self) -> None:
        """Compute the totals from the rows, and delete rows of blocks without a file."""
        self._run("DELETE FROM blocks WHERE file NOT IN (SELECT id FROM files)")
        self._run("""
            UPDATE totals SET files = (SELECT count(*) FROM files),
            (bytes, blocks) = (SELECT ifnull(sum(bytes), 0), count(*) FROM blocks)""")
