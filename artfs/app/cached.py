"""What the block cache holds, by the versions that it is of, as far as they are known on this machine. Asks no network.

A version is known if the registry, or what is remembered of it, tells of it, and its list of files is here. A content that several versions
have is counted for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from artfs.app.warm import full_name
from artfs.cache.datafiles import Content
from artfs.content.packs import Place, place_of
from artfs.content.proof import cache_name
from artfs.errors import ArtfsError, UnreachableError
from artfs.registry.remembered import RememberedRegistry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from artfs.app.services import Services
    from artfs.cache.index import ManifestIndex
    from artfs.cache.ledger import Kept
    from artfs.registry.port import Registry, Version


@dataclass(slots=True)
class Holding:
    """What the cache holds of a version, or of no version that is known: then ``version`` is empty, and ``size`` 0.

    ``size`` and ``files`` are those of the whole version, ``here`` is disk space, ``used`` nanoseconds since 1970.
    """

    version: str
    files: int = 0
    size: int = 0
    files_here: int = 0
    here: int = 0
    pinned: int = 0
    used: int = 0

    def take(self, kept: Kept, files: int = 1) -> None:
        """Count a content, and how many files that are here it stands for."""
        self.files_here += files
        self.here += kept.bytes
        self.pinned += kept.bytes if kept.pinned else 0
        self.used = max(self.used, kept.used)


@dataclass(slots=True)
class Holdings:
    """All of a cache: by version, the rest, and the sum, in which each content is counted once."""

    versions: list[Holding] = field(default_factory=list)
    rest: Holding = field(default_factory=lambda: Holding(""))
    total: Holding = field(default_factory=lambda: Holding(""))


def holdings(services: Services) -> Holdings:
    """Return what the cache holds. Blocks."""
    kept = {one.content: one for one in services.cache().upkeep.contents()}
    found, rest = Holdings(), dict(kept)
    packs, in_packs = set[Content](), set[int]()
    for name, index in known_versions(services):
        holding, seen = Holding(name, index.file_count, index.size), set[Content]()
        for _, content, place in _contents(services, index):
            if content in kept and content not in seen:
                seen.add(content)
                holding.take(kept[content], files=place is None)
                rest.pop(content, None)
            if content in seen and place is not None:
                packs.add(content)
                if not services.cache().file(*content).missing(place.first, place.last):
                    holding.files_here += 1
                    in_packs.add(hash((content, place.first, place.offset)))
        if holding.here:
            found.versions.append(holding)
    for one in rest.values():
        found.rest.take(one)
    for one in kept.values():
        found.total.take(one, files=one.content not in packs)
    found.total.files_here += len(in_packs)
    found.versions.sort(key=lambda holding: holding.used, reverse=True)
    return found


def names_of(services: Services, wanted: Iterable[Content]) -> Mapping[Content, str]:
    """Return the full name of a file for each content that a known version has."""
    left, found = set(wanted), dict[Content, str]()
    for name, index in known_versions(services):
        if not left:
            break
        for path, content, _ in _contents(services, index):
            if content in left:
                left.discard(content)
                found[content] = f"{name}/{path}"
    return found


def known_versions(services: Services) -> Iterator[tuple[str, ManifestIndex]]:
    """Yield the known versions whose lists of files are on this machine, each under one name."""
    here = {path.stem for path in services.indexes.directory.glob("*.sqlite")}
    seen: set[str] = set()
    for version in _versions(services.registry):
        manifest, name = version.manifest, full_name(version)
        if manifest.digest.hex not in here or name in seen:
            continue
        seen.add(name)
        try:
            yield name, services.indexes.open(manifest.digest, manifest.size, _refuse, version.id)
        except ArtfsError:  # a damaged list of files is one that is not here
            continue


def _refuse() -> NoReturn:
    raise UnreachableError("the list of files is not on this machine")


def _versions(registry: Registry) -> Iterator[Version]:
    if isinstance(registry, RememberedRegistry):
        yield from registry.seen()
        return
    for entity in registry.entities():
        for project in registry.projects(entity):
            for info in registry.collection_infos(entity, project):
                yield from registry.versions(info.ref)


def _contents(services: Services, index: ManifestIndex) -> Iterator[tuple[str, Content, Place | None]]:
    """Yield each file's path, the content that it is cached in, and where, if that is a pack, which other files are in as well."""
    for entry in index.entries():
        try:
            end = services.targets.of(entry)
        except ArtfsError:  # it leads to what is not known here
            continue
        if end.size and not services.origins.is_local(end):
            place = place_of(end)
            content = Content(cache_name(place.content), place.content.size)
            yield entry.path, content, None if place.content is end else place
