"""Texts without secrets: what leaves a process in a log, an error or the control socket.

Known by their form are user and password, query and fragment of URLs, signatures, tokens and the values of ``Authorization`` headers; known
by their value are those that a caller has collected.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from artfs.model.reference import redact, uri_scheme

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HIDDEN = "***"

_URL = re.compile(r"[a-z][a-z0-9+.\-]*://[^\s'\"<>|]+", re.IGNORECASE)
_AFTER = ".,:;)]}"  # what may follow a URL in a sentence
_PLAIN = {"s3", "gs", "file", "sqlite", "wandb-artifact"}  # ? and # are part of their names
_HEADER = re.compile(
    r"(\b(?:proxy-)?authorization\b['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]+"
    r"|(\b(?:basic|bearer) )[a-z0-9+/=._~\-]{12,}",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"\b((?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|password|passwd|secret|api_?key|access_?token)=)[^\s&'\",;)]+",
    re.IGNORECASE,
)
_SECRET_NAMES = re.compile(r"SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|TOKEN$", re.IGNORECASE)
_SECRET_KEYS = re.compile(
    r"pass|secret|token|key|sig", re.IGNORECASE
)  # of a query; that a path is dropped, too, does no harm
_SHORTEST = 8  # characters of a value that is looked for: a shorter one may be a word


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without what looks like a secret, and without these secrets."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _URL.sub(_redact_url, text)
    if "=" in text:
        text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    return _HEADER.sub(lambda match: (match[1] or match[2]) + HIDDEN, text)


def secrets_of(environment: Mapping[str, str], urls: Iterable[str] = ()) -> frozenset[str]:
    """Return the values that variables with telling names have, and the passwords of URLs, as they are written and as they are meant."""
    found = {value for name, value in environment.items() if _SECRET_NAMES.search(name)}
    for url in urls:
        try:
            password = urlsplit(url).password or ""
        except ValueError:
            continue
        found |= {password, unquote(password)}
    return frozenset(value for value in found if len(value) >= _SHORTEST)


def without_password(url: str) -> str:
    """Return a URL of a registry or store as it may be kept: it names the same place for the same user, without what lets them in."""
    if uri_scheme(url) in _PLAIN or uri_scheme(url) is None:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # no valid host: nobody can tell where a password ends
        return redact(url)
    user, at, host = parts.netloc.rpartition("@")
    query = "&".join(part for part in parts.query.split("&") if not _SECRET_KEYS.search(part.partition("=")[0]))
    return f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}{'?' if query else ''}{query}"


def _redact_url(match: re.Match[str]) -> str:
    whole = match[0]
    url = whole.rstrip(_AFTER)
    authority = url.split("://", 1)[1].split("/", 1)[0]
    hide = "@" in authority if uri_scheme(url) in _PLAIN else any(mark in url for mark in "@?#")
    return redact(url) + whole[len(url) :] if hide else whole
