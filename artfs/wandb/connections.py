"""One request and its reply, without a second try. The library that makes it is imported with the first."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from artfs.errors import InvalidInputError, UnreachableError
from artfs.wandb.base_url import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0  # seconds that a reply may stall
_PIECE = 1 << 18


class Connections:
    """Connections, kept for the next request. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None

    @contextlib.contextmanager
    def send(
        self,
        name: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any = None,  # noqa: ANN401 - bytes, or an object with read() and a length
        timeout: float = READ_TIMEOUT,
    ) -> Iterator[Any]:
        """Give a reply (a requests.Response) whose body is not read yet. Its connection is kept if all of it is read.

        TryAgainError, UnreachableError, InvalidInputError, which call the request by ``name``.
        """
        session = self._open()
        from artfs.wandb.wire import converted

        with converted(name):
            here = is_loopback(urlsplit(url).hostname or "")
            answer = session.request(
                method,
                url,
                headers=headers,
                data=body,
                stream=True,
                allow_redirects=False,
                timeout=(min(CONNECT_TIMEOUT, timeout), min(READ_TIMEOUT, timeout)),
                proxies=dict.fromkeys(("http", "https", "all"), None) if here else None,
            )
        with contextlib.closing(answer), converted(name):
            yield answer

    def _open(self) -> Any:  # noqa: ANN401 - a requests.Session
        with self._lock:
            if self._session is None:
                try:
                    from artfs.wandb.wire import Session
                except ImportError as error:
                    if (error.name or "").partition(".")[0] not in {"requests", "urllib3"}:
                        raise
                    raise InvalidInputError(
                        "the Python package requests is not installed", hint="pip install 'artfs[http]'"
                    ) from error
                self._session = Session()
            return self._session

    def close(self) -> None:
        """Give the connections back. They are opened again if they are needed again."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()


def read_whole(answer: Any, name: str, most: int, is_late: Callable[[], bool]) -> bytes:  # noqa: ANN401
    """Return the body of a reply, unpacked; UnreachableError if it is larger than ``most``, TryAgainError if it is late."""
    from artfs.wandb.retry import TryAgainError

    pieces, size = [], 0
    while piece := answer.raw.read1(_PIECE, decode_content=True):
        size += len(piece)
        if size > most:
            raise UnreachableError(f"{name}: the reply is larger than {most >> 20} MiB")
        if is_late():
            raise TryAgainError(f"{name}: the reply comes too slowly")
        pieces.append(piece)
    return b"".join(pieces)
