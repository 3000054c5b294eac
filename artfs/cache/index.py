"""Read the compiled index of a manifest: nodes by number, by name, and by directory.

`Indexes` keeps the open ones, and compiles what is missing (`artfs.cache.compile`). The files lie in ``<cache>/index/<format>/``
and are named by the manifest's digest; deleting them costs time only. An index never changes, so it is opened immutable,
without locks, and may be used from any thread.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from artfs.cache.compile import FORMAT, checksum, compile_index
from artfs.errors import IntegrityError, NotFoundError
from artfs.model.diff import Line, digest_text, line_of
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import Entry, parse_algorithm
from artfs.model.paths import EntryPath, join
from artfs.private import check_owner
from artfs.sqlite import connect, no_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from pathlib import Path

    from artfs.sqlite import Connection

_NODE = "SELECT number, parent, name, is_dir, size, executable FROM nodes "
_HOT_NODES = 1 << 16  # about 15 MB for each index in heavy use
_HOT_ENTRIES = 1 << 12
_OPEN_INDEXES = 64
_PAGE_CACHE_KIB = 8192
_CHECKSUM_SIZE = 32  # bytes
_SMALL = 256 << 10 if hasattr(sqlite3.Connection, "deserialize") else 0
"""Bytes up to which an index is kept in memory whole: a lookup in it waits for no disk, whatever the page cache has dropped."""


class Node(NamedTuple):
    """A file or a directory of a version. The root has the number 0 and is its own parent.

    ``size`` is in bytes for a file, and the number of directories directly in it for a directory.
    """

    number: int
    parent: int
    name: str
    is_dir: bool
    size: int
    executable: bool


class ManifestIndex:
    """The tree of one manifest. Methods read memory, or local disk, mostly out of its page cache, and never wait for anything else."""

    def __init__(self, path: Path, home: str | None = None, store: str | None = None) -> None:
        self._path = path
        self.home = home
        self._store = store
        self._small = self._prove()
        self._database = self._connect()
        totals = cast("list[tuple[int, int, int]]", self._rows("SELECT files, size, root_dirs FROM totals"))
        if not totals:
            raise IntegrityError(f"index {path.name} is incomplete")
        self.file_count, self.size, root_dirs = totals[0]
        self._root = Node(0, 0, "", is_dir=True, size=root_dirs, executable=False)
        self.node = functools.lru_cache(maxsize=_HOT_NODES)(self._node)
        self.entry = functools.lru_cache(maxsize=_HOT_ENTRIES)(self._entry)

    def _prove(self) -> bytes | None:
        """Check the whole file once: damage found later, in the middle of a listing, could not be mended for who asked.

        Return what it holds if it is small.
        """
        try:
            check_owner(self._path)
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size - _CHECKSUM_SIZE
                found = os.pread(file.fileno(), _CHECKSUM_SIZE, size) if size > 0 else b""
                small = os.pread(file.fileno(), size, 0) if 0 < size <= _SMALL else None
                own = checksum(file.fileno(), size) if small is None else Digest.of(small, Algorithm.BLAKE3).raw
        except OSError as error:
            raise IntegrityError(f"index {self._path.name} cannot be read: {error.strerror}") from error
        if size <= 0 or own != found:
            raise IntegrityError(f"index {self._path.name} is damaged")
        return small

    def _connect(self) -> Connection:
        name = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1" if self._small is None else ":memory:"
        try:
            database = connect(name, uri=True, check_same_thread=False, isolation_level=None)
            if self._small is not None:
                with no_fork():
                    database.deserialize(self._small)
            database.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
            (version,) = database.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise IntegrityError(f"index {self._path.name} cannot be read: {error}") from error
        if version != FORMAT:
            raise IntegrityError(f"index {self._path.name} is incomplete")
        return database

    def _rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"index {self._path.name} is damaged: {error}") from error

    def _nodes(self, condition: str, *values: object) -> list[Node]:
        return [Node._make(row) for row in self._rows(_NODE + condition, *values)]

    def _node(self, number: int) -> Node:
        """Return a node by number; NotFoundError."""
        if number == 0:
            return self._root
        nodes = self._nodes("WHERE number = ?", number)
        if not nodes:
            raise NotFoundError(f"index {self._path.name} has no node {number}")
        return nodes[0]

    def child(self, parent: int, name: str) -> Node | None:
        """Return what a directory has under a name."""
        nodes = self._nodes("WHERE parent = ? AND name = ?", parent, name)
        return nodes[0] if nodes else None

    def children(self, parent: int, after: int = -1, limit: int = 1024) -> list[Node]:
        """Return up to ``limit`` nodes of a directory in name order, from the one after the number ``after`` on."""
        if after < 0:
            return self._nodes("WHERE parent = ? ORDER BY name LIMIT ?", parent, limit)
        last = self.node(after).name
        return self._nodes("WHERE parent = ? AND name > ? ORDER BY name LIMIT ?", parent, last, limit)

    def find(self, path: str) -> Node | None:
        """Return the node at a path; the empty path is the root."""
        node: Node | None = self._root
        for name in path.split("/") if path else ():
            if node is None or not node.is_dir:
                return None
            node = self.child(node.number, name)
        return node

    def following(self, path: str, limit: int) -> list[str]:
        """Return the paths of up to ``limit`` files that come after one in the manifest, references left out."""
        node = self.find(path)
        if node is None:
            return []
        found = self._nodes(
            "WHERE number > ? AND NOT is_dir AND ref IS NULL ORDER BY number LIMIT ?", node.number, limit
        )
        return [join(self.path(one.parent), one.name) for one in found]

    def of_contents(self, wanted: Container[tuple[str, int]]) -> Iterator[Entry]:
        """Yield the files whose digest and size are wanted, without their paths and in no order; references are left out."""
        database = self._connect()
        try:
            query = "SELECT digest, size, ref, birth, extra FROM nodes WHERE NOT is_dir AND ref IS NULL"
            for fields in database.execute(query):
                if fields[:2] in wanted:
                    yield self._make_entry("", fields)
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"index {self._path.name} is damaged: {error}") from error
        finally:
            database.close()

    def path(self, number: int) -> str:
        """Return the path of a node; the root's is empty."""
        names: list[str] = []
        while number:
            node = self.node(number)
            names.append(node.name)
            number = node.parent
        return "/".join(reversed(names))

    def _entry(self, number: int) -> Entry:
        """Return the manifest entry of a file; NotFoundError if it is none."""
        query = "SELECT digest, size, ref, birth, extra FROM nodes WHERE number = ? AND NOT is_dir"
        rows = self._rows(query, number)
        if not rows:
            raise NotFoundError(f"index {self._path.name} has no file {number}")
        return self._make_entry(self.path(number), rows[0])

    def entries(self, under: int = 0) -> Iterator[Entry]:
        """Yield the entries at or below a node, a directory at a time in name order. Uses a connection of its own."""
        if not self.node(under).is_dir:
            yield self.entry(under)
            return
        for path, fields in self._walk(under, "digest, size, ref, birth, extra"):
            yield self._make_entry(path, fields)

    def lines(self, under: int = 0) -> Iterator[Line]:
        """Yield the lines (`artfs.model.diff`) of what `entries` yields, in the same order, at a fraction of the price."""
        if not self.node(under).is_dir:
            yield line_of(self.entry(under))
            return
        for path, (digest, size, extra) in self._walk(under, "digest, size, extra"):
            if extra is not None and '"alg"' in extra:
                yield Line(path, digest_text(digest, parse_algorithm(json.loads(extra))), size)
            else:
                yield Line(path, digest, size)

    def _walk(self, under: int, columns: str) -> Iterator[tuple[str, list[Any]]]:
        """Yield path and columns of the files below a directory."""
        query = f"SELECT number, name, is_dir, {columns} FROM nodes WHERE parent = ? ORDER BY name"  # noqa: S608 - no input
        database = self._connect()
        try:
            pending = [(under, self.path(under))]
            while pending:
                number, directory = pending.pop()
                below: list[tuple[int, str]] = []
                for child, name, is_dir, *fields in database.execute(query, (number,)):
                    if is_dir:
                        below.append((child, join(directory, name)))
                    else:
                        yield join(directory, name), fields
                pending.extend(reversed(below))
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"index {self._path.name} is damaged: {error}") from error
        finally:
            database.close()

    def _make_entry(self, path: str, fields: Iterable[object]) -> Entry:
        digest, size, ref, birth, extra = fields
        # The path was parsed when the manifest was compiled.
        said = json.loads(extra) if extra else {}  # type: ignore[arg-type]
        return Entry(EntryPath(path), digest, size, ref, birth, said, self.home, self._store)  # type: ignore[arg-type]


class Indexes:
    """The indexes of one cache directory; safe to use from any thread, and to share the directory between processes.

    ``store`` is the `store` of all entries.
    """

    def __init__(self, cache_dir: Path, store: str | None = None) -> None:
        self._store = store
        self.directory = cache_dir / "index" / str(FORMAT)
        self._lock = threading.Lock()
        self._open: dict[Digest, ManifestIndex] = {}
        self._compiling: dict[Digest, threading.Lock] = {}

    def get(self, manifest: Digest) -> ManifestIndex | None:
        """Return an index that is open already, without touching the disk."""
        with self._lock:
            index = self._open.pop(manifest, None)
            if index is not None:
                self._open[manifest] = index  # the newest comes last
            return index

    def upcoming(self, home: str, path: str, limit: int) -> list[str]:
        """Return the paths of files that come after one in a version, as far as its index is open; nothing otherwise."""
        with self._lock:
            index = next((index for index in reversed(self._open.values()) if index.home == home), None)
        return [] if index is None else index.following(path, limit)

    def open(
        self, manifest: Digest, size: int, read: Callable[[], Iterable[bytes]], home: str | None = None
    ) -> ManifestIndex:
        """Return the index of a manifest of ``size`` bytes, compiling it out of ``read()`` if it is not there. Blocks.

        ``home`` is the id of a version that has this manifest: the `home` of its entries.

        A damaged index file is a miss. Raises what `compile_index` and ``read`` raise.
        """
        with self._lock:
            lock = self._compiling.setdefault(manifest, threading.Lock())
        with lock:
            index = self.get(manifest)
            if index is None:
                index = self._load(manifest, size, read, home)
                with self._lock:
                    self._open[manifest] = index
                    while len(self._open) > _OPEN_INDEXES:
                        self._open.pop(next(iter(self._open)))  # closed when its last user lets go of it
        with self._lock:
            self._compiling.pop(manifest, None)
        return index

    def _load(
        self, manifest: Digest, size: int, read: Callable[[], Iterable[bytes]], home: str | None
    ) -> ManifestIndex:
        path = self.directory / f"{manifest.hex}.sqlite"
        if path.exists():
            try:
                return ManifestIndex(path, home, self._store)
            except (IntegrityError, NotFoundError):
                with contextlib.suppress(
                    PermissionError
                ):  # in a directory of somebody else, where it is not made anew either
                    path.unlink(missing_ok=True)
        compile_index(manifest, size, read(), path)
        return ManifestIndex(path, home, self._store)
