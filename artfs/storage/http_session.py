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
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from artfs.storage.addresses import is_forbidden
from artfs.storage.signed import Gets
from artfs.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artfs.storage.signed import Reply

_CONNECTIONS = 64
_MAX_REDIRECTS = 10
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_FOR_ANYBODY = {
    "accept", "accept-encoding", "connection", "cookie", "if-match", "proxy-authorization", "range", "user-agent",
}  # fmt: skip # headers that go along to another host; cookies and those for a proxy are chosen for it by requests
_SIGNATURE = re.compile(r"(?:^|&)(?:x-amz-signature|x-goog-signature|signature|sig)=", re.IGNORECASE)

_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9\-._:\[\]]+/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*", re.ASCII
)
_MOVED = {301, 302, 303, 307, 308}


class ForbiddenAddressError(OSError):
    """A request or a connection that would end where references must not lead."""


class Session(requests.Session):
    """A session of requests under these rules. ``allow_metadata`` lets forbidden addresses be read.

    ``timeout`` is for connecting and for each silence, in seconds, where a request does not say another.
    """

    def __init__(self, *, allow_metadata: bool, timeout: tuple[float, float] = (5.0, 20.0)) -> None:
        super().__init__()
        self.headers["User-Agent"] = f"artfs/{__version__}"
        self.max_redirects = _MAX_REDIRECTS
        self.auth = _HostAuth()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _AnyAdapter() if allow_metadata else _CheckedAdapter())
        self._settings: dict[tuple[object, ...], dict[str, Any]] = {}
        self._direct: dict[tuple[object, ...], Callable[[], Any] | None] = {}
        self._connect_timeout, silence = timeout
        self._gets = Gets(silence)
        self._always = {name: str(value) for name, value in self.headers.items()}

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

    def get_signed(self, url: str, headers: Mapping[str, str], seconds: float) -> Reply | None:
        """Ask for a URL that is signed, with a fraction of the work: nothing is to be added to it, and it is sent as it is written.

        None if this is no such URL, if it goes through a proxy, or if the answer leads elsewhere or is none that `artfs.storage.signed`
        understands: `get` does all of that. OSError, and what urllib3 raises where nobody can be connected to.
        """
        parts = urlsplit(url)
        if not _SIGNATURE.search(parts.query) or not _PLAIN_URL.fullmatch(url) or "@" in parts.netloc:
            return None
        place = (parts.scheme, parts.netloc, *map(os.environ.get, _CERTIFICATES))
        if place not in self._direct and len(self._direct) < _CONNECTIONS:
            self._direct[place] = self._connector(url)
        connect = self._direct.get(place)
        if connect is None:
            return None
        wanted = {"Host": parts.netloc, **self._always, **headers}
        reply = self._gets.get(place, connect, f"{parts.path or '/'}?{parts.query}", wanted, seconds)
        if reply is not None and reply.status_code in _MOVED:
            reply.close()
            return None
        return reply

    def _connector(self, url: str) -> Callable[[], Any] | None:
        """Return what connects to the host of a URL, with the certificates of the environment; None if that is a proxy's business."""
        settings = self.merge_environment_settings(url, {}, True, None, None)
        if select_proxy(url, settings["proxies"]):
            return None
        adapter: Any = self.get_adapter(url)
        adapter.check(url)
        pool = adapter.get_connection_with_tls_context(
            requests.Request("GET", url).prepare(), settings["verify"], cert=settings["cert"]
        )

        def connect() -> Any:  # noqa: ANN401 - a connection of urllib3
            connection = pool._new_conn()  # noqa: SLF001 - made as that of its own requests
            connection.timeout = self._connect_timeout
            connection.connect()
            return connection

        return connect

    def close(self) -> None:
        """Give back connections."""
        self._gets.close()
        super().close()

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

    def check(self, url: str) -> None:
        """Let every host be asked."""


class _CheckedAdapter(_AnyAdapter):
    """An adapter that asks no forbidden host, whether it connects to it or lets a proxy do so."""

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401
        super().init_poolmanager(*arguments, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def check(self, url: str) -> None:
        """Refuse a forbidden host before anybody connects to it."""
        _check(urlsplit(url).hostname or "")

    def send(self, request: Any, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401
        self.check(request.url)
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
