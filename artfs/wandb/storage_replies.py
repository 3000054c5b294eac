"""What a place where files are kept (S3, GCS, Azure, or the server itself) means by a refusal. Of its text only the code is shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from artfs.errors import (
    ArtfsError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.wandb.replies import NotAcceptedError, RefusedError
from artfs.wandb.retry import TryAgainError, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODE = re.compile(rb"<Code>([A-Za-z.]{1,60})</Code>")
_MOST_TEXT = 1 << 14

_OF_CODES: dict[str, type[ArtfsError]] = {
    "ExpiredToken": PermissionDeniedError,
    "InvalidToken": PermissionDeniedError,
    "TokenRefreshRequired": PermissionDeniedError,
    "AuthenticationFailed": PermissionDeniedError,
    "BadDigest": IntegrityError,
    "InvalidDigest": IntegrityError,
    "Md5Mismatch": IntegrityError,
    "XAmzContentChecksumMismatch": IntegrityError,
    "NoSuchUpload": NotFoundError,
    "EntityTooLarge": InvalidInputError,
    "RequestTimeout": TryAgainError,
    "IncompleteBody": TryAgainError,
    "SlowDown": TryAgainError,
}
_OF_STATUSES: dict[int, type[ArtfsError]] = {
    401: PermissionDeniedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    407: PermissionDeniedError,
    408: TryAgainError,
    409: ConflictError,
    410: NotFoundError,
    412: ConflictError,
    413: InvalidInputError,
    429: TryAgainError,
    501: RefusedError,
}


def refusal(answer: Any, name: str, *, authorised: bool = False) -> ArtfsError:  # noqa: ANN401 - a requests.Response
    """Return the error that a reply is. TryAgainError for 429, for 5xx but 501, and for what broke on the way."""
    status, headers = answer.status_code, answer.headers
    found = _CODE.search(_start(answer))
    code = found[1].decode() if found else ""
    text = f"{name}: refused with status {status}{code and f', {code}'}"
    if status == 401 and authorised:
        return NotAcceptedError(text)
    if 300 <= status < 400:
        return UnreachableError(f"{name}: it redirects, which is not followed here (status {status})")
    cls = _OF_CODES.get(code) or _OF_STATUSES.get(status) or (TryAgainError if status >= 500 else RefusedError)
    if cls is TryAgainError:
        return TryAgainError(text, retry_after=retry_after(headers))
    return cls(text)


def _start(answer: Any) -> bytes:  # noqa: ANN401
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < _MOST_TEXT and (piece := answer.raw.read1(_MOST_TEXT, decode_content=True)):
        pieces.append(piece)
    return b"".join(pieces)


def number(headers: Mapping[str, str], name: str) -> int | None:
    """Return a header that is a whole number."""
    text = headers.get(name, "")
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None
