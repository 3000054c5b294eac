"""Whether a reply is what was asked for: the one rule of every kind of objects, and its errors.

A reply is taken only if it says that it is the span that was asked for, of the object that was pinned, and if it has that many bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.errors import ChangedError, UnreachableError
from artfs.storage.bucket_uris import shown

if TYPE_CHECKING:
    from artfs.storage.port import Buffer, Locator, ObjectInfo

NULL_VERSION = "null"
"""The version id that S3 gives to objects from before their bucket kept versions."""


_PIN = re.compile(r"[\x20-\x7e\x80-\xff]{0,1024}")


class PastEndError(Exception):
    """A service says that a span begins after the end of its object. `at_end` tells whether that is so."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a reply says: its bytes are ``start`` to ``end`` of an object of ``total`` bytes (None: not said), named so."""

    start: int
    end: int
    total: int | None
    etag: str | None
    version: str | None = None


def may_be_pin(text: str | None) -> bool:
    """Whether some object can have this ETag or version. Manifests are untrusted, and this goes into headers."""
    return text is None or _PIN.fullmatch(text) is not None


def span_of(locator: Locator, offset: int, size: int) -> tuple[int, int]:
    """Return the first byte to ask for, in the object, and the one after the last; an end not after the first is nothing to ask for.

    ChangedError for a locator that is pinned to what no object can have.
    """
    if not (may_be_pin(locator.etag) and may_be_pin(locator.version)):
        raise ChangedError(f"{shown(locator.uri)} is recorded with an ETag or a version that no object can have")
    start = locator.offset + offset
    return start, start + size if locator.size is None else min(start + size, locator.offset + locator.size)


def unquote_etag(text: str) -> str:
    """Return an ETag without its quotes and the mark of a weak one."""
    return text.removeprefix("W/").strip('"')


def changed(locator: Locator, reason: str = "") -> ChangedError:
    """Return the error of an object that is not the pinned one any more."""
    pins = {"version": locator.version, "ETag": locator.etag, "size": locator.size}
    recorded = ", ".join(f"{name} {value}" for name, value in pins.items() if value is not None)
    return ChangedError(
        f"{shown(locator.uri)} has changed since it was recorded{f' with {recorded}' if recorded else ''}{reason and f': {reason}'}",
        hint="record it again in a new version",
    )


def check_head(locator: Locator, start: int, end: int, head: Head) -> None:
    """Refuse a reply whose head tells of another object (ChangedError) or of another span (UnreachableError)."""
    _check_pins(locator, head.etag, head.version)
    if head.total is not None:
        _check_total(locator, head.total)
    wanted = end if head.total is None else min(end, head.total)
    if (head.start, head.end) != (start, wanted):
        raise UnreachableError(
            f"{shown(locator.uri)}: asked for the bytes {start} to {wanted} and got {head.start} to {head.end}"
        )


def check_length(locator: Locator, head: Head, data: Buffer) -> Buffer:
    """Return the bytes of a reply, if they are as many as its head says; UnreachableError."""
    if len(data) != head.end - head.start:
        raise UnreachableError(f"{shown(locator.uri)}: a reply of {head.end - head.start} bytes had {len(data)}")
    return data


def at_end(locator: Locator, start: int, info: ObjectInfo) -> bytes:
    """Return the nothing that is left at ``start``, where a service that describes the object as ``info`` has said so.

    ChangedError if the object is another one or shorter than recorded; UnreachableError if it has bytes there.
    """
    _check_pins(locator, info.etag, info.version)
    if info.size >= 0:
        _check_total(locator, info.size)
    if info.size > start:
        raise UnreachableError(f"{shown(locator.uri)}: the service denies byte {start} of {info.size} bytes")
    return b""


def _check_pins(locator: Locator, etag: str | None, version: str | None) -> None:
    if locator.etag is not None and etag is None:
        raise UnreachableError(f"{shown(locator.uri)}: the reply has no ETag, so nothing tells which object it is of")
    if locator.etag is not None and etag != locator.etag:
        raise changed(locator, f"its ETag is {etag}")
    if locator.version is not None and (version or NULL_VERSION) != locator.version:
        raise changed(locator, f"its version is {version}")


def _check_total(locator: Locator, total: int) -> None:
    """Refuse an object that does not hold the span, or that goes on after a span from its start: that is the whole of it."""
    if locator.size is None:
        return
    end = locator.offset + locator.size
    if total < end or (total > end and not locator.offset):
        raise changed(locator, f"it has {total} bytes")
