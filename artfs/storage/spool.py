"""What is to be written, as a file: a request may have to be made again, so its bytes must be there again."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from typing import IO, TYPE_CHECKING

from artfs.errors import ArtfsError, NoSpaceError, NotFoundError, PermissionDeniedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_IN_MEMORY = 8 << 20  # bytes of a write that is not put on the disk


@contextlib.contextmanager
def spooled(data: Iterable[bytes]) -> Iterator[tuple[IO[bytes], int]]:
    """Collect bytes in memory, or in a temporary file if they are many, and give the file and its size; NoSpaceError."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="artfs-") as file:
        for piece in data:
            try:
                file.write(piece)
            except OSError as error:
                raise _error_of(error, f"a temporary file in {tempfile.gettempdir()}") from error
        yield file, file.tell()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open a local file, and give it and its size; NotFoundError, PermissionDeniedError, UnreachableError."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise _error_of(error, str(path)) from error
    with file:
        yield file, os.fstat(file.fileno()).st_size


def _error_of(error: OSError, what: str) -> ArtfsError:
    match error.errno:
        case errno.ENOENT:
            return NotFoundError(f"{what} does not exist")
        case errno.EACCES | errno.EPERM:
            return PermissionDeniedError(f"{what}: {error.strerror}")
        case errno.ENOSPC | errno.EDQUOT:
            return NoSpaceError(f"no space left for {what}", hint="free some space, or set TMPDIR")
    return UnreachableError(f"{what}: {error.strerror}")
