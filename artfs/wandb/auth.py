"""Who artfs is for a W&B server: the credentials of a session, read when they are first needed and re-read when they are refused.

They are in the memory of this process and in the ``Authorization`` header of requests to the server, and nowhere else: not in a repr, a
log or an error. Thread-safe: however many requests are refused, the credentials are read again once.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artfs.errors import ArtfsError
from artfs.wandb.retry import Patience
from artfs.wandb.sources import ApiKey, IdentityToken, find_source
from artfs.wandb.tokens import AccessToken, AccessTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artfs.wandb.base_url import BaseUrl
    from artfs.wandb.connections import Connections

PAUSE = 10.0  # seconds between two renewals, and after an exchange that failed: other threads wait for the same


@dataclass(frozen=True, slots=True)
class Authorization:
    """The value of the header, and which reading of the credentials it is from."""

    value: str = field(repr=False)
    generation: int


class Credentials:
    """The credentials for one server. ``environ`` is `os.environ`, ``clock``, ``now`` and ``sleep`` are those of `time`, or of a test."""

    def __init__(
        self,
        base: BaseUrl,
        connections: Connections,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = base
        self._connections = connections
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._now = now
        self._patience = Patience(clock, sleep)
        self._lock = threading.Lock()
        self._source: ApiKey | IdentityToken | None = None
        self._place = ""
        self._token: AccessToken | None = None
        self._generation = 0
        self._renewed_at: float | None = None
        self._failure: tuple[float, ArtfsError] | None = None
        self._secrets: set[str] = set()

    def __repr__(self) -> str:
        return f"<Credentials for {self._base} of {self.source or 'nowhere yet'}>"

    @property
    def source(self) -> str:
        """Where they were found; empty if they were not needed yet."""
        return self._place

    def authorization(self, until: float) -> Authorization:
        """Return the header for a request. ``until`` is the time (of ``clock``) at which an exchange of tokens gives up.

        CredentialsError if there are none, or if they are of no use, UnreachableError if there is no token to be had.
        """
        with self._lock:
            if self._source is None or (self._token is not None and not self._token.is_good(self._now())):
                self._read(until)
            return Authorization(self._value(), self._generation)

    def renew(self, refused: Authorization, until: float) -> bool:
        """Read everything again, once for each refused reading; return whether there is something else to try now."""
        with self._lock:
            if refused.generation != self._generation:
                return True
            if self._renewed_at is not None and self._clock() - self._renewed_at < PAUSE:
                return False
            self._renewed_at = self._clock()
            self._read(until, self._token)
            return self._value() != refused.value

    def forget(self) -> None:
        """Read everything again when it is needed next. What was read stays hidden."""
        with self._lock:
            self._source = self._token = self._failure = self._renewed_at = None

    def hide(self, text: str) -> str:
        """Return a text without the credentials, if a server has put them into it."""
        for secret in list(self._secrets):
            text = text.replace(secret, "***")
        return text

    def _read(self, until: float, refused: AccessToken | None = None) -> None:
        """Read the source, and get a token if it takes one. Called with the lock held."""
        if self._failure is not None and self._clock() < self._failure[0]:
            error = self._failure[1]
            raise type(error)(error.message, hint=error.hint)
        before = self._value() if self._source is not None else ""
        source, token = find_source(self._base, self._environ), None
        self._place = source.source
        if isinstance(source, IdentityToken):
            identity = source.read()
            self._secrets.add(identity)
            tokens = AccessTokens(self._base, source.credentials_file, self._connections, self._patience, self._now)
            try:
                token = tokens.get(identity, until, refused.text if refused else None)
            except ArtfsError as error:
                self._failure = (self._clock() + PAUSE, error)
                raise
            self._secrets.add(token.text)
        else:
            self._secrets |= {source.secret, _basic(source.secret)}
        self._source, self._token, self._failure = source, token, None
        if self._value() != before:
            self._generation += 1

    def _value(self) -> str:
        if isinstance(self._source, ApiKey):
            return f"Basic {_basic(self._source.secret)}"
        return f"Bearer {self._token.text}" if self._token else ""


def _basic(key: str) -> str:
    return base64.b64encode(f"api:{key}".encode()).decode()
