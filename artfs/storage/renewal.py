"""Sessions of a service: opened when first used, and opened anew, with credentials loaded anew, when access is refused."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from artfs.errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE = 10.0  # seconds between two renewals: what is forbidden stays forbidden, however often it is asked for


class Session(Protocol):
    """Credentials, and connections made with them."""

    def close(self) -> None:
        """Give back the connections; requests that are under way end well, or with UnreachableError."""


S = TypeVar("S", bound=Session)
T = TypeVar("T")


class Renewing(Generic[S]):
    """The present session. Thread-safe: however many requests one session refuses, it is renewed once."""

    def __init__(self, open_session: Callable[[], S]) -> None:
        self._open = open_session
        self._lock = threading.Lock()
        self._session: S | None = None
        self._renewed_at: float | None = None

    def run(self, ask: Callable[[S], T]) -> T:
        """Ask by the session; if access is refused, once more by a renewed one. PermissionDeniedError if that is refused too."""
        session = self._current()
        try:
            return ask(session)
        except PermissionDeniedError:
            fresh = self._renewed(session)
            if fresh is None:
                raise
        return ask(fresh)

    def _current(self) -> S:
        with self._lock:
            if self._session is None:
                self._session = self._open()
            return self._session

    def _renewed(self, used: S) -> S | None:
        """Return a later session than the one that was refused; None if it is too early for one."""
        with self._lock:
            if self._session is not None and self._session is not used:
                return self._session
            now = time.monotonic()
            if self._renewed_at is not None and now - self._renewed_at < PAUSE:
                return None
            self._renewed_at = now
            fresh = self._session = self._open()
        used.close()
        return fresh

    def close(self) -> None:
        """Close the session. It is opened again if it is used again."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()
