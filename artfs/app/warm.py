"""Warm the block cache up, in the mount process or in that of a command, whoever has a pipeline; and look whether all is there.

`run` is what both do. A mount process does it when its control socket is asked (operation ``warm``): `Warmer` there, `warm_in_mount` here.
A client that goes away ends it.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from artfs.app.client import request, statuses
from artfs.app.selecting import Selected, from_json, to_json
from artfs.content.following_pipeline import FollowingPipeline
from artfs.content.pipeline import deadline_after
from artfs.content.warm import Content, Failure, Fetched, Shelves, Survey, Warming, survey
from artfs.errors import ArtfsError, NoSpaceError
from artfs.model.names import version_name
from artfs.model.reference import redact
from artfs.model.shown import size_text
from artfs.staging.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from artfs.app.control import Message
    from artfs.app.selecting import Selection
    from artfs.app.services import Services
    from artfs.config import Config
    from artfs.content.pipeline import Pipeline
    from artfs.registry.port import Version

log = logging.getLogger(__name__)

IN_MOUNT = 16
"""Requests at a time in a mount process, where half of the threads are left to its readers."""

ALONE = 32
"""Requests at a time in a process that does nothing else."""

_INTERVAL = 0.1  # seconds between reports


def open_selected(services: Services, selections: Sequence[Selection], *, cached: bool = False) -> list[Selected]:
    """Open the lists of files that selections are of; with ``cached``, only those that are on this machine. Blocks."""
    found = []
    for selection in selections:
        version = services.registry.version(selection.ref)
        index = services.open_cached_index(version) if cached else services.open_index(version)
        found.append(Selected(selection, version, index))
    return found


def contents_of(services: Services, selected: Sequence[Selected]) -> Iterator[Content | Failure]:
    """Yield the contents of selections, each once."""
    shelves = Shelves(services.origins, services.targets, services.cache)
    yield from shelves.contents(entry for one in selected for entry in one.entries())


async def run(services: Services, pipeline: Pipeline, selections: Sequence[Selection], progress: Progress,
              *, parallel: int) -> dict[str, Any]:  # fmt: skip
    """Fetch what is missing of selections; return what was done, as JSON values.

    NoSpaceError, before anything is fetched, if it does not fit into the cache; what `Warming.run` raises.
    """
    began = time.monotonic()
    progress.begin("looking")
    selected, found = await trio.to_thread.run_sync(_look, services, selections, abandon_on_cancel=True)
    done = Fetched()
    if found.to_fetch:
        progress.begin("fetching", found.files_to_fetch, found.to_fetch)
        strict = services.config.verify == "strict"
        warming = Warming(
            pipeline, services.cache(), services.reader.close, progress.advance, parallel=parallel, strict=strict
        )
        done = await warming.run(lambda: contents_of(services, selected))
    else:
        for failure in found.failures:
            done.fail(*failure)
    return _result(selected, found, done, time.monotonic() - began)


def _look(services: Services, selections: Sequence[Selection]) -> tuple[list[Selected], Survey]:
    selected = open_selected(services, selections)
    return selected, check_fit(services, selected)


def check_fit(services: Services, selected: Sequence[Selected]) -> Survey:
    """Return how much selections are; NoSpaceError if the cache cannot hold them beside what is pinned. Blocks."""

    def is_pinned(name: str) -> bool:  # the cache is made when something is remote
        return services.cache().upkeep.is_pinned(name)

    found = survey(contents_of(services, selected), is_pinned)
    if found.to_fetch:
        _check_room(services, found)
    return found


def _check_room(services: Services, found: Survey) -> None:
    space = services.cache().upkeep.space()
    if space.pinned + found.need <= space.most:
        return
    pinned = f", {size_text(space.pinned)} of them for what is pinned" if space.pinned else ""
    needed = space.pinned + found.need
    if needed > services.config.cache_size:
        hint = f"--cache-size, which is {size_text(services.config.cache_size)}; or name less, or unpin something"
    else:
        hint = (
            f"free some of the disk of {services.config.cache_dir}, or --cache-free; or name less, or unpin something"
        )
    raise NoSpaceError(
        f"this does not fit into the cache: it would have to hold {size_text(needed)}{pinned}, and holds at most"
        f" {size_text(space.most)} before it evicts ({size_text(found.to_fetch)} are still to be fetched)",
        hint=hint,
    )


def _result(selected: Sequence[Selected], found: Survey, done: Fetched, seconds: float) -> dict[str, Any]:
    return {
        "versions": list(dict.fromkeys(full_name(one.version) for one in selected)),
        "files": found.files,
        "bytes": found.size,
        "local": found.local,
        "here": found.here,
        "fetched_files": done.files,
        "fetched_bytes": done.size,
        "unsized": found.unsized,
        "seconds": round(seconds, 3),
        "failed_files": done.failed,
        "failed": [
            {"path": failure.path, "error": type(failure.error).__name__, "reason": failure.error.message}
            for failure in done.failures
        ],
    }


def full_name(version: Version) -> str:
    """Return the reference of a version by its index."""
    return str(version.collection.at(version_name(version.index)))


# In this process ------------------------------------------------------------------------------------------------


def warm_here(services: Services, selections: Sequence[Selection], progress: Progress) -> dict[str, Any]:
    """Do it in this process; see `run`. Ctrl-C ends it: KeyboardInterrupt."""

    async def work() -> dict[str, Any] | ArtfsError:
        async with trio.open_nursery() as nursery:
            pipeline = FollowingPipeline(
                services.reader, nursery, services.targets, deadline_after(services.config.retry_seconds)
            )
            try:
                return await run(services, pipeline, selections, progress, parallel=ALONE)
            except ArtfsError as error:
                return error
            finally:
                nursery.cancel_scope.cancel()

    try:
        outcome = trio.run(work)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from group
        raise
    if isinstance(outcome, ArtfsError):
        raise outcome
    return outcome


# By a mount process ---------------------------------------------------------------------------------------------


def warming_mount(config: Config) -> Path | None:
    """Return the control socket of a live mount of this user with the same registry, store and cache as the settings."""
    wanted = redact(config.registry), redact(config.store), str(config.cache_dir), False
    for status in statuses(config):
        if tuple(status.get(key) for key in ("registry", "store", "cache_dir", "offline")) == wanted:
            return Path(status["control"])
    return None


def warm_in_mount(control: Path, selections: Sequence[Selection], show: Callable[[Message], None]) -> dict[str, Any]:
    """Have a mount process do it; ``show`` is given snapshots of its progress. Raises what `run` raises there, and UnreachableError."""
    values: Any = to_json(selections)
    for answer in request(control, {"op": "warm", "selections": values}):
        if isinstance(snapshot := answer.get("progress"), dict):
            show(snapshot)
    result: Any = answer["result"]
    return dict(result)


# In a mount process ---------------------------------------------------------------------------------------------


class Warmer:
    """The operation ``warm`` of a mount process, whose tasks live in ``nursery``."""

    def __init__(self, services: Services, pipeline: Pipeline, nursery: trio.Nursery) -> None:
        self._services = services
        self._pipeline = pipeline
        self._nursery = nursery

    async def warm(self, request: Message) -> AsyncGenerator[Message, None]:
        """Warm the cache up, and report progress until it is done; who asked ends it by going away."""
        job = _Job(self._services, self._pipeline, from_json(request.get("selections")))
        self._nursery.start_soon(job.run)
        try:
            while not job.done.is_set():
                yield {"progress": job.progress.snapshot()}
                with trio.move_on_after(_INTERVAL):
                    await job.done.wait()
        finally:
            job.scope.cancel()
        if job.error is not None:
            raise job.error
        yield {"result": job.result}


class _Job:
    """A warm-up under way: at its end, an error or a result."""

    def __init__(self, services: Services, pipeline: Pipeline, selections: Sequence[Selection]) -> None:
        self._services = services
        self._pipeline = pipeline
        self._selections = selections
        self.progress = Progress()
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.error: ArtfsError | None = None
        self.result: dict[str, Any] | None = None

    async def run(self) -> None:
        try:
            with self.scope:
                self.result = await run(
                    self._services, self._pipeline, self._selections, self.progress, parallel=IN_MOUNT
                )
        except ArtfsError as error:
            self.error = error
        except Exception as error:
            log.exception("a warm-up failed")
            self.error = ArtfsError(f"the warm-up failed: {error!r}", hint="see the log of the mount")
        finally:
            if self.error is None and self.result is None:
                self.error = ArtfsError("the warm-up was ended", hint="what has come stays: run it again")
            self.done.set()
