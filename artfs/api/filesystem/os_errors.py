"""Errors as programs expect them that know files and not artfs: OSErrors with an errno and the message of artfs.

Used by the fsspec file system; the mount has its own table (`artfs.fuse.errnos`), which answers the kernel and not a program.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from artfs.errors import (
    ArtfsError,
    BusyError,
    ExistsError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    ReadOnlyError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_ERRNOS: dict[type[ArtfsError], int] = {
    NotFoundError: errno.ENOENT,
    PermissionDeniedError: errno.EACCES,
    ReadOnlyError: errno.EROFS,
    ExistsError: errno.EEXIST,
    BusyError: errno.EBUSY,
    NoSpaceError: errno.ENOSPC,
    NotSupportedError: errno.EOPNOTSUPP,
    InvalidInputError: errno.EINVAL,
    ArtfsError: errno.EIO,
}


def os_error(error: ArtfsError, path: str) -> OSError:
    """Return the OSError that an error is: a FileNotFoundError, a PermissionError, ..., or a plain one with EIO."""
    number = next(_ERRNOS[base] for base in type(error).__mro__ if base in _ERRNOS)
    return OSError(number, f"{error.message} ({error.hint})" if error.hint else error.message, path)


@contextlib.contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Raise what artfs raises as an OSError."""
    try:
        yield
    except ArtfsError as error:
        raise os_error(error, path) from error
