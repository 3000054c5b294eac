"""The connection of a process to its registry and its store, as the public classes use it.

It is opened when it is first needed, and anew in a child after a fork: connections, threads and locks of the parent cannot be used there,
so they are left alone, never closed. Thread-safe.

A client is pickled as its settings, without passwords and keys: these are found where it is unpickled, as everywhere (`Client.__reduce__`).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from artfs.api.commits import BackgroundCommits
from artfs.app.services import open_services
from artfs.config import load_config
from artfs.errors import ArtfsError
from artfs.model.names import DEFAULT_PROJECT
from artfs.model.secrets import without_password

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artfs.app.services import Services
    from artfs.config import Config
    from artfs.model.names import CollectionRef
    from artfs.registry.port import Registry
    from artfs.staging.drafts import Draft

_PLACES = ("registry", "store")  # settings that are URLs
_left_behind: list[object] = []  # what belongs to a parent process: kept, so that nothing of it is closed here


class Client:
    """A registry and a store. ``settings`` are those of ``config.toml``: ``registry``, ``store``, ``entity``, ``data_dir``, ...

    ``project`` is the project of references that name none. Raises InvalidInputError for a setting that cannot be used. Made by
    `artfs.Api` and `artfs.init`; the ``client`` of the W&B ``Artifact`` class is one of these.
    """

    def __init__(self, project: str | None = None, **settings: object) -> None:
        self.config: Config = load_config(settings, are_options=False)
        self._settings = settings
        self.default_project = project or os.environ.get("ARTFS_PROJECT") or DEFAULT_PROJECT
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._opened: tuple[Services, contextlib.ExitStack, BackgroundCommits] | None = None
        self.lost: deque[Draft] = deque()
        """Drafts that no artifact has any more. The collector of garbage puts them here, which may do nothing else: see `discard_lost`."""

    @property
    def default_entity(self) -> str:
        """The entity of references that name none."""
        return self.config.entity or self.registry.default_entity

    def is_same_place(self, other: Client) -> bool:
        """Whether another client has the same registry and store."""
        mine, its = self.config, other.config
        return (mine.registry, mine.store) == (its.registry, its.store)

    @property
    def services(self) -> Services:
        """The parts, opened for this process. UnreachableError, SchemaError, InvalidInputError."""
        return self._open()[0]

    @property
    def registry(self) -> Registry:
        """The registry."""
        return self.services.registry

    @property
    def commits(self) -> BackgroundCommits:
        """The commits that this process has under way."""
        return self._open()[2]

    def _open(self) -> tuple[Services, contextlib.ExitStack, BackgroundCommits]:
        if self._pid != os.getpid():
            _left_behind.append((self._lock, self._opened))
            self._lock, self._pid, self._opened = threading.RLock(), os.getpid(), None
        with self._lock:
            if self._opened is None:
                stack = contextlib.ExitStack()
                services = stack.enter_context(open_services(self.config))
                self._opened = services, stack, BackgroundCommits(services)
            return self._opened

    def discard_lost(self) -> None:
        """Remove the files of artifacts that the program has let go of and never logged."""
        while self.lost:
            with contextlib.suppress(IndexError, ArtfsError, OSError):  # what fails is rubbish when the process ends
                draft = self.lost.popleft()
                if not draft.is_gone and draft.transient:
                    draft.discard()

    def refresh_mounts(self, collection: CollectionRef, names: Iterable[str]) -> None:
        """Let the mounts of this user show at once what changed under names of a collection. Never fails."""
        from artfs.app.client import refresh_all

        refresh_all(self.config, collection, names)

    def __reduce__(self) -> tuple[Any, ...]:
        places = {name: getattr(self.config, name) for name in ("registry", "store", "entity")}
        return reopen, (self.default_project, carried({**self._settings, **places}))

    def __deepcopy__(self, memo: object) -> Client:
        return self

    def close(self) -> None:
        """Wait for commits under way, and give everything back. The next use opens it again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            _, stack, commits = opened
            commits.finish()
            stack.close()


# In other processes ---------------------------------------------------------------------------------------------

_shared: dict[tuple[Config, str], Client] = {}


def shared_client(project: str | None, settings: dict[str, Any]) -> Client:
    """Return the client of this process with some settings, one for all who ask for the same; it is closed at the end."""
    client = Client(project, **settings)
    kept = _shared.setdefault((client.config, client.default_project), client)
    if kept is client:
        atexit.register(_close, client)
    return kept


def _close(client: Client) -> None:
    with contextlib.suppress(ArtfsError):  # only what would have been cached is lost
        client.close()


def carried(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as they may be pickled: without what is not set, and without secrets."""
    safe = {name: without_password(str(settings[name])) for name in _PLACES if settings.get(name)}
    return {name: value for name, value in settings.items() if value is not None and value != ""} | safe


def brought(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that were `carried` to this process: with its own passwords for the places that it is set up for, too."""
    here = load_config()
    own = {name: getattr(here, name) for name in _PLACES}
    return settings | {name: url for name, url in own.items() if settings.get(name) == without_password(url)}


def reopen(project: str, settings: dict[str, Any]) -> Client:
    """Return the client of this process that is what one of another process was."""
    from artfs.api.session import default_client

    settings, own = brought(settings), default_client()
    if (own.config, own.default_project) == (load_config(settings, are_options=False), project):
        return own
    return shared_client(project, settings)
