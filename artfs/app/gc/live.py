"""The objects that are needed, on disk: there may be many millions of them.

They are those of every version that is COMMITTED, or was deleted within the grace; those that drafts hold; and those of the versions that
the drafts of this machine start from. A temporary SQLite database keeps them, by a key of 17 bytes or more, in its own directory
(``SQLITE_TMPDIR``, ``TMPDIR``, /var/tmp), and goes with this process, however that ends. A list of files that cannot be read ends the
collection: what it names would be garbage.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from artfs.errors import ArtfsError, IntegrityError, NoSpaceError, NotFoundError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.manifest import decode_entry, decode_manifest
from artfs.registry.port import ManifestFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from artfs.model.entry import Entry

    ReadManifest = Callable[[ManifestFile, str], Iterable[bytes]]

_BATCH = 4096
_CACHE_KIB = 65536
_ALGORITHMS = {algorithm: bytes([number]) for number, algorithm in enumerate(Algorithm)}
_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -{_CACHE_KIB};
CREATE TABLE live (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE lists (key BLOB PRIMARY KEY) WITHOUT ROWID;   -- of files: manifests that the registry knows, or knew
CREATE TABLE dead (key BLOB PRIMARY KEY, size INTEGER NOT NULL, modified REAL NOT NULL) WITHOUT ROWID;
"""


class LiveSet:
    """What is needed, and beside it what is not. Used by one thread."""

    def __init__(self, read_manifest: ReadManifest) -> None:
        self._read_manifest = read_manifest
        with _converted():
            self.database = sqlite3.connect("", isolation_level=None)  # a file without a name
            self.database.executescript(_SCHEMA)
        self._manifests: set[Digest] = set()  # those that were read

    def close(self) -> None:
        """Forget everything."""
        self.database.close()

    def add_manifest(self, manifest: ManifestFile, version_id: str, *, may_be_gone: bool = False) -> None:
        """Take everything that a version needs, and its list of files itself.

        IntegrityError and NotFoundError if that cannot be read, but for one that ``may_be_gone``.
        """
        if manifest.digest in self._manifests:
            return
        try:
            self.add(_needed(self._entries(manifest, version_id)))
        except NotFoundError as error:
            if may_be_gone:
                return
            raise NotFoundError(
                f"the list of files of version {version_id} is not in the store, so that nobody knows what it needs",
                hint="artfs fsck says which version that is",
            ) from error
        self.add([manifest.digest])
        self._manifests.add(manifest.digest)

    def _entries(self, manifest: ManifestFile, version_id: str) -> Iterator[Entry]:
        hasher = manifest.digest.algorithm.hasher()
        size = 0

        def checked() -> Iterator[bytes]:
            nonlocal size
            for piece in self._read_manifest(manifest, version_id):
                hasher.update(piece)
                size += len(piece)
                yield piece

        damaged = IntegrityError(
            f"the list of files of version {version_id} is damaged, so that nobody knows what it needs",
            hint="artfs fsck says which version that is",
        )
        try:
            yield from decode_manifest(checked())
        except ArtfsError as error:
            if isinstance(error, NotFoundError | UnreachableError):
                raise
            raise damaged from error
        if size != manifest.size or hasher.digest() != manifest.digest.raw:
            raise damaged

    def add(self, blobs: Iterable[Digest]) -> None:
        """Take blobs."""
        self._insert("live", (key_of(blob) for blob in blobs))

    def note_lists(self, blobs: Iterable[Digest]) -> None:
        """Note which blobs are lists of files, or were."""
        self._insert("lists", (key_of(blob) for blob in blobs))

    def _insert(self, table: str, keys: Iterable[bytes]) -> None:
        with _converted():
            self.database.execute("BEGIN")
            try:
                rows = ((key,) for key in keys)
                self.database.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?)", rows)  # noqa: S608 - no input
            finally:  # what was taken is needed, whatever came then
                self.database.execute("COMMIT")

    def __contains__(self, blob: Digest) -> bool:
        with _converted():
            return self.database.execute("SELECT 1 FROM live WHERE key = ?", (key_of(blob),)).fetchone() is not None


def _needed(entries: Iterable[Entry]) -> Iterator[Digest]:
    for entry in entries:
        yield from entry.stored


def key_of(blob: Digest) -> bytes:
    """Return the key of a blob."""
    return _ALGORITHMS[blob.algorithm] + blob.raw


def blob_of_key(key: bytes) -> Digest:
    """Return the blob of a key."""
    return Digest(list(Algorithm)[key[0]], key[1:])


def draft_needs(drafts: Path) -> Iterator[ManifestFile | Digest]:
    """Yield what the drafts in a directory need: the versions that they start from, and files that a commit has moved into the store.

    A draft that cannot be read ends the collection: IntegrityError.
    """
    for path in sorted(drafts.glob("[!.]*/draft.sqlite")):
        try:
            base, marks = _read_draft(path)
        except (sqlite3.Error, ValueError) as error:
            if not path.exists():  # committed meanwhile
                continue
            raise IntegrityError(
                f"the draft in {path.parent} cannot be read, so that nobody knows what it needs: {error}",
                hint="artfs fsck --fix puts it aside",
            ) from error
        if base is not None:
            yield ManifestFile(Digest.from_base64(str(base["manifest"])), int(base["manifest_size"]))
        for text in marks:
            yield from _needed([decode_entry("file", json.loads(text))])


def _read_draft(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    uri = f"file:{quote_from_bytes(bytes(path))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as database:
        found = database.execute("SELECT value FROM meta WHERE key = 'base'").fetchone()
        marks = database.execute("SELECT entry FROM marks WHERE kind = 'blob'")
        return (json.loads(found[0]) if found else None), [str(entry) for (entry,) in marks]


@contextlib.contextmanager
def _converted() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if "full" in str(error):
            raise NoSpaceError(
                "no space left for the list of what is needed", hint="set SQLITE_TMPDIR to a directory on a bigger disk"
            ) from error
        raise UnreachableError(f"the list of what is needed cannot be kept: {error}") from error
