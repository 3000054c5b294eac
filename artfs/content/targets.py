"""What references to entries of other versions, by their ids or their commits, lead to: an entry that has bytes, or names them elsewhere.

Such a reference is followed before anything else is done with an entry, because everything else depends on what it leads to: whether
reading costs a network, how the bytes are proven, under which name they are cached. What is read is the entry at the end, as far as it
agrees with the one that referred to it: the digest of the referring manifest is what counts.

A version never changes, so what was found stays found while the process lives. Thread-safe; who reads a version that is deleted
meanwhile may read on, as with a version that is open.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.errors import ArtfsError, ChangedError, InvalidInputError, NotFoundError, UnreachableError
from artfs.model.names import version_name
from artfs.model.reference import (
    ARTIFACT_SCHEME,
    CLIENT_SCHEME,
    artifact_uri,
    names_version,
    parse_artifact_uri,
    parse_client_uri,
    uri_scheme,
)
from artfs.storage.resolver import MAX_OBJECTS, Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.cache.index import ManifestIndex
    from artfs.model.entry import Entry
    from artfs.registry.port import Version
    from artfs.storage.resolver import References

MAX_HOPS = 40
"""How many references are followed in a row. Commits write none that leads to another one; a cycle can only be made by hand."""

_VERSIONS = 1024
_ENTRIES = 4096
_PREFIX = f"{ARTIFACT_SCHEME}://"
_OF_CONTENT = ("alg", "blocks", "executable")  # what an extra says of the bytes themselves, wherever they are


def leads_on(entry: Entry) -> bool:
    """Whether an entry is a reference to an entry of another version."""
    return entry.ref is not None and (entry.ref.startswith(_PREFIX) or names_version(entry.ref))


class Targets:
    """Finds entries of other versions. ``version_by_id``, ``version_of_commit`` and ``open_index`` may block."""

    def __init__(
        self,
        version_by_id: Callable[[str], Version],
        version_of_commit: Callable[[str], Version],
        open_index: Callable[[Version], ManifestIndex],
    ) -> None:
        self._version_by_id = version_by_id
        self._version_of_commit = version_of_commit
        self._open_index = open_index
        self._lock = threading.Lock()
        self._versions: LRUCache[str, Version] = LRUCache(_VERSIONS)
        self._entries: LRUCache[str, tuple[str, Entry]] = LRUCache(_ENTRIES)

    # Reading ----------------------------------------------------------------------------------------------------

    def known(self, entry: Entry) -> Entry | None:
        """Return what `of` returns, or None where it would have to look. Never blocks. ChangedError as there."""
        if not leads_on(entry):
            return entry
        with self._lock:
            found = self._entries.get(entry.ref or "")
        return None if found is None else _agreed(entry, found[1])

    def of(self, entry: Entry) -> Entry:
        """Return the entry whose bytes an entry has, under its own path: itself, if it leads nowhere else. May block.

        The error says which entry leads where: VersionDeletedError, NotFoundError (no such version, or no such file in it),
        ChangedError (another digest or size than was recorded), InvalidInputError (no valid URI, or a cycle), and what registry
        and store raise.
        """
        known = self.known(entry)
        if known is not None:
            return known
        try:
            return _agreed(entry, self._end(entry.ref or "")[1])
        except (ChangedError, UnreachableError):
            raise
        except ArtfsError as error:
            message = f"{entry.path} leads to {entry.ref}: {error.message}"
            raise type(error)(message, hint=error.hint) from error

    def _end(self, uri: str) -> tuple[str, Entry]:
        """Follow a URI to an entry that leads nowhere else; return that one's URI with it."""
        at = uri
        for _ in range(MAX_HOPS):
            with self._lock:
                found = self._entries.get(at)
            if found is None:
                entry = self._entry(at)
                if leads_on(entry):
                    at = entry.ref or ""
                    continue
                found = (at, entry)
            with self._lock:
                self._entries[uri] = found
            return found
        raise InvalidInputError("too many references in a row, or a cycle of them")

    def _entry(self, uri: str) -> Entry:
        version, path = self.version(uri)
        index = self._open_index(version)
        node = index.find(path)
        if node is None or node.is_dir:
            raise NotFoundError(f"{_name(version)} has no file {path!r}")
        return index.entry(node.number)

    def version(self, uri: str) -> tuple[Version, str]:
        """Return the version that a URI names, and the path in it. May block. What the registry raises; InvalidInputError."""
        return self._named(uri, self._known)

    def _named(self, uri: str, by_id: Callable[[str], Version]) -> tuple[Version, str]:
        if uri_scheme(uri) == CLIENT_SCHEME:
            client_id, path = parse_client_uri(uri)
            return self._of_commit(client_id), path
        version_id, path = parse_artifact_uri(uri)
        return by_id(version_id), path

    def _known(self, version_id: str) -> Version:
        return self._remembered(version_id, self._version_by_id)

    def _of_commit(self, client_id: str) -> Version:
        if ":" in client_id:  # the latest of a collection, which may be another one tomorrow
            return self._version_of_commit(client_id)
        return self._remembered(f"{CLIENT_SCHEME}:{client_id}", lambda _: self._version_of_commit(client_id))

    def _remembered(self, key: str, ask: Callable[[str], Version]) -> Version:
        with self._lock:
            version = self._versions.get(key)
        if version is None:
            version = ask(key)
            with self._lock:
                self._versions[key] = version
        return version

    # Recording --------------------------------------------------------------------------------------------------

    def expand(self, uri: str, max_objects: int = MAX_OBJECTS) -> Iterator[Found]:
        """Yield what a URI stands for: one entry, or all at or below a directory of a version, each by where its chain ends.

        What is recorded is the digest and the size of the end, as W&B has the digest, and what is needed to prove its bytes.
        InvalidInputError if that is more than ``max_objects``; what `of` raises.
        """
        version, path = self._named(uri, self._version_by_id)  # one that was deleted meanwhile is not recorded again
        index = self._open_index(version)
        node = index.find(path)
        if node is None:
            raise NotFoundError(f"{_name(version)} has no {path!r}")
        for number, entry in enumerate(index.entries(node.number), 1):
            if number > max_objects:
                raise InvalidInputError(
                    f"{uri} stands for more than {max_objects:,} files",
                    hint="name a directory of it, or raise the limit",
                )
            place, end = artifact_uri(version.id, entry.path), entry
            if leads_on(entry):
                self.of(entry)  # or the error that names it
                place, end = self._end(entry.ref or "")
            extra = {key: end.extra[key] for key in _OF_CONTENT if key in end.extra}
            yield Found(entry.path[len(path) :].lstrip("/"), place, entry.digest, end.size, extra)


class AllReferences:
    """What a commit needs of references: those to other versions, and those to what lies elsewhere."""

    def __init__(self, references: References, targets: Targets) -> None:
        self._references = references
        self._targets = targets

    def expand(self, uri: str, *, checksum: bool = True, max_objects: int = MAX_OBJECTS) -> Iterator[Found]:
        """Yield what a URI stands for. An entry of a version has a digest in any case: ``checksum`` is not asked for it."""
        if names_version(uri):
            return self._targets.expand(uri, max_objects)
        return self._references.expand(uri, checksum=checksum, max_objects=max_objects)


def _agreed(entry: Entry, end: Entry) -> Entry:
    """Return the entry at the end under the path of the one that leads to it; ChangedError unless they are the same content.

    W&B records the size 0 for a reference to a version. Block lists are believed only if the referring manifest names them; where the
    bytes lie is the affair of the version that has them.
    """
    if entry.digest != end.digest or entry.size not in {0, end.size}:
        raise ChangedError(
            f"{entry.path} leads to {entry.ref}, which is not what was recorded:"
            f" {end.digest} of {end.size} bytes, not {entry.digest} of {entry.size}"
        )
    extra = {key: value for key, value in end.extra.items() if key != "blocks"}
    extra |= {key: value for key, value in entry.extra.items() if key != "pack"}
    return dataclasses.replace(end, path=entry.path, extra=extra)


def _name(version: Version) -> str:
    return f"{version.collection}:{version_name(version.index)}"
