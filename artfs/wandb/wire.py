"""How requests is set up: connections for 64 threads, no credentials of its own, no cookies, no redirects, nothing secret in its log.

Imported when the first request is made, as requests is.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from artfs.errors import ArtfsError, InvalidInputError, UnreachableError
from artfs.model.reasons import causes_of, reason_of
from artfs.version import __version__
from artfs.wandb.retry import NoReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 64
SEND_TIMEOUT = 30.0  # seconds in which a block has to be taken
BLOCK = 1 << 16  # bytes that are sent at once


class Session(requests.Session):
    """A session of requests. Proxies and certificates are taken from the environment, credentials are not."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["User-Agent"] = f"artfs/{__version__}"
        self.auth = _NoAuth()  # with none at all, requests would take one from netrc
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS))
        for name in ("urllib3.connectionpool", "urllib3.util.retry", "urllib3.connection"):
            logging.getLogger(name).addFilter(_without_queries)

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:  # type: ignore[override]  # noqa: ANN401
        """Follow none: requests would read the whole body first, and look for credentials for the next host."""
        return iter(())


class _NoAuth(AuthBase):
    def __call__(self, request: Any) -> Any:  # noqa: ANN401 - a PreparedRequest
        return request


def _without_queries(record: logging.LogRecord) -> bool:
    """Take the queries off URLs in what urllib3 logs: they are signatures. One function, so that it is added once."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            arg.partition("?")[0] + "?..." if isinstance(arg, str) and "?" in arg else arg for arg in record.args
        )
    return True


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(SEND_TIMEOUT)  # else the time to connect is the time to send, too


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(SEND_TIMEOUT)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401
        super().init_poolmanager(*arguments, **settings, blocksize=BLOCK)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401
        manager = super().proxy_manager_for(*arguments, **settings, blocksize=BLOCK)
        manager.pool_classes_by_scheme = _POOLS
        return manager


@contextlib.contextmanager
def converted(name: str) -> Iterator[None]:
    """Turn the errors of requests and urllib3 into those of artfs. They have URLs in their texts, so they are not kept as causes."""
    try:
        yield
    except ArtfsError:
        raise
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise InvalidInputError(f"{name}: no URL that can be asked") from None
    except (requests.exceptions.InvalidHeader, UnicodeError):
        raise InvalidInputError(f"{name}: a header or a URL with characters that cannot be sent") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        causes = causes_of(error)
        message = f"{name}: cannot be reached: {reason_of(causes)}"
        for_good = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)
        raise (UnreachableError if for_good else NoReplyError)(message) from None
    except ValueError:  # of urllib.parse, which requests lets pass
        raise InvalidInputError(f"{name}: no URL that can be asked") from None
