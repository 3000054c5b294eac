"""What differs between two versions: two lists of lines, both in the order of an index, merged into changes.

A line is a path, what names its bytes, and their number. Two lines of one path are the same if the same digest names their bytes; sizes
and modes do not count, as they do not in the digest of a version: so two versions have no change exactly if their digests are equal.

The order is that of `artfs.cache.index.ManifestIndex.entries`: the files of a directory by name, then what is below each of its
directories, by name. `order_key` is that order as text. Only two lines are in memory at any time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from artfs.model.digest import Algorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artfs.model.entry import Entry

A = TypeVar("A")
B = TypeVar("B")


class Line(NamedTuple):
    """One file. ``digest`` is that of its entry, with the algorithm before it unless that is MD5; empty where nobody has asked yet."""

    path: str
    digest: str
    size: int


class Kind(enum.Enum):
    """What became of a file."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``before`` is None for what was added, ``after`` for what was removed; both paths differ for what was renamed."""

    kind: Kind
    before: Line | None
    after: Line | None

    @property
    def path(self) -> str:
        """Where the file is now; where it was, if it is gone."""
        line = self.after or self.before
        return line.path if line else ""

    def reversed(self) -> Change:
        """Return the change that undoes this one."""
        kinds = {Kind.ADDED: Kind.REMOVED, Kind.REMOVED: Kind.ADDED}
        return Change(kinds.get(self.kind, self.kind), self.after, self.before)


def line_of(entry: Entry) -> Line:
    """Return the line of an entry."""
    return Line(entry.path, digest_text(entry.digest, entry.algorithm), entry.size)


def digest_text(digest: str, algorithm: Algorithm) -> str:
    """Return what a line has for a digest: the digests of two algorithms are never the same."""
    return digest if algorithm is Algorithm.MD5 else f"{algorithm.name}:{digest}"


def change_of(before: Line | None, after: Line | None) -> Change | None:
    """Return the change from one line of a path to another; None if there is none."""
    if before is None:
        return None if after is None else Change(Kind.ADDED, None, after)
    if after is None:
        return Change(Kind.REMOVED, before, None)
    return None if before.digest == after.digest else Change(Kind.CHANGED, before, after)


def compare(before: Iterable[Line], after: Iterable[Line]) -> Iterator[Change]:
    """Yield what differs between two lists of lines that are in the order of `order_key`, in that order."""
    for old, new in merge(before, after, _path, _path, order_key):
        change = change_of(old, new)
        if change is not None:
            yield change


def merge(
    before: Iterable[B],
    after: Iterable[A],
    name_before: Callable[[B], str],
    name_after: Callable[[A], str],
    key: Callable[[str], str] = str,
) -> Iterator[tuple[B | None, A | None]]:
    """Yield pairs of what has the same name; None stands for what has no partner. Both come sorted by ``key`` of their names."""
    olds, news = iter(before), iter(after)
    old, new = next(olds, None), next(news, None)
    while old is not None and new is not None:
        old_name, new_name = name_before(old), name_after(new)
        if old_name == new_name:
            yield old, new
            old, new = next(olds, None), next(news, None)
        elif key(old_name) < key(new_name):
            yield old, None
            old = next(olds, None)
        else:
            yield None, new
            new = next(news, None)
    while old is not None:
        yield old, None
        old = next(olds, None)
    while new is not None:
        yield None, new
        new = next(news, None)


def order_key(path: str) -> str:
    """Return a text by which paths sort as an index gives them: names have no NUL, so one ends each, before any letter of a longer one."""
    directory, slash, name = path.rpartition("/")
    return "\1" + directory.replace("/", "\0\1") + "\0\0" + name if slash else "\0" + name


def _path(line: Line) -> str:
    return line.path
