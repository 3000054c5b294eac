"""The data files of the block cache: where the bytes of a content lie, and who may change them.

A content is a name (``<kind>/<hex>``) and a size: two sizes of one name are two contents, because one of them lies and must not
disturb the other. Its file is ``data/<kind>/<first two hex digits>/<the rest>-<size>``, sparse, and exactly ``size`` bytes long, so
a complete one is a plain copy of the content. Files are opened below a directory that is held open.

Any process may change a file at any time, under these rules. The locks are open file description locks on byte ranges of it: they
exclude threads with another open file as well as processes, and end with a process that is killed.

1. A block is written by who holds the lock of its range, and holds it until the block is recorded.
2. A block is punched out by who holds the lock of its range, after its row is gone from the ledger, and after
   the counter of the content was bumped in `artfs.cache.epochs`.
3. A file is unlinked or replaced by who holds the lock of the whole file that is at the path, and bumps the counter after that, before
   the lock is given back. (Before, somebody could open the old file under the new counter. A reader of the old file is never wrong.)

So who gets a lock, and finds the counter unchanged since before the file was opened, has the file at the path, and it stays there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import re
import stat
import struct
import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple

from artfs.errors import InvalidInputError
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"[a-z][a-z0-9]{0,15}/[0-9a-f]{8,128}")
_FILE = re.compile(r"([0-9a-f]{6,126})-(0|[1-9][0-9]{0,15})")
_KIND = re.compile(r"[a-z][a-z0-9]{0,15}")
_PAGE = 4096
_FLOCK = struct.Struct("@hhqqi4x")
_NO_FILE = {errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENXIO}
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Content(NamedTuple):
    """What a data file holds: the name of the bytes and how many they are."""

    name: str
    size: int

    @property
    def blocks(self) -> int:
        """How many blocks there are in the whole."""
        return -(-self.size // BLOCK_SIZE)

    def length(self, number: int) -> int:
        """Return how many bytes a block has."""
        return min(BLOCK_SIZE, self.size - number * BLOCK_SIZE)

    def cost(self, number: int) -> int:
        """Return how many bytes of disk a block takes: whole pages."""
        return -(-self.length(number) // _PAGE) * _PAGE


def parse_content(name: str, size: int) -> Content:
    """Return a content; InvalidInputError if the name could be anything but ``<kind>/<hex>``, or the size is absurd."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(f"{name!r} cannot be the name of cached content")
    if not 0 <= size < 1 << 53:
        raise InvalidInputError(f"cached content {name} cannot have the size {size}")
    return Content(name, size)


def valid_content(name: object, size: object) -> Content | None:
    """Return the content that a row of a ledger or a file name tells of; None if it can be none."""
    if not (isinstance(name, str) and isinstance(size, int)):
        return None
    try:
        return parse_content(name, size)
    except InvalidInputError:
        return None


class DataFile:
    """An open data file. Closed when its last user has let go of it, so a descriptor in use is never another file's."""

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        self._descriptor = descriptor
        self.writable = writable
        self._mutex = threading.Lock()
        self._locked: set[int] = set()
        weakref.finalize(self, os.close, descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at an offset of the file, fewer where it ends."""
        return os.pread(self._descriptor, size, offset)

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """Return the bytes if all of them are in the page cache."""
        buffer = bytearray(size)
        try:
            count = os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError:  # EAGAIN, or a file system that cannot tell
            return None
        return memoryview(buffer).toreadonly() if count == size else None

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of the bytes at an offset of the file."""
        while data:
            count = os.pwrite(self._descriptor, data, offset)
            data, offset = data[count:], offset + count

    def lock(self, number: int) -> bool:
        """Take the lock of a block; False if anybody has it, with this open file or another one."""
        with self._mutex:
            # The kernel would grant it twice to one open file, and take both back with the first.
            if number in self._locked or not self._lock(fcntl.F_WRLCK, number * BLOCK_SIZE, BLOCK_SIZE):
                return False
            self._locked.add(number)
            return True

    def unlock(self, number: int) -> None:
        """Give the lock of a block back."""
        with self._mutex:
            self._locked.discard(number)
            self._lock(fcntl.F_UNLCK, number * BLOCK_SIZE, BLOCK_SIZE)

    def lock_whole(self) -> bool:
        """Take the lock of every block, for good; False if another open file has that of any."""
        return self._lock(fcntl.F_WRLCK, 0, 0)

    def _lock(self, kind: int, start: int, length: int) -> bool:
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                return False
            raise
        return True

    def punch(self, number: int) -> None:
        """Give the disk space of a block back; OSError with EOPNOTSUPP where the file system cannot."""
        # The whole range also for the last block: only then is its last page freed.
        if _libc.fallocate(self._descriptor, _KEEP_SIZE_PUNCH_HOLE, number * BLOCK_SIZE, BLOCK_SIZE):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def fit(self, size: int) -> None:
        """Give the file its length, if it has another one."""
        if os.fstat(self._descriptor).st_size != size:
            os.ftruncate(self._descriptor, size)

    def status(self) -> os.stat_result:
        """Return the attributes of the file."""
        return os.fstat(self._descriptor)

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each part of the file that is not a hole."""
        offset, size = 0, self.status().st_size
        while offset < size:
            try:
                start = os.lseek(self._descriptor, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    return
                raise
            offset = os.lseek(self._descriptor, start, os.SEEK_HOLE)
            yield start, offset


def _opened(content: Content, descriptor: int, *, writable: bool) -> DataFile:
    file = DataFile(descriptor, writable=writable)
    if content.blocks > 1:  # the kernel is not to put into its cache what was not verified
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    return file


class DataFiles:
    """The data files of one world, below ``directory``. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._root)

    def path(self, content: Content) -> Path:
        """Return where a content lies, whether it is there or not."""
        return self._directory / _relative(content)

    def open(self, content: Content) -> DataFile:
        """Open the file of a content; read-only on a file system that is. FileNotFoundError, also if it is no file."""
        path, flags = _relative(content), os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return _opened(content, os.open(path, os.O_RDWR | flags, dir_fd=self._root), writable=True)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise FileNotFoundError(errno.ENOENT, "there is no data file", path) from error
            if error.errno not in {errno.EROFS, errno.EACCES}:
                raise
        return _opened(content, os.open(path, os.O_RDONLY | flags, dir_fd=self._root), writable=False)

    def read_direct(self, content: Content, offset: int, size: int) -> bytes:
        """Return bytes as they are on the disk, past the page cache where the file system can do that. FileNotFoundError.

        Readers trust pages that they have verified: whoever looks for damage must not read it into their page cache.
        """
        path, flags = _relative(content), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags | os.O_DIRECT, dir_fd=self._root)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return self.open(content).read(offset, size)
        try:
            with mmap.mmap(-1, -(-size // _PAGE) * _PAGE) as buffer:  # aligned, as the kernel wants it
                count = os.preadv(descriptor, [buffer], offset)
                return bytes(buffer[: min(count, size)])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return self.open(content).read(offset, size)
        finally:
            os.close(descriptor)

    def create(self, content: Content) -> DataFile:
        """Open the file of a content for writing, making it, without a length, where it is not there."""
        path, flags = _relative(content), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o600, dir_fd=self._root)
        except FileNotFoundError:
            kind, prefix, _ = path.split("/")
            for directory in (kind, f"{kind}/{prefix}"):
                self._make_directory(directory)
            descriptor = os.open(path, flags, 0o600, dir_fd=self._root)
        return _opened(content, descriptor, writable=True)

    def _make_directory(self, path: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700, dir_fd=self._root)

    def is_current(self, content: Content, file: DataFile) -> bool:
        """Whether an open file is the one that is at the path of a content."""
        try:
            found = os.stat(_relative(content), dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, file.status())

    def exists(self, content: Content) -> bool:
        """Whether a content has a file."""
        try:
            os.stat(_relative(content), dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def unlink(self, content: Content) -> None:
        """Remove the file of a content, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_relative(content), dir_fd=self._root)

    def replace(self, content: Content, source: Path) -> None:
        """Rename a file to be that of a content."""
        mode = source.stat().st_mode
        source.chmod(0o600)
        try:
            os.rename(source, _relative(content), dst_dir_fd=self._root)
        except OSError:
            source.chmod(stat.S_IMODE(mode))
            raise

    def can_rename(self, status: os.stat_result) -> bool:
        """Whether a file of these attributes is on the same file system."""
        return status.st_dev == os.fstat(self._root).st_dev

    def kinds(self) -> list[str]:
        """Return the kinds of contents that have directories."""
        return [name for name in os.listdir(self._root) if _KIND.fullmatch(name)]  # noqa: PTH208 - of a descriptor

    def listing(self, kind: str, prefix: str) -> list[Content]:
        """Return the contents of a kind whose hex digits begin with the two of ``prefix``."""
        if not _KIND.fullmatch(kind):
            return []
        try:
            directory = os.open(f"{kind}/{prefix}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        except FileNotFoundError:
            return []
        try:
            names = os.listdir(directory)  # noqa: PTH208 - of a descriptor
        finally:
            os.close(directory)
        found = (_FILE.fullmatch(name) for name in names)
        contents = (valid_content(f"{kind}/{prefix}{match[1]}", int(match[2])) for match in found if match)
        return [content for content in contents if content is not None]


def _relative(content: Content) -> str:
    kind, _, digits = content.name.partition("/")
    return f"{kind}/{digits[:2]}/{digits[2:]}-{content.size}"
