"""The address of a W&B server, as a setting gives it, and which URLs are of that server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from artfs.errors import InvalidInputError
from artfs.model.reference import redact

DEFAULT = "https://api.wandb.ai"

_PORTS = {"http": 80, "https": 443}
_SITES = {"wandb.ai", "www.wandb.ai", "app.wandb.ai"}  # pages for people: the API is elsewhere


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """An address without a slash at its end. Made by `parse_base_url`."""

    text: str
    netloc: str  # host, and port if it was given: how netrc names it

    def __str__(self) -> str:
        return self.text

    def owns(self, url: str) -> bool:
        """Whether a URL is of this server: of the same scheme, host and port."""
        return origin(url) == origin(self.text)


def parse_base_url(text: str, *, allow_plain: bool = False) -> BaseUrl:
    """Return the address of a server; InvalidInputError.

    Credentials go there, so that ``http`` is for this machine only, unless ``allow_plain``.
    """
    shown = shown_url(text)
    parts = _split(text)
    if parts is None or not text.isprintable() or " " in text or "\\" in text:
        raise InvalidInputError(f"{shown!r} is not the URL of a W&B server", hint=f"it looks like {DEFAULT}")
    if "@" in parts.netloc:
        raise InvalidInputError(f"{shown!r} has a user or a password in it", hint="set WANDB_API_KEY, or use netrc")
    if parts.query or parts.fragment:
        raise InvalidInputError(f"{shown!r} has more than host and path")
    host = parts.hostname or ""
    if host in _SITES:
        raise InvalidInputError(f"{shown!r} has the pages for people, and not the API", hint=f"use {DEFAULT}")
    if parts.scheme == "http" and not allow_plain and not is_loopback(host):
        raise InvalidInputError(f"{shown!r} would carry the API key where others can read it", hint="use https")
    netloc = parts.netloc.lower()
    return BaseUrl(f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}", netloc)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of a URL; None if it is not one of HTTP."""
    parts = _split(url)
    if parts is None:
        return None
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]


def shown_url(url: str) -> str:
    """Return a URL for messages, without what may be a password or a signature."""
    text = redact(url).partition("?")[0]
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        ok = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if ok else None
