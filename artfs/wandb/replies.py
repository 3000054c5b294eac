"""What the replies of a W&B server mean: the data of an answer, or the error of artfs that a refusal is.

Which it is, is told by the code of the error where there is one, by its words, and by the HTTP status, in this order. What a server says is
shown in one line, bounded, without control characters, signatures and credentials.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from artfs.errors import (
    ArtfsError,
    ConflictError,
    CredentialsError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.wandb.retry import TryAgainError, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FINAL = {400, 401, 403, 404, 409, 410, 413, 422, 501}
"""Statuses that are not asked again."""

MOST_TEXT = 300  # characters of what a server says

_MOST_ERRORS = 3
_QUERY = re.compile(r"\?[^\s\"'<>]+")
_DIGITS = re.compile(r"\d{3}", re.ASCII)

_WORDS: list[tuple[type[ArtfsError], re.Pattern[str]]] = [
    (cls, re.compile(words, re.IGNORECASE))
    for cls, words in [
        (NotSupportedError, r"cannot query field|unknown (argument|type|field)|is not defined by type|not (supported|implemented)"),
        (
            PermissionDeniedError,
            r"permission|not (authori[sz]ed|allowed|permitted)|unauthori[sz]ed|forbidden|access denied|unauthenticated",
        ),
        (NotFoundError, r"not found|(could not|couldn't|cannot|can't|unable to) find|(does not|doesn't) exist|no such|has been deleted"),
        (ExistsError, r"already exists|duplicate"),
        (ConflictError, r"conflict|already (in use|being|taken)|has changed|concurrent"),
        (UnreachableError, r"rate limit|too many requests|try again|timed? ?out|unavailable|deadline exceeded|internal (server )?error"),
        (InvalidInputError, r"invalid|malformed|must (be|not|have)|cannot be|is required|too (long|large|many)|expected (type|value)"),
    ]
]  # fmt: skip
_CODES: dict[str, type[ArtfsError]] = {
    "PERMISSION": PermissionDeniedError,
    "FORBIDDEN": PermissionDeniedError,
    "UNAUTH": PermissionDeniedError,
    "NOT_FOUND": NotFoundError,
    "EXISTS": ExistsError,
    "CONFLICT": ConflictError,
    "BAD_USER_INPUT": InvalidInputError,
    "INVALID": InvalidInputError,
}
_STATUSES: dict[int, type[ArtfsError]] = {
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    413: InvalidInputError,
    422: InvalidInputError,
    501: NotSupportedError,
}


class RefusedError(ArtfsError):
    """A server refused something, for a reason that is none of those which artfs knows."""


class NotAcceptedError(CredentialsError):
    """A server does not accept the credentials (status 401). Raised within this package, where they are read again."""


def data_of(
    status: int, headers: Mapping[str, str], content: bytes, name: str, hide: Callable[[str], str]
) -> dict[str, Any]:
    """Return the data of a GraphQL reply. ``hide`` takes credentials out of a text. The errors are those of `artfs.errors`."""
    body = _json_object(content)
    errors = errors_of(body)
    text = said(errors, hide)
    if status == 401:
        raise NotAcceptedError(f"{name}: the server does not accept the credentials{text and f': {text}'}")
    if status >= 400 and status not in FINAL:
        what = text or f"status {status}"
        raise TryAgainError(f"{name}: the server cannot answer: {what}", retry_after=retry_after(headers))
    if body is None or not (errors or "data" in body):
        if status in {403, 409, 410, 413, 422}:
            raise _STATUSES[status](f"{name}: refused with status {status}")
        raise _no_server(status, headers, name, hide)
    if errors or status >= 400:
        raise _meaning(status, errors)(f"{name}: {text or f'refused with status {status}'}")
    data = body.get("data")
    if not isinstance(data, dict):
        raise UnreachableError(f"{name}: the reply has no data")
    return data


def _no_server(status: int, headers: Mapping[str, str], name: str, hide: Callable[[str], str]) -> ArtfsError:
    kind = one_line(headers.get("Content-Type", "") or "nothing", hide)[:60]
    return UnreachableError(
        f"{name}: what answers there is no W&B server: status {status}, {kind}",
        hint="check the address of the server",
    )


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def errors_of(body: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return message and code of each error in a reply, in any of the forms that W&B servers use."""
    found = (body or {}).get("errors") or (body or {}).get("error") or []
    errors = []
    for error in found if isinstance(found, list) else [found]:
        match error:
            case str():
                errors.append((error, ""))
            case {"message": str(message), **rest}:
                extensions = rest.get("extensions")
                code = extensions.get("code") if isinstance(extensions, dict) else None
                errors.append((message, str(code or "").upper()))
            case _:
                errors.append(("an error without a message", ""))
    return errors


def said(errors: list[tuple[str, str]], hide: Callable[[str], str]) -> str:
    """Return what a server says, for people."""
    more = f" (and {len(errors) - _MOST_ERRORS} more)" if len(errors) > _MOST_ERRORS else ""
    return "; ".join(one_line(message, hide) for message, _ in errors[:_MOST_ERRORS]) + more


def one_line(text: str, hide: Callable[[str], str]) -> str:
    """Return a foreign text for a message: one line, bounded, without control characters, signatures and credentials."""
    text = _QUERY.sub("?...", hide(text[: MOST_TEXT * 20]))
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 3] + "..."


def _meaning(status: int, errors: list[tuple[str, str]]) -> type[ArtfsError]:
    for message, code in errors:
        if _DIGITS.fullmatch(code) and int(code) in _STATUSES:
            return _STATUSES[int(code)]
        for part, cls in _CODES.items():
            if part in code:
                return cls
        if status == 403:
            break
        for cls, words in _WORDS:
            if words.search(message):
                return cls
    return _STATUSES.get(status, RefusedError)
