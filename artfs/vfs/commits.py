"""The commits of a mount: started by a rename into ``.commit/`` or by the control socket, run in worker threads.

A commit is frozen and journaled before the rename returns; from then on nothing can lose it. If the registry or the store
cannot be reached it is tried again; if it fails for good, the draft is back in ``.staging/`` with ``user.artfs.error``.
When the mount ends, running commits stop at the next step, and the next mount resumes them. One that was begun after another of its
collection (`artfs.staging.turns`) begins to run when that one has ended.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import trio

from artfs.errors import ArtfsError, BusyError, ExistsError, NotFoundError, UnreachableError
from artfs.model.names import LATEST, CollectionRef
from artfs.staging.journal import Journal
from artfs.staging.progress import CommitInterrupted, Progress
from artfs.staging.turns import GIVEN_UP_KEY, EarlierCommitError, GivenUpError, is_given_up
from artfs.vfs.namespace import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from artfs.staging.base import Base
    from artfs.staging.commit import CommitResult, Committer
    from artfs.staging.drafts import Draft, Drafts
    from artfs.vfs.catalog import Catalog
    from artfs.vfs.types import Inode, Notifier

log = logging.getLogger(__name__)

MAX_COMMITS = 2
_LOOK = 1.0  # seconds between looks whether a commit that waits is to go on
_TAKE_BACK = 90.0  # seconds: longer than a request is tried again
_FIRST_RETRY, _LAST_RETRY = 2.0, 60.0  # seconds between tries of a registry that cannot be reached
_TURN_RETRY = 0.5  # seconds between looks whether a commit of another process has ended


@dataclass(slots=True)
class Outcomes:
    """What became of the commits of this mount so far. ``size`` is the bytes of the versions that were made."""

    published: int = 0
    unchanged: int = 0
    failed: int = 0
    size: int = 0


@dataclass(eq=False, slots=True)
class Job:
    """A commit under way. ``name`` is what ``.commit/`` lists it as."""

    draft: Draft
    name: str
    aliases: tuple[str, ...]
    draft_name: str
    order: int = 0
    progress: Progress = field(default_factory=Progress)
    done: trio.Event = field(default_factory=trio.Event)
    result: CommitResult | None = None
    error: ArtfsError | None = None
    waiting_for: str = ""  # why it is being tried again


class Commits:
    """The drafts that a mount owns, and what becomes of them. ``settle`` waits for open files, ``gone`` drops inodes."""

    def __init__(
        self,
        drafts: Drafts,
        committer: Committer,
        catalog: Catalog,
        notifier: Notifier,
        place: Callable[[Kind, CollectionRef], Inode],
        nursery: trio.Nursery,
    ) -> None:
        self._drafts = drafts
        self._committer = committer
        self._catalog = catalog
        self._notifier = notifier
        self.place = place
        self._nursery = nursery
        self._jobs: dict[str, Job] = {}
        self._limiter = trio.CapacityLimiter(MAX_COMMITS)
        self._ending = trio.Event()
        self._stopping = trio.Event()
        self.outcomes = Outcomes()
        self.gone: Callable[[Draft], None] = lambda _: None

    @property
    def jobs(self) -> Sequence[Job]:
        """The commits under way."""
        return list(self._jobs.values())

    def job(self, draft: Draft) -> Job | None:
        """Return the commit of a draft that is being committed."""
        return self._jobs.get(draft.id)

    def is_frozen(self, draft: Draft) -> bool:
        """Whether a draft is being committed, so that it must not change."""
        return draft.id in self._jobs

    def staged(self, collection: CollectionRef) -> list[Draft]:
        """Return the drafts that ``.staging/`` lists."""
        return [draft for draft in self._drafts.owned() if draft.collection == collection and not self.is_frozen(draft)]

    def committing(self, collection: CollectionRef) -> list[Job]:
        """Return the commits that ``.commit/`` lists."""
        return [job for job in self._jobs.values() if job.draft.collection == collection]

    def find(self, collection: CollectionRef, name: str) -> Draft:
        """Return a draft of ``.staging/`` by name; NotFoundError."""
        for draft in self.staged(collection):
            if draft.name == name:
                return draft
        raise NotFoundError(f"{collection} has no draft {name!r}")

    async def create(self, collection: CollectionRef, name: str, base: Base | None = None) -> Draft:
        """Make a draft; ExistsError."""
        if any(draft.name == name for draft in self.staged(collection)):
            raise ExistsError(f"{collection} has a draft {name!r} already")
        draft = await trio.to_thread.run_sync(self._drafts.create, collection, name, base)
        self._notifier.forget_attr(self.place(Kind.STAGING, collection))
        return draft

    async def discard(self, draft: Draft) -> None:
        """Remove a draft and all that is in it."""
        self.gone(draft)
        await trio.to_thread.run_sync(draft.discard)

    def start(self, draft: Draft, name: str, wanted: Journal) -> Job:
        """Freeze a draft, journal the commit and let it run. InvalidInputError, ExistsError, BusyError."""
        if any(job.name == name for job in self.committing(draft.collection)):
            raise ExistsError(f"a commit named {name!r} is under way in {draft.collection}")
        if self._stopping.is_set():
            raise BusyError("the mount is ending")
        self._committer.freeze(draft, replace(wanted, name=name))
        return self._launch(draft, name, wanted.aliases)

    def resume(self, drafts: Iterable[Draft] | None = None) -> None:
        """Go on with the commits that another process left: of these drafts, else of all that this process owns."""
        wanted = () if self._ending.is_set() else self._drafts.owned() if drafts is None else drafts
        begun = [(draft, journal) for draft in wanted if (journal := Journal.load(draft)) is not None]
        for draft, journal in sorted(begun, key=lambda one: (one[1].order, one[0].id)):
            if draft.id not in self._jobs:
                log.info("resuming the commit of draft %r of %s", draft.name, draft.collection)
                self._launch(draft, journal.name or draft.name, journal.aliases)

    def stop(self) -> None:
        """Ask running commits to stop at their next step; they are resumed by the next mount."""
        self._stopping.set()
        self._ending.set()
        for job in self._jobs.values():
            job.progress.cancelled.set()

    async def end(self) -> None:
        """Wait for the commits under way; one that cannot reach the registry or the store is left to the next mount."""
        self._ending.set()
        await self.finish()

    async def finish(self) -> None:
        """Wait until no commit is under way."""
        for job in self.jobs:
            await job.done.wait()

    def _launch(self, draft: Draft, name: str, aliases: Sequence[str]) -> Job:
        journal = Journal.load(draft)
        order = 0 if journal is None else journal.order
        job = self._jobs[draft.id] = Job(draft, name, tuple(aliases), draft.name, order)
        self._nursery.start_soon(self._run, job)
        return job

    async def _wait_for_turn(self, job: Job) -> None:
        """Wait for the commits of the collection that were begun before, without a place of those that run."""
        for earlier in self.committing(job.draft.collection):
            if (earlier.order, earlier.draft.id) < (job.order, job.draft.id) and not earlier.done.is_set():
                first = f"{earlier.draft.collection}/{earlier.draft_name}"
                job.waiting_for = (
                    f"the commit of draft {earlier.draft_name!r}, which was begun before"
                    f" (if it is not to be finished: artfs commit --abort {first})"
                )
                while not (earlier.done.is_set() or is_given_up(job.draft)):
                    with trio.move_on_after(_LOOK):
                        await earlier.done.wait()
                job.waiting_for = ""

    async def _run(self, job: Job) -> None:
        delay = _FIRST_RETRY
        try:
            while not self._stopping.is_set():
                await self._wait_for_turn(job)
                try:
                    job.result = await trio.to_thread.run_sync(
                        self._committer.run, job.draft, job.progress, limiter=self._limiter
                    )
                    break
                except CommitInterrupted:
                    return
                except EarlierCommitError as error:  # another process is at it, or left it
                    job.waiting_for = str(error)
                    if self._ending.is_set():
                        return
                    with trio.move_on_after(_TURN_RETRY):
                        await self._ending.wait()
                except UnreachableError as error:
                    if job.waiting_for != error.message:
                        log.warning(
                            "the commit of draft %r of %s waits: %s", job.draft_name, job.draft.collection, error
                        )
                    job.waiting_for = error.message
                    if self._ending.is_set():
                        return
                    await self._pause(job, delay)
                    delay = min(2 * delay, _LAST_RETRY)
                except GivenUpError as error:
                    log.info("draft %r of %s: %s", job.draft_name, job.draft.collection, error)
                    job.error = error
                    break
                except ArtfsError as error:
                    log.error("the commit of draft %r of %s failed: %s", job.draft_name, job.draft.collection, error)  # noqa: TRY400 - the message says it all
                    job.error = error
                    break
                except Exception as error:  # a mistake of the program must not end the mount
                    log.exception("the commit of draft %r of %s broke off", job.draft_name, job.draft.collection)
                    job.waiting_for = f"the next mount, because of an unexpected error: {error!r}"
                    return
        finally:
            self._ended(job)

    async def _pause(self, job: Job, seconds: float) -> None:
        """Wait before the next try; no longer than until the mount ends, or somebody gives the commit up."""
        with trio.move_on_after(seconds):
            while not (self._ending.is_set() or is_given_up(job.draft)):
                with trio.move_on_after(_LOOK):
                    await self._ending.wait()

    async def take_back(self, collection: CollectionRef, committing: str, name: str) -> None:
        """Give up the commit that ``.commit/`` lists by a name: its draft is an ordinary one again, of another name.

        NotFoundError; ExistsError if there is a draft of that name; BusyError if it is published meanwhile, or takes too long to end.
        """
        job = next((job for job in self.committing(collection) if job.name == committing), None)
        if job is None:
            raise NotFoundError(f"no commit named {committing!r} is under way in {collection}")
        others = [*self.staged(collection), *(other.draft for other in self.committing(collection) if other is not job)]
        if any(other.name == name for other in others):
            raise ExistsError(f"{collection} has a draft {name!r} already")
        await trio.to_thread.run_sync(job.draft.database.set, GIVEN_UP_KEY, True)  # this one: others may have its name
        with trio.move_on_after(_TAKE_BACK):
            await job.done.wait()
        if job.result is not None:
            raise BusyError(f"the commit of draft {job.draft_name!r} was published meanwhile")
        if job.error is None:
            raise BusyError(f"the commit of draft {job.draft_name!r} has not ended yet", hint="it does so soon")
        if name != job.draft.name:
            job.draft.rename(name)

    def _ended(self, job: Job) -> None:
        draft, collection = job.draft, job.draft.collection
        self._count(job)
        if job.result is not None:
            self.gone(draft)
            for warning in job.result.warnings:
                log.info("commit of draft %r of %s: %s", job.draft_name, collection, warning)
        if job.error is not None:
            self._drafts.distinguish(draft)
        if job.result is not None or job.error is not None:
            del self._jobs[draft.id]
        self._catalog.forget()
        self._notifier.forget_name(self.place(Kind.COMMIT, collection), os.fsencode(job.name))
        for name in {job.draft_name, draft.name}:
            self._notifier.forget_name(self.place(Kind.STAGING, collection), os.fsencode(name))
        for alias in {LATEST, *job.aliases}:
            self._notifier.forget_name(self.place(Kind.COLLECTION, collection), os.fsencode(alias))
        self._notifier.forget_attr(self.place(Kind.COLLECTION, collection))
        job.done.set()

    def _count(self, job: Job) -> None:
        if job.error is not None:
            self.outcomes.failed += 1
        elif job.result is not None and job.result.created:
            self.outcomes.published += 1
            self.outcomes.size += job.result.version.size
        elif job.result is not None:
            self.outcomes.unchanged += 1
