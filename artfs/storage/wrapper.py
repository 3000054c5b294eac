"""The base of what wraps objects with the same interface: retry, limits, metrics. Passes everything on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.port import Buffer, Locator, ObjectInfo, Objects


class ObjectsWrapper:
    """Objects (`artfs.storage.port.Objects`) in front of others."""

    def __init__(self, inner: Objects) -> None:
        self._inner = inner

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return bytes of a span."""
        return self._inner.read(locator, offset, size)

    def describe(self, uri: str, version: str | None = None) -> ObjectInfo:
        """Return what the service says of an object."""
        return self._inner.describe(uri, version)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix."""
        return self._inner.list(prefix)

    def write(self, uri: str, data: Iterable[bytes], digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object."""
        return self._inner.write(uri, data, digest)

    def upload(self, uri: str, path: Path, digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object out of a local file."""
        return self._inner.upload(uri, path, digest)

    def remove(self, uri: str) -> None:
        """Remove an object."""
        self._inner.remove(uri)

    def close(self) -> None:
        """Give back connections."""
        self._inner.close()
