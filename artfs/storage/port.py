"""The ports of storage: objects by URI, blobs by digest, and sources of bytes to read from.

Implementations are synchronous and thread-safe; blocking calls run in worker threads of the callers. Nothing here proves content:
`artfs.content` does, for every implementation alike. What is proven here is the transport: a reply that is not the
span that was asked for, of the object that was pinned, is an error, never bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from artfs.model.digest import Digest

Buffer: TypeAlias = "bytes | memoryview"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a service says of an object. ``etag`` is as it was sent, without quotes; ``version`` is an S3 version id or a generation.

    ``size`` is in bytes, -1 where an HTTP server does not say. ``raw_etag`` keeps the quotes, and the ``W/`` of a weak one.
    ``modified`` is the unix time of the service at which it was written, in listings of buckets; None elsewhere.
    """

    uri: str
    size: int
    etag: str | None = None
    version: str | None = None
    raw_etag: str | None = None
    content_type: str = ""
    modified: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Locator:
    """Where some bytes lie: an object, the span of it that they are, and what pins its content.

    ``offset`` and ``size`` are the span in bytes; ``size`` None is everything to the end. A span from the start that has a size is the
    whole object; one that begins later may end before it. ``etag`` (without quotes) and ``version`` pin the object: if it is
    another one now, or has another size, reading raises ChangedError. ``expires`` is the unix time at which the URI stops
    being valid (a signed URL); ``headers`` go with each request. ``hedge`` is whether a second request for the same bytes may be sent
    while the first one is slow: not where requests are counted (`artfs.storage.hedge`).
    """

    uri: str
    offset: int = 0
    size: int | None = None
    etag: str | None = None
    version: str | None = None
    expires: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hedge: bool = True


class Objects(Protocol):
    """Objects of one scheme, by URI. Every method may raise UnreachableError, and PermissionDeniedError where access is refused."""

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return ``size`` bytes (at least 1) at ``offset`` of the locator's span, in one request; fewer only at the end of the object.

        NotFoundError if the object is gone, ChangedError if it is not the pinned one any more, UnreachableError for a reply that
        is not what was asked for (status, length, Content-Range, ETag).
        """

    def describe(self, uri: str, version: str | None = None) -> ObjectInfo:
        """Return what the service says of an object, or of one version of it; NotFoundError."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose URI begins with ``prefix``, in the order of the service, a page at a time. Versions are not given."""

    def write(self, uri: str, data: Iterable[bytes], digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object, atomically; the service checks the MD5 ``digest`` of the whole where it can."""

    def upload(self, uri: str, path: Path, digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object out of a local file, in parts if it is big; atomically, as `write`."""

    def remove(self, uri: str) -> None:
        """Remove an object; nothing if it is not there."""

    def close(self) -> None:
        """Give back connections."""


class Source(Protocol):
    """Some bytes that can be read by position."""

    @property
    def local(self) -> bool:
        """Whether reading costs no network, so that nothing is to be cached."""

    @property
    def size(self) -> int | None:
        """How many bytes there are; None where only the end of a read tells."""

    def read(self, offset: int, size: int) -> Buffer:
        """Return ``size`` bytes at ``offset``, fewer only at the end. Blocks."""

    def read_nowait(self, offset: int, size: int) -> bytes | None:
        """Return the same without blocking, or None where that needs the disk or the network."""

    def close(self) -> None:
        """Give back what the source holds."""


class BlobStore(Protocol):
    """Blobs named by digest. A blob that is there is whole: writes become visible only when complete."""

    @property
    def local(self) -> bool:
        """Whether the store is on this machine."""

    def has(self, blob: Digest) -> bool:
        """Whether the blob is there."""

    def missing(self, blobs: Iterable[Digest]) -> set[Digest]:
        """Return those of the blobs that are not there."""

    def open(self, blob: Digest) -> Source:
        """Open a blob for reading; NotFoundError, here or at the first read."""

    def write(self, blob: Digest, data: Iterable[bytes]) -> None:
        """Store the bytes under the digest, atomically; nothing if it is there. The caller vouches for the digest."""

    def adopt(self, blob: Digest, path: Path) -> None:
        """Take a private local file over as the blob: by rename, else by reflink, else by copy; a store elsewhere uploads it.

        A local store moves the file from its place; one elsewhere leaves it. A blob that is there already is replaced where
        that costs nothing: the caller has just hashed the file, so this mends a damaged one.
        """

    def sync(self) -> None:
        """Make everything written so far survive a loss of power."""
