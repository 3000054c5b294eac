"""A store of blobs in a directory.

Layout: ``<root>/<algorithm>/<first two hex digits>/<the rest>``, mode 0400, and ``<root>/tmp/`` for what is being written. A blob gets
its name by a rename, so a name always stands for a whole blob; two writers of one blob write the same bytes. Several processes
may share a store. Nothing is deleted here but leftovers in ``tmp/`` that are older than a day; blobs that nobody needs are removed by
`artfs.storage.files_holdings`, under the lock of `artfs.storage.holds`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from artfs.errors import (
    ArtfsError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.model.reference import redact
from artfs.private import make_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artfs.model.digest import Digest

_FICLONE = 0x40049409
_COPY_PIECE = 64 << 20
_COMPARED = 1 << 20  # bytes
_LEFTOVER_AGE = 86400.0  # seconds


class FileSource:
    """The bytes of an open file. Thread-safe: reads are by position."""

    local = True

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name
        status = os.fstat(descriptor)
        self.size = status.st_size
        self.identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
        """Which file it is, as it was written when it was opened."""

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes at an offset, fewer only at the end."""
        with _converted(self._name):
            data = os.pread(self._descriptor, size, offset)
            while len(data) < size:  # a signal or the end
                more = os.pread(self._descriptor, size - len(data), offset + len(data))
                if not more:
                    break
                data += more
        return data

    def read_nowait(self, offset: int, size: int) -> bytes | None:
        """Return the bytes if all of them are in the page cache."""
        buffer = bytearray(size)
        try:
            count = os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError:  # EAGAIN, or a file system that cannot tell
            return None
        return bytes(buffer) if count == size else None

    def share(self, target: int) -> bool:
        """Let an empty open file share the blocks of this one; False where the file systems cannot."""
        return share_blocks(self._descriptor, target)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FilesStore:
    """A `BlobStore` in a directory."""

    local = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / "tmp"
        with _converted(str(root)):
            if not root.exists():  # a directory that is there keeps the mode that its owner gave it
                make_closed(root)
            self._temporary.mkdir(exist_ok=True, mode=0o700)
            self._sweep()

    def _sweep(self) -> None:
        for path in self._temporary.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFTOVER_AGE:
                    path.unlink()

    def path(self, blob: Digest) -> Path:
        """Return where a blob lies, whether it is there or not."""
        name = blob.hex
        return self._root / blob.algorithm.value / name[:2] / name[2:]

    def has(self, blob: Digest) -> bool:
        """Whether the blob is there: a file, for no link is followed."""
        try:
            with _converted(f"blob {blob}"):
                return stat.S_ISREG(self.path(blob).lstat().st_mode)
        except NotFoundError:
            return False

    def missing(self, blobs: Iterable[Digest]) -> set[Digest]:
        """Return those of the blobs that are not there."""
        return {blob for blob in blobs if not self.has(blob)}

    def open(self, blob: Digest) -> FileSource:
        """Open a blob for reading; NotFoundError."""
        with _converted(f"blob {blob}"):
            return FileSource(os.open(self.path(blob), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), f"blob {blob}")

    def write(self, blob: Digest, data: Iterable[bytes]) -> None:
        """Store bytes under a digest, atomically; nothing if the blob is there."""
        if self.has(blob):
            return
        with _converted(f"blob {blob}"), self._new() as temporary:
            with temporary.open("wb") as file:
                for piece in data:
                    file.write(piece)
            self._name(temporary, blob)

    def adopt(self, blob: Digest, path: Path) -> None:
        """Take a file over as the blob: by rename, else by reflink, else by copy. See the port."""
        target = self.path(blob)
        with _converted(f"blob {blob}"):
            if path.stat().st_nlink > 1:  # another name could still change the bytes
                self._copy(path, blob)
            else:
                self._rename(path, blob, target)

    def _rename(self, path: Path, blob: Digest, target: Path) -> None:
        if _are_same(path, target):
            path.unlink()
            return
        make_closed(target.parent)
        mode = path.stat().st_mode
        path.chmod(0o400)
        try:
            path.rename(target)
        except OSError as error:
            path.chmod(mode & 0o7777)
            if error.errno != errno.EXDEV:
                raise
            self._copy(path, blob)

    def _copy(self, path: Path, blob: Digest) -> None:
        target = self.path(blob)
        if not (self.has(blob) and target.stat().st_size == path.stat().st_size):
            with self._new() as temporary:
                clone(path, temporary)
                self._name(temporary, blob)
        path.unlink()

    def _name(self, temporary: Path, blob: Digest) -> None:
        target = self.path(blob)
        make_closed(target.parent)
        temporary.chmod(0o400)
        temporary.rename(target)

    @contextlib.contextmanager
    def _new(self) -> Iterator[Path]:
        path = self._temporary / uuid.uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Bring the file system of the store to its disk, in one call for all blobs."""
        with _converted(str(self._root)):
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.syncfs(descriptor) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(descriptor)


def _are_same(path: Path, target: Path) -> bool:
    """Whether two small files hold the same bytes.

    A rename over a file that is there makes ext4 write the new one to the disk at once: for small files that takes six times as long
    as to compare them.
    """
    size = path.stat().st_size
    try:
        return size <= _COMPARED and target.stat().st_size == size and target.read_bytes() == path.read_bytes()
    except OSError:  # not there, or not readable
        return False


def clone(source: Path, target: Path, check: Callable[[], None] = lambda: None) -> None:
    """Copy a file to a new one without reading it where the file system can share its blocks. Raises OSError.

    ``check`` is called before each piece, and may raise to give up.
    """
    with source.open("rb") as reader, target.open("xb") as writer:
        if not share_blocks(reader.fileno(), writer.fileno()):
            _copy_bytes(reader.fileno(), writer.fileno(), check)


def share_blocks(source: int, target: int) -> bool:
    """Give an empty open file the content of another one without copying it; False: another file system, or one without reflinks."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _copy_bytes(reader: int, writer: int, check: Callable[[], None]) -> None:
    try:
        while os.copy_file_range(reader, writer, _COPY_PIECE):
            check()
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise
        os.lseek(reader, 0, os.SEEK_SET)
        os.lseek(writer, 0, os.SEEK_SET)
        while os.sendfile(writer, reader, None, _COPY_PIECE):
            check()


@contextlib.contextmanager
def _converted(what: str) -> Iterator[None]:
    """Turn failures of the system into errors of artfs."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} is not in the store") from error
    except OSError as error:
        raise _error_of(error, what) from error


def _error_of(error: OSError, what: str) -> ArtfsError:
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpaceError(f"no space left in the store for {what}", hint="free some space, or set another --store")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PermissionDeniedError(f"{what}: {reason}", hint="the store belongs to another user")
    return UnreachableError(f"{what}: {reason}")


def open_store(url: str) -> FilesStore:
    """Open the store at ``file:///path`` or an absolute path, making it if it is not there."""
    return FilesStore(store_path(url))


def store_path(url: str) -> Path:
    """Return the directory that ``file:///path`` or an absolute path means; InvalidInputError for any other URL."""
    parts = urlsplit(url)
    if url.startswith("/"):
        return Path(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return Path(unquote(parts.path, errors="surrogateescape"))
    raise InvalidInputError(
        f"{redact(url)!r} is not a store",
        hint="write file:///absolute/path, an absolute path, s3://bucket/prefix or gs://bucket/prefix",
    )
