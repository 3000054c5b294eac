"""Whether versions can be read with no network at all: names, lists of files, and every byte, read from the disk and proven.

Used with services that are offline, so that what is found here is what a mount without a network would find.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artfs.app.parallel import each
from artfs.app.pins import remember
from artfs.app.warm import contents_of, open_selected
from artfs.content.packs import Flights, place_of
from artfs.content.proof import SMALL, block_count, block_length, is_provable
from artfs.content.verify import State
from artfs.content.warm import Content, Failure
from artfs.errors import ArtfsError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.app.selecting import Selected, Selection
    from artfs.app.services import Services
    from artfs.cache.cachefile import CacheFile
    from artfs.content.verify import Verdict
    from artfs.model.entry import Entry

_READABLE = {State.PROVEN, State.PINNED, State.UNPINNED}


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that could not be read (all of it), how many of its bytes are not there, and why."""

    path: str
    size: int
    reason: str


@dataclass(slots=True)
class Readiness:
    """What was found of one selection. ``problem`` says what is wrong with its names or its list of files; then files are left out."""

    selection: Selection
    files: int = 0
    size: int = 0
    problem: str = ""
    missing: list[Missing] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether everything can be read."""
        return not self.problem and not self.missing


def readiness(services: Services, selection: Selection, advance: Callable[[int, int], object]) -> Readiness:
    """Look whether a selection can be read. Every byte of it is read, from local disks only. ``advance`` is told files and bytes."""
    found = Readiness(selection)
    try:
        remember(services.registry, [selection])
        (selected,) = open_selected(services, [selection], cached=True)
    except ArtfsError as error:
        found.problem = error.message
        return found
    try:
        for content, missing in check(services, selected, advance):
            found.files += 1
            found.size += content.entry.size if isinstance(content, Content) else 0
            if missing is not None:
                found.missing.append(missing)
    except (NotFoundError, IntegrityError) as error:  # a path that is not in it, or a damaged list of files
        found.problem = error.message
    return found


def check(
    services: Services, selected: Selected, advance: Callable[[int, int], object]
) -> Iterator[tuple[Content | Failure, Missing | None]]:
    """Read what there is of the contents of a selection, and yield each with what it misses, if anything."""
    judge = services.verifier(advance).cached
    disk = _Disk()

    def one(content: Content | Failure) -> tuple[Content | Failure, Missing | None]:
        if isinstance(content, Failure):
            advance(1, 0)
            return content, Missing(content.path, 0, content.error.message)
        if content.file is None:
            return content, _local(content, judge)
        if content.packed:
            return content, disk.damage(content, content.file) or _local(content, judge)
        missing = _cached(services, content, content.file, advance)
        advance(1, 0)
        return content, missing

    yield from each(contents_of(services, [selected]), one, services.config.threads)


def _local(content: Content, judge: Callable[[Entry], Verdict]) -> Missing | None:
    entry = content.entry
    if entry.size == 0 and entry.ref is not None and not entry.ref.startswith("file:"):
        return Missing(content.path, 0, "its size was not recorded, so it cannot be kept in the cache")
    verdict = judge(entry)
    reason = verdict.reason or "not in the cache"
    return None if verdict.state in _READABLE else Missing(content.path, entry.size - verdict.size, reason)


class _Disk:
    """Looks at the disk under small files: at each block of their packs once, whoever asks. Thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int, int], bool | None] = {}
        self._flights: Flights[tuple[str, int, int], bool | None] = Flights()

    def damage(self, content: Content, file: CacheFile) -> Missing | None:
        """Return what is wrong with a file, if a block that it lies in is damaged."""
        place = place_of(content.entry)
        for number in range(place.first, place.last + 1):
            if self._look(file, number) is False:
                return Missing(content.path, content.entry.size, "damaged in the cache, and forgotten")
        return None

    def _look(self, file: CacheFile, number: int) -> bool | None:
        key = (file.name, file.size, number)

        def look(_: object) -> list[bool | None]:
            if key not in self._seen:
                self._seen[key] = file.check(number)
            return [self._seen[key]]

        return self._flights.join([key], look)[0]


def _cached(
    services: Services, content: Content, file: CacheFile, advance: Callable[[int, int], object]
) -> Missing | None:
    entry, lost, damaged = content.entry, 0, False
    for number in range(block_count(entry.size)):
        length, found = block_length(entry.size, number), file.check(number)
        advance(0, length)
        damaged |= found is False
        lost += 0 if found else length
    if lost:
        reason = "damaged in the cache, and forgotten" if damaged else "not in the cache"
        return Missing(content.path, lost, f"{lost:,} of {entry.size:,} bytes are {reason}")
    return _unproven(services, content, file)


def _unproven(services: Services, content: Content, file: CacheFile) -> Missing | None:
    """Prove what is all there, and was kept as it came. What has no digest of its bytes is as good as it can be."""
    entry = content.entry
    if not is_provable(entry) or all(file.proven(number) for number in range(block_count(entry.size))):
        return None
    try:
        services.reader.complete(entry)
    except ArtfsError as error:
        return Missing(content.path, entry.size, error.message)
    if file.sealed or (entry.size > SMALL and entry.block_list is None and services.config.verify != "strict"):
        return None
    return Missing(content.path, entry.size, "its bytes in the cache are not proven")
