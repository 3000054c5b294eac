"""Entry: one file of a version, as its manifest names it, and the rules that make an untrusted one acceptable."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from artfs.errors import InvalidInputError
from artfs.model.digest import Algorithm, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artfs.model.paths import EntryPath

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

MOST_PACKED = 1 << 26
"""The most bytes that a pack may have to be believed."""

OF_MANIFEST = "manifest"
"""The key of ``extra`` by which an entry that was made up for a manifest, to read it like a file, says so (with ``home``)."""

MAX_SIZE = 1 << 53
"""Sizes above this are absurd (8 PiB), and not exact in every JSON reader."""

BLOCK_SIZE = 1 << 20
"""The unit of proving (bytes). A file larger than one block carries a block list in its entry's ``extra``."""

HEAD_SIZE = 1 << 18
"""How many bytes the head of a file has: the first ones of a file larger than one block, which its entry proves by themselves."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Where the bytes of a small file are in the store: ``offset`` bytes into a pack of ``size`` bytes (`artfs.staging.packing`)."""

    pack: Digest
    size: int
    offset: int

    def encode(self) -> dict[str, JsonValue]:
        """Return what ``extra`` says of it."""
        return {"digest": self.pack.base64, "size": self.size, "offset": self.offset}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a version.

    ``digest`` is the base64 of the content's digest for files, and an opaque string (an ETag, a URI) for most references.
    ``size`` is in bytes; 0 when a reference's size is not known. ``home`` and ``store`` are no parts of the manifest: the id
    of a version that has the entry, for stores that give files by version, and the address of the store that has its bytes.
    """

    path: EntryPath
    digest: str
    size: int
    ref: str | None = None
    birth_artifact_id: str | None = None
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    home: str | None = field(default=None, compare=False)
    store: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or isinstance(self.size, bool) or not 0 <= self.size <= MAX_SIZE:
            raise InvalidInputError(f"entry {self.path!r} has the impossible size {self.size!r}")
        if not self.digest:
            raise InvalidInputError(f"entry {self.path!r} has no digest")

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of the digest: MD5 unless ``extra`` says otherwise."""
        return parse_algorithm(self.extra)

    @property
    def blob(self) -> Digest:
        """The digest of the content; InvalidInputError where the digest is no content digest."""
        return Digest.from_base64(self.digest, self.algorithm)

    @property
    def executable(self) -> bool:
        """Whether the file is shown with its execute bits."""
        return self.extra.get("executable") is True

    @property
    def block_list(self) -> Digest | None:
        """The digest of the list of BLAKE3 block digests of this file, for native commits of more than one block."""
        return self._of_blocks("digest")

    def _of_blocks(self, key: str) -> Digest | None:
        blocks = self.extra.get("blocks") if self.extra else None
        if not isinstance(blocks, dict) or blocks.get("alg") != "BLAKE3" or blocks.get("size") != BLOCK_SIZE:
            return None
        name = blocks.get(key)
        return _parse_blake3(name) if isinstance(name, str) else None

    @property
    def head(self) -> Digest | None:
        """The BLAKE3 of the head, so that the first bytes of a file are proven without its first block; None if it is not said."""
        return None if self.block_list is None or self.size <= BLOCK_SIZE else self._of_blocks("head")

    @property
    def packed(self) -> Packed | None:
        """Where the file lies in a pack; None if it lies in the store by itself. InvalidInputError if it cannot lie there."""
        said = self.extra.get("pack") if self.extra else None
        if not isinstance(said, dict) or self.ref is not None or not 0 < self.size <= BLOCK_SIZE:
            return None
        name, size, offset = said.get("digest"), said.get("size"), said.get("offset")
        if not isinstance(name, str) or not _is_count(size) or not _is_count(offset):
            return None
        if not offset + self.size <= size <= MOST_PACKED:
            raise InvalidInputError(f"bytes {offset} to {offset + self.size} of a pack of {size} bytes")
        return Packed(Digest.from_base64(name), size, offset)

    @property
    def stored(self) -> tuple[Digest, ...]:
        """The blobs of the store without which the entry cannot be read."""
        packed = self.packed
        if packed is not None:
            return (packed.pack,)
        lists = () if self.block_list is None else (self.block_list,)
        return lists if self.ref is not None else (self.blob, *lists)


@functools.lru_cache(1024)
def _parse_blake3(text: str) -> Digest:
    return Digest.from_base64(text, Algorithm.BLAKE3)


def _is_count(value: JsonValue) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def parse_algorithm(extra: Mapping[str, JsonValue]) -> Algorithm:
    """Return the algorithm that an entry's ``extra`` names; untagged is MD5."""
    name = extra.get("alg", "MD5")
    if name == "MD5":
        return Algorithm.MD5
    if name == "XXH128":
        return Algorithm.XXH128
    raise InvalidInputError(f"unknown digest algorithm {name!r}")


def file_extra(
    algorithm: Algorithm,
    *,
    executable: bool = False,
    block_list: Digest | None = None,
    head: Digest | None = None,
) -> dict[str, JsonValue]:
    """Build the ``extra`` of a file entry: only what differs from a plain MD5 file of one block."""
    extra: dict[str, JsonValue] = {}
    if algorithm is not Algorithm.MD5:
        extra["alg"] = algorithm.name
    if block_list is not None:
        blocks: dict[str, JsonValue] = {"alg": "BLAKE3", "size": BLOCK_SIZE, "digest": block_list.base64}
        if head is not None:
            blocks["head"] = head.base64
        extra["blocks"] = blocks
    if executable:
        extra["executable"] = True
    return extra
