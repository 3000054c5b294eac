"""Put the small files of a commit into packs: one object of the store for many files, in the order of their paths.

A request costs as much as some hundred kilobytes do, to who commits and to whoever reads; files that lie together are mostly read
together. Where a file lies is said in its entry, and is no part of its digest. A pack never changes; it is needed as long as one
of its files is. A file that a version of the collection has in a pack already stays where it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from artfs.errors import BusyError, IntegrityError, NotFoundError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, Packed
from artfs.model.names import LATEST
from artfs.staging.hashing import unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from artfs.cache.index import ManifestIndex
    from artfs.model.entry import Entry
    from artfs.registry.port import Registry, Version
    from artfs.staging.drafts import Draft
    from artfs.staging.hashing import Hashed
    from artfs.staging.progress import Progress

SMALL = BLOCK_SIZE // 4
"""Files up to this size (bytes) go into packs."""

PACK_SIZE = 8 * BLOCK_SIZE
"""The most bytes of a pack."""


class Lying(NamedTuple):
    """Where a file lies, and the id of a version that has it there, if any has."""

    packed: Packed
    home: str | None


class Places:
    """Where the small files of one commit lie, by their digests. Thread-safe, as far as each file is placed once."""

    def __init__(self) -> None:
        self._places: dict[Digest, Lying] = {}

    @property
    def homes(self) -> frozenset[str]:
        """The versions whose packs are used."""
        return frozenset(lying.home for lying in self._places.values() if lying.home is not None)

    def named(self, entry: Entry) -> Entry:
        """Return an entry as the manifest is to name it."""
        if not self._places or entry.ref is not None or entry.packed is not None:
            return entry
        lying = self._places.get(entry.blob)
        if lying is None:
            return entry
        extra = {**entry.extra, "pack": lying.packed.encode()}
        return dataclasses.replace(entry, extra=extra, home=lying.home or entry.home)

    def add(self, places: Mapping[Digest, Lying]) -> None:
        """Take places."""
        self._places.update(places)

    def has(self, blob: Digest) -> bool:
        """Whether a file lies somewhere."""
        return blob in self._places

    def forget(self, blobs: Iterable[Digest]) -> None:
        """Let files lie nowhere again."""
        for blob in blobs:
            self._places.pop(blob, None)


def small(hashed: Iterable[Hashed]) -> dict[Digest, Hashed]:
    """Return the files that go into packs, each content once, for the first of its paths."""
    found: dict[Digest, Hashed] = {}
    for one in sorted((one for one in hashed if 0 < one.item.size <= SMALL), key=attrgetter("entry.path")):
        found.setdefault(one.entry.blob, one)
    return found


def groups(files: Iterable[Hashed]) -> Iterator[list[Hashed]]:
    """Yield files that go into one pack, in the order of their paths: the same files always make the same packs."""
    group: list[Hashed] = []
    size = 0
    for one in sorted(files, key=attrgetter("entry.path")):
        if size + one.item.size > PACK_SIZE:
            yield group
            group, size = [], 0
        group.append(one)
        size += one.item.size
    if group:
        yield group


def pack(draft: Draft, files: Sequence[Hashed]) -> tuple[bytes, dict[Digest, Lying]]:
    """Return the bytes of a pack, and where each file lies in it. BusyError names a file that has changed since it was hashed."""
    data, offsets = bytearray(), list[int]()
    for one in files:
        offsets.append(len(data))
        data += _read(draft, one)
    name = Digest.of(data, Algorithm.MD5)
    places = {
        one.entry.blob: Lying(Packed(name, len(data), offset), None) for one, offset in zip(files, offsets, strict=True)
    }
    return bytes(data), places


def _read(draft: Draft, one: Hashed) -> bytes:
    changed = BusyError(f"{one.item.path} has changed while it was being committed", hint="try again")
    if not unchanged(draft, one.item):
        raise changed
    try:
        data = Path(draft.tree.local_path(one.item.path)).read_bytes()
    except OSError as error:
        raise changed from error
    if Digest.of(data, one.entry.algorithm) != one.entry.blob:
        raise changed
    return data


class EarlierVersions:
    """Finds small files in the version that a draft starts from, and in the latest one of its collection."""

    def __init__(self, registry: Registry, open_index: Callable[[Version], ManifestIndex]) -> None:
        self._registry = registry
        self._open_index = open_index

    def find(self, draft: Draft, wanted: Mapping[Digest, int], progress: Progress) -> dict[Digest, Lying | None]:
        """Return where files, given with their sizes, lie already: in a pack, or by themselves (None). UnreachableError.

        To be asked after the commit was reserved: what is removed from the store after that, its publication is told.
        """
        left = {(blob.base64, size): blob for blob, size in wanted.items()}
        found: dict[Digest, Lying | None] = {}
        for version in self._versions(draft):
            if not left:
                break
            with contextlib.suppress(NotFoundError, IntegrityError):  # a list of files that cannot be had helps nobody
                for entry in self._open_index(version).of_contents(left):
                    progress.check()
                    blob = left.get((entry.digest, entry.size))
                    if blob is not None and blob.algorithm is entry.algorithm:
                        packed = entry.packed
                        found[blob] = None if packed is None else Lying(packed, version.id)
                        del left[entry.digest, entry.size]
        return found

    def _versions(self, draft: Draft) -> Iterator[Version]:
        latest = ""
        with contextlib.suppress(NotFoundError):  # this is the first version
            version = self._registry.version(draft.collection.at(LATEST))
            latest = version.id
            yield version
        if draft.base is not None and draft.base.version_id != latest:
            with contextlib.suppress(NotFoundError):  # it was deleted
                yield self._registry.version_by_id(draft.base.version_id)
