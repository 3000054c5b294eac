"""The file object that the fsspec file system opens: a Python file with a buffer, read-only, that can be pickled."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from artfs.api.filesystem.blocks import BUFFER, joined
from artfs.api.filesystem.os_errors import os_errors
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from artfs.api.filesystem.blocks import Content


class RawFile(io.RawIOBase):
    """A file without a buffer."""

    def __init__(self, content: Content, path: str) -> None:
        self.name = path
        self.mode = "rb"
        self._content = content
        self._offset = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, which may lie beyond the end."""
        self._check_open()
        if whence == io.SEEK_CUR:
            offset += self._offset
        elif whence == io.SEEK_END:
            with os_errors(self.name):
                offset += self._content.find_end()
        elif whence != io.SEEK_SET:
            raise ValueError(f"whence is 0, 1 or 2, not {whence!r}")
        if offset < 0:
            raise ValueError(f"a file has no offset {offset}")
        self._offset = offset
        return offset

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer; OSError where the bytes cannot be had or are not those of the manifest."""
        self._check_open()
        with memoryview(buffer) as view, view.cast("B") as target, os_errors(self.name):
            count = self._content.read_into(self._offset, target) if len(target) else 0
        self._offset += count
        return count

    def readall(self) -> bytes:
        """Return all bytes to the end."""
        self._check_open()
        with os_errors(self.name):
            data = joined(self._content.pieces(self._offset, None))
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Let go of what was fetched ahead."""
        if not self.closed:
            self._content.drop()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")


class ArtfsFile(io.BufferedReader):
    """A file of a version, open for reading; it can be pickled, and then reads on at the same place of the same version.

    ``size`` is in bytes, None where a reference does not say it; ``details`` are those of ``ArtfsFileSystem.info``.
    """

    def __init__(self, fs: Any, content: Content, details: dict[str, Any], pinned: str) -> None:
        super().__init__(RawFile(content, details["name"]), BUFFER)
        self.fs = fs
        self.path: str = details["name"]
        self.details = details
        self.size = content.size
        self.blocksize = BLOCK_SIZE
        self._pinned = pinned

    @property
    def full_name(self) -> str:
        """The path with its protocol."""
        return f"artfs://{self.path}"

    def info(self) -> dict[str, Any]:
        """Return the details."""
        return self.details

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (self.fs, self._pinned, self.tell())

    def __reduce_ex__(self, protocol: object, /) -> tuple[Any, ...]:
        return self.__reduce__()

    def __repr__(self) -> str:
        return f"<ArtfsFile {self.path}>"


def reopen(fs: Any, path: str, offset: int) -> Any:
    """Open a file that was pickled."""
    file = fs.open(path, "rb")
    file.seek(offset)
    return file
