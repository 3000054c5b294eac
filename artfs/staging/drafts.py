"""Drafts on disk: made, owned, renamed, discarded.

``<root>/<registry id>/<draft id>/`` holds ``lock``, ``draft.sqlite``, ``tree/``, and while it is committed ``ballast``, and perhaps
``gathered.sqlite`` or ``manifest.json``. Whoever holds the lock (`artfs.staging.locks`) owns the draft; the kernel lets go of it when the
process ends, however it ends. The next mount takes the draft over; a commit that was begun, a running mount does
(`Drafts.orphaned_commits`). A draft gets its name by a rename when it is whole and loses it by a rename before it is removed, so what a
crash leaves is either a draft or rubbish.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import threading
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from artfs.errors import ArtfsError, ExistsError, IntegrityError, NoSpaceError, NotFoundError, UnreachableError
from artfs.model.names import CollectionRef
from artfs.private import make_private
from artfs.staging.base import Base
from artfs.staging.database import DraftDatabase
from artfs.staging.locks import DraftLock, take
from artfs.staging.overlay import Overlay
from artfs.staging.removal import remove_tree
from artfs.staging.turns import BALLAST, DATABASE, JOURNAL_KEY, Turn, note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from artfs.cache.index import ManifestIndex
    from artfs.model.entry import JsonValue

log = logging.getLogger(__name__)

_NEW, _TRASH = ".new-", ".trash-"
_BALLAST_SIZE = 256 << 10  # bytes: some pages in the logs of the draft's database and the registry's


@dataclass(frozen=True, slots=True)
class DraftReference:
    """A URI and where in the version what it stands for goes; the empty path is the root."""

    uri: str
    path: str
    checksum: bool
    max_objects: int


class Draft:
    """A draft that this process owns. Its properties are kept in its database."""

    def __init__(
        self,
        directory: Path,
        lock: DraftLock,
        open_base: Callable[[Base], ManifestIndex],
        forget: Callable[[Draft], None],
    ) -> None:
        self.id = directory.name
        self.directory = directory
        self._lock = lock
        self._forget = forget
        self._ballast = directory / BALLAST
        self.database = DraftDatabase(directory / DATABASE)
        about = cast("dict[str, str] | None", self.database.get("draft"))
        if about is None:
            raise IntegrityError(f"draft {directory} is damaged: it does not say what it is")
        self.collection = CollectionRef(about["entity"], about["project"], about["collection"])
        self._name = str(self.database.get("name"))
        self.created_at = datetime.fromisoformat(about["created_at"])
        found = self.database.get("base")
        self.base = None if found is None else Base.decode(found)
        index = None if self.base is None else open_base(self.base)
        self.tree = Overlay(directory, self.database, index, 0 if self.base is None else self.base.created_ns)
        self.turn = Turn()
        note(self)

    @property
    def name(self) -> str:
        """The name in ``.staging/``. Known without the database, which another thread may have closed: the draft was committed, say."""
        return self._name

    def rename(self, name: str) -> None:
        """Give the draft another name."""
        self.database.set("name", name)
        self._name = name

    def aim(self, collection: CollectionRef) -> None:
        """Let the draft become a version of another collection."""
        about = cast("dict[str, JsonValue]", self.database.get("draft"))
        place = {"entity": collection.entity, "project": collection.project, "collection": collection.collection}
        self.database.set("draft", {**about, **place})
        self.collection = collection

    @property
    def type(self) -> str | None:
        """The type that the commit will record; None leaves it to the collection."""
        return cast("str | None", self.database.get("type"))

    @type.setter
    def type(self, value: str | None) -> None:
        self.database.set("type", value)

    @property
    def description(self) -> str | None:
        """The description that the commit will record."""
        return cast("str | None", self.database.get("description"))

    @description.setter
    def description(self, value: str | None) -> None:
        self.database.set("description", value)

    @property
    def metadata(self) -> Mapping[str, JsonValue]:
        """The metadata that the commit will record."""
        return cast("dict[str, JsonValue]", self.database.get("metadata") or {})

    @metadata.setter
    def metadata(self, value: Mapping[str, JsonValue]) -> None:
        self.database.set("metadata", dict(value) or None)

    @property
    def references(self) -> list[DraftReference]:
        """The references that the commit adds beside the symlinks of the draft."""
        found = cast("list[dict[str, Any]]", self.database.get("references") or [])
        return [DraftReference(**one) for one in found]

    def add_reference(self, reference: DraftReference) -> None:
        """Let the commit add a reference."""
        self.database.set("references", [asdict(one) for one in (*self.references, reference)])

    @property
    def error(self) -> str | None:
        """Why the last commit failed."""
        return cast("str | None", self.database.get("error"))

    @error.setter
    def error(self, value: str | None) -> None:
        self.database.set("error", value)

    @property
    def transient(self) -> bool:
        """Whether the draft is the work of one command, and rubbish if that ended before it was frozen."""
        return bool(self.database.get("transient"))

    @transient.setter
    def transient(self, value: bool) -> None:
        self.database.set("transient", value or None)

    def hold_space(self) -> None:
        """Take the space on the disk that giving up a commit needs, before the commit begins to fill it; NoSpaceError."""
        try:
            descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _BALLAST_SIZE)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.give_space()
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NoSpaceError(
                    f"no space left to commit draft {self.name!r}",
                    hint=f"free some space on the disk of {self.directory.parent}",
                ) from error
            raise UnreachableError(f"draft {self.directory} cannot be used: {error.strerror}") from error

    @property
    def is_gone(self) -> bool:
        """Whether the draft was committed, discarded, or belongs to another process: to the parent of this one, in a forked child."""
        return not self._lock.is_held

    def give_space(self) -> None:
        """Give back what `hold_space` took."""
        self._ballast.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the draft and everything in it; nothing in a forked child, whose parent owns it."""
        self._forget(self)
        if self.is_gone:
            return
        trash = self.directory.with_name(_TRASH + self.id)
        self.directory.rename(trash)
        self.release()
        remove_tree(trash)

    def release(self) -> None:
        """Let go of the draft: another process may own it now. Nothing in a forked child, whose parent owns it."""
        if self.is_gone:
            return
        self.database.close()
        self._lock.release()


class Drafts:
    """The drafts of one registry in one data directory. ``open_base`` opens the index of a base version, and may block."""

    def __init__(self, root: Path, registry_id: str, open_base: Callable[[Base], ManifestIndex]) -> None:
        self.root = self._directory = root / registry_id
        self._open_base = open_base
        self._guard = threading.Lock()
        self._owned: dict[str, Draft] = {}
        self._ordinary: set[str] = set()  # drafts of others that were looked at: not transient, which never changes
        self._damaged: set[str] = set()  # those that the log has told of
        make_private(self._directory)

    def owned(self) -> list[Draft]:
        """Return the drafts that this process owns, oldest first."""
        with self._guard:
            return list(self._owned.values())

    def create(
        self, collection: CollectionRef, name: str, base: Base | None = None, *, transient: bool = False
    ) -> Draft:
        """Make a draft and own it; ExistsError if this process owns one of that name in the collection."""
        others = (draft for draft in self.owned() if draft.collection == collection and draft.name == name)
        if any(not draft.is_gone for draft in others):
            raise ExistsError(f"{collection} has a draft {name!r} already")
        draft_id = uuid.uuid4().hex
        new = self._directory / (_NEW + draft_id)
        try:
            new.mkdir(mode=0o700)
            (new / "tree").mkdir(mode=0o755)
            lock = take(new)
            if lock is None:
                raise UnreachableError(f"a draft that was being made in {new} was removed", hint="try again")
            self._describe(new, collection, name, base, transient=transient)
            directory = new.rename(self._directory / draft_id)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NoSpaceError(f"no space left for a draft in {self._directory}") from error
            raise UnreachableError(f"a draft cannot be made in {self._directory}: {error.strerror}") from error
        return self._own(directory, lock)

    @staticmethod
    def _describe(new: Path, collection: CollectionRef, name: str, base: Base | None, *, transient: bool) -> None:
        with contextlib.closing(DraftDatabase(new / DATABASE)) as database, database.transaction():
            about: dict[str, JsonValue] = {
                "entity": collection.entity,
                "project": collection.project,
                "collection": collection.collection,
                "created_at": datetime.now(UTC).isoformat(),
            }
            database.set("draft", about)
            database.set("name", name)
            database.set("transient", transient or None)
            if base is not None:
                database.set("base", base.encode())

    def acquire(self) -> list[Draft]:
        """Take over every draft that no process owns, and return them. Rubbish is removed, a damaged draft is left alone."""
        taken = []
        for directory in sorted(self._directory.iterdir()):
            with self._guard:
                if directory.name in self._owned:
                    continue
            lock = take(directory)
            if lock is None:
                continue
            if directory.name.startswith((_NEW, _TRASH)):
                lock.release()
                remove_tree(directory)
                continue
            draft = self._adopt(directory, lock)
            if draft is not None:
                taken.append(draft)
        return taken

    def orphaned_commits(self) -> list[Draft]:
        """Take over the drafts that no process owns and whose commit was begun, and return them.

        What a command left that ended before its commit was begun is removed. Every other draft is left alone: it is locked for a
        moment, once, to see what it is. Safe to call again and again while other processes make drafts, and begin and end commits.
        """
        taken = []
        for directory in sorted(self._directory.iterdir()):
            name = directory.name
            with self._guard:
                skip = name in self._owned or name.startswith((_NEW, _TRASH))  # those may be in the making
            if skip or (name in self._ordinary and not (directory / BALLAST).exists()):
                continue
            lock = take(directory)
            if lock is None:
                continue
            if self._is_ordinary(directory):
                self._ordinary.add(name)
                lock.release()
                continue
            draft = self._adopt(directory, lock)
            if draft is None:
                self._ordinary.add(name)
            else:
                taken.append(draft)
        return taken

    def adopt(self, draft_id: str) -> Draft | None:
        """Take over a draft that no process owns; None if one does, or it is gone or damaged."""
        lock = take(self._directory / draft_id)
        return None if lock is None else self._adopt(self._directory / draft_id, lock)

    def leave(self, draft: Draft) -> None:
        """Let go of a draft that this process owns."""
        self._drop(draft)
        draft.release()

    @staticmethod
    def _is_ordinary(directory: Path) -> bool:
        """Whether a draft is neither being committed nor the work of one command. One that cannot be read is left alone, too."""
        if not (directory / DATABASE).exists():
            return True
        try:
            with contextlib.closing(DraftDatabase(directory / DATABASE)) as database:
                return database.get(JOURNAL_KEY) is None and not database.get("transient")
        except ArtfsError as error:
            log.debug("the draft in %s is left alone: %s", directory, error)
            return True

    def _adopt(self, directory: Path, lock: DraftLock) -> Draft | None:
        """Own a draft that nobody owned. None if it is damaged, which must not keep the others away, or was rubbish."""
        try:
            draft = self._own(directory, lock)
        except (IntegrityError, NotFoundError, UnreachableError) as error:
            level = logging.DEBUG if directory.name in self._damaged else logging.ERROR
            log.log(level, "the draft in %s is left alone: %s; its files are in tree/ there", directory, error)
            self._damaged.add(directory.name)
            return None
        if draft.transient and draft.database.get(JOURNAL_KEY) is None:
            draft.discard()
            return None
        self.distinguish(draft)
        return draft

    def distinguish(self, draft: Draft) -> None:
        """Give a draft another name if one of its collection has it: two processes may have made one each.

        One that is being committed keeps its name, by which the commit is given up, until it has failed.
        """
        with self._guard, contextlib.suppress(ArtfsError):  # a disk that fails is told of by who uses the draft
            others = [one for one in self._owned.values() if one is not draft and one.collection == draft.collection]
            names = {one.name for one in others}
            if _is_at_rest(draft) and any(one.name == draft.name and _is_at_rest(one) for one in others):
                draft.rename(next(name for n in itertools.count(2) if (name := f"{draft.name}-{n}") not in names))

    def _own(self, directory: Path, lock: DraftLock) -> Draft:
        try:
            draft = Draft(directory, lock, self._open_base, self._drop)
        except BaseException:
            lock.release()
            raise
        with self._guard:
            self._owned[draft.id] = draft
        return draft

    def _drop(self, draft: Draft) -> None:
        with self._guard:
            self._owned.pop(draft.id, None)

    def close(self) -> None:
        """Let go of all drafts. What is the work of one command, and was not frozen, is rubbish: it is removed."""
        for draft in self.owned():
            self._drop(draft)
            with contextlib.suppress(ArtfsError, OSError):  # else the next one to take it over does it
                if not draft.is_gone and draft.transient and draft.database.get(JOURNAL_KEY) is None:
                    draft.discard()
            draft.release()


def _is_at_rest(draft: Draft) -> bool:
    """Whether a draft is not being committed."""
    with contextlib.suppress(UnreachableError):  # another thread has just ended it
        return draft.database.get(JOURNAL_KEY) is None
    return False
