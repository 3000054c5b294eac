"""The faults that a FaultProxy can make, as values: what each does to one request and its reply.

Faults change the reply on its way; those that match one request are made together, in the order of their injection.
"""

import http.client
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str  # as it was sent: quoted, with the query
    range: str | None = None
    headers: dict[str, str] = field(default_factory=dict, compare=False, repr=False)


class ResetError(Exception):
    """End the connection with RST."""


class CutError(Exception):
    """End the connection with FIN."""


@dataclass(frozen=True)
class Pause:
    """Send nothing for so many seconds, or until the client gives up or the fault is taken back."""

    seconds: float | None


@dataclass
class Reply:
    """What goes back to the client: ``body`` yields bytes and pauses, or ends the connection by raising."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: Iterable
    pause: Pause | None = None  # before the status line

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def set_header(self, name: str, value: str) -> None:
        self.headers = [(key, old) for key, old in self.headers if key.lower() != name.lower()] + [(name, value)]

    def add_to_length(self, change: int) -> None:
        length = self.header("Content-Length")
        if length is not None:
            self.set_header("Content-Length", str(max(0, int(length) + change)))


class Fault:
    """The base of the faults: the two places where one can act."""

    def answer(self, request: Request) -> Reply | None:
        """Return a reply that is sent instead of asking the server, or None."""

    def change(self, reply: Reply) -> None:
        """Change the server's reply."""


@dataclass(frozen=True)
class Delay(Fault):
    """The reply comes late."""

    seconds: float

    def change(self, reply):
        reply.pause = Pause(self.seconds)


@dataclass(frozen=True)
class Status(Fault):
    """The proxy answers itself; the server does not see the request."""

    status: int
    retry_after: int | None = None
    body: bytes = b"made by a test"
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, request):
        headers = {"Content-Length": str(len(self.body)), "Content-Type": "text/plain", **self.headers}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        reason = http.client.responses.get(self.status, "")
        return Reply(self.status, reason, list(headers.items()), [self.body])


@dataclass(frozen=True)
class ShortBody(Fault):
    """The body ends after ``keep`` bytes, by the end of the connection; or, if ``honest``, Content-Length says so too."""

    keep: int
    honest: bool = False

    def change(self, reply):
        if self.honest:
            length = int(reply.header("Content-Length") or 0)
            reply.add_to_length(min(0, self.keep - length))
            reply.body = _first(reply.body, self.keep)
        else:
            reply.body = itertools.chain(_first(reply.body, self.keep), _raise(CutError()))


@dataclass(frozen=True)
class LongBody(Fault):
    """More bytes than were asked for; if ``honest``, Content-Length counts them, else they follow after the reply's end."""

    extra: int
    honest: bool = True

    def change(self, reply):
        reply.body = itertools.chain(reply.body, [b"!" * self.extra])
        if self.honest:
            reply.add_to_length(self.extra)
        else:
            reply.body = itertools.chain(reply.body, _raise(CutError()))


@dataclass(frozen=True)
class WrongRange(Fault):
    """Content-Range tells of other bytes than were asked for, further on by ``shift``."""

    shift: int = 1

    def change(self, reply):
        said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", reply.header("Content-Range") or "")
        if said:
            start, end = int(said[1]) + self.shift, int(said[2]) + self.shift
            reply.set_header("Content-Range", f"bytes {start}-{end}/{said[3]}")


@dataclass(frozen=True)
class IgnoredRange(Fault):
    """The server never sees the Range header, and sends all. Not for servers that check a signature of it."""


@dataclass(frozen=True)
class ChangedETag(Fault):
    """The object seems to be another than before."""

    etag: str = '"changed-by-a-test"'

    def change(self, reply):
        reply.set_header("ETag", self.etag)


@dataclass(frozen=True)
class FlippedBit(Fault):
    """The lowest bit of the byte at an offset of the body is the other one; no header tells."""

    at: int = 0

    def change(self, reply):
        reply.body = self._flip(reply.body)

    def _flip(self, body):
        offset = 0
        for piece in body:
            if isinstance(piece, Pause) or not offset <= self.at < offset + len(piece):
                yield piece
            else:
                changed = bytearray(piece)
                changed[self.at - offset] ^= 1
                yield bytes(changed)
            if not isinstance(piece, Pause):
                offset += len(piece)


@dataclass(frozen=True)
class Stall(Fault):
    """Nothing comes after ``after`` bytes of the body, for some seconds or for good."""

    after: int
    seconds: float | None = None

    def change(self, reply):
        reply.body = _with_pause(reply.body, self.after, Pause(self.seconds))


@dataclass(frozen=True)
class Reset(Fault):
    """The connection is reset after ``after`` bytes of the body.

    0: after the status line and headers. None: the server does not see the request. ``before_reply``: the server has
    done what was asked, but the client does not get to know.
    """

    after: int | None = 0
    before_reply: bool = False

    def answer(self, request):
        if self.after is None:
            raise ResetError

    def change(self, reply):
        if self.before_reply:
            raise ResetError
        reply.body = itertools.chain(_first(reply.body, self.after), _raise(ResetError()))


def _first(body, count):
    for piece in body:
        if isinstance(piece, Pause):
            yield piece
            continue
        if count <= 0:
            return
        yield piece[:count]
        count -= len(piece)


def _with_pause(body, after, pause):
    for piece in body:
        if isinstance(piece, Pause) or pause is None:
            yield piece
        elif after > len(piece):
            after -= len(piece)
            yield piece
        else:
            yield piece[:after]
            yield pause
            yield piece[after:]
            pause = None


def _raise(error):
    raise error
    yield
