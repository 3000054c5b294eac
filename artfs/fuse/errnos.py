"""The one table from errors to errno, and the boundary that no exception but `FUSEError` may cross.

Any other exception that leaves a handler ends the session and the mount with it. ENOSYS is never in the table: the kernel
remembers it for the life of the mount.
"""

from __future__ import annotations

import errno
import functools
import logging
import time
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
    OfflineError,
    PermissionDeniedError,
    ReadOnlyError,
    SchemaError,
    UnreachableError,
    VersionDeletedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from artfs.fuse.measures import Measures

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

_clock = time.perf_counter_ns

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
    OfflineError: errno.ENETUNREACH,
    NoSpaceError: errno.ENOSPC,
    NotSupportedError: errno.EOPNOTSUPP,
    SchemaError: errno.EIO,
    ArtifactStatusError: errno.EINVAL,
    ArtfsError: errno.EIO,
}

_CALLERS = {errno.EINVAL, errno.EBUSY, errno.EACCES, errno.ENETUNREACH}
_QUIET = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EOPNOTSUPP, errno.EROFS, errno.EISDIR, errno.ENOTDIR}


def errno_of(error: ArtfsError) -> int:
    """Return the errno of an error: that of its class, or of the nearest base that has one."""
    return next(ERRNOS[base] for base in type(error).__mro__ if base in ERRNOS)


class Handlers(Protocol):
    """What has handlers, and measures what they are asked."""

    measures: Measures


H = TypeVar("H", bound=Handlers)


def boundary(
    handler: Callable[Concatenate[H, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[H, P], Coroutine[Any, Any, T]]:
    """Make a handler raise `FUSEError` only, and measure it.

    What a user has to act upon is logged, what is unexpected with its traceback. A program may ask for the same thing a thousand
    times: that the log says it once is the business of the log (`artfs.app.logs`).
    """
    name = handler.__name__

    @functools.wraps(handler)
    async def guarded(self: H, /, *args: P.args, **kwargs: P.kwargs) -> T:
        measure = self.measures.of(name)
        measure.begun += 1
        began = _clock()
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError as error:
            measure.failed(error.errno)
            raise
        except ArtfsError as error:
            number = errno_of(error)
            measure.failed(number)
            log.log(_level(number), "%s: %s", name, error)
            raise pyfuse3.FUSEError(number) from error
        except OSError as error:
            number = _safe(error.errno)
            measure.failed(number)
            raise pyfuse3.FUSEError(number) from error
        except Exception as error:
            measure.failed(errno.EIO)
            log.exception("unexpected error in %s%r", name, args[:3])
            raise pyfuse3.FUSEError(errno.EIO) from error
        finally:
            measure.timings.add(_clock() - began)

    return guarded


def _level(number: int) -> int:
    """Return how loud a failure is."""
    if number in _QUIET:
        return logging.DEBUG
    return logging.INFO if number in _CALLERS else logging.WARNING


def _safe(number: int | None) -> int:
    return errno.EIO if number is None or number == errno.ENOSYS else number
