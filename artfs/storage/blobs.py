"""A store of blobs in a bucket: ``<prefix>/<algorithm>/<first two hex digits>/<the rest>``, the layout of the store in a directory.

An object appears whole or not at all, so a name always stands for a whole blob, and two writers of one blob write the same
bytes. Nothing is ever deleted here: `artfs.storage.holdings` does that.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from artfs.errors import NotFoundError
from artfs.storage.port import Locator
from artfs.storage.sources import ObjectSource

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.port import Buffer, Objects

_QUESTIONS = 32  # asked at once by `missing`
_BATCH = 1024  # of them are waiting to be asked at most


class _BlobSource(ObjectSource):
    """The bytes of a blob, which its errors name by its digest."""

    def __init__(self, objects: Objects, locator: Locator, blob: Digest) -> None:
        super().__init__(objects, locator)
        self._blob = blob

    def read(self, offset: int, size: int) -> Buffer:
        """Return bytes at an offset; NotFoundError if the blob is not in the store."""
        try:
            return super().read(offset, size)
        except NotFoundError as error:
            raise NotFoundError(f"blob {self._blob} is not in the store") from error


class ObjectBlobStore:
    """A `BlobStore` on objects. ``root`` is a URI such as ``s3://bucket/prefix``."""

    local = False

    def __init__(self, objects: Objects, root: str) -> None:
        self._objects = objects
        self._root = root.rstrip("/")

    def uri(self, blob: Digest) -> str:
        """Return where a blob lies, whether it is there or not."""
        name = blob.hex
        return f"{self._root}/{blob.algorithm.value}/{name[:2]}/{name[2:]}"

    def has(self, blob: Digest) -> bool:
        """Whether the blob is there."""
        try:
            self._objects.describe(self.uri(blob))
        except NotFoundError:
            return False
        return True

    def missing(self, blobs: Iterable[Digest]) -> set[Digest]:
        """Return those of the blobs that are not there, asking for many at once."""
        wanted = list(dict.fromkeys(blobs))
        if len(wanted) <= 1:
            return {blob for blob in wanted if not self.has(blob)}
        found: set[Digest] = set()
        with ThreadPoolExecutor(min(_QUESTIONS, len(wanted)), thread_name_prefix="artfs-missing") as pool:
            for start in range(0, len(wanted), _BATCH):
                batch = wanted[start : start + _BATCH]
                found.update(blob for blob, there in zip(batch, pool.map(self.has, batch), strict=True) if not there)
        return found

    def open(self, blob: Digest) -> ObjectSource:
        """Open a blob for reading; that it is not there shows at the first read."""
        return _BlobSource(self._objects, Locator(self.uri(blob)), blob)

    def write(self, blob: Digest, data: Iterable[bytes]) -> None:
        """Store bytes under a digest; nothing if the blob is there."""
        if not self.has(blob):
            self._objects.write(self.uri(blob), data, blob)

    def adopt(self, blob: Digest, path: Path) -> None:
        """Upload a local file as the blob. It stays where it is."""
        self._objects.upload(self.uri(blob), path, blob)

    def sync(self) -> None:
        """Do nothing: what a bucket has taken is there to stay."""
