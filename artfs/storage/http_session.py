"""How HTTP requests are made: which addresses they may reach, and who gets which credentials.

A manifest makes this machine ask for what its writer chose. So a connection that ends at a forbidden address (`artfs.storage.addresses`) is
closed before anything is sent on it, also after each redirect; the password of a host in netrc goes to that host only (the
``default`` entry would go to everybody); and what a request carries for its own host is not taken along to another.

Imported when the first request is made, as requests is.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from artfs.storage.addresses import is_forbidden
from artfs.version import __version__

_CONNECTIONS = 64
_MAX_REDIRECTS = 10
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_FOR_ANYBODY = {
    "accept", "accept-encoding", "connection", "cookie", "if-match", "proxy-authorization", "range", "user-agent",
}  # fmt: skip # headers that go along to another host; cookies and those for a proxy are chosen for it by requests
_SIGNATURE = re.compile(r"(?:^|&)(?:x-amz-signature|x-goog-signature|signature|sig)=", re.IGNORECASE)


class ForbiddenAddressError(OSError):
    """A request or a connection that would end where references must not lead."""


class Session(requests.Session):
    """A session of requests under these rules. ``allow_metadata`` lets forbidden addresses be read."""

    def __init__(self, *, allow_metadata: bool) -> None:
        super().__init__()
        self.headers["User-Agent"] = f"artfs/{__version__}"
        self.max_redirects = _MAX_REDIRECTS
        self.auth = _HostAuth()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _AnyAdapter() if allow_metadata else _CheckedAdapter())
        self._settings: dict[tuple[object, ...], dict[str, Any]] = {}

    def merge_environment_settings(
        self,
        url: Any,  # noqa: ANN401 - as in requests
        proxies: Any,  # noqa: ANN401
        stream: Any,  # noqa: ANN401
        verify: Any,  # noqa: ANN401
        cert: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return what the environment says of a host, which is found out once: it takes a quarter of the time of a request."""
        if proxies or verify is not None or cert is not None:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc, bool(stream), *map(os.environ.get, _CERTIFICATES))
        found = self._settings.get(key)
        if found is None:
            found = super().merge_environment_settings(url, {}, stream, None, None)
            if len(self._settings) < _CONNECTIONS:
                self._settings[key] = found
        return {**found, "proxies": dict(found["proxies"])}

    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:  # noqa: ANN401
        """Take off what was meant for the host that redirects, and put on what netrc has for the next one."""
        if self.should_strip_auth(response.request.url, prepared_request.url):
            for name in [name for name in prepared_request.headers if name.lower() not in _FOR_ANYBODY]:
                del prepared_request.headers[name]
        _HostAuth()(prepared_request)


class _HostAuth(AuthBase):
    """The credentials of the URL itself, else those of its host in netrc, unless the request has some, or is signed."""

    def __call__(self, request: Any) -> Any:  # noqa: ANN401 - a PreparedRequest
        parts = urlsplit(request.url)
        found = get_auth_from_url(request.url)
        if not any(found) and "Authorization" not in request.headers and not _SIGNATURE.search(parts.query):
            found = _from_netrc(parts.hostname or "")
        return HTTPBasicAuth(*found)(request) if any(found) else request


def _from_netrc(host: str) -> tuple[str, str]:
    """Return login and password of a host, empty if there are none."""
    named = os.environ.get("NETRC")
    for path in [named] if named else ["~/.netrc", "~/_netrc"]:
        # RuntimeError: nobody's home directory. UnicodeError: no text.
        with contextlib.suppress(OSError, netrc.NetrcParseError, RuntimeError, UnicodeError):
            login, account, password = netrc.netrc(Path(path).expanduser()).hosts.get(host, ("", "", ""))
            return login or account or "", password or ""
    return "", ""


class _AnyAdapter(HTTPAdapter):
    def __init__(self) -> None:
        super().__init__(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS)


class _CheckedAdapter(_AnyAdapter):
    """An adapter that asks no forbidden host, whether it connects to it or lets a proxy do so."""

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401
        super().init_poolmanager(*arguments, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def send(self, request: Any, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401
        _check(urlsplit(request.url).hostname or "")
        return super().send(request, *arguments, **settings)


class _PlainConnection(HTTPConnection):
    def _new_conn(self) -> Any:  # noqa: ANN401 - a socket
        return _checked(super()._new_conn())


class _SecureConnection(HTTPSConnection):
    def _new_conn(self) -> Any:  # noqa: ANN401
        return _checked(super()._new_conn())


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _checked(connection: Any) -> Any:  # noqa: ANN401 - a connected socket
    try:
        _check(str(connection.getpeername()[0]))
    except BaseException:
        connection.close()
        raise
    return connection


def _check(host: str) -> None:
    if is_forbidden(host):
        raise ForbiddenAddressError(f"{host} is a link-local or metadata address")
