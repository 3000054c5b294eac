"""Bytes that the server holds: small ones in memory, large ones in sparse files, or made when they are read.

``Content`` is one sequence of bytes; ``Bucket`` maps the keys of the object storage to them, and takes uploads. The
bucket knows nothing of artifacts: ``resolvers`` and ``manifests`` say which key belongs to what.
"""

import base64
import hashlib
import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

PIECE = 1 << 20
IN_MEMORY = 1 << 20  # a larger upload goes to a file
ZEROS = bytes(PIECE)


class Content:
    """The base: ``size`` and ``read``; the digests are found out when first asked for."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        raise NotImplementedError

    def pieces(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a range."""
        end = self.size if length is None else min(self.size, offset + length)
        for at in range(offset, end, PIECE):
            yield self.read(at, min(PIECE, end - at))

    def digest(self, algorithm: str = "MD5") -> str:
        """Return the base64 of the MD5 or XXH128."""
        kept = self.__dict__.setdefault("digests", {})
        if algorithm not in kept:
            state = hashlib.md5() if algorithm == "MD5" else xxhash.xxh3_128()
            for piece in self.pieces():
                state.update(piece)
            kept[algorithm] = base64.b64encode(state.digest()).decode()
        return kept[algorithm]

    def is_of(self, digest: str) -> bool:
        """Return whether this is the base64 of one of the two digests."""
        return digest == self.digest() or digest == self.digest("XXH128")


class Memory(Content):
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset, length):
        return self.data[offset : offset + length]


class File(Content):
    """A file of the server's directory, or of a test's."""

    def __init__(self, path, size: int | None = None) -> None:
        self.path = Path(path)
        self.size = self.path.stat().st_size if size is None else size
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset, length):
        return os.pread(self._fd, length, offset)

    def __del__(self):
        if hasattr(self, "_fd"):
            os.close(self._fd)


class Generated(Content):
    """Bytes that ``make(offset, length)`` returns; zeros without it. A ``digest`` given spares hashing them."""

    def __init__(self, size: int, make: Callable[[int, int], bytes] | None = None, md5: str | None = None) -> None:
        self.size = size
        self.make = make
        if md5:
            self.digests = {"MD5": md5}

    def read(self, offset, length):
        length = max(0, min(length, self.size - offset))
        if self.make:
            return self.make(offset, length)
        return ZEROS if length == PIECE else bytes(length)


def as_content(value) -> Content:
    """Return the content for what tests give: bytes, text, a path, or (size, maker or None)."""
    match value:
        case Content():
            return value
        case bytes():
            return Memory(value)
        case str():
            return Memory(value.encode())
        case Path():
            return File(value)
        case (int() as size, make):
            return Generated(size, make)
    raise TypeError(f"not a content: {value!r}")


@dataclass(eq=False)
class StoredObject:
    """What a key of the bucket holds. ``etag`` is that of S3: with the number of parts after a multipart upload."""

    content: Content
    etag: str = ""

    def __post_init__(self) -> None:
        if not self.etag:
            self.etag = base64.b64decode(self.content.digest()).hex()


@dataclass
class Upload:
    """A multipart upload that is under way: the parts that must come, and those that have."""

    key: str
    expected: dict[int, str]  # part number -> hex MD5
    size: int | None = None
    parts: dict[int, Content] = field(default_factory=dict)


class UploadError(Exception):
    """An upload that is refused: ``code`` as S3 names it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Bucket:
    """The objects by key, and the uploads under way. ``directory`` holds what is too large for memory."""

    def __init__(self, directory) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def get(self, key: str) -> StoredObject | None:
        return self.objects.get(key)

    def put(self, key: str, content: Content, etag: str = "") -> StoredObject:
        stored = StoredObject(content, etag)
        self.objects[key] = stored
        return stored

    def receive(self, pieces: Iterator[bytes], length: int) -> Content:
        """Take a body of this length: in memory, or in a sparse file. Its MD5 is known afterwards."""
        md5 = hashlib.md5()
        if length <= IN_MEMORY:
            content: Content = Memory(b"".join(pieces))
            md5.update(content.data)
        else:
            with tempfile.NamedTemporaryFile(dir=self.directory, delete=False) as file:
                for piece in pieces:
                    md5.update(piece)
                    if piece == ZEROS[: len(piece)]:
                        file.seek(len(piece), os.SEEK_CUR)  # a hole
                    else:
                        file.write(piece)
                file.truncate()
            content = File(file.name)
            Path(file.name).unlink()
        if content.size != length:
            raise UploadError("IncompleteBody", f"{content.size} bytes came of {length}")
        content.digests = {"MD5": base64.b64encode(md5.digest()).decode()}
        return content

    def begin(self, key: str, expected: dict[int, str]) -> str:
        """Begin a multipart upload, and return its id."""
        with self._lock:
            name = f"upload-{next(self._numbers)}"
            self.uploads[name] = Upload(key, expected)
        return name

    def put_part(self, upload_id: str, number: int, content: Content) -> str:
        """Take a part, again if need be, and return its ETag."""
        upload = self.uploads.get(upload_id)
        if upload is None:
            raise UploadError("NoSuchUpload", "The specified multipart upload does not exist.")
        digest = base64.b64decode(content.digest()).hex()
        if upload.expected.get(number) != digest:
            raise UploadError("BadDigest", f"part {number} is not what was announced")
        upload.parts[number] = content
        return digest

    def complete(self, upload_id: str, key: str, etags: dict[int, str]) -> StoredObject:
        """Join the parts. Completing again what is complete answers the same (inferred)."""
        with self._lock:
            upload = self.uploads.get(upload_id)
            if upload is None or upload.key != key:
                raise UploadError("NoSuchUpload", "The specified multipart upload does not exist.")
            if upload.parts.keys() != upload.expected.keys() or etags != upload.expected:
                raise UploadError("InvalidPart", "One or more of the specified parts could not be found.")
            if (stored := self.objects.get(key)) is not None:
                return stored
            joined = hashlib.md5(b"".join(bytes.fromhex(etags[number]) for number in sorted(etags))).hexdigest()
            parts = [upload.parts[number] for number in sorted(upload.parts)]
            return self.put(key, Joined(parts), f"{joined}-{len(parts)}")


class Joined(Content):
    """The parts of a multipart upload, one after the other."""

    def __init__(self, parts: list[Content]) -> None:
        self.parts = parts
        self.starts = list(itertools.accumulate((part.size for part in parts), initial=0))
        self.size = self.starts.pop()

    def read(self, offset, length):
        found = []
        end = min(self.size, offset + length)
        for start, part in zip(self.starts, self.parts, strict=True):
            begin, stop = max(offset, start), min(end, start + part.size)
            if begin < stop:
                found.append(part.read(begin - start, stop - begin))
        return b"".join(found)
