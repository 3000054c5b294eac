"""Objects as sources: what a locator names, with its URL renewed when it expires."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from artfs.errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.storage.port import Buffer, Locator, Objects, Source

_MARGIN = 30.0  # seconds before its expiry at which a URL is not used any more


class ObjectSource:
    """The bytes that a locator names. ``renew`` gives a fresh locator of the same bytes; None where locators do not expire."""

    local = False

    def __init__(self, objects: Objects, locator: Locator, renew: Callable[[], Locator] | None = None) -> None:
        self._objects = objects
        self._locator = locator
        self._renew = renew
        self._lock = threading.Lock()

    @property
    def size(self) -> int | None:
        """How many bytes there are; None where only the end of a read tells."""
        return self._locator.size

    def read(self, offset: int, size: int) -> Buffer:
        """Return bytes at an offset. A URL that is refused is renewed once, and the read goes on where it is."""
        locator = self._locator
        if locator.expires is not None and locator.expires - _MARGIN < time.time():
            locator = self._renewed(locator)
        try:
            return self._objects.read(locator, offset, size)
        except PermissionDeniedError:
            fresh = self._renewed(locator)
            if fresh is locator:
                raise
            return self._objects.read(fresh, offset, size)

    def _renewed(self, used: Locator) -> Locator:
        """Return a fresh locator in place of the one that was used; the same one where there is no other."""
        with self._lock:
            if self._locator is used and self._renew is not None:
                self._locator = self._renew()
            return self._locator

    def read_nowait(self, offset: int, size: int) -> bytes | None:
        """Return None: the bytes are elsewhere."""
        return None

    def close(self) -> None:
        """Do nothing: the objects are closed by who opened them."""


class SpanSource:
    """A span of another source, which it closes with itself."""

    def __init__(self, source: Source, offset: int, size: int) -> None:
        self._source = source
        self._offset = offset
        self._size = size

    @property
    def local(self) -> bool:
        """Whether reading costs no network."""
        return self._source.local

    @property
    def size(self) -> int:
        """How many bytes the span has."""
        return self._size

    def read(self, offset: int, size: int) -> Buffer:
        """Return bytes at an offset in the span; fewer at its end, and where the source ends before."""
        return self._source.read(self._offset + offset, self._length(offset, size))

    def read_nowait(self, offset: int, size: int) -> bytes | None:
        """Return the same without blocking, or None."""
        return self._source.read_nowait(self._offset + offset, self._length(offset, size))

    def _length(self, offset: int, size: int) -> int:
        return max(min(size, self._size - offset), 0)

    def close(self) -> None:
        """Close the source."""
        self._source.close()
