"""What a reference may go on with, for the completion of a shell: quick, and silent about whatever fails.

The registry is asked in a thread that is left alone when the time is over. One that is elsewhere is also asked for what was seen of it
last, which needs no network, and is taken if the registry itself has not answered. Nothing is made: no directory, no registry.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from artfs.model.names import DEFAULT_PROJECT, parse_collection_ref, version_name
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artfs.config import Config
    from artfs.registry.port import Registry

PATIENCE = 0.5  # seconds: somebody has pressed a key
_MOST = 200


def continuations(config: Config, text: str, patience: float = PATIENCE, *, full: bool = False) -> list[str]:
    """Return whole references, or beginnings of them that end with ``/``, that begin with a text. Never fails, never takes longer.

    ``full``: only those that begin with their entity.
    """
    until = time.monotonic() + patience
    live = _Answer(lambda: _with_registry(config, text, full=full))
    seen = None if uri_scheme(config.registry) == "sqlite" else _Answer(lambda: _remembered(config, text, full=full))
    found = live.wait(until)
    if found is None and seen is not None:
        found = seen.wait(until)
    return (found or [])[:_MOST]


class _Answer:
    """A question under way in a thread that does not keep the process alive."""

    def __init__(self, ask: Callable[[], list[str]]) -> None:
        self._ask = ask
        self._answer: list[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="artfs-complete")
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(Exception):  # whatever it is: a key was pressed, and nobody wants to read of errors
            self._answer = self._ask()

    def wait(self, until: float) -> list[str] | None:
        self._thread.join(max(0.0, until - time.monotonic()))
        return self._answer


def _with_registry(config: Config, text: str, *, full: bool) -> list[str]:
    from artfs.app.backends import Backends

    if uri_scheme(config.registry) == "sqlite":
        from artfs.registry.sql.sqlite import sqlite_path

        if not sqlite_path(config.registry).exists():
            return []
    backends = Backends(config)
    with contextlib.closing(backends), contextlib.closing(backends.registry()) as registry:
        return _continued(registry, text, full=full)


def _remembered(config: Config, text: str, *, full: bool) -> list[str]:
    from artfs.errors import UnreachableError
    from artfs.model.digest import Digest
    from artfs.registry.memory import Memory
    from artfs.registry.remembered import RememberedRegistry

    path = config.cache_dir / "seen" / f"{Digest.of(config.registry.encode()).hex[:16]}.sqlite"  # as in app.backends
    if not path.exists():
        return []

    def away() -> Registry:
        raise UnreachableError("the registry is not asked")

    with contextlib.closing(RememberedRegistry(away, Memory(path), config.entity)) as registry:
        return _continued(registry, text, full=full)


def _continued(registry: Registry, text: str, *, full: bool) -> list[str]:
    path, colon, alias = text.partition(":")
    found = _aliases(registry, path, alias) if colon else _places(registry, path.split("/"), full=full)
    return [one for one in dict.fromkeys(found) if one.startswith(text)]


def _aliases(registry: Registry, path: str, alias: str) -> list[str]:
    listing = registry.listing(parse_collection_ref(path, registry.default_entity))
    aliases = [one.name for one in listing.aliases]
    indexes = [version_name(version.index) for version in reversed(listing.versions)]
    return [f"{path}:{name}" for name in (*sorted(aliases), *indexes) if name.startswith(alias)]


def _places(registry: Registry, parts: list[str], *, full: bool) -> list[str]:
    own = registry.default_entity
    if len(parts) == 1:
        found = [f"{name}/" for name in registry.entities()]
        if not full:
            found += [f"{name}/" for name in _or_none(lambda: registry.projects(own))]
            found += _or_none(lambda: registry.collections(own, DEFAULT_PROJECT))
        return found
    if len(parts) == 2:
        found = [f"{parts[0]}/{name}/" for name in _or_none(lambda: registry.projects(parts[0]))]
        if not full:
            found += [f"{parts[0]}/{name}" for name in _or_none(lambda: registry.collections(own, parts[0]))]
        return found
    if len(parts) == 3:
        return [f"{parts[0]}/{parts[1]}/{name}" for name in registry.collections(parts[0], parts[1])]
    return []


def _or_none(ask: Callable[[], Sequence[str]]) -> list[str]:
    """Return the names, or none where there is no such place."""
    from artfs.errors import ArtfsError

    try:
        return list(ask())
    except ArtfsError:
        return []
