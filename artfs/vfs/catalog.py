"""What the registry knows, as the mount remembers it: each answer for the metadata TTL, one question at a time for each.

The only way from the mount to the registry. What was just listed is not asked again name by name, and for one name nothing is listed.
A change made through the mount calls `forget`, so that it shows at once; a change made elsewhere shows when the answer has expired.
``ttl_left`` tells the kernel how long it may believe an answer, so that nothing is older than the TTL, whoever remembers it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar, cast

import trio

from artfs.errors import ArtfsError, NotFoundError
from artfs.model.names import version_index

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from datetime import datetime

    from artfs.model.names import ArtifactRef, CollectionRef
    from artfs.model.run import RunInfo
    from artfs.registry.port import AliasInfo, CollectionInfo, CollectionListing, Registry, Version, VersionInfo

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

    async def collection_infos(self, entity: str, project: str) -> Mapping[CollectionRef, CollectionInfo]:
        """Return a project's collections in the order of their names; NotFoundError."""

        def ask() -> dict[CollectionRef, CollectionInfo]:
            return {info.ref: info for info in self._registry.collection_infos(entity, project)}

        return await self._ask(("collections", entity, project), ask)

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

    # One name ---------------------------------------------------------------------------------------------------

    async def has_entity(self, entity: str) -> float | None:
        """Return for how many seconds it is good that there is an entity, listed or not; None if there is none."""
        if entity in cast("Sequence[str]", self._known(("entities",)) or ()):
            return self.ttl_left(("entities",))
        return self.ttl_left(("entity", entity)) if await self.entity_exists(entity) else None

    async def has_project(self, entity: str, project: str) -> float | None:
        """Return for how many seconds it is good that there is a project; None if there is none."""
        if project in cast("Sequence[str]", self._known(("projects", entity)) or ()):
            return self.ttl_left(("projects", entity))
        return self.ttl_left(("project", entity, project)) if await self.project_exists(entity, project) else None

    async def changed(self, collection: CollectionRef) -> tuple[datetime, float]:
        """Return when what a collection shows has last changed, and for how many seconds that is good; NotFoundError."""
        listing = cast("CollectionListing | None", self._known(collection))
        if listing is not None:
            return listing.updated_at, self.ttl_left(collection)
        listed = ("collections", collection.entity, collection.project)
        infos = cast("Mapping[CollectionRef, CollectionInfo]", self._known(listed) or {})
        if collection in infos:
            return infos[collection].updated_at, self.ttl_left(listed)
        info = await self.collection_info(collection)
        return info.updated_at, self.ttl_left(("collection", collection))

    async def shown(self, collection: CollectionRef, name: str) -> tuple[VersionInfo | AliasInfo | None, float]:
        """Return what a collection has under a name, and for how many seconds that is good."""
        listing = cast("CollectionListing | None", self._known(collection))
        if listing is None:
            try:
                found = await self.find(collection, name)
            except NotFoundError:
                return None, 0.0
            return found, self.ttl_left(("name", collection, name))
        index = version_index(name)
        if index is not None:
            return _sorted_in(listing.versions, index, attrgetter("index")), self.ttl_left(collection)
        return _sorted_in(listing.aliases, name, attrgetter("name")), self.ttl_left(collection)

    # Remembering ------------------------------------------------------------------------------------------------

    def _known(self, question: Hashable) -> object | None:
        """Return an answer that is still valid, without asking; None if there is none."""
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


def _sorted_in(items: Sequence[T], key: str | int, key_of: Callable[[T], str | int]) -> T | None:
    """Return the item with a key, of those that are sorted by it: there may be thousands, and each is looked up."""
    place = bisect_left(items, key, key=key_of)  # keys are all text, or all numbers
    return items[place] if place < len(items) and key_of(items[place]) == key else None
