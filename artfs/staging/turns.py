"""Whose turn it is: the commits of one collection from one data directory are published in the order in which they were begun.

`number` gives a commit its place, under a lock of the data directory; the journal keeps it. A commit runs when none of its collection is
unfinished that has a lower one (`before`): else one that was left behind and resumed later would make older content the newest version.
What nobody works on is finished first by who comes next (`Turns.take`); what another process works on is waited for. A commit that
cannot go on keeps its place, and holds up the later ones, which say so, until it is finished or given up (`give_up`): the draft is an
ordinary one then, with all its files. A draft whose database cannot be read holds up nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import os
import sqlite3
import threading
import time
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from artfs.errors import ArtfsError, BusyError, UnreachableError
from artfs.sqlite import connect, no_fork
from artfs.staging.locks import is_owned
from artfs.staging.progress import CommitInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from artfs.model.names import CollectionRef
    from artfs.staging.commit import CommitResult
    from artfs.staging.drafts import Draft
    from artfs.staging.progress import Progress

log = logging.getLogger(__name__)

JOURNAL_KEY = "commit"  # of a draft's database: what the draft is to become, while it is frozen
WAITS_KEY, GIVEN_UP_KEY = "waits", "given_up"  # why the commit could not go on; that it is not to go on
DATABASE, BALLAST = "draft.sqlite", "ballast"  # files of a draft; it has the second one as long as it is frozen

PATIENCE = 75.0
"""Seconds that a commit waits for one of another process that cannot go on: longer than a mount waits before it tries again."""

_PAUSE = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Begun:
    """A commit that is not finished. ``waits`` is why it could not go on when it was tried last, or empty."""

    order: int
    id: str
    directory: Path
    collection: str
    name: str
    waits: str
    given_up: bool


class EarlierCommitError(UnreachableError):
    """A commit has to wait for one that was begun before it."""

    @classmethod
    def of(cls, first: Begun) -> EarlierCommitError:
        """Say which one, and what it waits for."""
        reason = f", which waits: {first.waits}" if first.waits else ""
        return cls(
            f"the commit of draft {first.name!r} of {first.collection} was begun before, and comes first{reason}",
            hint=f"if it is not to be finished: artfs commit --abort {first.collection}/{first.name}",
        )


class GivenUpError(BusyError):
    """A commit was given up by its user. The draft is an ordinary one again."""


class Turn:
    """Held by the thread that runs the commit of a draft; ``ended`` is what became of it, if that was another thread than its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ended: CommitResult | ArtfsError | None = None


_here: weakref.WeakValueDictionary[Path, Draft] = weakref.WeakValueDictionary()


def note(draft: Draft) -> None:
    """Remember a draft that this process owns."""
    _here[draft.directory] = draft


@contextlib.contextmanager
def number(draft: Draft) -> Iterator[int]:
    """Give out the number of a commit that is journaled inside: higher than those that are unfinished, and no two at once."""
    root = draft.directory.parent
    with no_fork(), _locked(root.with_name(f".{root.name}.order")):
        last = max((found.order for found in unfinished(root, str(draft.collection))), default=0)
        yield max(last + 1, time.time_ns())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnreachableError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def unfinished(root: Path, collection: str) -> list[Begun]:
    """Return the commits of a collection that were begun and have not ended, in their order."""
    found = [_read(entry) for entry in root.iterdir() if entry.name[0] != "." and (entry / BALLAST).exists()]
    mine = [one for one in found if one is not None and one.collection == collection]
    return sorted(mine, key=lambda one: (one.order, one.id))


def _read(directory: Path) -> Begun | None:
    uri = f"file:{quote(str(directory / DATABASE))}?mode=rw"
    try:
        with contextlib.closing(connect(uri, uri=True, timeout=30)) as database:
            values = {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM meta")}
    except (sqlite3.Error, ValueError) as error:  # it has just ended, or is damaged
        log.debug("%s holds up no commit: %s", directory, error)
        return None
    about, journal = values.get("draft"), values.get(JOURNAL_KEY)
    if not isinstance(about, dict) or not isinstance(journal, dict):
        return None
    collection = "/".join(str(about.get(part)) for part in ("entity", "project", "collection"))
    waits, given_up = str(values.get(WAITS_KEY) or ""), bool(values.get(GIVEN_UP_KEY))
    return Begun(
        int(journal.get("order") or 0), directory.name, directory, collection, str(values["name"]), waits, given_up
    )


def before(draft: Draft) -> Begun | None:
    """Return the commit that comes first, if that is not the one of this draft."""
    found = unfinished(draft.directory.parent, str(draft.collection))
    earlier = itertools.takewhile(lambda one: one.id != draft.id, found)
    if all(one.id != draft.id for one in found):  # another thread has finished it
        return None
    return next((one for one in earlier if not one.given_up), None)


def give_up(root: Path, collection: CollectionRef, name: str) -> Begun | None:
    """Let the first unfinished commit of a draft of this name go no further. Who owns the draft makes it an ordinary one."""
    for found in unfinished(root, str(collection)):
        if found.name == name and not found.given_up:
            with contextlib.closing(connect(found.directory / DATABASE, timeout=30)) as database, database:
                database.execute("INSERT OR REPLACE INTO meta VALUES (?, 'true')", (GIVEN_UP_KEY,))
            return found
    return None


def is_given_up(draft: Draft) -> bool:
    """Whether the commit of a draft is not to go on. False where that cannot be read: then another thread has just ended it."""
    with contextlib.suppress(UnreachableError):
        return bool(draft.database.get(GIVEN_UP_KEY))
    return False


def refuse_given_up(draft: Draft) -> None:
    """GivenUpError if the commit of a draft is not to go on."""
    if is_given_up(draft):
        raise GivenUpError(
            "the commit was given up: the draft is an ordinary one again", hint="commit it again, or remove it"
        )


class Turns:
    """How a process waits for the turn of its commits.

    ``adopt`` takes a draft over that nobody owns, ``leave`` lets go of it; ``tell`` is told what is waited for. Without ``patience``
    nothing is waited for: EarlierCommitError at once.
    """

    def __init__(
        self,
        adopt: Callable[[str], Draft | None] = lambda _: None,
        leave: Callable[[Draft], None] = lambda _: None,
        tell: Callable[[str], None] = log.info,
        patience: float = PATIENCE,
    ) -> None:
        self._adopt = adopt
        self._leave = leave
        self._tell = tell
        self._patience = patience

    def take(self, draft: Draft, progress: Progress, run: Callable[[Draft], object]) -> None:
        """Return when it is the draft's turn, with ``run`` having finished what nobody else works on. EarlierCommitError."""
        told, until = "", 0.0
        while (first := before(draft)) is not None:
            if not self._patience:
                raise EarlierCommitError.of(first)
            if told != first.id:
                told, until = first.id, 0.0
                progress.begin("waiting for an earlier commit")
                self._tell(
                    f"the commit of draft {first.name!r} of {first.collection} was begun before, and comes first"
                )
            if self._finish(first, run):
                continue
            if first.waits and not until:
                until = time.monotonic() + self._patience
            if first.waits and time.monotonic() > until:
                raise EarlierCommitError.of(first)
            progress.check()
            time.sleep(_PAUSE)

    def _finish(self, first: Begun, run: Callable[[Draft], object]) -> bool:
        """Run a commit that this process owns, or nobody; false if somebody is at work on it."""
        own = _here.get(first.directory)
        if own is not None and not own.is_gone:
            if own.turn.lock.locked():
                return False
            self._run(own, first, run)
            return True
        adopted = self._adopt(first.id)
        if adopted is not None:
            try:
                self._run(adopted, first, run)
            finally:
                self._leave(adopted)
            return True
        if is_owned(first.directory):
            return False
        if first.directory.exists():  # its base is away, or gone
            raise EarlierCommitError.of(first)
        return True

    def _run(self, draft: Draft, first: Begun, run: Callable[[Draft], object]) -> None:
        try:
            run(draft)
        except UnreachableError as error:
            raise EarlierCommitError.of(replace(first, waits=error.message)) from error
        except CommitInterrupted:
            raise
        except ArtfsError as error:  # it is an ordinary draft again
            self._tell(f"the commit of draft {first.name!r} of {first.collection} has failed: {error}")
