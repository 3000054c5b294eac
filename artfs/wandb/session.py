"""How a question is asked of a W&B server: the one object that the registry and the store share in a process.

Every question has a deadline, is tried again as `artfs.wandb.retry` says, and keeps to the rate limit, which is one for all threads.
When the credentials are refused they are read once more; if that does not help, the question fails, and the log says so once, until it
works again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from artfs.errors import InvalidInputError, UnreachableError
from artfs.wandb.auth import Credentials
from artfs.wandb.base_url import DEFAULT, BaseUrl, parse_base_url, shown_url
from artfs.wandb.connections import Connections, read_whole
from artfs.wandb.download import MOST, Download
from artfs.wandb.replies import NotAcceptedError, data_of
from artfs.wandb.retry import Patience, RateLimit
from artfs.wandb.upload import FileSpan, Uploads, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from artfs.wandb.operation import Operation

log = logging.getLogger(__name__)

T = TypeVar("T")

QUESTION = 60.0
"""Seconds for a question with all its tries, unless a session says otherwise."""

SILENCE = 10.0
"""Seconds without any reply after which a question that changes nothing is given up: somebody waits for it."""

MOST_REPLY = 64 << 20  # bytes of a reply, unpacked


class WandbSession:
    """A client of one server. Synchronous and thread-safe; a forked child needs one of its own.

    ``base_url`` as in WANDB_BASE_URL; plain HTTP to another machine only with ``allow_plain``. InvalidInputError. Nothing is asked, and no
    credential is read, before the first question. ``retry_seconds`` is for a question with all its tries. ``clock``, ``now`` and ``sleep``
    are those of `time`, or of a test.
    """

    def __init__(
        self,
        base_url: str = DEFAULT,
        *,
        allow_plain: bool = False,
        environ: Mapping[str, str] | None = None,
        retry_seconds: float = QUESTION,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = parse_base_url(base_url, allow_plain=allow_plain)
        self._connections = Connections()
        self._credentials = Credentials(
            self._base, self._connections, environ=environ, clock=clock, now=now, sleep=sleep
        )
        self._patience = Patience(clock, sleep)
        self._limit = RateLimit(clock)
        self._question = retry_seconds
        self._lock = threading.Lock()
        self._is_refused = False
        self.uploads = Uploads()

    def __repr__(self) -> str:
        return f"<WandbSession of {self._base}>"

    @property
    def base(self) -> BaseUrl:
        """The address of the server."""
        return self._base

    # Questions --------------------------------------------------------------------------------------------------

    def ask(self, operation: Operation, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ``data`` of the answer to a GraphQL operation.

        PermissionDeniedError, NotFoundError, InvalidInputError, ExistsError, ConflictError and NotSupportedError as the server says;
        UnreachableError for what may work later; `artfs.wandb.replies.RefusedError` for any other refusal. A mutation may have been done
        although the answer got lost, and may be sent twice.
        """
        name = f"{self._base}: {operation.name}"
        body = _body(operation, variables, name)
        until = self._patience.clock() + self._question
        silence = self._question if operation.is_change else SILENCE
        return self._authorised(until, lambda value: self._patience.run(
            name, lambda left: self._post(name, body, value, left), until, self._limit, silence
        ))  # fmt: skip

    def _post(self, name: str, body: bytes, authorization: str, left: float) -> dict[str, Any]:
        clock = self._patience.clock
        until = clock() + left
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Authorization": authorization,
        }
        with self._connections.send(name, "POST", f"{self._base}/graphql", headers, body, left) as answer:
            status = answer.status_code
            self._limit.note(status, answer.headers)
            if 300 <= status < 400:
                to = shown_url(answer.headers.get("Location", "")) or "nowhere"
                raise UnreachableError(
                    f"{name}: the server redirects to {to}, where no question is sent",
                    hint="check the address of the server",
                )
            content = read_whole(answer, name, MOST_REPLY, lambda: clock() > until)
            return data_of(status, answer.headers, content, name, self._credentials.hide)

    def _authorised(self, until: float, ask: Callable[[str], T]) -> T:
        """Ask with the credentials; if they are refused, once more with those that are there now."""
        try:
            used = self._credentials.authorization(until)
            try:
                result = ask(used.value)
            except NotAcceptedError:
                if not self._credentials.renew(used, until):
                    raise
                result = ask(self._credentials.authorization(until).value)
        except NotAcceptedError as error:
            error.hint = error.hint or f"check {self._credentials.source}"
            self._note_refusal(is_refused=True)
            raise
        self._note_refusal(is_refused=False)
        return result

    def _note_refusal(self, *, is_refused: bool) -> None:
        with self._lock:
            was, self._is_refused = self._is_refused, is_refused
        if is_refused and not was:
            log.warning(
                "%s does not accept the credentials of %s: what needs it fails until others are there",
                self._base,
                self._credentials.source,
            )
        elif was and not is_refused:
            log.info("%s accepts the credentials again", self._base)

    # Files ------------------------------------------------------------------------------------------------------

    def get(self, url: str, *, authorised: bool = False, size: int | None = None, most: int = MOST) -> Iterator[bytes]:
        """Yield the bytes of a small file, such as a manifest. The first one is asked for when it is taken.

        ``authorised`` is for URLs of the server itself (InvalidInputError for others); signed ones get no credentials. ``url`` has to come
        from the server: what a manifest references is not read here. A broken transfer is taken up again. UnreachableError,
        NotFoundError, PermissionDeniedError (also of a signature that has expired), IntegrityError if there are not ``size`` bytes,
        InvalidInputError if there are more than ``most``.
        """
        if authorised and not self._base.owns(url):
            raise InvalidInputError(f"{shown_url(url)} is not a URL of {self._base}: it gets no credentials")
        download = Download(self._connections, self._patience, self._base, url, size, most)
        if not authorised:
            return download.chunks(lambda until, ask: ask(None, None, until))
        return download.chunks(lambda until, ask: self._authorised(until, lambda value: ask(value, self._limit, until)))

    def put(self, url: str, headers: Sequence[str], data: bytes | FileSpan) -> str:
        """Send bytes to a signed URL, with the headers that the server gave for it ("Key:Value"). Return the ETag as it is sent, or "".

        PermissionDeniedError if the signature has expired, IntegrityError if the bytes are not what was announced, ConflictError,
        NotFoundError, UnreachableError.
        """
        size = len(data) if isinstance(data, bytes) else data.end - data.start
        with self.uploads.one(size):
            return upload(self._connections, self._patience, url, headers, data)

    def forget_credentials(self) -> None:
        """Read the credentials again before the next question, whether or not those of now are accepted."""
        self._credentials.forget()

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()


def _body(operation: Operation, variables: Mapping[str, Any], name: str) -> bytes:
    question = {"query": operation.text, "variables": dict(variables), "operationName": operation.name}
    try:
        return json.dumps(question, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, which JSON can escape and no server keeps
        part = error.object[max(0, error.start - 20) : error.end]
        raise InvalidInputError(f"{name}: {part!r} is not valid Unicode") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name}: a variable that is not JSON") from error
