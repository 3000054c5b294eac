"""Marks: what lies beneath the local files of a draft, where it differs from the base version.

A whiteout hides what the base has at a path; a base mark puts a node of the base there (a rename without a copy); a blob mark puts a
file there by its manifest entry, which is how a commit moves files into the store and can still give the draft back. All marks
are in memory, by directory, and every change is written to the draft's database first.
"""

from __future__ import annotations

import enum
import itertools
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artfs.model.manifest import decode_entry, encode_entry
from artfs.model.paths import join, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artfs.model.entry import Entry
    from artfs.staging.database import DraftDatabase

_serials = itertools.count(1)


class MarkKind(enum.Enum):
    """What a mark puts at its path."""

    WHITEOUT = "whiteout"
    BASE = "base"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark. ``serial`` tells blob marks apart for as long as the draft is open, wherever they are renamed to."""

    kind: MarkKind
    number: int = 0
    entry: Entry | None = None
    mode: int = 0
    mtime_ns: int = 0
    serial: int = field(default_factory=lambda: next(_serials), compare=False)


WHITEOUT = Mark(MarkKind.WHITEOUT)


class Marks:
    """The marks of one draft."""

    def __init__(self, database: DraftDatabase) -> None:
        self._database = database
        self._by_directory: dict[str, dict[str, Mark]] = {}
        for path, kind, number, entry, mode, mtime_ns in database.rows("SELECT * FROM marks"):
            text = os.fsdecode(path)
            parsed = None if entry is None else decode_entry(text, json.loads(entry))
            self._put(text, Mark(MarkKind(kind), number or 0, parsed, mode or 0, mtime_ns or 0))

    def __bool__(self) -> bool:
        return bool(self._by_directory)

    def get(self, path: str) -> Mark | None:
        """Return the mark at a path."""
        directory, name = split(path)
        found = self._by_directory.get(directory)
        return None if found is None else found.get(name)

    def within(self, directory: str) -> Mapping[str, Mark]:
        """Return the marks directly in a directory by name."""
        return self._by_directory.get(directory, {})

    def below(self, directory: str) -> Iterator[tuple[str, Mark]]:
        """Yield all marks anywhere below a directory with their paths."""
        prefix = f"{directory}/"
        for parent, marks in list(self._by_directory.items()):
            if parent == directory or parent.startswith(prefix) or not directory:
                for name, mark in list(marks.items()):
                    yield join(parent, name), mark

    def change(self, changes: Mapping[str, Mark | None]) -> None:
        """Set and remove (None) marks, in one transaction."""
        if not changes:
            return
        removed = [(os.fsencode(path),) for path, mark in changes.items() if mark is None]
        added = [self._row(path, mark) for path, mark in changes.items() if mark is not None]
        with self._database.transaction():
            if removed:
                self._database.execute_many("DELETE FROM marks WHERE path = ?", removed)
            if added:
                self._database.execute_many("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?)", added)
        for path, mark in changes.items():
            self._put(path, mark)

    @staticmethod
    def _row(path: str, mark: Mark) -> tuple[object, ...]:
        entry = None if mark.entry is None else encode_entry(mark.entry)
        return os.fsencode(path), mark.kind.value, mark.number, entry, mark.mode, mark.mtime_ns

    def _put(self, path: str, mark: Mark | None) -> None:
        directory, name = split(path)
        if mark is not None:
            self._by_directory.setdefault(directory, {})[name] = mark
        elif (found := self._by_directory.get(directory)) is not None:
            found.pop(name, None)
            if not found:
                del self._by_directory[directory]
