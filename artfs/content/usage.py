"""How many bytes the entries of a version are, and how many of them are on this machine: each content counted once, for its first path.

What is remembered of a content is a number of 64 bits, so a version of millions of files takes some hundred megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.content.packs import place_of
from artfs.content.proof import cache_name, content_key
from artfs.errors import ArtfsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artfs.cache.blocks import BlockCache
    from artfs.content.origin import Origins
    from artfs.content.targets import Targets
    from artfs.model.entry import Entry


@dataclass(slots=True)
class Usage:
    """Sums; ``size`` and ``here`` are bytes without what was counted for another path, ``files_here`` are wholly on this machine."""

    size: int = 0
    here: int = 0
    files: int = 0
    files_here: int = 0


def usage_of(entries: Iterable[Entry], under: str, depth: int, here: Callable[[Entry], int]) -> list[tuple[str, Usage]]:
    """Return the sums of all entries, under the path that all of them lie at or below, and after it of its directories.

    Of directories there are those down to so many levels below. ``here`` says how many bytes of an entry are on this machine.
    """
    total = Usage()
    below: dict[str, Usage] = {}
    seen: dict[int, int] = {}
    for entry in entries:
        key = hash(content_key(entry))
        first = key not in seen
        if first:
            seen[key] = here(entry)
        size, there = (entry.size, seen[key]) if first else (0, 0)
        whole = seen[key] >= entry.size
        for usage in (total, *(below.setdefault(path, Usage()) for path in _directories(entry.path, under, depth))):
            usage.size += size
            usage.here += there
            usage.files += 1
            usage.files_here += whole
    return [(under, total), *sorted(below.items())]


def _directories(path: str, under: str, depth: int) -> list[str]:
    """Return the directories below a place that a path lies in, down to a depth."""
    start = f"{under}/" if under else ""
    parts = path[len(start) :].split("/")[:-1] if path.startswith(start) else []
    return [start + "/".join(parts[: count + 1]) for count in range(min(depth, len(parts)))]


def bytes_here(origins: Origins, targets: Targets, cache: Callable[[], BlockCache]) -> Callable[[Entry], int]:
    """Return what says how many bytes of an entry are on this machine. Only what is recorded is asked, and local disks."""

    def here(entry: Entry) -> int:
        try:
            end = targets.of(entry)
        except ArtfsError:  # it leads to nothing any more, or nobody can say where
            return 0
        if origins.is_local(end):
            return entry.size
        place = place_of(end)
        if place.content is end:
            return cache().held(cache_name(end), end.size)
        pack = cache().file(cache_name(place.content), place.content.size)
        return 0 if pack.missing(place.first, place.last) else end.size

    return here
