"""Objects as sources: what a locator names, with its URL renewed when it expires."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from artfs.errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.storage.port import Buffer, Locator, Objects

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
