"""The ports of storage: a store of blobs named by digest, and sources of bytes that lie elsewhere.

Implementations are synchronous and thread-safe. Nothing here proves what it reads: `artfs.content` does, for every
implementation alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from artfs.model.digest import Digest


class Source(Protocol):
    """Some bytes that can be read by position."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes at ``offset``, fewer only at the end. Blocks."""

    def read_nowait(self, offset: int, size: int) -> bytes | None:
        """Return the same without blocking, or None where that needs the disk or the network."""

    def close(self) -> None:
        """Give back what the source holds."""


class BlobStore(Protocol):
    """Blobs named by digest. A blob that is there is whole: writes become visible only when complete."""

    def has(self, blob: Digest) -> bool:
        """Whether the blob is there."""

    def missing(self, blobs: Iterable[Digest]) -> set[Digest]:
        """Return those of the blobs that are not there."""

    def open(self, blob: Digest) -> Source:
        """Open a blob for reading; NotFoundError."""

    def write(self, blob: Digest, data: Iterable[bytes]) -> None:
        """Store the bytes under the digest, atomically; nothing if it is there. The caller vouches for the digest."""

    def adopt(self, blob: Digest, path: Path) -> None:
        """Take a private local file over as the blob: by rename, else by reflink, else by copy.

        The file is gone from its place afterwards. A blob that is there already is replaced where that costs nothing:
        the caller has just hashed the file, so this mends a damaged one.
        """

    def sync(self) -> None:
        """Make everything written so far survive a loss of power."""
