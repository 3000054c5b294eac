"""Compile a manifest into its on-disk index, once for each manifest.

The index is a SQLite file named by the manifest's digest. This module writes it, `artfs.cache.index` reads it, and the
table below is the contract between them. A manifest is untrusted until its last byte: its digest, every entry, and what
only the whole can tell (a path that comes twice, or is both a file and a directory) are checked before the file gets its
name. Numbers are given in the order in which the manifest names things: the same on every machine. After the pages of the
database, where SQLite does not look, comes the BLAKE3 of them, which proves the file when it is opened.

A big manifest is compiled by a process of its own (``python -m artfs.cache.compile``), because millions of entries of Python work
would keep the interpreter lock from the requests of a mount.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from artfs.errors import ArtfsError, IntegrityError, InvalidInputError, NoSpaceError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.manifest import decode_manifest
from artfs.model.paths import join, split
from artfs.private import make_private
from artfs.sqlite import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artfs.model.entry import Entry
    from artfs.sqlite import Connection

FORMAT = 2
"""Raised with every change of the schema or of the numbering. Part of the directory name: an old index is a miss."""

SCHEMA = """
CREATE TABLE nodes (
    parent     INTEGER NOT NULL,  -- the number of the directory
    name       TEXT    NOT NULL,
    number     INTEGER NOT NULL,  -- 0 is the root, which has no row
    is_dir     INTEGER NOT NULL,
    size       INTEGER NOT NULL,  -- bytes of a file; how many directories lie directly in a directory
    executable INTEGER NOT NULL,
    digest     TEXT,              -- the rest is of files only, as in the manifest; extra is JSON
    ref        TEXT,
    birth      TEXT,
    extra      TEXT,
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE TABLE totals (
    files     INTEGER NOT NULL,
    size      INTEGER NOT NULL,   -- sum of the files' sizes in bytes
    root_dirs INTEGER NOT NULL    -- how many directories lie directly in the root
);
"""

_INSERT = "INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BATCH = 4096
_PIECE = 1 << 20  # bytes hashed at once
_IN_PROCESS_LIMIT = 1 << 20  # bytes; about 7,000 entries, a twentieth of a second
_ERRORS = {error.__name__: error for error in (InvalidInputError, IntegrityError, NoSpaceError, UnreachableError)}


def compile_index(manifest: Digest, size: int, chunks: Iterable[bytes], target: Path) -> None:
    """Check a manifest and write its index to ``target``, atomically. Blocks; in another process if ``size`` is big.

    Raises IntegrityError if the bytes are not those that ``manifest`` names, InvalidInputError if they are no manifest.
    """
    if size <= _IN_PROCESS_LIMIT:
        _compile(manifest, chunks, target)
        return
    command = [sys.executable, "-m", "artfs.cache.compile", manifest.hex, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as process:
        stdin, stdout = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
        try:
            for chunk in chunks:
                stdin.write(chunk)
            stdin.close()
        except BrokenPipeError:
            pass  # it has found an error, and says which
        except BaseException:
            process.kill()
            raise
        answer = stdout.read()
    if process.returncode == 0:
        return
    try:
        name, message = json.loads(answer)
    except ValueError as error:
        raise UnreachableError(f"compiling manifest {manifest} ended with code {process.returncode}") from error
    raise _ERRORS.get(name, UnreachableError)(message)


def _compile(manifest: Digest, chunks: Iterable[bytes], target: Path) -> None:
    try:
        make_private(target.parent)
        descriptor, temporary = tempfile.mkstemp(prefix=".compile-", dir=target.parent)  # mode 0600
        try:
            _fill(temporary, _proven(manifest, chunks))
            os.lseek(descriptor, 0, os.SEEK_END)
            os.write(descriptor, checksum(descriptor, os.fstat(descriptor).st_size))
            os.fsync(descriptor)
            Path(temporary).rename(target)
        finally:
            os.close(descriptor)
            Path(temporary).unlink(missing_ok=True)
    except InvalidInputError as error:
        raise InvalidInputError(f"manifest {manifest} cannot be accepted: {error.message}", hint=error.hint) from error
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise NoSpaceError(f"no space for the index of manifest {manifest} in {target.parent}") from error
        raise UnreachableError(f"cannot write the index of manifest {manifest}: {error}") from error
    except OSError as error:
        raise UnreachableError(f"cannot write the index of manifest {manifest} in {target.parent}: {error}") from error


def checksum(descriptor: int, size: int) -> bytes:
    """Return the BLAKE3 of the first ``size`` bytes of an open file."""
    hasher, offset = Algorithm.BLAKE3.hasher(), 0
    while offset < size and (data := os.pread(descriptor, min(_PIECE, size - offset), offset)):
        hasher.update(data)
        offset += len(data)
    return hasher.digest()


def _proven(manifest: Digest, chunks: Iterable[bytes]) -> Iterator[bytes]:
    hasher = manifest.algorithm.hasher()
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk
    if hasher.digest() != manifest.raw:
        raise IntegrityError(f"the stored manifest {manifest} is damaged: its bytes do not match its digest")


def _fill(path: str, chunks: Iterable[bytes]) -> None:
    with contextlib.closing(connect(path, isolation_level=None)) as database:
        # The file has no name until it is whole: it needs no journal.
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;" + SCHEMA)
        writer = _Writer(database)
        try:
            for entry in decode_manifest(chunks):
                writer.add(entry)
        except InvalidInputError:
            for _ in chunks:  # damage is reported as damage, not as what it made of the JSON
                pass
            raise
        writer.finish()


class _Writer:
    """Gives numbers and inserts rows; a directory gets its number when its first entry comes."""

    def __init__(self, database: Connection) -> None:
        self._database = database
        self._rows: list[tuple[object, ...]] = []
        self._directories = {"": 0}
        self._subdirs = {0: 0}
        self._next = 1
        self._files = 0
        self._size = 0

    def add(self, entry: Entry) -> None:
        directory, name = split(entry.path)
        parent = self._directories.get(directory)
        if parent is None:
            parent = self._add_directory(directory)
        extra = json.dumps(entry.extra) if entry.extra else None
        row = (parent, name, self._next, 0, entry.size, entry.executable, entry.digest, entry.ref,
               entry.birth_artifact_id, extra)  # fmt: skip
        self._rows.append(row)
        self._next += 1
        self._files += 1
        self._size += entry.size
        if len(self._rows) >= _BATCH:
            self._flush()

    def _add_directory(self, path: str) -> int:
        parent_path, name = split(path)
        parent = self._directories.get(parent_path)
        if parent is None:
            parent = self._add_directory(parent_path)
        number = self._directories[path] = self._next
        self._next += 1
        self._subdirs[number] = 0
        self._subdirs[parent] += 1
        self._rows.append((parent, name, number, 1, 0, 0, None, None, None, None))
        return number

    def _flush(self) -> None:
        try:
            self._database.executemany(_INSERT, self._rows)
        except sqlite3.IntegrityError as error:
            raise InvalidInputError(f"manifest has {self._conflict()!r} twice, or as a file and a directory") from error
        self._rows.clear()

    def _conflict(self) -> str:
        names = {number: path for path, number in self._directories.items()}
        for parent, name, number, *_ in self._rows:
            found = self._database.execute("SELECT number FROM nodes WHERE parent = ? AND name = ?", (parent, name))
            if found.fetchone() not in {None, (number,)}:
                return join(names[cast("int", parent)], cast("str", name))
        return "a path"

    def finish(self) -> None:
        self._flush()
        database = self._database
        database.execute("INSERT INTO totals VALUES (?, ?, ?)", (self._files, self._size, self._subdirs.pop(0)))
        database.execute("CREATE UNIQUE INDEX by_number ON nodes (number)")
        counts = ((count, number) for number, count in self._subdirs.items() if count)
        database.executemany("UPDATE nodes SET size = ? WHERE number = ?", counts)
        database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")


def _main() -> int:
    manifest, target = Digest.from_hex(sys.argv[1]), Path(sys.argv[2])
    try:
        _compile(manifest, iter(lambda: sys.stdin.buffer.read(1 << 20), b""), target)
    except ArtfsError as error:
        sys.stdout.write(json.dumps([type(error).__name__, error.message]))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
