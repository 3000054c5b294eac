"""Objects behind ``http://`` and ``https://``, read with requests. They can be read and described, not listed or written.

How a request is made is in `artfs.storage.http_session`, what a reply must say in `artfs.storage.replies`. Bodies are taken as they
were sent: what a server has packed is not unpacked. The errors of requests have URLs in their texts, and a URL may be signed: so they
are not kept as causes.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from artfs.errors import (
    ArtfsError,
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.model.reasons import causes_of, reason_of
from artfs.storage.bucket_uris import shown
from artfs.storage.port import Locator, ObjectInfo
from artfs.storage.replies import Head, at_end, changed, check_head, check_length, span_of, unquote_etag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.port import Buffer

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
"""Seconds that a reply may stall. `REQUEST_TIMEOUT` is for all of a span, and for each MiB before it, if a server sends that too."""

REQUEST_TIMEOUT = 120.0

_PIECE = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
_EXPIRED = re.compile(rb"<Code>(ExpiredToken|InvalidToken|TokenRefreshRequired)</Code>")


class HttpObjects:
    """The port `artfs.storage.port.Objects` on HTTP. ``allow_metadata`` lets link-local and metadata addresses be read."""

    def __init__(self, *, allow_metadata: bool = False) -> None:
        self._allow_metadata = allow_metadata
        self._lock = threading.Lock()
        self._session: Any = None
        self._without_ranges: set[str] = set()

    # Reading ----------------------------------------------------------------------------------------------------

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return bytes of a span. See the port. A server without ranges is read from the start each time."""
        start, end = span_of(locator, offset, size)
        if end <= start:
            return b""
        headers = {**locator.headers, "Range": f"bytes={start}-{end - 1}"}
        if locator.etag is not None:
            headers["If-Match"] = f'"{locator.etag}"'
        with self._get(locator.uri, headers) as answer:
            match answer.status_code:
                case 206:
                    return _part(answer, locator, start, end)
                case 200:
                    self._report(locator.uri)
                    return _part_of_whole(answer, locator, start, end)
                case 412:
                    raise changed(locator)
                case 416 if locator.size is not None:
                    raise changed(locator, "it is shorter")
                case 416:
                    pass
                case _:
                    raise _error_of(answer, locator.uri)
        return at_end(locator, start, self._describe(locator.uri, locator.headers))

    def _report(self, uri: str) -> None:
        """Say once of each server that it has no ranges."""
        place = urlsplit(uri).netloc
        with self._lock:
            known = place in self._without_ranges
            self._without_ranges.add(place)
        if not known:
            log.info("%s was sent as a whole: reading in the middle of files of this server is slow", shown(uri))

    def describe(self, uri: str, version: str | None = None) -> ObjectInfo:
        """Return what the server says of an object. A GET that is not read: many servers answer HEAD otherwise, or not at all."""
        if version is not None:
            raise NotSupportedError(f"{shown(uri)}: HTTP has no versions")
        return self._describe(uri, {})

    def _describe(self, uri: str, headers: Mapping[str, str]) -> ObjectInfo:
        with self._get(uri, headers) as answer:
            if answer.status_code != 200:
                raise _error_of(answer, uri)
            raw, length = answer.headers.get("ETag"), _length(answer)
            etag = None if raw is None else unquote_etag(raw)
            kind = answer.headers.get("Content-Type", "")
        return ObjectInfo(uri, -1 if length is None else length, etag, None, raw, kind)

    # What HTTP does not do --------------------------------------------------------------------------------------

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Raise NotSupportedError: HTTP has no listings."""
        raise NotSupportedError(f"{shown(prefix)}: HTTP has no listings")

    def write(self, uri: str, data: Iterable[bytes], digest: Digest | None = None) -> ObjectInfo:
        """Raise NotSupportedError."""
        raise NotSupportedError(f"{shown(uri)} cannot be written")

    def upload(self, uri: str, path: Path, digest: Digest | None = None) -> ObjectInfo:
        """Raise NotSupportedError."""
        raise NotSupportedError(f"{shown(uri)} cannot be written")

    def remove(self, uri: str) -> None:
        """Raise NotSupportedError."""
        raise NotSupportedError(f"{shown(uri)} cannot be removed")

    # The connection ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back connections."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    @contextlib.contextmanager
    def _get(self, uri: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """Ask, follow redirects, and give a reply whose body is not read yet. Its connection is kept if all of it is read."""
        wanted, timeout = {**headers, "Accept-Encoding": "identity"}, (CONNECT_TIMEOUT, READ_TIMEOUT)
        with _converted(uri):
            session = self._open()
            answer = session.get_signed(uri, wanted, REQUEST_TIMEOUT)
            if answer is None:
                answer = session.get(uri, headers=wanted, stream=True, timeout=timeout)
        with contextlib.closing(answer), _converted(uri):
            yield answer

    def _open(self) -> Any:  # noqa: ANN401 - a requests.Session
        with self._lock:
            if self._session is None:
                from artfs.storage.http_session import Session

                self._session = Session(allow_metadata=self._allow_metadata, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
            return self._session


def _part(answer: Any, locator: Locator, start: int, end: int) -> Buffer:  # noqa: ANN401 - a requests.Response
    """Take a reply that says it is a span."""
    said = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if said is None:
        raise UnreachableError(f"{shown(locator.uri)}: the reply does not say which bytes it has")
    head = Head(int(said[1]), int(said[2]) + 1, None if said[3] == "*" else int(said[3]), _etag(answer))
    _check_encoding(answer, locator, head.total)
    check_head(locator, start, end, head)
    return check_length(locator, head, _take(answer, locator, end - start + 1))


def _part_of_whole(answer: Any, locator: Locator, start: int, end: int) -> Buffer:  # noqa: ANN401
    """Take the span out of a reply with everything."""
    total = _length(answer)
    _check_encoding(answer, locator, total)
    head = Head(start, end if total is None else min(end, total), total, _etag(answer))
    check_head(locator, start, end, head)
    if head.end <= start:
        return b""
    left = start
    while left and (skipped := len(_take(answer, locator, min(left, _PIECE)))):
        left -= skipped
    if total is not None:
        return check_length(locator, head, _take(answer, locator, head.end - start))
    is_last = locator.size is not None and end == locator.offset + locator.size
    data = _take(answer, locator, end - start + (is_last and not locator.offset))
    if len(data) != end - start and locator.size is not None:
        raise changed(locator, "it is longer" if len(data) > end - start else "it is shorter")
    if len(data) < end - start and not answer.raw.chunked:
        raise UnreachableError(f"{shown(locator.uri)}: nothing tells whether the reply is whole")
    return data


def _take(answer: Any, locator: Locator, size: int) -> bytes:  # noqa: ANN401
    """Read bytes of a body, fewer only at its end; UnreachableError if they take too long, or end before they should."""
    pieces, left, deadline = [], size, time.monotonic() + REQUEST_TIMEOUT
    while left and (piece := answer.raw.read1(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
        if time.monotonic() > deadline:
            raise UnreachableError(f"{shown(locator.uri)} cannot be reached: it sends too slowly")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check_encoding(answer: Any, locator: Locator, total: int | None) -> None:  # noqa: ANN401
    """Refuse a packed body, unless it has the recorded size: then the object is what is packed, such as a ``.gz``."""
    encoding = answer.headers.get("Content-Encoding", "")
    if encoding.lower() not in {"", "identity"} and (total is None or locator.size is None or locator.offset):
        raise UnreachableError(f"{shown(locator.uri)}: the server sends it packed, although it was asked not to")


def _etag(answer: Any) -> str | None:  # noqa: ANN401
    text = answer.headers.get("ETag")
    return None if text is None else unquote_etag(text)


def _length(answer: Any) -> int | None:  # noqa: ANN401
    text = answer.headers.get("Content-Length", "")
    return int(text) if _NUMBER.fullmatch(text) else None


@contextlib.contextmanager
def _converted(uri: str) -> Iterator[None]:
    """Turn the errors of requests and urllib3 into those of artfs."""
    import requests
    import urllib3

    from artfs.storage.http_session import ForbiddenAddressError

    try:
        yield
    except ArtfsError:
        raise
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise _no_url(uri) from None
    except requests.exceptions.TooManyRedirects:
        raise UnreachableError(f"{shown(uri)} leads from one place to the next without an end") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        causes = causes_of(error)
        for cause in causes:
            if isinstance(cause, ForbiddenAddressError):
                raise PermissionDeniedError(
                    f"{shown(uri)} may not be read: {cause}",
                    hint="artfs config set metadata_addresses true",
                ) from None
        raise UnreachableError(f"{shown(uri)} cannot be reached: {reason_of(causes)}") from None
    except ValueError:  # of urllib.parse, which requests lets pass, or of the encoding of the URL
        raise _no_url(uri) from None


def _no_url(uri: str) -> InvalidInputError:
    return InvalidInputError(f"{shown(uri)} is not a URL that can be read, or leads to one")


def _error_of(answer: Any, uri: str) -> ArtfsError:  # noqa: ANN401 - a requests.Response
    status = answer.status_code
    match status:
        case 404 | 410:
            return NotFoundError(f"{shown(uri)} does not exist")
        case 401 | 403 | 407:
            return PermissionDeniedError(f"access to {shown(uri)} was refused with status {status}")
        case 400 if _EXPIRED.search(answer.raw.read(4096)):  # how GCS calls a signed URL that has expired
            return PermissionDeniedError(f"access to {shown(uri)} was refused: its signature has expired")
    return UnreachableError(
        f"{shown(uri)} cannot be reached: status {status}",
        retry_after=_retry_after(answer.headers.get("Retry-After", "")),
    )


def _retry_after(text: str) -> float | None:
    """Return the seconds of a Retry-After header, given as such or as a date."""
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
