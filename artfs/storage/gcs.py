"""Objects of Google Cloud Storage: ``gs://bucket/key``. obstore reads; google-cloud-storage does everything else.

The version of an object is its generation, which changes with its content. The ETag of the JSON interface, which W&B records, is not the
one of the interface that reads: a read that is pinned to an ETag is pinned to the generation that has it.
When access is refused, credentials are loaded anew, once, and the request is made again (`artfs.storage.renewal`).
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from cachetools import LRUCache

from artfs.errors import IntegrityError, NotFoundError
from artfs.model.digest import Algorithm
from artfs.storage.bucket_uris import shown, split_object, split_prefix
from artfs.storage.gcs_session import GcsSession, converted
from artfs.storage.port import Locator, ObjectInfo
from artfs.storage.renewal import Renewing
from artfs.storage.replies import Head, PastEndError, at_end, changed, check_head, check_length, span_of
from artfs.storage.spans import read_span, usable
from artfs.storage.spool import opened, spooled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.port import Buffer

_TIMEOUT = (5, 60)  # seconds to connect, and between two pieces of a reply
_PART = 32 << 20  # bytes of a piece of what is not sent in one request
_PAGE = 1000  # objects of a listing
_KNOWN_GENERATIONS = 65536
_GENERATION = re.compile(r"\d{1,18}", re.ASCII)


class GcsObjects:
    """The port `artfs.storage.port.Objects` on Google Cloud Storage."""

    def __init__(self) -> None:
        self._sessions = Renewing(GcsSession)
        self._lock = threading.Lock()
        self._generations: LRUCache[tuple[str, str], str | None] = LRUCache(_KNOWN_GENERATIONS)  # by URI and ETag

    # Reading ----------------------------------------------------------------------------------------------------

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return bytes of a span. See the port."""
        start, end = span_of(locator, offset, size)
        if end <= start:
            return b""
        bucket, key = split_object(locator.uri, "gs")
        pinned = replace(locator, etag=None, version=locator.version or self._generation_of(locator))
        _number(locator.uri, pinned.version)

        def ask(session: GcsSession) -> Buffer:
            if usable(key):
                return read_span(session.store(bucket), key, pinned, start, end)
            return _read_by_client(session.client, bucket, key, pinned, start, end)

        try:
            return self._sessions.run(ask)
        except PastEndError:
            return at_end(pinned, start, self.describe(locator.uri, pinned.version))
        except NotFoundError:
            if pinned.version is None:
                raise
            self.describe(locator.uri)  # NotFoundError if it is gone altogether
            raise changed(locator) from None

    def _generation_of(self, locator: Locator) -> str | None:
        """Return the generation that has the pinned ETag; ChangedError if the object has another one by now."""
        if locator.etag is None:
            return None
        key = (locator.uri, locator.etag)
        with self._lock:
            known = self._generations.get(key)
        if known is None:
            info = self.describe(locator.uri)
            if info.etag != locator.etag:
                raise changed(locator, f"its ETag is {info.etag}")
            with self._lock:
                known = self._generations[key] = info.version
        return known

    def describe(self, uri: str, version: str | None = None) -> ObjectInfo:
        """Return what GCS says of an object, or of one generation of it."""
        bucket, key = split_object(uri, "gs")
        locator = Locator(uri, version=version)
        return self._sessions.run(lambda session: _info(uri, _blob(session.client, bucket, key, locator)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix, with their generations."""
        first, others = self._sessions.run(lambda session: _listing(session.client, prefix))
        yield from first
        yield from others

    # Writing ----------------------------------------------------------------------------------------------------

    def write(self, uri: str, data: Iterable[bytes], digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object; what is not small goes through a temporary file."""
        with spooled(data) as (file, size):
            return self._put(uri, file, size, digest)

    def upload(self, uri: str, path: Path, digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object out of a local file."""
        with opened(path) as (file, size):
            return self._put(uri, file, size, digest)

    def _put(self, uri: str, file: IO[bytes], size: int, digest: Digest | None) -> ObjectInfo:
        bucket, key = split_object(uri, "gs")
        known = digest.base64 if digest is not None and digest.algorithm is Algorithm.MD5 else None

        def put(session: GcsSession) -> ObjectInfo:
            from google.cloud.storage.retry import DEFAULT_RETRY

            with converted(uri):
                blob = session.client.bucket(bucket).blob(key, chunk_size=_PART)
                blob.md5_hash = known  # the service refuses other bytes
                file.seek(0)
                # A repeated write makes the same object again, so that it may be retried without a precondition.
                blob.upload_from_file(
                    file, size=size, checksum=None if known else "crc32c", timeout=_TIMEOUT, retry=DEFAULT_RETRY
                )
                if known is not None and blob.md5_hash != known:  # a service that does not check
                    session.client.bucket(bucket).blob(key, generation=blob.generation).delete(timeout=_TIMEOUT)
                    raise IntegrityError(f"{shown(uri)} was not written: its bytes do not match their digest")
            return _info(uri, blob)

        return self._sessions.run(put)

    def remove(self, uri: str) -> None:
        """Remove an object. In a bucket with versions, the old ones stay."""
        bucket, key = split_object(uri, "gs")

        def delete(session: GcsSession) -> None:
            with converted(uri):
                session.client.bucket(bucket).blob(key).delete(timeout=_TIMEOUT)

        with contextlib.suppress(NotFoundError):
            self._sessions.run(delete)

    def close(self) -> None:
        """Give back connections."""
        self._sessions.close()


def _number(uri: str, version: str | None) -> int | None:
    """Return a version as a generation; NotFoundError if it cannot be one."""
    if version is None:
        return None
    if not _GENERATION.fullmatch(version):
        raise NotFoundError(f"{shown(uri)} has no generation {version!a}")
    return int(version)


def _blob(client: Any, bucket: str, key: str, locator: Locator) -> Any:  # noqa: ANN401 - google's client and blob
    """Return the blob of a locator with what is known of it; NotFoundError."""
    generation = _number(locator.uri, locator.version)
    with converted(locator.uri):
        blob = client.bucket(bucket).get_blob(key, generation=generation, timeout=_TIMEOUT, retry=None)
    if blob is None:
        raise NotFoundError(
            f"{shown(locator.uri)} does not exist{f' in generation {generation}' if generation else ''}"
        )
    return blob


def _read_by_client(client: Any, bucket: str, key: str, locator: Locator, start: int, end: int) -> Buffer:  # noqa: ANN401
    """Do as `artfs.storage.spans.read_span`, by google-cloud-storage, in two requests: its reply does not say the total."""
    blob = _blob(client, bucket, key, locator)
    total = int(blob.size)
    if total <= start and locator.size is None:
        raise PastEndError
    head = Head(start, min(end, total), total, None, str(blob.generation))
    check_head(locator, start, end, head)
    with converted(locator.uri):
        data: bytes = client.bucket(bucket).blob(key, generation=blob.generation).download_as_bytes(
            start=start, end=head.end - 1, raw_download=True, checksum=None, timeout=_TIMEOUT, retry=None
        )  # fmt: skip
    return check_length(locator, head, data)


def _listing(client: Any, prefix: str) -> tuple[list[ObjectInfo], Iterator[ObjectInfo]]:  # noqa: ANN401
    """Return the first page of a listing, and an iterator over what comes after it."""
    bucket, key = split_prefix(prefix, "gs")

    def infos() -> Iterator[ObjectInfo]:
        with converted(prefix):
            for blob in client.list_blobs(bucket, prefix=key or None, page_size=_PAGE, timeout=_TIMEOUT):
                yield _info(f"gs://{bucket}/{blob.name}", blob)

    others = infos()
    first = next(others, None)
    return ([] if first is None else [first]), others


def _info(uri: str, blob: Any) -> ObjectInfo:  # noqa: ANN401
    generation = None if blob.generation is None else str(blob.generation)
    modified = None if blob.updated is None else blob.updated.timestamp()
    return ObjectInfo(uri, int(blob.size), blob.etag, generation, blob.etag, blob.content_type or "", modified)
