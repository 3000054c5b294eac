"""Large files go to a W&B server in parts, each by a URL of its own, as S3 takes them.

The MD5 of each part is announced before. A part that has come is remembered, and so are the URLs of the others, so that an upload which
broke off goes on, also in another process, while they are good. Once they are not, the server is asked again: if it answers with another
upload, all parts are sent again.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING, Any, Protocol, cast

from artfs.errors import IntegrityError, InvalidInputError, UnreachableError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from artfs.model.entry import JsonValue
    from artfs.storage.wandb_upload import LocalFile

FROM = 2 << 30
"""Bytes from which on a file is sent in parts."""

PART = 100 << 20
MOST_PARTS = 10_000
MOST = 5 << 40
"""Bytes that a file may have."""

_ALIGNED = 4096
_PIECE = 1 << 20


class Memory(Protocol):
    """What is remembered of the uploads of a commit until it has ended: JSON by name, on disk, for this user's eyes. Thread-safe."""

    def get(self, name: str) -> JsonValue:
        """Return a value; None if it is not there."""

    def set(self, name: str, value: JsonValue) -> None:
        """Remember a value; None forgets it."""

    def clear(self) -> None:
        """Forget everything."""


class Parts:
    """How files are cut into parts."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def count(self, size: int) -> int:
        """Return in how many parts a file is sent; 0 if it is sent as a whole. InvalidInputError if it is too large."""
        if size > MOST:
            raise InvalidInputError(f"a W&B server takes files of up to {MOST >> 40} TiB, not of {size:,} bytes")
        return -(-size // part_size(size)) if size >= FROM else 0

    def file(self, pool: ThreadPoolExecutor, file: LocalFile) -> PartedFile:
        """Return the parts of a file, hashed by threads of the pool if their digests are not known."""
        parted = PartedFile(self._memory, file)
        if not parted.is_hashed:
            numbers = range(1, self.count(file.size) + 1)
            parted.learn(list(pool.map(lambda number: _md5(file, parted.span(number)), numbers)))
        return parted


class PartedFile:
    """The parts of one file, and which of them have come. Parts are numbered from 1. Used by one thread."""

    def __init__(self, memory: Memory, file: LocalFile) -> None:
        self._memory = memory
        self._size = file.size
        self._part = part_size(file.size)
        self._name = f"parts/{file.digest.hex}"
        self._urls = f"urls/{file.digest.hex}"
        self._digests: list[str] = []
        self._etags: dict[int, str] = {}
        self.upload_id = ""
        match memory.get(self._name):
            case {"part": self._part, "md5": list(digests), "upload": str(upload), "etags": dict(etags)}:
                self._digests = [str(digest) for digest in digests]
                self.upload_id = upload
                self._etags = {int(number): str(etag) for number, etag in etags.items()}

    @property
    def is_hashed(self) -> bool:
        """Whether the digests of the parts are known."""
        return bool(self._digests)

    def learn(self, digests: list[str]) -> None:
        """Take the MD5 of each part, in hex digits."""
        self._digests = digests
        self._save()

    def span(self, number: int) -> tuple[int, int]:
        """Return where a part begins and ends."""
        return (number - 1) * self._part, min(number * self._part, self._size)

    @property
    def announced(self) -> list[dict[str, JsonValue]]:
        """What the server is told of the parts."""
        return [{"partNumber": number, "hexMD5": digest} for number, digest in enumerate(self._digests, 1)]

    @property
    def completed(self) -> list[dict[str, JsonValue]]:
        """What the server is told when all parts have come."""
        return [{"partNumber": number, "hexMD5": self._etags[number]} for number in sorted(self._etags)]

    @property
    def is_whole(self) -> bool:
        """Whether all parts have come."""
        return bool(self._digests) and len(self._etags) == len(self._digests)

    @property
    def finished_bytes(self) -> int:
        """How many bytes have come."""
        return sum(end - start for start, end in map(self.span, self._etags))

    @property
    def begun(self) -> dict[str, Any] | None:
        """Where the parts go of an upload that was begun; None if that is not known."""
        match self._memory.get(self._urls):
            case {"uploadMultipartUrls": {"uploadID": self.upload_id}} as node if self.upload_id:
                return cast("dict[str, Any]", node)
        return None

    def begin(self, node: dict[str, Any]) -> None:
        """Begin the upload that the server answers with, or go on with it if it is the one that was begun."""
        match node.get("uploadMultipartUrls"):
            case {"uploadID": str(upload)} if node.get("storagePath"):
                pass
            case _:
                raise IntegrityError("the W&B server does not say where the parts of a file go")
        self._memory.set(self._urls, node)
        if upload != self.upload_id:
            self.upload_id = upload
            self._etags = {}
            self._save()

    def missing(self, node: dict[str, Any]) -> list[tuple[int, str]]:
        """Return the parts that have not come, each with the URL to which it goes."""
        urls: dict[int, str] = {}
        for part in node["uploadMultipartUrls"].get("uploadUrlParts") or ():
            match part:
                case {"partNumber": int(number) | str(number), "uploadUrl": str(url)} if str(number).isdecimal():
                    urls[int(number)] = url
        wanted = [number for number in range(1, len(self._digests) + 1) if number not in self._etags]
        if any(number not in urls for number in wanted):
            raise IntegrityError("the W&B server does not say where each part of a file goes")
        return [(number, urls[number]) for number in wanted]

    def headers(self, number: int, given: list[str]) -> list[str]:
        """Return what is sent with a part. ``given`` are the headers for the whole file."""
        digest = base64.standard_b64encode(bytes.fromhex(self._digests[number - 1])).decode()
        return [f"Content-Md5:{digest}", *(text for text in given if text.lower().startswith("content-type:"))]

    def finish(self, number: int, etag: str) -> None:
        """Note that a part has come. UnreachableError without an ETag, by which it has to be named later."""
        if not etag:
            raise UnreachableError("the place where the parts of a file go does not name what it has got (no ETag)")
        self._etags[number] = etag
        self._save()

    def forget(self) -> None:
        """Forget what has come: the upload is over."""
        self.forget_urls()
        self.upload_id, self._etags = "", {}
        self._save()

    def forget_urls(self) -> None:
        """Forget where the parts go: the URLs are good no longer."""
        self._memory.set(self._urls, None)

    def _save(self) -> None:
        etags: dict[str, JsonValue] = {str(number): etag for number, etag in self._etags.items()}
        digests: list[JsonValue] = list(self._digests)
        self._memory.set(self._name, {"part": self._part, "md5": digests, "upload": self.upload_id, "etags": etags})


def part_size(size: int) -> int:
    """Return how many bytes the parts of a file have, but for the last one."""
    if size <= PART * MOST_PARTS:
        return PART
    least = -(-size // MOST_PARTS)
    return -(-least // _ALIGNED) * _ALIGNED


def _md5(file: LocalFile, span: tuple[int, int]) -> str:
    file.check()
    hasher, (at, end) = hashlib.md5(usedforsecurity=False), span
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while at < end:
                piece = os.pread(descriptor, min(_PIECE, end - at), at)
                if not piece:
                    break
                hasher.update(piece)
                at += len(piece)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreachableError(f"{file.path} cannot be read: {error.strerror}") from error
    file.check()
    return hasher.hexdigest()
