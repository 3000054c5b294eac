"""A check of the store against the registry: every version has its list of files, and every file is there, of its size.

What is needed is kept in a temporary SQLite database, as there may be many millions of files; the store is listed once. ``deep`` reads
every file once, and proves it. A list of files, or of blocks, can be made again out of what this machine knows, and is taken only if it
is the same, by its digest.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from artfs.app.doctor.finding import Finding, ok, problem
from artfs.app.gc.live import blob_of_key, key_of
from artfs.errors import IntegrityError, InvalidInputError, NotFoundError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, Entry
from artfs.model.manifest import decode_manifest, encode_manifest
from artfs.model.names import CollectionRef, parse_artifact_ref, version_name
from artfs.model.paths import parse_entry_path
from artfs.staging.gathered import check as totals_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artfs.app.services import Services
    from artfs.registry.port import Version
    from artfs.staging.progress import Progress

_PIECE = 1 << 20
_BLOCK_DIGEST = 32  # bytes
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE needed (
    key     BLOB PRIMARY KEY,
    size    INTEGER NOT NULL,
    version TEXT NOT NULL,     -- one of those that need it
    path    TEXT NOT NULL,     -- in that version
    of      BLOB,              -- the key of the file, for a block list
    found   INTEGER            -- bytes that are there; NULL: it is not there
) WITHOUT ROWID;
"""
_BACKUP = "restore it from a backup of the store, or put the same file again: artfs put"


@dataclass(frozen=True, slots=True)
class _Needed:
    blob: Digest
    size: int
    version: str
    path: str
    of: Digest | None


class StoreCheck:
    """Checks the store of some services."""

    def __init__(self, services: Services, progress: Progress) -> None:
        self._services = services
        self._progress = progress

    def check(self, *, deep: bool) -> Iterator[Finding]:
        """Yield what is wrong."""
        with contextlib.closing(sqlite3.connect("", isolation_level=None)) as database:
            database.executescript(_SCHEMA)
            self._progress.begin("reading lists of files")
            count = 0
            for version in self._versions():
                count += 1
                self._progress.advance(files=1)
                yield from self._check_version(database, version)
            self._progress.begin("listing the store")
            database.execute("BEGIN")
            for held in self._services.backends.holdings().blobs():
                self._progress.advance(files=1)
                database.execute("UPDATE needed SET found = ? WHERE key = ?", (held.size, key_of(held.blob)))
            database.execute("COMMIT")
            for one, found in self._wrong(database):
                if found is not None or self._is_missing(one):
                    yield self._missing_or_short(one, found)
            if deep:
                yield from self._prove(database)
            (files, size) = database.execute("SELECT count(*), ifnull(sum(size), 0) FROM needed").fetchone()
            how = "each was read" if deep else "of the right sizes; --deep reads them"
            yield ok("store", f"versions: {count:,}, objects that they need: {files:,}, of {size:,} bytes ({how})")

    def _versions(self) -> Iterator[Version]:
        registry = self._services.registry
        for entity in registry.entities():
            for project in _none_if_gone(registry.projects, entity):
                for name in _none_if_gone(registry.collections, entity, project):
                    for version in registry.versions(CollectionRef(entity, project, name)):
                        if not version.is_link:
                            yield version

    # Lists of files ---------------------------------------------------------------------------------------------

    def _check_version(self, database: sqlite3.Connection, version: Version) -> Iterator[Finding]:
        name = f"{version.collection}:{version_name(version.index)}"
        try:
            self._prove_manifest(version)
        except (IntegrityError, NotFoundError) as error:
            yield problem(
                "store",
                f"the list of files of {name} is {'missing' if isinstance(error, NotFoundError) else 'damaged'}",
                "artfs fsck --fix makes it again if this machine knows it; else restore it from a backup of the store",
                partial(self._restore_manifest, version),
            )
            try:
                self._prove_manifest(version)  # it may have been repaired
            except (IntegrityError, NotFoundError):
                return
        database.execute("BEGIN")
        try:
            totals = totals_of(self._taken(database, version, name), version.algorithm)
        except InvalidInputError as error:
            yield problem(
                "store", f"the list of files of {name} cannot be used: {error.message}", "artfs has not made it"
            )
            return
        finally:
            database.execute("COMMIT")
        pairs = {
            "digest": (version.digest, totals.digest),
            "size": (version.size, totals.size),
            "number of files": (version.file_count, totals.count),
        }
        for what, (said, found) in pairs.items():
            if said != found:
                yield problem(
                    "registry",
                    f"the {what} of {name} is recorded as {said}, and that of its list of files is {found}",
                    "restore the registry from a backup",
                )

    def _taken(self, database: sqlite3.Connection, version: Version, name: str) -> Iterator[tuple[str, str, int]]:
        """Note what the files of a version need, and yield path, digest and size of each."""
        for entry in decode_manifest(self._manifest(version)):
            database.executemany("INSERT OR IGNORE INTO needed VALUES (?, ?, ?, ?, ?, NULL)", _rows(entry, name))
            yield str(entry.path), entry.digest, entry.size

    def _manifest(self, version: Version) -> Iterable[bytes]:
        return self._services.backends.read_manifest(self._services.store, version.manifest, version.id)

    def _prove_manifest(self, version: Version) -> None:
        """IntegrityError, NotFoundError if a list of files is not the one that the registry names."""
        hasher, size = version.manifest.digest.algorithm.hasher(), 0
        for piece in self._manifest(version):
            hasher.update(piece)
            size += len(piece)
        if size != version.manifest.size or hasher.digest() != version.manifest.digest.raw:
            raise IntegrityError("its bytes do not match its digest")

    def _restore_manifest(self, version: Version) -> None:
        """Write a list of files out of the index that this machine has compiled of it."""

        def refuse() -> Iterable[bytes]:
            raise NotFoundError("this machine does not know the list of files")

        manifest = version.manifest
        index = self._services.indexes.open(manifest.digest, manifest.size, refuse, version.id)
        data = b"".join(encode_manifest(sorted(index.entries(), key=attrgetter("path"))))
        self._replace(manifest.digest, data)

    def _replace(self, blob: Digest, data: bytes) -> None:
        """Put a blob into the place of a damaged or missing one. IntegrityError if it is another one."""
        if Digest.of(data, blob.algorithm) != blob:
            raise IntegrityError("what this machine knows is not the same")
        self._services.backends.holdings().remove([blob], lambda: True)
        self._services.store.write(blob, [data])
        self._services.store.sync()

    # Files ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _wrong(database: sqlite3.Connection) -> Iterator[tuple[_Needed, int | None]]:
        query = "SELECT key, size, version, path, of, found FROM needed WHERE found IS NOT size ORDER BY version, path"
        for key, size, version, path, of, found in database.execute(query):
            yield _Needed(blob_of_key(key), size, version, path, None if of is None else blob_of_key(of)), found

    def _is_missing(self, one: _Needed) -> bool:
        """Whether a version still lacks something, and was not deleted and collected meanwhile."""
        try:
            self._services.registry.version(parse_artifact_ref(one.version, self._services.registry.default_entity))
        except NotFoundError:
            return False
        return not self._services.store.has(one.blob)

    def _missing_or_short(self, one: _Needed, found: int | None) -> Finding:
        state = "is missing" if found is None else f"has {found:,} bytes, not {one.size:,}"
        return self._bad(one, state)

    def _bad(self, one: _Needed, state: str) -> Finding:
        from artfs.model.shown import visible

        where = f"{visible(one.path, 4096)} of {one.version}"
        if one.of is None:
            return problem("store", f"{where} {state}: {one.blob}", _BACKUP)
        return problem(
            "store",
            f"the block list of {where} {state}: {one.blob}",
            "artfs fsck --fix makes it again out of the file",
            partial(self._restore_block_list, one.blob, one.of),
        )

    def _restore_block_list(self, blob: Digest, of: Digest) -> None:
        """Make a block list out of its file."""
        digests = bytearray()
        with contextlib.closing(self._services.store.open(of)) as source:
            while data := source.read(len(digests) // _BLOCK_DIGEST * BLOCK_SIZE, BLOCK_SIZE):
                digests += Digest.of(data, Algorithm.BLAKE3).raw
        self._replace(blob, bytes(digests))

    def _prove(self, database: sqlite3.Connection) -> Iterator[Finding]:
        """Read what is there, of the right size, and name what is not what it should be."""
        from artfs.content.verify import State, verify

        (count, size) = database.execute(
            "SELECT count(*), ifnull(sum(size), 0) FROM needed WHERE found = size"
        ).fetchone()
        self._progress.begin("reading", count, size)
        named: dict[str, _Needed] = {}

        def files() -> Iterator[Entry]:
            query = "SELECT key, size, version, path, of FROM needed WHERE found = size AND of IS NULL"
            for number, (key, length, version, path, of) in enumerate(database.execute(query)):
                one = _Needed(blob_of_key(key), length, version, path, of)
                name = parse_entry_path(str(number))
                named[name] = one
                extra = {} if one.blob.algorithm is Algorithm.MD5 else {"alg": one.blob.algorithm.name}
                yield Entry(name, one.blob.base64, length, extra=extra)

        verifier = self._services.verifier(self._progress.advance)
        for verdict in verify(files(), verifier.origin, self._services.config.threads):
            one = named.pop(verdict.path)
            if verdict.state is State.UNREACHABLE:
                yield problem("store", f"{one.path} of {one.version} could not be read: {verdict.reason}", "try again")
            elif verdict.state is not State.PROVEN:
                yield self._bad(one, f"is {verdict.state.value}")
        for key, length, version, path, of in database.execute(
            "SELECT key, size, version, path, of FROM needed WHERE found = size AND of IS NOT NULL"
        ).fetchall():
            one = _Needed(blob_of_key(key), length, version, path, blob_of_key(of))
            if not self._is_whole(one.blob):
                yield self._bad(one, "is damaged")

    def _is_whole(self, blob: Digest) -> bool:
        hasher, offset = blob.algorithm.hasher(), 0
        with contextlib.closing(self._services.store.open(blob)) as source:
            while data := source.read(offset, _PIECE):
                hasher.update(data)
                offset += len(data)
        return hasher.digest() == blob.raw


def _rows(entry: Entry, version: str) -> Iterator[tuple[bytes, int, str, str, bytes | None]]:
    """Yield the rows of what an entry needs. Of an empty file nothing need be stored."""
    packed = entry.packed
    if packed is not None:
        yield key_of(packed.pack), packed.size, version, str(entry.path), None
    elif entry.ref is None and entry.size:
        yield key_of(entry.blob), entry.size, version, str(entry.path), None
        if entry.block_list is not None:
            blocks = -(-entry.size // BLOCK_SIZE)
            yield key_of(entry.block_list), blocks * _BLOCK_DIGEST, version, str(entry.path), key_of(entry.blob)


def _none_if_gone(ask: object, *names: str) -> Iterable[str]:
    """Return names, none if what they are in was removed meanwhile."""
    try:
        found: Iterable[str] = ask(*names)  # type: ignore[operator]
    except NotFoundError:
        return ()
    return found
