"""What the paths of the fsspec file system mean: their normal form, what they name, and the descriptions of what is there.

::

    (nothing)                           the entities
    entity                              its projects
    entity/project                      its collections
    entity/project/name                 its versions and aliases, as ``entity/project/name:v3``
    entity/project/name:v3[/path]       a version, a directory or a file of it; an alias instead of ``v3`` likewise

``entity/project/name/v3/path``, as in the mount, is the same as ``entity/project/name:v3/path``. Nothing is read of a version but its
index. An alias is looked up each time, because it moves; a version by its index once in ``metadata_ttl``. Thread-safe, without locks,
so that a fork at any moment does no harm. Errors are those of artfs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import parse_artifact_ref, parse_collection_ref, parse_entity, parse_project, version_index
from artfs.model.names import version_name as name_of
from artfs.model.paths import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.api.client import Client
    from artfs.cache.index import ManifestIndex, Node
    from artfs.config import Config
    from artfs.model.entry import Entry
    from artfs.model.names import ArtifactRef
    from artfs.registry.port import Version

Info = dict[str, Any]
"""What fsspec calls the details of a path: ``name``, ``type``, ``size``, and more where there is more to say."""

_VERSIONS = 1024
_UPPER = 3  # parts of a path that lie above the files of a version
_ALL = 1 << 62


def normal(path: str) -> str:
    """Return the normal form of a path: no empty parts, and the version after a colon."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if len(parts) > _UPPER and ":" not in parts[2] and "**" not in parts[2:4]:
        parts[2:4] = [f"{parts[2]}:{parts[3]}"]
    return "/".join(parts)


def parent(path: str) -> str:
    """Return the directory that lists a normal path; the one of a version is its collection."""
    above, _, name = path.rpartition("/")
    collection, colon, _ = name.rpartition(":")
    return f"{above}/{collection}" if colon and above.count("/") == 1 else above


def split(path: str) -> tuple[str, str]:
    """Split a normal path into what is above the files of a version, and the path in it."""
    parts = path.split("/")
    return "/".join(parts[:_UPPER]), "/".join(parts[_UPPER:])


def is_above_versions(path: str) -> bool:
    """Whether a normal path names no version, and nothing in one."""
    upper, _ = split(path)
    return upper.count("/") < 2 or ":" not in upper.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Located:
    """A file or a directory of a version. ``root`` is the path of the version as it was asked for."""

    root: str
    version: Version
    index: ManifestIndex
    node: Node

    @property
    def inner(self) -> str:
        """The path in the version."""
        return self.index.path(self.node.number)

    @property
    def entry(self) -> Entry:
        """The entry of a file."""
        return self.index.entry(self.node.number)

    @property
    def pinned(self) -> str:
        """The path by the index of the version, which never means anything else."""
        return join(f"{self.version.collection}:{name_of(self.version.index)}", self.inner)

    def info(self) -> Info:
        """Describe it."""
        return self.directory(self.inner) if self.node.is_dir else self.file(self.entry)

    def file(self, entry: Entry) -> Info:
        """Describe a file of the version. ``size`` is None for a reference that does not say it."""
        return {
            "name": f"{self.root}/{entry.path}",
            "type": "file",
            "size": None if entry.ref is not None and not entry.size else entry.size,
            "digest": entry.digest,
            "ref": entry.ref,
            **self._common(),
        }

    def directory(self, path: str) -> Info:
        """Describe a directory of the version."""
        return {"name": join(self.root, path), "type": "directory", "size": 0, **self._common()}

    def _common(self) -> Info:
        created = self.version.created_at
        return {"created": created, "mtime": created, "version": name_of(self.version.index)}

    def children(self) -> Iterator[tuple[Node, Info]]:
        """Describe what lies directly in a directory."""
        inner = self.inner
        nodes = self.index.children(self.node.number, limit=_ALL)
        files = (node for node in nodes if not node.is_dir)
        count = sum(not node.is_dir for node in nodes)
        # The entries of a directory come before those below it, so that one query reads them all.
        for node, entry in zip(files, islice(self.index.entries(self.node.number), count), strict=True):
            yield node, self.file(entry)
        for node in nodes:
            if node.is_dir:
                yield node, self.directory(join(inner, node.name))

    def below(self, maxdepth: int | None, *, directories: bool) -> Iterator[Info]:
        """Describe the files below a directory, and the directories if wanted, down to a depth: all of it in one pass."""
        if maxdepth is not None:
            yield from self._down_to(maxdepth, directories=directories)
            return
        own = self.inner
        seen = {own}
        for entry in self.index.entries(self.node.number):
            yield self.file(entry)
            directory = entry.path.rpartition("/")[0]
            while directories and directory not in seen:
                seen.add(directory)
                yield self.directory(directory)
                directory = directory.rpartition("/")[0]

    def _down_to(self, maxdepth: int, *, directories: bool) -> Iterator[Info]:
        for node, info in self.children():
            if directories or not node.is_dir:
                yield info
            if node.is_dir and maxdepth > 1:
                lower = Located(self.root, self.version, self.index, node)
                yield from lower.below(maxdepth - 1, directories=directories)


class Tree:
    """Finds what paths name. ``client`` says which registry is meant, anew each time."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._versions: dict[tuple[Config, ArtifactRef], tuple[float, Version]] = {}

    def locate(self, path: str) -> Located:
        """Return what a normal path names at or below a version; NotFoundError."""
        upper, inner = split(path)
        try:
            ref = parse_artifact_ref(upper, "")
        except InvalidInputError as error:
            raise NotFoundError(error.message) from error
        client = self._client()
        version = self._version(client, ref)
        index = client.services.open_index(version)
        try:
            node = index.find(inner)
        except UnicodeEncodeError:  # no manifest can hold such a name
            node = None
        if node is None:
            raise NotFoundError(f"{ref} has no {inner!r}")
        return Located(upper, version, index, node)

    def _version(self, client: Client, ref: ArtifactRef) -> Version:
        if version_index(ref.alias) is None:
            return client.registry.version(ref)
        now, key = time.monotonic(), (client.config, ref)
        seen = self._versions.get(key)
        if seen is not None and now - seen[0] < client.config.metadata_ttl:
            return seen[1]
        version = client.registry.version(ref)
        if len(self._versions) >= _VERSIONS:
            self._versions.clear()
        self._versions[key] = now, version
        return version

    # Above the versions -----------------------------------------------------------------------------------------

    def info(self, path: str) -> Info:
        """Describe what a normal path names above the versions; NotFoundError."""
        registry = self._client().registry
        names = _names(path)
        if len(names) == 1 and names[0] not in registry.entities():
            raise NotFoundError(f"there is no entity {path!r}")
        if len(names) == 2 and names[1] not in registry.projects(names[0]):
            raise NotFoundError(f"there is no project {path!r}")
        if len(names) < _UPPER:
            return _directory(path)
        listing = registry.listing(parse_collection_ref(path, ""))
        return {**_directory(path), "created": listing.created_at, "mtime": listing.updated_at}

    def list(self, path: str) -> list[Info]:
        """Describe what a normal path above the versions lists; NotFoundError."""
        registry = self._client().registry
        match _names(path):
            case []:
                return [_directory(name) for name in registry.entities()]
            case [entity]:
                return [_directory(f"{path}/{name}") for name in registry.projects(entity)]
            case [entity, project]:
                return [_directory(f"{path}/{name}") for name in registry.collections(entity, project)]
        listing = registry.listing(parse_collection_ref(path, ""))
        created = {version.index: version.created_at for version in listing.versions}
        named = [(name_of(index), index) for index in created]
        named += [(alias.name, alias.index) for alias in listing.aliases if alias.index in created]
        return [
            {
                **_directory(f"{path}:{name}"),
                "created": created[index],
                "mtime": created[index],
                "version": name_of(index),
            }
            for name, index in named
        ]


def _directory(path: str) -> Info:
    return {"name": path, "type": "directory", "size": 0}


def _names(path: str) -> list[str]:
    """Return the names in a normal path above the versions; NotFoundError if one cannot be."""
    names = path.split("/") if path else []
    try:
        for name, parse in zip(names, (parse_entity, parse_project), strict=False):
            parse(name)
        if len(names) == _UPPER:
            parse_collection_ref(path, "")
    except InvalidInputError as error:
        raise NotFoundError(error.message) from error
    return names
