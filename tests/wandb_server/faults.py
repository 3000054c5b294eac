"""What can be made to go wrong, and the log of what was asked for.

The faults of ``tests.servers.faults`` work here as they do in the proxy: Status, Delay, Stall, Reset, ShortBody,
FlippedBit, WrongRange, IgnoredRange, ChangedETag. Those that only this server can make stand here. A fault is met by
method, by a text in the path, or by the name of the GraphQL operation.
"""

import contextlib
import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.servers.faults import Fault, Reply, Request

__all__ = ["ExpiredURLs", "FaultList", "GraphQLError", "Injection", "Logged", "RateLimited", "json_reply"]


@dataclass(frozen=True)
class Logged(Request):
    """A request, as the log has it: ``operation`` and ``variables`` are those of GraphQL."""

    operation: str = ""
    variables: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    received: int = 0  # bytes of the body
    at: float = field(default_factory=time.monotonic, compare=False)  # when it had been read
    sent: list[int] = field(default_factory=list, compare=False, repr=False)  # bytes of each piece of the reply's body
    status: list[int] = field(default_factory=list, compare=False, repr=False)

    @property
    def authorized(self) -> bool:
        """Whether it bore a credential."""
        return "authorization" in self.headers


@dataclass(frozen=True)
class GraphQLError(Fault):
    """GraphQL answers with an error, and does nothing. With status 200: as a server that puts errors into the body."""

    message: str = "made by a test"
    status: int = 400
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, request):
        body = {"data": None, "errors": [{"message": self.message}]}
        return json_reply(self.status, body, self.headers)


@dataclass(frozen=True)
class RateLimited(Fault):
    """The reply says how much may still be asked for; with ``refuse`` it is a 429."""

    remaining: float = 0
    reset: float = 1  # seconds
    refuse: bool = False

    def answer(self, request):
        return json_reply(429, {"error": "rate limit exceeded"}) if self.refuse else None

    def change(self, reply):
        reply.set_header("RateLimit-Limit", "100")
        reply.set_header("RateLimit-Remaining", str(self.remaining))
        reply.set_header("RateLimit-Reset", str(self.reset))


@dataclass(frozen=True)
class ExpiredURLs(Fault):
    """The signed URLs in the reply are expired already. Seen by ``http``, before GraphQL is executed."""


class Injection:
    """A fault that is in force: which requests it meets, and how many it has met (``hits``)."""

    def __init__(self, fault: Fault, times: int | None, method: str | None, path: str, operation: str | None) -> None:
        self.fault = fault
        self.left = times
        self.method = method
        self.path = path
        self.operation = operation
        self.hits = 0

    def takes(self, request: Logged) -> bool:
        """Count the request, if the fault is to be made for it."""
        fits = (
            self.left != 0
            and self.method in (None, request.method)
            and self.path in request.path
            and self.operation in (None, request.operation)
        )
        if fits:
            self.hits += 1
            if self.left is not None:
                self.left -= 1
        return fits


class FaultList:
    """The faults in force and the requests so far. The server is one."""

    def __init__(self) -> None:
        self._faults_lock = threading.Lock()
        self._requests: list[Logged] = []
        self._injections: list[Injection] = []
        self.refused: list[tuple[str, str]] = []  # operations that do not validate: name, error

    def inject(
        self,
        fault: Fault,
        times: int | None = 1,
        method: str | None = None,
        path: str = "",
        operation: str | None = None,
    ) -> Injection:
        """Make a fault for the next ``times`` requests (None: all) that have this method, path text and operation."""
        injection = Injection(fault, times, method, path, operation)
        with self._faults_lock:
            self._injections.append(injection)
        return injection

    @contextlib.contextmanager
    def injected(self, fault: Fault, times: int | None = None, **which):
        """Make a fault for the requests inside the ``with`` block."""
        injection = self.inject(fault, times, **which)
        try:
            yield injection
        finally:
            with self._faults_lock, contextlib.suppress(ValueError):
                self._injections.remove(injection)

    def arrived(self, request: Logged) -> list[Fault]:
        """Write a request down, and return the faults to be made for it."""
        with self._faults_lock:
            self._requests.append(request)
            return [injection.fault for injection in self._injections if injection.takes(request)]

    def requests(self, method: str | None = None, path: str = "", operation: str | None = None) -> list[Logged]:
        """Return what was asked for, in order, since the start or the last ``forget``."""
        with self._faults_lock:
            return [
                request
                for request in self._requests
                if method in (None, request.method) and path in request.path and operation in (None, request.operation)
            ]

    def count(self, method: str | None = None, path: str = "", operation: str | None = None) -> int:
        """Return how many requests there were of this method, path text and operation."""
        return len(self.requests(method, path, operation))

    def operations(self) -> list[str]:
        """Return the names of the GraphQL operations, in order."""
        return [request.operation for request in self.requests() if request.operation]

    def forget(self) -> None:
        """Forget the requests and refusals so far."""
        with self._faults_lock:
            self._requests.clear()
            self.refused.clear()


def json_reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Reply:
    """Return a reply with a JSON body."""
    return reply_of(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def reply_of(status: int, body: bytes, headers: dict[str, str] | None = None) -> Reply:
    """Return a reply with this body and its length."""
    found = {"Content-Length": str(len(body)), **(headers or {})}
    return Reply(status, http.client.responses.get(status, ""), list(found.items()), [body])
