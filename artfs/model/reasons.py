"""Why something could not be reached, in words that have no URL in them: libraries put URLs, which may be signed, into their messages."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DEPTH = 16  # causes of an error that are looked at


def causes_of(error: BaseException) -> list[BaseException]:
    """Return an error and what it was raised for, the error itself first."""
    return list(_causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_DEPTH):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def reason_of(causes: Sequence[BaseException]) -> str:
    """Return why, from the first of the causes that says it."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__:  # urllib3 has a class of its own
            return "it did not answer in time"
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror
    return type(causes[0]).__name__
