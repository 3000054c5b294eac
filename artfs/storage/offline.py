"""Objects of any scheme while no network is to be used: every request is refused, at once. No library of a service is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from artfs.errors import OfflineError
from artfs.model.reference import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.port import Buffer, Locator, ObjectInfo


class OfflineObjects:
    """Objects (`artfs.storage.port.Objects`) that cannot be had. Every method that asks for something raises OfflineError."""

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Refuse to read."""
        _refuse(locator.uri)

    def describe(self, uri: str, version: str | None = None) -> ObjectInfo:
        """Refuse to ask."""
        _refuse(uri)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Refuse to list."""
        _refuse(prefix)

    def write(self, uri: str, data: Iterable[bytes], digest: Digest | None = None) -> ObjectInfo:
        """Refuse to write."""
        _refuse(uri)

    def upload(self, uri: str, path: Path, digest: Digest | None = None) -> ObjectInfo:
        """Refuse to write."""
        _refuse(uri)

    def remove(self, uri: str) -> None:
        """Refuse to remove."""
        _refuse(uri)

    def close(self) -> None:
        """Do nothing."""


def _refuse(uri: str) -> NoReturn:
    raise OfflineError(
        f"artfs is offline, and {redact(uri)} is not on this machine",
        hint="fetch it while there is a network: artfs warm, or artfs pin",
    )
