"""Commits that go on while the program does: what `log_artifact` starts and `wait` waits for.

A commit is journaled before its thread starts, so a process that is killed loses nothing: a mount, or the next process that logs
something, finishes it. The threads are no daemons: a program that ends waits for them, but not for a registry that is away.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from artfs.app.client import refresh_all
from artfs.errors import ArtfsError, BusyError, UnreachableError, WaitTimeoutError
from artfs.model.names import LATEST, version_name
from artfs.staging.progress import CommitInterrupted, Progress

if TYPE_CHECKING:
    from artfs.app.services import Services
    from artfs.staging.commit import CommitResult
    from artfs.staging.drafts import Draft
    from artfs.staging.journal import Journal

log = logging.getLogger(__name__)

_AT_ONCE = 2
_FIRST_RETRY, _LAST_RETRY = 1.0, 30.0  # seconds between tries of a registry or store that cannot be reached
_PATIENCE = 600.0  # seconds after which a commit that cannot go on is left to the next process


class Pending:
    """A commit under way. ``progress`` may be watched."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.progress = Progress()
        self._pid = os.getpid()
        self._done = threading.Event()
        self._result: CommitResult | None = None
        self._error: ArtfsError | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._done.is_set()

    @property
    def failed(self) -> bool:
        """Whether it has failed for good: the draft is an ordinary one again, and may be committed anew."""
        return isinstance(self._error, ArtfsError) and not isinstance(
            self._error, (UnreachableError, CommitInterrupted)
        )

    def wait(self, timeout: float | None = None) -> CommitResult:
        """Return what was made. Raises what the commit failed with; WaitTimeoutError after ``timeout`` seconds, and it goes on.

        BusyError in a forked child, which never hears of the end of its parent's commit.
        """
        if self._pid != os.getpid() and not self.done:
            raise BusyError(
                f"the process {self._pid} commits to {self.draft.collection}",
                hint="wait() in the process that logged it",
            )
        if not self._done.wait(timeout):
            raise WaitTimeoutError(f"the commit to {self.draft.collection} is not done after {timeout:g} s")
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise ArtfsError(f"the commit to {self.draft.collection} broke off", hint="artfs commit --resume")
        return self._result

    def end(self, result: CommitResult | None, error: ArtfsError | None) -> None:
        """Note how it has ended."""
        self._result, self._error = result, error
        self._done.set()


class BackgroundCommits:
    """The commits of one process. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._running: set[Pending] = set()
        self._stopping = threading.Event()
        self._adopted = False

    def start(self, draft: Draft, wanted: Journal) -> Pending:
        """Freeze a draft, journal the commit, and let it run in a thread of its own. InvalidInputError, NoSpaceError."""
        self.adopt()
        self._services.committer().freeze(draft, wanted)
        return self._launch(draft, wanted.aliases)

    def adopt(self) -> None:
        """Take over, once, the commits that a process has begun which is no more."""
        with self._lock:
            adopted, self._adopted = self._adopted, True
        if adopted:
            return
        for draft in self._services.drafts.orphaned_commits():
            log.info("resuming the commit of draft %r of %s", draft.name, draft.collection)
            self._launch(draft, ())

    def _launch(self, draft: Draft, aliases: tuple[str, ...]) -> Pending:
        pending = Pending(draft)
        with self._lock:
            self._running.add(pending)
        threading.Thread(target=self._run, args=(pending, aliases), name="artfs-commit").start()
        return pending

    def _run(self, pending: Pending, aliases: tuple[str, ...]) -> None:
        result, error = None, None
        try:
            with self._slots:
                result = self._commit(pending)
        except ArtfsError as failure:
            error = failure
        except Exception as failure:
            log.exception("the commit of draft %r broke off", pending.draft.name)
            error = ArtfsError(f"the commit broke off: {failure!r}", hint="artfs commit --resume")
        finally:
            with self._lock:
                self._running.discard(pending)
            pending.end(result, error)
        if result is not None:
            version = result.version
            names = [version_name(version.index), LATEST, *aliases]
            refresh_all(self._services.config, version.collection, names)

    def _commit(self, pending: Pending) -> CommitResult:
        committer, delay, deadline = self._services.committer(), _FIRST_RETRY, time.monotonic() + _PATIENCE
        while True:
            try:
                return committer.run(pending.draft, pending.progress)
            except CommitInterrupted:
                raise
            except UnreachableError as error:
                ending = self._stopping.is_set() or not threading.main_thread().is_alive()
                if ending or time.monotonic() > deadline:
                    raise UnreachableError(
                        f"{error.message}: the commit is kept",
                        hint="the next mount finishes it, or the next process that logs, or: artfs commit --resume",
                    ) from error
                # Once as a warning: the user wonders what wait() waits for.
                log.log(
                    logging.WARNING if delay == _FIRST_RETRY else logging.INFO,
                    "the commit to %s waits: %s",
                    pending.draft.collection,
                    error,
                )
                self._stopping.wait(delay)
                delay = min(2 * delay, _LAST_RETRY)

    def finish(self) -> None:
        """Wait for all commits; those that cannot reach the registry or the store are left to the next process."""
        self._stopping.set()
        for pending in list(self._running):
            try:
                pending.wait()
            except ArtfsError as error:
                log.info("a commit has not ended: %s", error)
