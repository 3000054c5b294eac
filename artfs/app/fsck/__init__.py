"""Whether registry, store, drafts and cache are consistent with each other and in themselves: one finding for each thing that is wrong.

Each file checks one of them, reads it as it is while mounts and commits go on, and changes nothing. A repair, which a finding may carry, is
run only when it is asked for, and never loses what may be the only copy of something: it puts it aside (`artfs.app.fsck.lost`).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from artfs.app.doctor.finding import Finding, Level, problem, warning
from artfs.app.doctor.mounts import check_sockets
from artfs.app.fsck.cache import check_cache
from artfs.app.fsck.drafts import check_drafts
from artfs.app.fsck.lost import LostAndFound
from artfs.app.fsck.registry import check_registry
from artfs.app.fsck.store import StoreCheck
from artfs.errors import ArtfsError
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.config import Config
    from artfs.staging.progress import Progress

__all__ = ["Finding", "Level", "check", "repaired"]


def check(config: Config, progress: Progress, *, deep: bool) -> Iterator[Finding]:
    """Yield what is wrong, and for each part that nothing is. ``deep``: read every byte of the store."""
    lost = LostAndFound(config.data_dir / "lost+found")
    usable = False
    for finding in _safely("registry", lambda: check_registry(config)):
        usable = finding.level is Level.OK or usable  # its last finding says so
        yield finding
    if usable:
        yield from _safely("store", lambda: _check_in_registry(config, progress, lost, deep=deep))
    else:
        yield warning("store", "store and drafts are not checked, as there is no registry that can be used")
    yield from _safely("cache", lambda: check_cache(config.cache_dir))
    yield from _safely(
        "run", lambda: [found for found in check_sockets(config.runtime_dir) if found.level is not Level.OK]
    )


def _check_in_registry(config: Config, progress: Progress, lost: LostAndFound, *, deep: bool) -> Iterator[Finding]:
    """Check what is understood only with the registry: the store, and the drafts."""
    from artfs.app.services import open_services

    with open_services(config) as services:
        if uri_scheme(config.registry) not in {"http", "https"}:
            yield from StoreCheck(services, progress).check(deep=deep)
        yield from _safely("drafts", lambda: check_drafts(services, lost))


def _safely(name: str, run: Callable[[], Iterator[Finding] | list[Finding]]) -> Iterator[Finding]:
    """Yield findings; an error that ends a check is one, and the others go on."""
    try:
        yield from run()
    except (ArtfsError, OSError) as error:
        hint = error.hint if isinstance(error, ArtfsError) else ""
        yield problem(name, str(error.message if isinstance(error, ArtfsError) else error), hint)


def repaired(finding: Finding) -> Finding:
    """Do what a finding offers, and return what is to be said then."""
    if finding.repair is None:
        return finding
    try:
        finding.repair()
    except (ArtfsError, OSError) as error:
        return dataclasses.replace(finding, message=f"{finding.message}; it could not be repaired: {error}")
    return dataclasses.replace(finding, level=Level.OK, message=f"{finding.message}: repaired", hint="", repaired=True)
