"""Look at every item of a draft before anything is done with it: what is hashed, what is an entry already, what cannot be committed.

Everything that cannot be committed is named in one error, so that a user mends a draft in one go. Symlinks are left to
`artfs.staging.links`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError
from artfs.model.paths import parse_entry_path

if TYPE_CHECKING:
    from artfs.model.entry import Entry
    from artfs.staging.items import Item
    from artfs.staging.overlay import Overlay
    from artfs.staging.progress import Progress

_SHOWN = 10


@dataclass(slots=True)
class Scan:
    """What a draft holds. ``problems`` are sentences that begin with a path."""

    files: list[Item] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    symlinks: list[Item] = field(default_factory=list)
    empty_directories: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def refuse_problems(self) -> None:
        """Raise InvalidInputError that names them, if there are any."""
        if self.problems:
            more = len(self.problems) - _SHOWN
            shown = "; ".join(self.problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
            raise InvalidInputError(f"the draft cannot be committed: {shown}")

    def warnings(self) -> tuple[str, ...]:
        """Return what the user should know although it is no error."""
        if not self.empty_directories:
            return ()
        names, count = self.empty_directories, len(self.empty_directories)
        shown = ", ".join(names[:_SHOWN]) + (f" and {count - _SHOWN} more" if count > _SHOWN else "")
        return (f"empty directories are not part of a version: {shown}",)


def scan(tree: Overlay, progress: Progress) -> Scan:
    """Walk a draft."""
    found = Scan()
    progress.begin("scanning")
    parents: set[str] = set()

    def closed(item: Item) -> bool:
        return _forbidden(tree, item)

    root = tree.lookup("")
    if root is not None and closed(root):
        found.problems.append("its directory cannot be listed: permission denied")
        return found
    for item in tree.walk(closed):
        progress.advance(files=1)
        parents.add(item.path.rpartition("/")[0])
        problem = problem_of(tree, item)
        if item.kind == "dir" and not problem:
            found.empty_directories.append(item.path)
            continue
        if problem:
            found.problems.append(problem)
        elif item.kind == "symlink":
            found.symlinks.append(item)
        elif item.entry is not None:
            # A renamed file of the base still has the entry of its old place.
            here = item.entry.path == item.path
            found.entries.append(item.entry if here else replace(item.entry, path=parse_entry_path(item.path)))
        else:
            found.files.append(item)
    found.empty_directories = [path for path in found.empty_directories if path not in parents]
    return found


def problem_of(tree: Overlay, item: Item) -> str:
    """Return why an item cannot be committed, as a sentence that begins with its path; empty if it can."""
    if item.kind == "dir":  # its name is checked with those of its files
        return f"{item.path}/ cannot be listed: permission denied" if _forbidden(tree, item) else ""
    try:
        parse_entry_path(item.path)
    except InvalidInputError as error:
        return error.message
    if item.kind == "special":
        return f"{item.path} is a device, a socket or a fifo"
    if item.kind == "file" and _forbidden(tree, item):
        return f"{item.path} cannot be read: permission denied"
    return ""


def _forbidden(tree: Overlay, item: Item) -> bool:
    """Whether this process may not look into a local file or directory."""
    wanted = os.R_OK | os.X_OK if item.kind == "dir" else os.R_OK
    return item.local and not os.access(tree.local_path(item.path), wanted, effective_ids=True)
