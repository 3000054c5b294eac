"""How many bytes may be on their way at once. Who is waited for goes before what is fetched ahead.

Used on the event loop only: between awaits a task owns the state.
"""

from __future__ import annotations

from collections import deque

import trio


class Request:
    """A wish for bytes of the budget."""

    __slots__ = ("granted", "size", "urgent")

    def __init__(self, size: int, *, urgent: bool) -> None:
        self.size = size
        self.urgent = urgent
        self.granted = trio.Event()


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

    def ask(self, size: int, *, urgent: bool) -> Request:
        """Ask for bytes, all of the budget at most; wait for ``granted``, then `give_back`."""
        request = Request(min(size, self._size), urgent=urgent)
        (self._urgent if urgent else self._patient).append(request)
        self._grant()
        return request

    def promote(self, request: Request) -> None:
        """Make a request urgent: somebody waits for it now."""
        if not request.urgent and not request.granted.is_set():
            self._patient.remove(request)
            request.urgent = True
            self._urgent.append(request)
            self._grant()

    def give_back(self, request: Request) -> None:
        """Return what was granted, or take back a request that was not."""
        if request.granted.is_set():
            self._free += request.size
        else:
            (self._urgent if request.urgent else self._patient).remove(request)
        self._grant()

    def _grant(self) -> None:
        for waiting in (self._urgent, self._patient):
            while waiting and waiting[0].size <= self._free:
                request = waiting.popleft()
                self._free -= request.size
                request.granted.set()
            if waiting:
                return  # a patient one must not take what an urgent one waits for
