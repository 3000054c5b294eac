"""How many bytes may be on their way at once. Who is waited for goes before what is fetched ahead.

Used on the event loop only, and never waits: what is asked for begins as soon as its bytes are granted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Request:
    """A wish for bytes of the budget."""

    __slots__ = ("begin", "granted", "size", "urgent")

    def __init__(self, size: int, begin: Callable[[], None], *, urgent: bool) -> None:
        self.size = size
        self.begin: Callable[[], None] | None = begin  # until it is granted: who asks is often held by it
        self.urgent = urgent
        self.granted = False


class Budget:
    """A number of bytes, given out in the order of asking, to urgent requests first."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._urgent: deque[Request] = deque()
        self._patient: deque[Request] = deque()

    @property
    def in_use(self) -> int:
        """Return how many bytes are given out."""
        return self._size - self._free

    def ask(self, size: int, begin: Callable[[], None], *, urgent: bool) -> Request:
        """Ask for bytes, all of the budget at most. ``begin`` is called when they are granted, perhaps at once; then `give_back`."""
        request = Request(min(size, self._size), begin, urgent=urgent)
        (self._urgent if urgent else self._patient).append(request)
        self._grant()
        return request

    def promote(self, request: Request) -> None:
        """Make a request urgent: somebody waits for it now."""
        if not request.urgent and not request.granted:
            self._patient.remove(request)
            request.urgent = True
            self._urgent.append(request)
            self._grant()

    def give_back(self, request: Request) -> None:
        """Return what was granted."""
        self._free += request.size
        self._grant()

    def _grant(self) -> None:
        for waiting in (self._urgent, self._patient):
            while waiting and waiting[0].size <= self._free:
                request = waiting.popleft()
                self._free -= request.size
                request.granted = True
                begin, request.begin = request.begin, None
                if begin is not None:
                    begin()
            if waiting:
                return  # a patient one must not take what an urgent one waits for
