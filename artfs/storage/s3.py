"""Objects of S3: ``s3://bucket/key``. obstore reads and describes; boto3 lists, writes, and reads the keys that obstore cannot name.

When access is refused, credentials are loaded anew, once, and the request is made again (`artfs.storage.renewal`).
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import replace
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from cachetools import LRUCache

from artfs.errors import ChangedError, NotFoundError, NotSupportedError, PermissionDeniedError, UnreachableError
from artfs.model.digest import Algorithm
from artfs.storage.bucket_uris import shown, split_object, split_prefix
from artfs.storage.port import Locator, ObjectInfo
from artfs.storage.renewal import Renewing
from artfs.storage.replies import (
    NULL_VERSION,
    Head,
    PastEndError,
    at_end,
    changed,
    check_head,
    check_length,
    may_be_pin,
    span_of,
    unquote_etag,
)
from artfs.storage.s3_session import S3Session, converted
from artfs.storage.spans import describe_object, read_span, usable
from artfs.storage.spool import opened, spooled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.port import Buffer

Pages: TypeAlias = "Iterator[list[ObjectInfo]]"

_SINGLE_PUT = 64 << 20  # bytes above which an upload goes in parts
_PART = 32 << 20  # bytes; a part is at least a 10,000th of the object
_THREADS = 8  # that send the parts of one object
_IN_PARTS = 2  # objects sent in parts at once: with more, each part may take longer than a server waits for it
_KNOWN_VERSIONS = 65536  # objects that have changed, of which it is remembered where the recorded version is
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)


class S3Objects:
    """The port `artfs.storage.port.Objects` on S3."""

    def __init__(self) -> None:
        self._sessions = Renewing(S3Session)
        self._lock = threading.Lock()
        self._versions: LRUCache[tuple[str, str], str] = LRUCache(_KNOWN_VERSIONS)  # by URI and ETag
        self._in_parts = threading.BoundedSemaphore(_IN_PARTS)

    # Reading ----------------------------------------------------------------------------------------------------

    def read(self, locator: Locator, offset: int, size: int) -> Buffer:
        """Return bytes of a span. See the port.

        In a bucket with versions, an object that has changed or is gone is read in the version that has the pinned ETag.
        """
        start, end = span_of(locator, offset, size)
        if end <= start:
            return b""
        key = (locator.uri, locator.etag or "")
        with self._lock:
            known = self._versions.get(key)
        if known is not None:
            return self._read(replace(locator, version=known), start, end)
        try:
            return self._read(locator, start, end)
        except (ChangedError, NotFoundError):
            version = self._find_version(locator)
            if version is None:
                raise
        data = self._read(replace(locator, version=version), start, end)
        with self._lock:
            self._versions[key] = version
        return data

    def _read(self, locator: Locator, start: int, end: int) -> Buffer:
        bucket, key = split_object(locator.uri, "s3")

        def ask(session: S3Session) -> Buffer:
            if usable(key):
                return read_span(session.store(bucket), key, locator, start, end)
            return _read_by_boto(session.client, bucket, key, locator, start, end)

        try:
            return self._sessions.run(ask)
        except PastEndError:
            return at_end(locator, start, self.describe(locator.uri, locator.version))

    def _find_version(self, locator: Locator) -> str | None:
        """Return the version of an object that still has the pinned ETag."""
        if locator.etag is None or locator.version is not None:
            return None
        bucket, key = split_object(locator.uri, "s3")
        try:
            return self._sessions.run(lambda session: _version_of(session.client, bucket, key, locator))
        except (PermissionDeniedError, NotFoundError, NotSupportedError):
            return None  # who may read need not be allowed to list

    def describe(self, uri: str, version: str | None = None) -> ObjectInfo:
        """Return what S3 says of an object, or of one version of it."""
        bucket, key = split_object(uri, "s3")
        if not may_be_pin(version):
            raise NotFoundError(f"{shown(uri)} has no version {version!a}")
        locator = Locator(uri, version=version)

        def ask(session: S3Session) -> ObjectInfo:
            if usable(key):
                return describe_object(session.store(bucket), key, locator)
            arguments = {} if version is None else {"VersionId": version}
            with converted(uri):
                return _info(uri, session.client.head_object(Bucket=bucket, Key=key, **arguments))

        return self._sessions.run(ask)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix, with their versions where the bucket keeps them and may be asked for them."""
        bucket, _ = split_prefix(prefix, "s3")
        try:
            versioned = self._sessions.run(lambda session: _has_versions(session.client, bucket))
            found = self._begin(prefix, "list_object_versions", "Versions") if versioned else None
        except (PermissionDeniedError, NotSupportedError):
            found = None  # who may list need not be allowed to see versions
        for page in found or self._begin(prefix, "list_objects_v2", "Contents"):
            yield from page

    def _begin(self, prefix: str, operation: str, part: str) -> Pages:
        """Ask for the first page of a listing, and return an iterator over all pages."""

        def begin(session: S3Session) -> Pages:
            pages = _pages(session.client, prefix, operation, part)
            return chain([next(pages, [])], pages)

        return self._sessions.run(begin)

    # Writing ----------------------------------------------------------------------------------------------------

    def write(self, uri: str, data: Iterable[bytes], digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object; small ones go in one request out of memory, others through a temporary file."""
        with spooled(data) as (file, size):
            return self._put(uri, file, size, digest)

    def upload(self, uri: str, path: Path, digest: Digest | None = None) -> ObjectInfo:
        """Make or replace an object out of a local file."""
        with opened(path) as (file, size):
            return self._put(uri, file, size, digest)

    def _put(self, uri: str, file: IO[bytes], size: int, digest: Digest | None) -> ObjectInfo:
        """Write an object. IntegrityError if its MD5 is another than the digest; of an object in parts S3 does not know it."""
        bucket, key = split_object(uri, "s3")
        known = {"ContentMD5": digest.base64} if digest is not None and digest.algorithm is Algorithm.MD5 else {}

        def put(session: S3Session) -> ObjectInfo | None:
            if size > _SINGLE_PUT:
                with self._in_parts, converted(uri):
                    _upload_parts(session.client, bucket, key, file, size)
                return None
            file.seek(0)
            with converted(uri):
                answer = session.client.put_object(Bucket=bucket, Key=key, Body=file, ContentLength=size, **known)
                return _info(uri, {**answer, "ContentLength": size})

        return self._sessions.run(put) or self.describe(uri)

    def remove(self, uri: str) -> None:
        """Remove an object. In a bucket with versions, the old ones stay."""
        bucket, key = split_object(uri, "s3")

        def delete(session: S3Session) -> None:
            with converted(uri):
                session.client.delete_object(Bucket=bucket, Key=key)

        with contextlib.suppress(NotFoundError):
            self._sessions.run(delete)

    def close(self) -> None:
        """Give back connections."""
        self._sessions.close()


def _read_by_boto(client: Any, bucket: str, key: str, locator: Locator, start: int, end: int) -> Buffer:  # noqa: ANN401
    """Do as `artfs.storage.spans.read_span`, by boto3."""
    from botocore.exceptions import ClientError

    pins = {"IfMatch": locator.etag and f'"{locator.etag}"', "VersionId": locator.version}
    arguments = {name: value for name, value in pins.items() if value is not None}
    with converted(locator.uri):
        try:
            answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **arguments)
        except ClientError as error:
            match error.response.get("ResponseMetadata", {}).get("HTTPStatusCode"):
                case 412:
                    raise changed(locator) from error
                case 416:
                    raise (PastEndError() if locator.size is None else changed(locator, "it is shorter")) from error
            raise
        with contextlib.closing(answer["Body"]) as body:
            said = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
            if said is None and int(answer["ContentLength"]) <= start and locator.size is None:
                raise PastEndError  # all of an object, which is empty: not every service answers that with 416
            if said is None:
                raise UnreachableError(f"{shown(locator.uri)}: the reply does not say which bytes it has")
            version = answer.get("VersionId")
            head = Head(
                int(said[1]), int(said[2]) + 1, int(said[3]), unquote_etag(answer["ETag"]),
                None if version == NULL_VERSION else version,
            )  # fmt: skip
            check_head(locator, start, end, head)
            data: bytes = body.read(end - start + 1)
    return check_length(locator, head, data)


def _version_of(client: Any, bucket: str, key: str, locator: Locator) -> str | None:  # noqa: ANN401 - a boto3 client
    """Return the id of the version of a key that has the pinned ETag, but for a newest one without an id."""
    with converted(locator.uri):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
            for found in page.get("Versions", ()):
                if found["Key"] != key:  # the key itself comes before all that begin with it
                    return None
                version = str(found["VersionId"])
                if unquote_etag(found["ETag"]) == locator.etag and not (version == NULL_VERSION and found["IsLatest"]):
                    return version
    return None


def _has_versions(client: Any, bucket: str) -> bool:  # noqa: ANN401 - a boto3 client
    """Whether a bucket keeps versions, or has done so."""
    with converted(f"s3://{bucket}"):
        return bool(client.get_bucket_versioning(Bucket=bucket).get("Status"))


def _pages(client: Any, prefix: str, operation: str, part: str) -> Pages:  # noqa: ANN401
    bucket, key = split_prefix(prefix, "s3")
    with converted(prefix):
        for page in client.get_paginator(operation).paginate(Bucket=bucket, Prefix=key):
            yield [_listed(bucket, found) for found in page.get(part, ()) if found.get("IsLatest", True)]


def _listed(bucket: str, found: dict[str, Any]) -> ObjectInfo:
    version = found.get("VersionId", NULL_VERSION)
    return ObjectInfo(
        f"s3://{bucket}/{found['Key']}", int(found["Size"]), unquote_etag(found["ETag"]),
        None if version == NULL_VERSION else version, found["ETag"], modified=found["LastModified"].timestamp(),
    )  # fmt: skip


def _info(uri: str, answer: dict[str, Any]) -> ObjectInfo:
    version = answer.get("VersionId")
    return ObjectInfo(
        uri, int(answer["ContentLength"]), unquote_etag(answer["ETag"]),
        None if version == NULL_VERSION else version, answer["ETag"], answer.get("ContentType") or "",
    )  # fmt: skip


def _upload_parts(client: Any, bucket: str, key: str, file: IO[bytes], size: int) -> None:  # noqa: ANN401 - a boto3 client
    from boto3.exceptions import S3UploadFailedError
    from boto3.s3.transfer import TransferConfig

    part = max(_PART, -(-size // 10_000))
    settings = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=_THREADS)
    name = (
        f"/proc/self/fd/{file.fileno()}"  # each part reads it at a position of its own, instead of holding it in memory
    )
    file.flush()
    try:
        client.upload_file(name, bucket, key, Config=settings)
    except S3UploadFailedError as error:  # it hides what S3 has answered
        if error.__context__ is None:
            raise
        raise error.__context__ from None
