"""References of every scheme: what a URI stands for when it is recorded, and the source of its bytes when it is read.

What is recorded follows W&B: the digest of an S3 or HTTP object is its ETag, that of a GCS object too, with the generation
beside it, that of a file its MD5; a URI recorded without a checksum has itself as its digest. A read is pinned to what was
recorded. ``extra`` comes from a manifest, so nothing in it is believed but strings and numbers.
"""

from __future__ import annotations

import posixpath
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from artfs.errors import ChangedError, InvalidInputError, NotFoundError
from artfs.model.digest import Algorithm, Digest
from artfs.model.reference import FILE_SCHEME, file_uri_path, redact, unchecked_file_digest, uri_scheme
from artfs.storage.port import Locator
from artfs.storage.replies import unquote_etag
from artfs.storage.sources import ObjectSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from artfs.model.entry import Entry, JsonValue
    from artfs.storage.port import ObjectInfo, Objects, Source
    from artfs.storage.references import FileReferences

MAX_OBJECTS = 10_000_000
_HASH_PIECE = 1 << 20
_VERSION_QUERY = re.compile(r"\?versionId=([\w.\-]+)$")
_GENERATION = re.compile(r"#(\d+)$")


@dataclass(frozen=True, slots=True)
class Found:
    """One file that a URI stands for: its path below the place of the reference (empty: that place itself), and its fields."""

    path: str
    ref: str
    digest: str
    size: int
    extra: Mapping[str, JsonValue] = field(default_factory=dict)


class References:
    """Opens and expands references. ``schemes`` makes the objects of each scheme when they are first needed."""

    def __init__(self, files: FileReferences, schemes: Mapping[str, Callable[[], Objects]]) -> None:
        self._files = files
        self._schemes = schemes
        self._lock = threading.Lock()
        self._objects: dict[str, Objects] = {}

    def objects(self, scheme: str) -> Objects:
        """Return the objects of a scheme; InvalidInputError if it cannot be read."""
        with self._lock:
            found = self._objects.get(scheme)
            if found is None:
                make = self._schemes.get(scheme)
                if make is None:
                    known = ", ".join(f"{name}://" for name in (FILE_SCHEME, *self._schemes))
                    raise InvalidInputError(f"references to {scheme}:// cannot be read", hint=f"those to {known} can")
                found = self._objects[scheme] = make()
            return found

    def close(self) -> None:
        """Give back connections."""
        with self._lock:
            for objects in self._objects.values():
                objects.close()
            self._objects.clear()

    # Reading ----------------------------------------------------------------------------------------------------

    def open(self, entry: Entry) -> Source:
        """Open the bytes of a reference as a source that is pinned to what the entry records."""
        uri = entry.ref or ""
        scheme = uri_scheme(uri) or ""
        if scheme == FILE_SCHEME:
            return self._files.open(uri)
        return ObjectSource(self.objects(scheme), self._locator(scheme, entry))

    def _locator(self, scheme: str, entry: Entry) -> Locator:
        uri, size = entry.ref or "", entry.size or None
        if entry.digest == uri:
            return Locator(_plain(scheme, uri)[0], size=size, version=_plain(scheme, uri)[1])
        version, etag = entry.extra.get("versionID"), entry.extra.get("etag")
        version = str(version) if isinstance(version, str | int) and not isinstance(version, bool) else None
        if scheme == "gs":
            return Locator(uri, size=size, version=version or self._generation(uri, entry))
        text = etag if isinstance(etag, str) else entry.digest
        weak = text.startswith("W/")  # says that the meaning is the same, not the bytes: it pins nothing
        return Locator(uri, size=size, version=version, etag=None if weak else unquote_etag(text))

    def _generation(self, uri: str, entry: Entry) -> str | None:
        """Return the generation of an object whose ETag is the recorded one; ChangedError if it is another."""
        info = self.objects("gs").describe(uri)
        if info.etag != entry.digest:
            raise ChangedError(f"{redact(uri)} has changed since it was recorded (ETag {entry.digest})")
        return info.version

    # Recording --------------------------------------------------------------------------------------------------

    def expand(self, uri: str, *, checksum: bool = True, max_objects: int = MAX_OBJECTS) -> Iterator[Found]:
        """Yield what a URI stands for: one object, or everything below a prefix or a directory.

        InvalidInputError if that is more than ``max_objects``; NotFoundError, PermissionDeniedError, UnreachableError.
        """
        scheme = uri_scheme(uri)
        if scheme is None:
            raise InvalidInputError(f"{uri!r} is not a URI", hint="write scheme://...")
        if scheme == FILE_SCHEME:
            found = self._expand_file(uri, checksum=checksum)
        elif scheme not in self._schemes or not checksum:
            yield Found("", uri, uri, 0)  # the digest is the URI, as W&B has it
            return
        elif scheme in {"http", "https"}:
            found = iter([self._describe_http(uri)])
        else:
            found = self._expand_prefix(scheme, uri)
        for number, one in enumerate(found, 1):
            if number > max_objects:
                raise InvalidInputError(
                    f"{redact(uri)} stands for more than {max_objects:,} objects",
                    hint="name a smaller prefix, or raise the limit",
                )
            yield one

    def _expand_file(self, uri: str, *, checksum: bool) -> Iterator[Found]:
        root = Path(file_uri_path(uri))
        if not root.exists():
            raise NotFoundError(f"{root} does not exist")
        for relative, file in self._files.walk(root):
            # Below a directory the URI is that of the directory with the plain relative path, as W&B writes it.
            ref = root.as_uri() if not relative else f"{root.as_uri()}/{relative}"
            if checksum:
                digest, size = self._digest(file)
            else:
                digest, size = unchecked_file_digest(file.resolve().as_uri()), file.stat().st_size
            yield Found(relative, ref, digest, size)

    def _digest(self, file: Path) -> tuple[str, int]:
        source = self._files.open_path(file)
        try:
            hasher, offset = Algorithm.MD5.hasher(), 0
            while data := source.read(offset, _HASH_PIECE):
                hasher.update(data)
                offset += len(data)
        finally:
            source.close()
        return Digest(Algorithm.MD5, hasher.digest()).base64, offset

    def _describe_http(self, uri: str) -> Found:
        info = self.objects(uri_scheme(uri) or "").describe(uri)
        extra: dict[str, JsonValue] = {} if info.raw_etag is None else {"etag": info.raw_etag}
        return Found("", uri, info.etag or uri, max(info.size, 0), extra)

    def _expand_prefix(self, scheme: str, uri: str) -> Iterator[Found]:
        """Yield one object, or those below a prefix. A prefix ends at a slash: ``a/b`` is not the beginning of ``a/bc``."""
        objects = self.objects(scheme)
        plain, version = _plain(scheme, uri)
        if urlsplit(plain).path.strip("/") and not plain.endswith("/"):
            try:
                info = objects.describe(plain, version)
            except NotFoundError:
                if version is not None:
                    raise
            else:
                if "x-directory" not in info.content_type:
                    yield _object(scheme, "", plain, info)
                    return
        prefix = plain if plain.endswith("/") else f"{plain}/"
        there = False
        for info in objects.list(prefix):
            there = True
            relative = info.uri[len(prefix) :]
            if relative and not relative.endswith("/") and (info.size or scheme != "s3"):
                yield _object(scheme, relative, posixpath.join(plain, relative), info)
        if not there:
            raise NotFoundError(f"{redact(uri)} names no object, and nothing lies below it")


def _object(scheme: str, path: str, ref: str, info: ObjectInfo) -> Found:
    extra: dict[str, JsonValue] = {}
    if scheme == "s3":
        extra["etag"] = info.etag
    if info.version is not None:
        extra["versionID"] = int(info.version) if scheme == "gs" else info.version
    return Found(path, ref, info.etag or ref, info.size, extra)


def _plain(scheme: str, uri: str) -> tuple[str, str | None]:
    """Split a URI into that of the object and the version that it names."""
    pattern = {"s3": _VERSION_QUERY, "gs": _GENERATION}.get(scheme)
    found = pattern.search(uri) if pattern else None
    return (uri[: found.start()], found[1]) if found else (uri, None)
