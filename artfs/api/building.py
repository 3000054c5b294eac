"""The files of an artifact that is not logged yet: they lie in a draft, like those written through a mount.

A file is copied when it is added (its blocks are shared where the file system can), so that what happens to it later changes nothing, and
hashed once: the commit remembers it. The draft is made when the first file comes. It is ``transient``: rubbish if the process ends
before the artifact is logged, or lets go of it; a commit that is resumed if it ends after. Thread-safe; a child after a fork cannot use
it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

from artfs.app.waiting import saying_why
from artfs.errors import ArtifactFinalizedError, BusyError, InvalidInputError, NotFoundError
from artfs.model.digest import Algorithm, Digest
from artfs.model.names import DEFAULT_PROJECT, CollectionRef, version_name
from artfs.model.paths import join, parse_entry_path, split
from artfs.model.reference import redact
from artfs.staging.base import Base
from artfs.staging.hashing import hash_one, remember
from artfs.staging.progress import Progress
from artfs.staging.snapshot import copy_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from artfs.api.client import Client
    from artfs.api.commits import Pending
    from artfs.model.entry import Entry
    from artfs.model.paths import EntryPath
    from artfs.registry.port import Version
    from artfs.staging.drafts import Draft
    from artfs.staging.hashing import Hashed

_PIECE = 1 << 20
_BATCH = 512  # files whose digests are remembered in one transaction
_ONE_BY_ONE = "add the objects one by one, under names of their own"
_MOST_PATH = 4095  # bytes: PATH_MAX of Linux, which counts the NUL at the end


class Building:
    """The files of one artifact. ``base`` is the version that it starts from."""

    def __init__(self, client: Client, name: str, base: Version | None = None) -> None:
        self._client = client
        self._name = name
        self._base = base
        self._pid = os.getpid()
        self.lock = threading.RLock()
        self._placed = threading.Condition(self.lock)
        self._placing: set[str] = set()  # paths whose files are there and not hashed yet
        self.pending: Pending | None = None
        """The commit of the files, once it was begun. ``lock`` is held to begin it, and for each change of the files."""
        self._draft: Draft | None = None
        self._entries: dict[str, Entry] = {}
        self.sources: dict[Path, str] = {}
        """Which local file or directory is where in the artifact: a data type that names such a file does not add it again."""
        self.objects: dict[int, tuple[object, Entry]] = {}
        """The data types that were added, by ``id()``; kept, so that no id is given to another one."""
        if base is not None:
            index = client.services.open_index(base)
            self._entries = {entry.path: entry for entry in index.entries()}

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entries by path, in the order in which they were added. Other threads change it: who walks it takes a copy."""
        return self._entries

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of the digests."""
        return Algorithm[self._client.config.algorithm]

    @property
    def draft(self) -> Draft:
        """The draft, made when it is first needed. BusyError in a child of the process that has made it."""
        if self._pid != os.getpid():
            raise BusyError(
                f"artifact {self._name!r} belongs to the process {self._pid}",
                hint="add files in the process that made it",
            )
        with self.lock:
            if self._draft is None:
                services = self._client.services
                place = CollectionRef(self._client.default_entity, DEFAULT_PROJECT, self._name)
                base, found = None, self._base
                if found is not None:
                    ref = found.collection.at(version_name(found.index))
                    base = Base(found.id, ref, found.manifest, found.created_at)
                self._client.discard_lost()
                name = f"{self._name}-{uuid.uuid4().hex[:8]}"
                self._draft = services.drafts.create(place, name, base, transient=True)
                (self._draft.directory / "incoming").mkdir(mode=0o700)
                weakref.finalize(self, self._client.lost.append, self._draft).atexit = False
            return self._draft

    def local_path(self, path: str) -> str | None:
        """Return where the copy of an added file lies; None for what has no local bytes."""
        if self._draft is None:
            return None
        found = self._draft.tree.local_path(path)
        return found if os.path.lexists(found) else None

    def path_of_source(self, file: Path) -> str | None:
        """Return where a local file is in the artifact; None if it was not added, or either has changed since."""
        file = file.absolute()
        for place in (file, *file.parents):
            prefix = self.sources.get(place)
            if prefix is not None:
                path = join(prefix, "" if place == file else file.relative_to(place).as_posix())
                entry = self._entries.get(path)
                is_same = entry is not None and file.is_file() and self.digest_of(file).base64 == entry.digest
                return path if is_same else None
        return None

    # Files ------------------------------------------------------------------------------------------------------

    def add_file(self, source: Path, name: str, *, overwrite: bool) -> Entry:
        """Copy a file in. InvalidInputError: no file, no valid path, or another content at that path already."""
        if not source.is_file():
            raise InvalidInputError(f"Path is not a file: {source}")
        hashed = self._take(source, parse_entry_path(name), overwrite=overwrite, progress=Progress())
        if isinstance(hashed, tuple):
            return hashed[0]
        remember(self.draft, [hashed])
        return hashed.entry

    def add_files(self, files: Iterable[tuple[Path, str]], *, overwrite: bool) -> None:
        """Copy many files in, with several threads."""
        batch: list[Hashed] = []
        progress = Progress()

        def take(one: tuple[Path, str]) -> Hashed | tuple[Entry]:
            return self._take(one[0], parse_entry_path(one[1]), overwrite=overwrite, progress=progress)

        with ThreadPoolExecutor(self._client.config.threads, thread_name_prefix="artfs-add") as pool:
            try:
                results = pool.map(take, files)
                for hashed in results:
                    if isinstance(hashed, tuple):
                        continue
                    batch.append(hashed)
                    if len(batch) >= _BATCH:
                        remember(self.draft, batch)
                        batch = []
            except BaseException:  # another file has failed, or Ctrl-C: no thread goes on with a big file
                progress.cancelled.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if batch:
            remember(self.draft, batch)

    def digest_of(self, file: Path) -> Digest:
        """Return the digest of a file that may be added."""
        try:
            with file.open("rb") as data:
                return _digest(data, self.algorithm)
        except OSError as error:
            raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from error

    @contextlib.contextmanager
    def new_file(self, name: str, mode: str, encoding: str | None, *, overwrite: bool) -> Iterator[IO[Any]]:
        """Open a file that is added when the body ends well, and forgotten when it raises."""
        path = parse_entry_path(name)
        if not overwrite and path in self._entries:
            raise InvalidInputError(f"File with name {path!r} already exists in the artifact")
        temporary = self._temporary()
        text = None if "b" in mode else encoding or "utf-8"
        try:
            with temporary.open(mode.replace("x", "w"), encoding=text) as file:
                yield file
            hashed = self._place(temporary, path, overwrite=overwrite, progress=Progress())
            if not isinstance(hashed, tuple):
                remember(self.draft, [hashed])
        finally:
            temporary.unlink(missing_ok=True)

    def _take(self, source: Path, path: EntryPath, *, overwrite: bool, progress: Progress) -> Hashed | tuple[Entry]:
        temporary = self._temporary()
        try:
            copy_file(source, temporary, progress.check)
            return self._place(temporary, path, overwrite=overwrite, progress=progress)
        finally:
            temporary.unlink(missing_ok=True)

    def _temporary(self) -> Path:
        return self.draft.directory / "incoming" / uuid.uuid4().hex

    def _place(self, temporary: Path, path: EntryPath, *, overwrite: bool, progress: Progress) -> Hashed | tuple[Entry]:
        """Give a copy its path, and hash it there. The content that is there already is returned as it is."""
        draft = self.draft
        with self.lock:
            self._placed.wait_for(
                lambda: path not in self._placing
            )  # another thread is about to know what it has there
            self._check_open()
            known = self._entries.get(path)
            if known is not None and not overwrite:
                return (self._same(known, temporary, path),)
            if known is not None:
                self._drop(path)
            self._make_room(path)
            temporary.rename(draft.tree.local_path(path))
            self._placing.add(path)
        try:
            return self._hash(draft, path, progress)
        finally:
            with self.lock:
                self._placing.discard(path)
                self._placed.notify_all()

    def _hash(self, draft: Draft, path: EntryPath, progress: Progress) -> Hashed:
        item = draft.tree.lookup(path)
        if item is None:
            raise NotFoundError(f"{path} was removed while it was being added")
        try:
            hashed = hash_one(draft, item, self.algorithm, progress)
        except BaseException:  # what was not added must not be in the version
            with contextlib.suppress(OSError):
                draft.tree.unlink(path)
            raise
        with self.lock:
            self._entries[path] = hashed.entry
        return hashed

    def settle(self) -> None:
        """Wait, with ``lock`` held, until every file that another thread is adding is in the artifact, or not."""
        self._placed.wait_for(lambda: not self._placing)

    @staticmethod
    def _same(known: Entry, file: Path, path: EntryPath) -> Entry:
        """Return the entry that is there, if a file has the same content; InvalidInputError otherwise."""
        with file.open("rb") as data:
            digest = _digest(data, known.algorithm)
        if known.ref is not None or digest.base64 != known.digest:
            raise InvalidInputError(f"Cannot add the same path twice: {path!r}")
        return known

    def _make_room(self, path: EntryPath) -> None:
        """Make the directories of a path; InvalidInputError if a file is one of them, or the path is a directory."""
        tree = self.draft.tree
        room = _MOST_PATH - len(os.fsencode(tree.local_path("x"))) + 1
        if len(path.encode()) > room:
            raise InvalidInputError(
                f"entry path {path[:80]!r}... is longer than {room} bytes, which is what fits below the directory of a draft",
                hint="choose a shorter ARTFS_DATA_DIR",
            )
        found = tree.lookup(path)
        if found is not None and found.kind == "dir" and not self._remove_empty(path):
            raise InvalidInputError(f"{path!r} is a directory of the artifact")
        parts = split(path)[0].split("/")
        for count in range(1, len(parts) + 1):
            directory = "/".join(parts[:count])
            item = tree.lookup(directory) if directory else None
            if item is not None and item.kind != "dir":
                raise InvalidInputError(f"{path!r} cannot be added: {directory!r} is a file of the artifact")
            if directory and item is None:
                tree.mkdir(directory, 0o755)
            elif item is not None and not item.local:
                tree.copy_up(directory, None)

    def _remove_empty(self, directory: str) -> bool:
        """Remove a directory whose files were all taken back; False if there are any."""
        tree = self.draft.tree
        if not all(child.kind == "dir" and self._remove_empty(child.path) for child in tree.children(directory)):
            return False
        tree.rmdir(directory)
        return True

    def _check_open(self) -> None:
        """ArtifactFinalizedError if another thread has logged the artifact meanwhile."""
        if self.pending is not None and not self.pending.failed:
            raise ArtifactFinalizedError(f"artifact {self._name!r} was logged while files were added to it")

    # References -------------------------------------------------------------------------------------------------

    def add_reference(self, uri: str, name: str, *, checksum: bool, max_objects: int) -> list[Entry]:
        """Add what a URI stands for, at or below ``name`` (empty: the root). See `artfs.storage.resolver`."""
        path = parse_entry_path(name) if name else ""
        services = self._client.services
        with saying_why(services):
            added = list(services.links().expand(path, uri, checksum=checksum, max_objects=max_objects))
        _check_apart(added, uri)
        draft = self.draft
        with self.lock:
            self._check_open()
            for entry in added:
                known = self._entries.get(entry.path)
                if known is not None and known.digest != entry.digest:
                    raise InvalidInputError(f"Cannot add the same path twice: {entry.path!r}")
            for entry in added:
                self._make_room(entry.path)
            draft.tree.bind((entry.path, entry, 0o444, 0) for entry in added)
            self._entries.update((entry.path, entry) for entry in added)
        return added

    # Taking back ------------------------------------------------------------------------------------------------

    def remove(self, path: str) -> None:
        """Remove a file or reference, or all of a directory; NotFoundError."""
        with self.lock:
            self._check_open()
            prefix = f"{path.rstrip('/')}/"
            gone = [path] if path in self._entries else [one for one in self._entries if one.startswith(prefix)]
            if not gone:
                raise NotFoundError(f"No such path: {path}")
            for one in gone:
                self._drop(one)

    def _drop(self, path: str) -> None:
        self.draft.tree.unlink(path)
        del self._entries[path]


def _check_apart(entries: Iterable[Entry], uri: str) -> None:
    """InvalidInputError for what a bucket can hold and no version can: one of two would be lost without a word."""
    paths: set[str] = set()
    for entry in entries:
        if entry.path in paths:
            raise InvalidInputError(f"{redact(uri)} has two objects for the path {entry.path!r}", hint=_ONE_BY_ONE)
        paths.add(entry.path)
    for path in paths:
        above = path
        while above := above.rpartition("/")[0]:
            if above in paths:
                raise InvalidInputError(
                    f"{redact(uri)} has {above!r} as an object and as a directory, which holds {path!r}",
                    hint=_ONE_BY_ONE,
                )


def _digest(data: IO[bytes], algorithm: Algorithm) -> Digest:
    hasher = algorithm.hasher()
    while piece := data.read(_PIECE):
        hasher.update(piece)
    return Digest(algorithm, hasher.digest())
