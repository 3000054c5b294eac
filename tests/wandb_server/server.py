"""A W&B server for tests: the artifact part of the protocol over HTTP, proven by the real SDK in ``test_sdk``.

    with WandbServer(tmp_path) as server:
        artifact = server.log_artifact("me", "project", "data", files={"a.txt": b"hello"})
        subprocess.run([...], env=os.environ | server.environment())
        assert server.count(operation="CreateArtifact") == 1
        server.check()

It runs in threads of the test's own process. The API and the object storage listen on two ports, as the real ones are two
hosts: a client that sends its key to the storage is refused.
"""

import base64
import contextlib
import itertools
import json
import logging
import secrets
from pathlib import Path

from tests.servers.process import free_ports
from tests.wandb_server import graphql, routes
from tests.wandb_server.faults import FaultList
from tests.wandb_server.http import Incoming, Listener
from tests.wandb_server.making import Making
from tests.wandb_server.signing import Signer
from tests.wandb_server.state import State

logger = logging.getLogger(__name__)
MAX_PAGE_SIZE = 10_000  # inferred: the SDK asks for 5,000 URLs at once


class WandbServer(FaultList, Making):
    """A server with a viewer ``me``. Its attributes may be changed at any time.

    ``features``: which the server has; ``fallback``: "redirect" or "bytes"; ``signer.lifetime``: seconds of a URL;
    ``state.dedup``: "sequence" or "latest"; ``state.verify_multipart``: whether joined parts are hashed as a whole;
    ``state.verify_digests``: whether a version has the digest of its manifest; ``key``: the API key it takes.
    """

    def __init__(self, directory, *, max_page_size: int = MAX_PAGE_SIZE, default_page_size: int | None = None) -> None:
        FaultList.__init__(self)
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.state = State(self.directory / "bucket")
        self.signer = Signer()
        self.features = dict.fromkeys(graphql.FEATURES, True)
        self.max_page_size = max_page_size
        self.default_page_size = default_page_size
        self.fallback = "redirect"
        self.key = "local-" + secrets.token_hex(20)
        self.identity_token = _identity_token()
        self.identity_tokens = {self.identity_token}
        self.token_lifetime = 3600
        self._access_tokens: dict[str, float] = {}
        self._errors: list[BaseException] = []
        self._homes = itertools.count(1)
        self._listeners: list[Listener] = []
        self._ports: list[int] = []
        self._in_flight = 0
        self.peak_in_flight = 0  # how many requests were answered at the same time, at most
        self.url = ""

    def start(self):
        """Listen. After ``stop``: again, on the same ports and with the same state."""
        assert not self._listeners, "the server runs already"
        self._ports = self._ports or free_ports(2)
        for name, port in zip(("api", "storage"), self._ports, strict=True):
            self._listeners.append(Listener(name, self, port))
        self.url, self.signer.base = (listener.url for listener in self._listeners)
        return self

    def stop(self) -> None:
        """Refuse connections, and end those that there are."""
        with contextlib.ExitStack() as stack:
            while self._listeners:
                stack.callback(self._listeners.pop().close)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        self.stop()
        if kind is None and self._errors:
            raise self._errors[0]

    @property
    def storage_url(self) -> str:
        """The object storage, where signed URLs lead."""
        return self.signer.base

    def environment(self, home=None, *, key: bool = True) -> dict[str, str]:
        """Return the environment of a program that uses the SDK, with directories that nobody has used.

        With a ``home``: the directories of the program that had it before.
        """
        root = Path(home) if home else self.directory / f"home-{next(self._homes)}"
        names = ("CACHE", "DATA", "CONFIG", "ARTIFACT")
        directories = {f"WANDB_{name}_DIR": root / name.lower() for name in names}
        for path in (root, root / "run", *directories.values()):
            path.mkdir(parents=True, exist_ok=True)
        found = {name: str(path) for name, path in directories.items()}
        found |= {
            "HOME": str(root),
            "WANDB_DIR": str(root / "run"),
            "WANDB_BASE_URL": self.url,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            "WANDB_DISABLE_GIT": "true",
            "WANDB_DISABLE_CODE": "true",
            "WANDB__SERVICE_WAIT": "300",  # seconds for its own service, which may begin slowly
            "WANDB_INIT_TIMEOUT": "300",
        }
        return found | ({"WANDB_API_KEY": self.key} if key else {})

    def check(self) -> None:
        """Fail if an operation did not validate, or if the double itself went wrong."""
        assert not self.refused, f"operations that do not validate: {self.refused}"
        if self._errors:
            raise self._errors.pop()

    def expire_urls(self) -> None:
        """Make every URL that was given out so far an expired one."""
        self.signer.expire_all()

    def drop_connections(self) -> None:
        """End all connections, also those that clients keep open, and those that stall."""
        for listener in self._listeners:
            listener.drop_connections()

    def clear(self) -> None:
        """Take all faults back, and end all connections."""
        with self._faults_lock:
            self._injections.clear()
        self.drop_connections()

    def admits(self, authorization: str) -> bool:
        """Return whether a credential is good."""
        scheme, _, value = authorization.partition(" ")
        if scheme == "Bearer":
            return self._access_tokens.get(value, 0) > self.signer.now()
        try:
            return scheme == "Basic" and base64.b64decode(value).decode().partition(":")[2] == self.key
        except ValueError:
            return False

    def new_access_token(self) -> str:
        token = secrets.token_urlsafe(32)
        self._access_tokens[token] = self.signer.now() + self.token_lifetime
        return token

    def revoke_tokens(self) -> None:
        """Make all access tokens bad."""
        self._access_tokens.clear()

    def operation_of(self, request: Incoming):
        """Return the GraphQL operation of a request, or None if it is another one."""
        if request.listener != "api" or request.method != "POST" or request.path != "/graphql":
            return None
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        return graphql.read_operation(body, self.features)

    def answer(self, request: Incoming, operation, faults):
        """Return the reply to a request: called by the connections."""
        return routes.answer(self, request, operation, faults)

    def in_flight(self, change: int) -> None:
        """Count the requests that are being answered: called by the connections."""
        with self._faults_lock:
            self._in_flight += change
            self.peak_in_flight = max(self.peak_in_flight, self._in_flight)

    def failed(self, error: BaseException) -> None:
        """Remember an error of the double itself."""
        logger.error("the double went wrong", exc_info=error)
        self._errors.append(error)


def _identity_token() -> str:
    """Return a token that looks like a JWT."""
    header = base64.urlsafe_b64encode(b'{"alg":"RS256"}').rstrip(b"=")
    claims = base64.urlsafe_b64encode(b'{"sub":"me","aud":"test"}').rstrip(b"=")
    return b".".join([header, claims, secrets.token_urlsafe(32).encode()]).decode()
