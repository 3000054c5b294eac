"""Read and describe objects of S3 and GCS through obstore, outside of the interpreter lock.

Failures become errors of artfs here; nothing is retried. obstore cannot name every key (`usable`): others are left to the library
of the service. Its threads do not survive a fork: a child of a process that has used it, such as a worker of a DataLoader, would wait
for them for ever, so there the library of the service does everything (`usable`).
"""

from __future__ import annotations

import contextlib
import os
import re
import weakref
from typing import TYPE_CHECKING, Any

from artfs.errors import ArtfsError, NotFoundError, PermissionDeniedError, UnreachableError
from artfs.storage.bucket_uris import shown
from artfs.storage.port import ObjectInfo
from artfs.storage.replies import NULL_VERSION, Head, PastEndError, changed, check_head, check_length, unquote_etag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.storage.port import Buffer, Locator

CONNECT_TIMEOUT = "5s"
READ_TIMEOUT = "20s"
"""For how long a reply may stall. A request as a whole may take `REQUEST_TIMEOUT`."""

REQUEST_TIMEOUT = "120s"

BUSY_PAUSE = 1.0
"""Seconds for which a service that says that it is asked too much (429, 503) is left alone. obstore does not give its Retry-After."""

TOKEN_CODES = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
"""Codes of refusals that S3 gives the status 400."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_PROVIDER = re.compile(
    r"credential provider: (\w+)"
)  # the class of what went wrong in it; its text is not for messages
_KIND = re.compile(r"^ +kind: (\w+),$", re.MULTILINE)
_REASONS = {
    "Connect": "it cannot be connected to",
    "Interrupted": "the connection broke off",
    "Timeout": "it did not answer in time",
}
_UNNAMEABLE = re.compile(r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]")


class _Threads:
    """Whether the threads of obstore run in this process, and who has stores of it."""

    started = lost = False

    def __init__(self) -> None:
        self.sessions: weakref.WeakSet[object] = weakref.WeakSet()
        self._kept: list[object] = []

    def forked(self) -> None:
        """Note that this is a child: threads stay behind in the parent. To let go of a store would wait for them."""
        self.lost = self.lost or self.started
        self._kept.extend(self.sessions)


_threads = _Threads()
os.register_at_fork(after_in_child=_threads.forked)


def has_stores(session: object) -> None:
    """Note that an object holds stores of obstore."""
    _threads.sessions.add(session)


def usable(key: str) -> bool:
    """Whether obstore can read a key, in this process.

    It drops slashes at the ends of keys, and refuses empty parts, dots and control characters.
    """
    return not _threads.lost and not _UNNAMEABLE.search(key)


def client_options(user_agent: str, *, allow_http: bool, authorities: bytes | None = None) -> dict[str, Any]:
    """Return the options of obstore's HTTP client. ``authorities``: certificates (PEM) to trust besides those of the system."""
    options = {
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": READ_TIMEOUT,
        "timeout": REQUEST_TIMEOUT,
        "pool_idle_timeout": "30s",
        "user_agent": user_agent,
        "allow_http": allow_http,
    }
    return options if authorities is None else {**options, "root_certificate": authorities}


def read_span(store: Any, key: str, locator: Locator, start: int, end: int) -> Buffer:  # noqa: ANN401 - an obstore store
    """Return the bytes ``start`` to ``end`` (at least one) of an object, fewer only at its end.

    The errors are those of the port; PastEndError if the service says that the object ends before and its size is not recorded.
    """
    import obstore

    _threads.started = True
    options: dict[str, Any] = {"range": (start, end)}
    if locator.etag is not None:
        options["if_match"] = f'"{locator.etag}"'
    if locator.version is not None:
        options["version"] = locator.version
    with _converted(locator):
        result = obstore.get(store, key, options=options)  # type: ignore[arg-type]
        head = Head(*result.range, int(result.meta["size"]), *_names(result.meta))
        check_head(locator, start, end, head)
        return check_length(locator, head, memoryview(result.bytes()))


def describe_object(store: Any, key: str, locator: Locator) -> ObjectInfo:  # noqa: ANN401
    """Return what the service says of an object, or of the version that the locator names; the errors are those of the port."""
    import obstore

    _threads.started = True
    options: dict[str, Any] = {"head": True}
    if locator.version is not None:
        options["version"] = locator.version
    with _converted(locator):
        result = obstore.get(store, key, options=options)  # type: ignore[arg-type]
        meta, kind = result.meta, str(result.attributes.get("Content-Type", ""))
    etag, version = _names(meta)
    if locator.version is not None and (version or NULL_VERSION) != locator.version:
        raise _gone(locator)
    return ObjectInfo(locator.uri, int(meta["size"]), etag, version, meta["e_tag"], kind)


def _names(meta: Any) -> tuple[str | None, str | None]:  # noqa: ANN401 - ObjectMeta
    """Return ETag and version of an object."""
    etag, version = meta["e_tag"], meta["version"]
    return None if etag is None else unquote_etag(etag), None if version == NULL_VERSION else version


@contextlib.contextmanager
def _converted(locator: Locator) -> Iterator[None]:
    """Turn the errors of obstore into those of artfs."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError as error:
        raise _gone(locator) from error
    except exceptions.PreconditionError as error:
        raise changed(locator) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise _refused(locator, str(error)) from error
    except exceptions.BaseError as error:
        raise _error_of(locator, str(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        # A bug of a library in Rust, such as a token that makes no header; it must not end the program as other BaseExceptions do.
        raise UnreachableError(f"{shown(locator.uri)} cannot be reached: obstore has failed") from error


def _gone(locator: Locator) -> NotFoundError:
    version = f" in version {locator.version}" if locator.version else ""
    return NotFoundError(f"{shown(locator.uri)} does not exist{version}")


def _refused(locator: Locator, text: str) -> PermissionDeniedError:
    """Return the error of a refusal with its code, which says what is wrong with the credentials, and nothing else of the reply."""
    found = _CODE.search(text) or _PROVIDER.search(text)
    return PermissionDeniedError(
        f"access to {shown(locator.uri)} was refused{f': {found[1]}' if found else ''}", hint="check the credentials"
    )


def _error_of(locator: Locator, text: str) -> ArtfsError | PastEndError:
    pause = None
    status, code, kind = _STATUS.search(text), _CODE.search(text), _KIND.search(text)
    match int(status[1]) if status else 0:
        case 400 if "performing HEAD" in text or (code and code[1] in TOKEN_CODES):  # to HEAD there is no code
            return _refused(locator, text)
        case 400 | 405 if locator.version is not None:  # not the id of a version, or the id of a delete marker
            return _gone(locator)
        case 416 if locator.size is None:
            return PastEndError()
        case 416:
            return changed(locator, "it is shorter")
        case 0:
            first = text.partition("\n")[0].rpartition(" - ")[2]
            reason = _REASONS.get(kind[1] if kind else "", first.partition(": ")[2] or "there was no answer")
        case number:
            reason = f"status {number}{f', {code[1]}' if code else ''}"
            pause = BUSY_PAUSE if number in {429, 503} else None
    return UnreachableError(f"{shown(locator.uri)} cannot be reached: {reason}", retry_after=pause)
