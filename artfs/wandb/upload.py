"""Bytes to a signed URL: with the headers it was signed for, a length, and no credentials."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.errors import ChangedError, InvalidInputError
from artfs.model.timings import Timings
from artfs.wandb.base_url import origin, shown_url
from artfs.wandb.connections import READ_TIMEOUT
from artfs.wandb.retry import TryAgainError
from artfs.wandb.storage_replies import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from artfs.wandb.connections import Connections
    from artfs.wandb.retry import Patience

TIME = 300.0  # seconds for all tries, besides the time that the bytes may take
SLOWEST = 32 << 10  # bytes in a second

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_OURS = {"content-length", "transfer-encoding", "host", "connection"}
_MOST_BODY = 1 << 16


@dataclass(frozen=True, slots=True)
class FileSpan:
    """The bytes from ``start`` up to ``end`` of an open file, read with pread: many threads may use one descriptor."""

    descriptor: int
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise InvalidInputError(f"a file has no bytes from {self.start} to {self.end}")


class Uploads:
    """What was sent to signed URLs: requests with all their tries, and their bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.timings = Timings()
        self.failures = self.size = self.busy = self.busy_size = 0

    @contextlib.contextmanager
    def one(self, size: int) -> Iterator[None]:
        """Count one request of so many bytes."""
        began, done = time.perf_counter_ns(), False
        with self._lock:
            self.busy, self.busy_size = self.busy + 1, self.busy_size + size
        try:
            yield
            done = True
        finally:
            with self._lock:
                self.busy, self.busy_size = self.busy - 1, self.busy_size - size
                self.size += size if done else 0
                self.failures += not done
                self.timings.add(time.perf_counter_ns() - began)


class _Body:
    """A span as requests sends it. It fails if the file has become shorter, and if it takes too long."""

    def __init__(self, span: FileSpan, name: str, clock: Callable[[], float], until: float) -> None:
        self._span = span
        self._at = span.start
        self._name = name
        self._clock = clock
        self._until = until

    def __len__(self) -> int:
        return self._span.end - self._span.start

    def read(self, size: int = -1) -> bytes:
        left = self._span.end - self._at
        size = left if size < 0 else min(size, left)
        if size == 0:
            return b""
        if self._clock() > self._until:
            raise TryAgainError(f"{self._name}: the bytes are taken too slowly")
        piece = os.pread(self._span.descriptor, size, self._at)
        if not piece:
            raise ChangedError(f"{self._name}: the file became shorter while it was sent")
        self._at += len(piece)
        return piece


def upload(
    connections: Connections, patience: Patience, url: str, headers: Sequence[str], data: bytes | FileSpan
) -> str:
    """See `artfs.wandb.session.WandbSession.put`."""
    name = f"PUT {shown_url(url)}"
    if origin(url) is None:
        raise InvalidInputError(f"{name}: no URL to send to")
    size = len(data) if isinstance(data, bytes) else data.end - data.start
    sent = {**_parsed(headers, name), "Content-Length": str(size)}
    allowed = TIME + size / SLOWEST

    def ask(left: float) -> str:
        until = patience.clock() + min(left, allowed)
        body = _Body(data, name, patience.clock, until) if isinstance(data, FileSpan) and size else data
        with connections.send(name, "PUT", url, sent, body if size else b"", READ_TIMEOUT) as answer:
            if answer.status_code not in {200, 201, 204}:
                raise refusal(answer, name)
            answer.raw.read(_MOST_BODY)  # so that the connection is kept
            etag: str = answer.headers.get("ETag", "")
            return etag

    return patience.run(name, ask, patience.clock() + allowed)


def _parsed(headers: Sequence[str], name: str) -> dict[str, str]:
    parsed = {}
    for text in headers:
        key, colon, value = text.partition(":")
        value = value.strip()
        if not colon or not _NAME.fullmatch(key) or not _VALUE.fullmatch(value):
            raise InvalidInputError(f"{name}: a header for it is not valid")
        if key.lower() not in _OURS:
            parsed[key] = value
    return parsed
