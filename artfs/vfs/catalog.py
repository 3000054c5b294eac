"""What the registry knows, as the mount remembers it: each answer for the metadata TTL, one question at a time for each.

The only way from the mount to the registry. A change made through the mount calls `forget`, so that it shows at once; a
change made elsewhere shows when the answer has expired. ``ttl_left`` tells the kernel how long it may believe an answer, so that
nothing is older than the TTL, whoever remembers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from artfs.errors import ArtfsError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from artfs.model.names import ArtifactRef, CollectionRef
    from artfs.registry.port import (
        AliasInfo,
        CollectionInfo,
        CollectionListing,
        Registry,
        RunInfo,
        Version,
        VersionInfo,
    )

T = TypeVar("T")

MAX_QUESTIONS = 8
_MAX_ANSWERS = 10_000


@dataclass(slots=True)
class _Answer:
    value: object
    expires: float


class _Question:
    """A question on its way, and what came of it: neither an answer nor an error if who asked was cancelled."""

    __slots__ = ("answer", "done", "epoch", "error")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.done = trio.Event()
        self.answer: _Answer | None = None
        self.error: ArtfsError | None = None


class Catalog:
    """The registry behind a memory with a TTL (seconds)."""

    def __init__(self, registry: Registry, ttl: float) -> None:
        self._registry = registry
        self._ttl = ttl
        self._limiter = trio.CapacityLimiter(MAX_QUESTIONS)
        self._answers: dict[Hashable, _Answer] = {}
        self._asking: dict[Hashable, _Question] = {}
        self._epoch = 0

    async def call(self, question: Callable[..., T], *arguments: object) -> T:
        """Ask the registry, or do something in it, in a worker thread."""
        return await trio.to_thread.run_sync(question, *arguments, limiter=self._limiter)

    async def entities(self) -> Sequence[str]:
        """Return the names of the entities."""
        return await self._ask(("entities",), self._registry.entities)

    async def projects(self, entity: str) -> Sequence[str]:
        """Return the names of an entity's projects; NotFoundError."""
        return await self._ask(("projects", entity), lambda: self._registry.projects(entity))

    async def entity_exists(self, entity: str) -> bool:
        """Whether there is an entity, listed or not."""
        return await self._ask(("entity", entity), lambda: self._registry.entity_exists(entity))

    async def project_exists(self, entity: str, project: str) -> bool:
        """Whether there is a project."""
        return await self._ask(("project", entity, project), lambda: self._registry.project_exists(entity, project))

    async def collection_infos(self, entity: str, project: str) -> Sequence[CollectionInfo]:
        """Return a project's collections by name; NotFoundError."""
        question = ("collections", entity, project)
        return await self._ask(question, lambda: self._registry.collection_infos(entity, project))

    async def collection_info(self, collection: CollectionRef) -> CollectionInfo:
        """Return one collection; NotFoundError."""
        return await self._ask(("collection", collection), lambda: self._registry.collection_info(collection))

    async def find(self, collection: CollectionRef, name: str) -> VersionInfo | AliasInfo:
        """Return what a collection has under a name; NotFoundError."""
        return await self._ask(("name", collection, name), lambda: self._registry.find(collection, name))

    async def listing(self, collection: CollectionRef) -> CollectionListing:
        """Return the versions and aliases of a collection; NotFoundError."""
        return await self._ask(collection, lambda: self._registry.listing(collection))

    async def version(self, ref: ArtifactRef) -> Version:
        """Return a version with everything that may change; NotFoundError, VersionDeletedError."""
        return await self._ask(ref, lambda: self._registry.version(ref))

    async def lineage(self, version_id: str) -> tuple[RunInfo | None, Sequence[RunInfo]]:
        """Return the run that logged a version and those that used it."""
        registry = self._registry
        return await self._ask(
            ("lineage", version_id), lambda: (registry.logged_by(version_id), registry.used_by(version_id))
        )

    def known(self, question: Hashable) -> object | None:
        """Return an answer that is still valid, without asking; None if there is none. Questions are named as `ttl_left` has them."""
        answer = self._answers.get(question)
        return None if answer is None or answer.expires <= trio.current_time() else answer.value

    def ttl_left(self, question: Hashable) -> float:
        """Return for how many seconds an answer stays valid."""
        answer = self._answers.get(question)
        return 0.0 if answer is None else max(0.0, answer.expires - trio.current_time())

    def forget(self) -> None:
        """Forget every answer: something changed, and questions overlap."""
        self._epoch += 1
        self._answers.clear()

    async def _ask(self, question: Hashable, ask: Callable[[], T]) -> T:
        answer = self._answers.get(question)
        if answer is None or answer.expires <= trio.current_time():
            answer = await self._refresh(question, ask)
        return answer.value  # type: ignore[return-value]

    async def _refresh(self, question: Hashable, ask: Callable[[], T]) -> _Answer:
        epoch = self._epoch
        while (asking := self._asking.get(question)) is not None:
            await asking.done.wait()
            if asking.epoch >= epoch:  # else it was asked before a change that the caller may know of
                if asking.error is not None:
                    raise asking.error
                if asking.answer is not None:
                    return asking.answer
        asking = self._asking[question] = _Question(self._epoch)
        try:
            return await self._answer(question, asking, ask)
        except ArtfsError as error:
            asking.error = error
            raise
        finally:
            del self._asking[question]
            asking.done.set()

    async def _answer(self, question: Hashable, asking: _Question, ask: Callable[[], T]) -> _Answer:
        asked = trio.current_time()
        answer = asking.answer = _Answer(await self.call(ask), asked + self._ttl)
        if asking.epoch == self._epoch:  # else a change came meanwhile: the answer is good for those who wait only
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.clear()
            self._answers[question] = answer
        return answer
