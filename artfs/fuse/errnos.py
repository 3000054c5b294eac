"""The one table from errors to errno, and the boundary that no exception but `FUSEError` may cross.

Any other exception that leaves a handler ends the session and the mount with it. ENOSYS is never in the table: the kernel
remembers it for the life of the mount.
"""

from __future__ import annotations

import errno
import functools
import logging
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyfuse3

from artfs.errors import (
    ArtfsError,
    ArtifactStatusError,
    BusyError,
    ExistsError,
    IntegrityError,
    InvalidInputError,
    NoSpaceError,
    NotEmptyError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    ReadOnlyError,
    SchemaError,
    UnreachableError,
    VersionDeletedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cachetools import LRUCache

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

ERRNOS: dict[type[ArtfsError], int] = {
    InvalidInputError: errno.EINVAL,
    NotFoundError: errno.ENOENT,
    VersionDeletedError: errno.ESTALE,
    ExistsError: errno.EEXIST,
    NotEmptyError: errno.ENOTEMPTY,
    BusyError: errno.EBUSY,
    PermissionDeniedError: errno.EACCES,
    ReadOnlyError: errno.EROFS,
    IntegrityError: errno.EIO,
    UnreachableError: errno.EIO,
    NoSpaceError: errno.ENOSPC,
    NotSupportedError: errno.EOPNOTSUPP,
    SchemaError: errno.EIO,
    ArtifactStatusError: errno.EINVAL,
    ArtfsError: errno.EIO,
}

_CALLERS = {errno.EINVAL, errno.EBUSY, errno.EACCES}
_QUIET = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EOPNOTSUPP, errno.EROFS, errno.EISDIR, errno.ENOTDIR}


def errno_of(error: ArtfsError) -> int:
    """Return the errno of an error: that of its class, or of the nearest base that has one."""
    return next(ERRNOS[base] for base in type(error).__mro__ if base in ERRNOS)


class Handlers(Protocol):
    """What has handlers: ``reported`` are the messages of failures that were logged, so that each cause is logged once."""

    reported: LRUCache[str, bool]


H = TypeVar("H", bound=Handlers)


def boundary(
    handler: Callable[Concatenate[H, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[H, P], Coroutine[Any, Any, T]]:
    """Make a handler raise `FUSEError` only. What a user has to act upon is logged, what is unexpected with its traceback."""

    @functools.wraps(handler)
    async def guarded(self: H, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except ArtfsError as error:
            number = errno_of(error)
            log.log(_level(number, error, self.reported), "%s: %s", handler.__name__, error)
            raise pyfuse3.FUSEError(number) from error
        except OSError as error:
            raise pyfuse3.FUSEError(_safe(error.errno)) from error
        except Exception as error:
            log.exception("unexpected error in %s%r", handler.__name__, args[:3])
            raise pyfuse3.FUSEError(errno.EIO) from error

    return guarded


def _level(number: int, error: ArtfsError, reported: LRUCache[str, bool]) -> int:
    """Return how loud a failure is: a program may ask for the same thing a thousand times."""
    if number in _QUIET or error.message in reported:
        return logging.DEBUG
    if number in _CALLERS:
        return logging.INFO
    reported[error.message] = True
    return logging.WARNING


def _safe(number: int | None) -> int:
    return errno.EIO if number is None or number == errno.ENOSYS else number
