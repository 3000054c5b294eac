"""GETs of signed URLs, on connections of their own: one write, and as few reads as the reply comes in.

Every system call of a thread gives the interpreter lock away and waits for it again, and between 32 threads that fetch small files this is
most of the work. What a reply says is checked by who asked (`artfs.storage.replies`); a reply that is anything but one with a status, a
length and a body is not understood here (None), and asked for again by the library that can.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_HEAD = 64 << 10  # bytes
_FIRST = 64 << 10  # bytes that are asked for with the head: all of a small file
_IDLE = 64  # connections that are kept
_FRESH = 15.0  # seconds for which one is kept: servers end them without a word
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})(?: [^\r\n]*)?")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n]*?)[ \t]*")
_LATE = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)  # how a socket says that its time is over
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


class Gets:
    """Makes requests. Thread-safe; ``connect`` returns a new connection to a place, with its ``sock``."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: dict[object, list[_Connection]] = {}

    def get(
        self, place: object, connect: Callable[[], Any], target: str, headers: Mapping[str, str], seconds: float
    ) -> Reply | None:
        """Ask for a target; return the reply, its body not read yet, or None if it is none that is understood here.

        OSError if nothing answers, or the head of the reply takes more than some seconds.
        """
        head = "".join(
            [f"GET {target} HTTP/1.1\r\n", *(f"{key}: {value}\r\n" for key, value in headers.items()), "\r\n"]
        )
        data, deadline = head.encode("latin-1"), time.monotonic() + seconds
        while True:
            connection = self._take(place)
            known = connection is not None
            if connection is None:
                connection = _Connection(connect(), self._timeout)
            try:
                found = connection.ask(data, deadline)
            except ConnectionError:
                connection.close()
                if known:  # it had been ended by the server
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            reply = None if found is None else Reply.parse(found, connection, lambda one: self._keep(place, one))
            if reply is None:
                connection.close()
            return reply

    def close(self) -> None:
        """End the connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _take(self, place: object) -> _Connection | None:
        with self._lock:
            kept = self._idle.get(place, [])
            while kept:
                connection = kept.pop()
                if time.monotonic() - connection.since < _FRESH:
                    return connection
                connection.close()
        return None

    def _keep(self, place: object, connection: _Connection) -> None:
        connection.since = time.monotonic()
        with self._lock:
            kept = self._idle.setdefault(place, [])
            if len(kept) < _IDLE:
                kept.append(connection)
                return
        connection.close()


class _Connection:
    """A connection that is used by one request at a time."""

    def __init__(self, made: Any, timeout: float) -> None:  # noqa: ANN401 - a connection of http.client
        self._made = made
        self._sock: socket.socket = made.sock
        self.since = time.monotonic()
        if isinstance(self._sock, ssl.SSLSocket):
            self._sock.settimeout(timeout)
        else:  # the kernel keeps the time: Python would ask it before each call
            self._sock.settimeout(None)
            limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._sock.setsockopt(socket.SOL_SOCKET, option, limit)

    def ask(self, data: bytes, deadline: float) -> tuple[bytes, bytes] | None:
        """Send a request; return the head of the reply, and what of the body came with it. None if the head has no end."""
        try:
            self._sock.sendall(data)
        except _LATE as error:
            raise TimeoutError("timed out") from error
        came = b""
        while (end := came.find(b"\r\n\r\n")) < 0:
            if len(came) > MOST_HEAD:
                return None
            if time.monotonic() > deadline:
                raise TimeoutError("it sends too slowly")
            piece = self.receive(_FIRST)
            if not piece:
                raise ConnectionResetError("the connection was closed without a reply")
            came = came + piece if came else piece
        return came[:end], came[end + 4 :]

    def receive(self, size: int) -> bytes:
        """Return some bytes, up to ``size``; none at the end of the connection."""
        try:
            return self._sock.recv(size)
        except _LATE as error:
            raise TimeoutError("timed out") from error

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self._made.close()


class Reply:
    """A reply, with the names that those of requests have. ``raw`` is itself: the body as it is sent."""

    chunked = False

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        left: int,
        came: bytes,
        connection: _Connection,
        keep: Callable[[_Connection], None] | None,
    ) -> None:
        self.status_code = status
        self.headers = _Headers(headers)
        self.raw = self
        self._left = left  # bytes of the body that were not read yet
        self._came = memoryview(came)
        self._connection: _Connection | None = connection
        self._keep = keep

    @classmethod
    def parse(
        cls, found: tuple[bytes, bytes], connection: _Connection, keep: Callable[[_Connection], None]
    ) -> Reply | None:
        """Return the reply with a head, or None if it is not a plain one."""
        first, *lines = found[0].split(b"\r\n")
        status = _STATUS.fullmatch(first)
        headers: dict[str, str] = {}
        for line in lines:
            header = _HEADER.fullmatch(line)
            name = header[1].decode("ascii").lower() if header else ""
            if header is None or (name in headers and name in {"content-length", "content-range", "etag"}):
                return None
            headers[name] = header[2].decode("latin-1")
        length = headers.get("content-length", "")
        if status is None or int(status[1]) < 200 or int(status[1]) in {204, 304} or not _LENGTH.fullmatch(length):
            return None
        if "transfer-encoding" in headers or len(found[1]) > int(length):
            return None
        lasts = "close" not in headers.get("connection", "").lower()
        return cls(int(status[1]), headers, int(length), found[1], connection, keep if lasts else None)

    def read1(self, size: int) -> bytes:
        """Return some bytes of the body, up to ``size``; none at its end, or where the connection ends before it."""
        size = min(size, self._left)
        if self._came:
            piece = bytes(self._came[:size])
            self._came = self._came[size:]
        elif size and self._connection is not None:
            piece = self._connection.receive(size)
        else:
            piece = b""
        self._left -= len(piece)
        if not self._left and self._connection is not None and self._keep is not None:
            connection, self._connection = self._connection, None
            self._keep(connection)
        return piece

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes of the body, fewer only at its end."""
        pieces: list[bytes] = []
        while size and (piece := self.read1(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Let go of the connection: it is kept if everything was read."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Headers:
    """Headers by name, whatever its case."""

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found

    def get(self, name: str, default: str | None = None) -> Any:  # noqa: ANN401 - text, or what was given
        return self._found.get(name.lower(), default)
