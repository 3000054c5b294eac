"""Access tokens: made of an identity token, and kept in the credentials file of the SDK for all processes of a user.

The file: ``{"credentials": {"<base>": {"expires_at": "2006-01-02 15:04:05", "access_token": ...}}}``, in UTC, 0600. It is replaced as a
whole, and what artfs does not know in it stays. ``<file>.lock`` (flock, as the SDK does it) is held from the look into the file until a new
token is in it, so that of several processes one asks. A file that cannot be written costs a question, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import re
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from artfs.errors import UnreachableError
from artfs.private import make_private
from artfs.wandb.connections import read_whole
from artfs.wandb.replies import FINAL, NotAcceptedError
from artfs.wandb.retry import TryAgainError, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from artfs.wandb.base_url import BaseUrl
    from artfs.wandb.connections import Connections
    from artfs.wandb.retry import Patience

log = logging.getLogger(__name__)

MARGIN = 300.0  # seconds before its end in which a token is not used any more

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TIME = "%Y-%m-%d %H:%M:%S"
_TOKEN = re.compile(r"[!-~]{1,65536}", re.ASCII)
_LOCK_PAUSE, _LOCK_WAIT = 0.1, 20.0  # seconds
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a request carries, and until when (seconds since 1970)."""

    text: str = field(repr=False)
    expires_at: float
    margin: float = MARGIN

    def is_good(self, now: float) -> bool:
        """Whether it can still be used."""
        return now < self.expires_at - self.margin


class AccessTokens:
    """Gets access tokens for one server. ``now`` is `time.time`."""

    def __init__(
        self, base: BaseUrl, file: Path, connections: Connections, patience: Patience, now: Callable[[], float]
    ) -> None:
        self._base = base
        self._file = file
        self._connections = connections
        self._patience = patience
        self._now = now

    def get(self, identity: str, until: float, refused: str | None = None) -> AccessToken:
        """Return the token that is kept, unless it is the refused one or near its end, else a new one."""
        with self._locked(until):
            kept = self._kept()
            if kept is not None and kept.is_good(self._now()) and kept.text != refused:
                return kept
            token = self._exchange(identity, until)
            self._keep(token)
            return token

    def _exchange(self, identity: str, until: float) -> AccessToken:
        name = f"{self._base}: access token"
        body = urlencode({"grant_type": _GRANT, "assertion": identity}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        url = f"{self._base}/oidc/token"

        def ask(left: float) -> AccessToken:
            with self._connections.send(name, "POST", url, headers, body, left) as answer:
                status = answer.status_code
                if status >= 400 and status not in FINAL:
                    raise TryAgainError(f"{name}: status {status}", retry_after=retry_after(answer.headers))
                if status in {400, 401, 403}:
                    raise NotAcceptedError(
                        f"{name}: the server does not accept the identity token (status {status})",
                        hint="WANDB_IDENTITY_TOKEN_FILE has to name a fresh token, made for this server",
                    )
                if status != 200:
                    raise UnreachableError(f"{name}: the server does not exchange identity tokens (status {status})")
                return self._token(read_whole(answer, name, _MOST, lambda: self._patience.clock() > until), name)

        return self._patience.run(name, ask, until)

    def _token(self, content: bytes, name: str) -> AccessToken:
        match _json(content):
            case {"access_token": str(text), "expires_in": int() | float() as seconds} if _TOKEN.fullmatch(text):
                if math.isfinite(seconds) and 0 < seconds < 1e10:
                    return AccessToken(text, self._now() + seconds, min(MARGIN, seconds / 2))
        raise UnreachableError(f"{name}: the reply is no access token")

    # The file ---------------------------------------------------------------------------------------------------

    def _kept(self) -> AccessToken | None:
        match self._content():
            case {"credentials": dict(all_of_them)}:
                pass
            case _:
                return None
        match all_of_them.get(self._base.text):
            case {"access_token": str(text), "expires_at": str(when)} if _TOKEN.fullmatch(text):
                with contextlib.suppress(ValueError):
                    return AccessToken(text, datetime.strptime(when, _TIME).replace(tzinfo=UTC).timestamp())
        return None

    def _content(self) -> Any:  # noqa: ANN401 - JSON
        try:
            with self._file.open("rb") as stream:
                return _json(stream.read(_MOST))
        except OSError:
            return None

    def _keep(self, token: AccessToken) -> None:
        content = self._content()
        if not isinstance(content, dict):
            content = {}
        if not isinstance(content.get("credentials"), dict):
            content["credentials"] = {}
        before = content["credentials"].get(self._base.text)
        content["credentials"][self._base.text] = {
            **(before if isinstance(before, dict) else {}),
            "expires_at": datetime.fromtimestamp(token.expires_at, UTC).strftime(_TIME),
            "access_token": token.text,
        }
        try:
            _replace(self._file, json.dumps(content, indent=2).encode())
        except OSError as error:
            log.info("%s cannot be written, each process gets its own access token: %s", self._file, error.strerror)

    @contextlib.contextmanager
    def _locked(self, until: float) -> Iterator[None]:
        """Hold the lock of the file; go on without it if it cannot be had in time."""
        try:
            make_private(self._file.parent)
            descriptor = os.open(f"{self._file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            descriptor = -1
        patience = self._patience
        give_up = min(until, patience.clock() + _LOCK_WAIT)
        try:
            while descriptor >= 0 and not _try_lock(descriptor) and patience.clock() < give_up:
                patience.sleep(_LOCK_PAUSE)
            yield
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise


def _json(content: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
