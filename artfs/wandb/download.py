"""A small file over HTTP, in pieces: whole or not at all, and taken up again where it broke off if the place it is from can do that.

Credentials go to the server only: a redirect to another scheme, host or port is followed without them.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from artfs.errors import ChangedError, IntegrityError, InvalidInputError, UnreachableError
from artfs.wandb.base_url import origin, shown_url
from artfs.wandb.retry import TryAgainError
from artfs.wandb.storage_replies import number, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.wandb.base_url import BaseUrl
    from artfs.wandb.connections import Connections
    from artfs.wandb.retry import Patience, RateLimit

    Ask = Callable[[str | None, RateLimit | None, float], "_Reply"]

MOST = 4 << 30  # bytes, if the caller does not say

TIME = 60.0  # seconds without a byte, with all tries
SLOWEST = 32 << 10  # bytes in a second, after that time

_PIECE = 1 << 18
_RESUMES = 16
_REDIRECTS = 10
_MOVED = {301, 302, 303, 307, 308}
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


class _Reply:
    """A reply whose head was checked, and its first piece."""

    def __init__(self, stack: contextlib.ExitStack, answer: Any, first: bytes) -> None:  # noqa: ANN401
        self.stack = stack
        self.answer = answer
        self.first = first


class Download:
    """One transfer. It is used once, by one thread."""

    def __init__(
        self, connections: Connections, patience: Patience, base: BaseUrl, url: str, size: int | None, most: int
    ) -> None:
        self._connections = connections
        self._patience = patience
        self._base = base
        self._url = url
        self._name = shown_url(url)
        self._size = size
        self._most = most
        self._at = 0
        self._etag: str | None = None
        self._total: int | None = None
        self._spent = 0.0

    def chunks(self, authorise: Callable[[float, Ask], _Reply]) -> Iterator[bytes]:
        """Yield the pieces. ``authorise`` calls what it is given with the credentials, the rate limit, and the deadline."""
        for _ in range(_RESUMES):
            reply = authorise(self._patience.clock() + TIME, self._ask)
            try:
                with reply.stack:
                    piece = reply.first
                    while piece:
                        self._at += len(piece)
                        self._check(self._at)
                        yield piece
                        piece = self._next(reply.answer)
                    self._check_end(is_proven=reply.answer.raw.chunked)
                    return
            except TryAgainError as error:
                if self._etag is None:  # nothing says that the rest would be of the same file
                    raise UnreachableError(f"{error.message}, after {self._at} bytes") from error
        raise UnreachableError(f"{self._name}: it broke off {_RESUMES} times")

    def _ask(self, authorization: str | None, limit: RateLimit | None, until: float) -> _Reply:
        return self._patience.run(
            self._name, lambda left: self._open(authorization, limit, self._patience.clock() + left), until, limit
        )

    def _open(self, authorization: str | None, limit: RateLimit | None, until: float) -> _Reply:
        """Ask for what is missing, wherever it is now, and wait for its first piece."""
        url, headers = self._url, {"Accept-Encoding": "identity"}
        if authorization is not None:
            headers["Authorization"] = authorization
        if self._at and self._etag is not None:
            headers |= {"Range": f"bytes={self._at}-", "If-Match": self._etag}
        for _ in range(_REDIRECTS):
            with contextlib.ExitStack() as stack:
                left = max(0.001, until - self._patience.clock())
                answer = stack.enter_context(self._connections.send(self._name, "GET", url, headers, None, left))
                if limit is not None and self._base.owns(url):
                    limit.note(answer.status_code, answer.headers)
                to = answer.headers.get("Location", "")
                if answer.status_code not in _MOVED or not to:
                    self._check_head(answer, authorised="Authorization" in headers)
                    first = self._next(answer)
                    return _Reply(stack.pop_all(), answer, first)
            try:
                url = urljoin(url, to)
            except ValueError:
                url = ""
            if origin(url) is None:
                raise UnreachableError(f"{self._name}: it leads to what is not HTTP")
            if not self._base.owns(url):
                headers.pop("Authorization", None)
        raise UnreachableError(f"{self._name}: it leads from one place to the next without an end")

    def _check_head(self, answer: Any, *, authorised: bool) -> None:  # noqa: ANN401
        etag = answer.headers.get("ETag")
        match answer.status_code:
            case 200 if not self._at:
                self._etag = etag if etag and not etag.startswith("W/") else None
                self._total = number(answer.headers, "Content-Length")
            case 200:
                raise UnreachableError(f"{self._name}: it broke off, and its place has no ranges")
            case 206 if self._at:
                said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if said is None or int(said[1]) != self._at:
                    raise UnreachableError(f"{self._name}: other bytes were sent than asked for")
                if etag != self._etag or (self._total is not None and said[3] not in {"*", str(self._total)}):
                    raise ChangedError(f"{self._name}: it has changed while it was read")
            case 412 | 416 if self._at:
                raise ChangedError(f"{self._name}: it has changed while it was read")
            case _:
                raise refusal(answer, self._name, authorised=authorised)
        if answer.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
            raise UnreachableError(f"{self._name}: it is sent packed, although that was not asked for")
        if self._total is not None:
            self._check(self._total)
            if self._size is not None and self._total < self._size:
                raise self._wrong_size(self._total)

    def _next(self, answer: Any) -> bytes:  # noqa: ANN401
        clock = self._patience.clock
        started = clock()
        piece: bytes = answer.raw.read1(_PIECE)
        self._spent += clock() - started
        if self._spent > TIME + self._at / SLOWEST:
            raise UnreachableError(f"{self._name}: it comes too slowly")
        return piece

    def _check(self, size: int) -> None:
        if self._size is not None and size > self._size:
            raise self._wrong_size(size)
        if size > self._most:
            raise InvalidInputError(f"{self._name}: it has {size} bytes, and {self._most} are allowed")

    def _check_end(self, *, is_proven: bool) -> None:
        if self._total is not None and self._at < self._total:
            raise TryAgainError(f"{self._name}: it ended after {self._at} of {self._total} bytes")
        if self._size is not None and self._at != self._size:
            raise self._wrong_size(self._at)
        if self._size is None and self._total is None and not is_proven:
            raise UnreachableError(f"{self._name}: nothing tells whether it is whole")

    def _wrong_size(self, size: int) -> IntegrityError:
        return IntegrityError(f"{self._name}: it has {size} bytes, and not {self._size}")
