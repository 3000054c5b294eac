"""What names bytes: the digests of files and of versions.

A file's digest is the base64 of its MD5 or of its XXH128; a version's digest is the hex of the same algorithm over the
sorted ``path:digest`` lines of its manifest. Both equal what the W&B SDK computes for the same content. BLAKE3 never
names a file of a manifest: it names block lists, which prove partial reads.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import blake3
import xxhash

from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

MANIFEST_HEADER = b"wandb-artifact-manifest-v1\n"


class Algorithm(enum.Enum):
    """A digest algorithm. The value is the directory name of its blobs in a store."""

    MD5 = "md5"
    XXH128 = "xxh128"
    BLAKE3 = "blake3"

    @property
    def size(self) -> int:
        """The length of a raw digest in bytes."""
        return 32 if self is Algorithm.BLAKE3 else 16

    def hasher(self) -> Hasher:
        """Return a new running hash."""
        match self:
            case Algorithm.MD5:
                return hashlib.md5(usedforsecurity=False)
            case Algorithm.XXH128:
                return _Xxh128()
            case Algorithm.BLAKE3:
                return _Blake3()


class Hasher(Protocol):
    """The part of ``hashlib`` objects that is used here."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """Return the raw digest of everything taken in so far."""


class _Xxh128:
    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._state.update(data)

    def digest(self) -> bytes:
        return bytes(self._state.digest())


class _Blake3:
    def __init__(self) -> None:
        self._state = blake3.blake3()

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._state.update(data)

    def digest(self) -> bytes:
        return bytes(self._state.digest())


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of some bytes: an algorithm and the raw value of the right length."""

    algorithm: Algorithm
    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != self.algorithm.size:
            raise InvalidInputError(
                f"a {self.algorithm.name} digest has {self.algorithm.size} bytes, not {len(self.raw)}"
            )

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, algorithm: Algorithm = Algorithm.MD5) -> Digest:
        """Hash some bytes."""
        hasher = algorithm.hasher()
        hasher.update(data)
        return cls(algorithm, hasher.digest())

    @classmethod
    def from_base64(cls, text: str, algorithm: Algorithm = Algorithm.MD5) -> Digest:
        """Parse the base64 form used in manifests; InvalidInputError if it is not one.

        Each digest has one text: version digests are made of texts, so a second one would give the same content another.
        """
        try:
            digest = cls(algorithm, base64.b64decode(text.encode("ascii"), validate=True))
        except (binascii.Error, UnicodeEncodeError) as error:
            raise InvalidInputError(f"{text!r} is not a base64 {algorithm.name} digest") from error
        if digest.base64 != text:  # b64decode ignores the bits below the last byte
            raise InvalidInputError(f"{text!r} is not a base64 {algorithm.name} digest")
        return digest

    @classmethod
    def from_hex(cls, text: str, algorithm: Algorithm = Algorithm.MD5) -> Digest:
        """Parse the hex form used in file names; InvalidInputError if it is not one."""
        try:
            raw = bytes.fromhex(text)
        except ValueError as error:
            raise InvalidInputError(f"{text!r} is not a hex {algorithm.name} digest") from error
        digest = cls(algorithm, raw)
        if digest.hex != text:  # fromhex takes capitals and white space
            raise InvalidInputError(f"{text!r} is not a hex {algorithm.name} digest")
        return digest

    @property
    def base64(self) -> str:
        """The form used in manifests."""
        return base64.standard_b64encode(self.raw).decode("ascii")

    @property
    def hex(self) -> str:
        """The form used in file names."""
        return self.raw.hex()

    def __str__(self) -> str:
        return f"{self.algorithm.value}:{self.hex}"


def version_digest(lines: Iterable[tuple[str, str]], algorithm: Algorithm = Algorithm.MD5) -> str:
    """Return the digest of a version from its ``(path, digest)`` pairs, which must come sorted by path.

    Only paths and digests count: sizes, references and extras do not change the digest of a version.
    """
    hasher = algorithm.hasher()
    hasher.update(MANIFEST_HEADER)
    for path, digest in lines:
        hasher.update(f"{path}:{digest}\n".encode())
    return hasher.digest().hex()
