"""Count what objects are asked for: requests, failures, bytes and seconds by operation, and what is on its way now."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from artfs.errors import NotFoundError
from artfs.model.timings import Timings
from artfs.storage.wrapper import ObjectsWrapper

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.port import Buffer, Locator, ObjectInfo, Objects


@dataclass(frozen=True, slots=True)
class OperationCount:
    """What was asked of one operation so far. ``size`` is bytes read or written, ``seconds`` the sum of all requests.

    That something does not exist is an answer, not a failure.
    """

    requests: int = 0
    failures: int = 0
    size: int = 0
    seconds: float = 0.0


class Metered(ObjectsWrapper):
    """Objects that are counted. ``beside`` counts reads that are made on the way to them, such as second requests, by another name."""

    def __init__(self, inner: Objects, beside: Mapping[str, Metered] | None = None) -> None:
        super().__init__(inner)
        self._beside = beside or {}
        self._lock = threading.Lock()
        self._counts: dict[str, OperationCount] = {}
        self._timings: dict[str, Timings] = {}
        self._busy_requests = self._busy_size = 0

    def counts(self) -> Mapping[str, OperationCount]:
        """Return the counts by operation: read, describe, list, write, remove, and what there is beside."""
        with self._lock:
            found = dict(self._counts)
        for name, other in self._beside.items():
            if "read" in (counts := other.counts()):
                found[name] = counts["read"]
        return found

    def timings(self) -> Mapping[str, Timings]:
        """Return how long requests took, by operation. They go on changing."""
        with self._lock:
            found = dict(self._timings)
        for name, other in self._beside.items():
            if "read" in (timings := other.timings()):
                found[name] = timings["read"]
        return found

    def in_flight(self) -> tuple[int, int]:
        """Return how many requests are not answered yet, and how many bytes they ask for or send."""
        with self._lock:
            return self._busy_requests, self._busy_size

    @contextlib.contextmanager
    def _busy(self, size: int) -> Iterator[None]:
        with self._lock:
            self._busy_requests += 1
            self._busy_size += size
        try:
            yield
        finally:
            with self._lock:
                self._busy_requests -= 1
                self._busy_size -= size

    def _count(self, operation: str, seconds: float, size: int, *, failed: bool) -> None:
        with self._lock:
            timings = self._timings.get(operation)
            if timings is None:
                timings = self._timings[operation] = Timings()
            timings.add(int(seconds * 1e9))
            now = self._counts.get(operation, OperationCount())
            self._counts[operation] = replace(
                now,
                requests=now.requests + 1,
                failures=now.failures + failed,
                size=now.size + size,
                seconds=now.seconds + seconds,
            )

    @contextlib.contextmanager
    def _counted(self, operation: str, size: int = 0) -> Iterator[_Got]:
        """Count one request of ``size`` bytes; an answer that something does not exist is no failure."""
        started, got, failed = time.monotonic(), _Got(), True
        try:
            with self._busy(size):
                yield got
            failed = False
        except NotFoundError:
            failed = False
            raise
        finally:
            self._count(operation, time.monotonic() - started, got.size, failed=failed)

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return bytes of a span."""
        with self._counted("read", size) as got:
            data = self._inner.read(locator, offset, size)
            got.size = len(data)
            return data

    def describe(self, uri: str, version: str | None = None) -> ObjectInfo:
        """Return what the service says of an object."""
        with self._counted("describe"):
            return self._inner.describe(uri, version)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix; counted as one request when it has ended, also where not all of it was wanted."""
        items, seconds, failed = self._inner.list(prefix), 0.0, True
        try:
            while True:
                started = time.monotonic()
                try:
                    with self._busy(0):
                        item = next(items, None)
                finally:
                    seconds += time.monotonic() - started
                if item is None:
                    break
                yield item
            failed = False
        except (GeneratorExit, NotFoundError):
            failed = False
            raise
        finally:
            self._count("list", seconds, 0, failed=failed)

    def write(self, uri: str, data: Iterable[bytes], digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object."""
        with self._counted("write") as got:
            made = self._inner.write(uri, data, digest)
            got.size = made.size
            return made

    def upload(self, uri: str, path: Path, digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object out of a local file; counted as a write."""
        with self._counted("write", _size_of(path)) as got:
            made = self._inner.upload(uri, path, digest)
            got.size = made.size
            return made

    def remove(self, uri: str) -> None:
        """Remove an object."""
        with self._counted("remove"):
            self._inner.remove(uri)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # the upload says what is wrong with it
        return 0


@dataclass(slots=True)
class _Got:
    """How many bytes a request has moved."""

    size: int = 0
