"""What a symlink in a draft means to a commit: a file of a version, a reference, a file of the draft, or a refusal.

A relative target is understood from where the link lies in the mount, below ``<collection>/.staging/<draft>/``, by its
text alone: the file system is not asked, so that the answer is the same without a mount.
"""

from __future__ import annotations

import dataclasses
import posixpath
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from artfs.errors import ArtfsError, InvalidInputError, NotFoundError, UnreachableError
from artfs.model.entry import Entry
from artfs.model.names import CollectionRef
from artfs.model.paths import join, parse_entry_path
from artfs.model.reference import FILE_SCHEME, names_version, redact, uri_scheme
from artfs.storage.resolver import MAX_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from artfs.cache.index import ManifestIndex
    from artfs.registry.port import Registry, Version
    from artfs.staging.drafts import Draft
    from artfs.staging.items import Item
    from artfs.storage.resolver import Found

_STAGING = ".staging"
_MAX_HOPS = 40  # as the kernel


class References(Protocol):
    """What a commit needs of references."""

    def expand(self, uri: str, *, checksum: bool, max_objects: int) -> Iterator[Found]:
        """Yield what a URI stands for."""


class Links:
    """Gives the meaning of symlinks. ``mountpoints`` are the places where drafts are shown, absolute paths."""

    def __init__(
        self,
        registry: Registry,
        open_index: Callable[[Version], ManifestIndex],
        references: References,
        mountpoints: Sequence[str],
    ) -> None:
        self._registry = registry
        self._open_index = open_index
        self._references = references
        self._mountpoints = [point.rstrip("/") for point in mountpoints] or ["/artfs"]

    def resolve(self, draft: Draft, link: Item) -> Iterator[Entry | tuple[str, Item]]:
        """Yield what a symlink of a draft stands for.

        Entries are of versions and references, under the path of the link; a pair is a path and the file of the draft whose
        bytes it has. InvalidInputError says what is wrong with a link that means nothing.
        """
        try:
            yield from self._resolve(draft, link.path, link.path, draft.tree.readlink(link.path), 0)
        except UnreachableError:
            raise  # the link may be fine: the commit is tried again
        except ArtfsError as error:
            target = redact(draft.tree.readlink(link.path))
            raise InvalidInputError(f"{link.path} -> {target}: {error.message}") from error

    def _resolve(self, draft: Draft, path: str, at: str, target: str, hops: int) -> Iterator[Entry | tuple[str, Item]]:
        """Resolve a target for the entry path ``path``, read off a link at ``at`` in the draft."""
        if hops > _MAX_HOPS:
            raise InvalidInputError("too many symlinks, or a cycle of them")
        if uri_scheme(target) is not None:
            yield from self.expand(path, target)
            return
        inside = self._inside_mount(draft, at, target)
        names = inside.split("/") if inside else []
        if len(names) < 4:
            raise InvalidInputError("names no file of a version")
        collection = CollectionRef(*names[:3])
        if names[3] == _STAGING and collection == draft.collection and len(names) > 4 and names[4] == draft.name:
            yield from self._inside_draft(draft, path, "/".join(names[5:]), hops)
        elif names[3].startswith(".") or (len(names) > 4 and names[4] == ".artfs"):
            raise InvalidInputError("only files of versions and of the draft itself can be linked")
        else:
            yield from self._of_version(path, collection, names[3], "/".join(names[4:]))

    def _inside_mount(self, draft: Draft, at: str, target: str) -> str:
        """Return the target relative to the mount point."""
        place = f"{self._mountpoints[0]}/{draft.collection}/{_STAGING}/{draft.name}/{at}"
        absolute = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        for point in self._mountpoints:
            if absolute.startswith(f"{point}/"):
                return absolute[len(point) + 1 :]
        raise InvalidInputError("leads out of the mount: copy the file, or link to it as file:///path")

    def _inside_draft(self, draft: Draft, path: str, target: str, hops: int) -> Iterator[Entry | tuple[str, Item]]:
        found = draft.tree.lookup(target)
        if found is None or not target:
            raise InvalidInputError("leads to nothing" if target else "leads to the draft itself")
        if found.kind == "symlink":
            yield from self._resolve(draft, path, target, draft.tree.readlink(target), hops + 1)
        elif found.kind == "dir":
            if path.startswith(f"{target}/"):
                raise InvalidInputError("leads to a directory that holds the link")
            for item in draft.tree.children(target):
                name = item.path.rpartition("/")[2]
                yield from self._inside_draft(draft, join(path, name), item.path, hops + 1)
        elif found.kind == "file":
            yield path, found
        else:
            raise InvalidInputError("leads to a device, a socket or a fifo")

    def _of_version(self, path: str, collection: CollectionRef, alias: str, inner: str) -> Iterator[Entry]:
        version = self._registry.version(collection.at(alias))
        index = self._open_index(version)
        node = index.find(inner)
        if node is None:
            raise NotFoundError(f"{version.collection}:{alias} has no {inner!r}")
        for entry in index.entries(node.number):
            yield dataclasses.replace(entry, path=parse_entry_path(join(path, entry.path[len(inner) :].lstrip("/"))))

    def expand(self, path: str, uri: str, *, checksum: bool = True, max_objects: int = MAX_OBJECTS) -> Iterator[Entry]:
        """Yield the entries that a URI stands for, at or below a path; the empty path is the root of the version."""
        for found in self._references.expand(uri, checksum=checksum, max_objects=max_objects):
            place = parse_entry_path(join(path, found.path) or _name_of(uri))
            yield Entry(place, found.digest, found.size, ref=found.ref, extra=found.extra)


def _name_of(uri: str) -> str:
    """Return the name that a URI gives to the one file that it stands for."""
    scheme = uri_scheme(uri)
    if names_version(uri):  # its path is not escaped
        return uri.rstrip("/").rpartition("/")[2]
    path = urlsplit(uri).path
    return PurePosixPath(
        unquote(path) if scheme == FILE_SCHEME else path
    ).name  # W&B takes the others as they are written
