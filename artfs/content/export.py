"""Write a version out to a plain directory.

Every byte is proven before it is written, every file appears whole (a temporary name, then a rename), and nothing is ever
written outside of the directory: a symlink in the way is refused, not followed. Where the file system can, a file shares its blocks with
the store or the cache; it is never a hard link to them, through which they could be changed.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, BinaryIO

from artfs.content.proof import is_provable
from artfs.errors import (
    ChangedError,
    ExistsError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.model.reference import uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    from artfs.content.reader import Reader
    from artfs.errors import ArtfsError
    from artfs.model.entry import Entry

_PIECE = 1 << 20
_HEX_MD5 = re.compile(r"[0-9a-f]{32}")


def export(
    entries: Iterable[Entry],
    reader: Reader,
    directory: Path,
    created_at: datetime,
    threads: int,
    *,
    replace: bool,
    umask: int,
    done: Callable[[int, int], object],
    target: Callable[[Entry], Entry] = lambda entry: entry,
    skip_missing: bool = False,
) -> None:
    """Write entries below a directory with the time of the version.

    ``target`` says which entry has the bytes of one, and may raise NotFoundError; with ``skip_missing``, references that lead to nothing
    any more are left out, instead of an error.

    ``done`` is told files and bytes as they come, ``umask`` is taken from the modes. A file that is there with the right
    content stays; with other content it is replaced, or refused with ExistsError. IntegrityError where the store is damaged;
    what was written before stays.
    """
    try:
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)  # another export may be making it, too
            directory.chmod(0o777 & ~umask)
    except OSError as error:
        raise _error_of(error, directory) from error
    job = _Export(reader, directory, _nanoseconds(created_at), replace=replace, umask=umask, done=done)

    def write(entry: Entry) -> None:
        try:
            job.write(target(entry))
        except (NotFoundError, ChangedError):
            if entry.ref is None or not skip_missing:
                raise
            done(1, 0)

    with ThreadPoolExecutor(threads, thread_name_prefix="artfs-get") as pool:
        running: set[Future[None]] = set()
        try:
            for entry in entries:
                running.add(pool.submit(write, entry))
                if len(running) >= 8 * threads:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
            for future in running:
                future.result()
        except BaseException:
            for future in running:
                future.cancel()
            raise


class _Export:
    def __init__(
        self,
        reader: Reader,
        directory: Path,
        time_ns: int,
        *,
        replace: bool,
        umask: int,
        done: Callable[[int, int], object],
    ) -> None:
        self._reader = reader
        self._directory = directory
        self._time_ns = time_ns
        self._replace = replace
        self._umask = umask
        self._done = done

    def write(self, entry: Entry) -> None:
        path = self._directory / entry.path
        try:
            self._prepare(entry.path)
            if not self._is_there(path, entry):
                self._write(path, entry)
        except OSError as error:
            raise _error_of(error, path) from error
        self._done(1, 0)

    def _prepare(self, relative: str) -> None:
        """Make the directories of a file; refuse a symlink or a file among them."""
        place = self._directory
        for name in relative.split("/")[:-1]:
            place /= name
            if not place.exists():
                place.mkdir(exist_ok=True)
                place.chmod(0o777 & ~self._umask)
            if place.is_symlink() or not place.is_dir():
                raise InvalidInputError(
                    f"{place} is in the way: it is no plain directory", hint="choose another directory"
                )

    def _is_there(self, path: Path, entry: Entry) -> bool:
        if not path.is_symlink() and not path.exists():
            return False
        if path.is_symlink() or not path.is_file():
            raise InvalidInputError(f"{path} is in the way: it is no plain file", hint="choose another directory")
        if is_content(path, entry):
            self._done(0, entry.size)
            return True
        if not self._replace:
            raise ExistsError(f"{path} is there with other content", hint="choose another directory, or use --force")
        return False

    def _write(self, path: Path, entry: Entry) -> None:
        temporary = path.with_name(f".{uuid.uuid4().hex}.artfs")
        try:
            with temporary.open("xb") as file:
                if not self._share(entry, file, temporary):
                    for piece in self._reader.export(entry):
                        file.write(piece)
                        self._done(0, len(piece))
            temporary.chmod((0o777 if entry.executable else 0o666) & ~self._umask)
            os.utime(temporary, ns=(self._time_ns, self._time_ns))
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _share(self, entry: Entry, file: BinaryIO, temporary: Path) -> bool:
        """Give a new file the blocks of the store or the cache, and prove them; False, and the file empty, where that cannot be."""
        if not self._reader.share(entry, file.fileno()):
            return False
        if is_content(temporary, entry):
            self._done(0, entry.size)
            return True
        file.truncate(0)
        return False


def _nanoseconds(time: datetime) -> int:
    """Return a time as nanoseconds since the epoch, exactly: a float would be off by some, and the mount shows the exact one."""
    return int(time.replace(microsecond=0).timestamp()) * 1_000_000_000 + time.microsecond * 1000


def is_content(path: Path, entry: Entry) -> bool:
    """Whether a file has the bytes of an entry; False where its digest, an ETag or a URI, cannot tell."""
    expected = _md5_of_etag(entry) if not is_provable(entry) else entry.blob.raw
    if expected is None or path.stat().st_size != entry.size:
        return False
    hasher = entry.algorithm.hasher()
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            hasher.update(data)
    return hasher.digest() == expected


def _md5_of_etag(entry: Entry) -> bytes | None:
    """Return the digest that the ETag of an object of S3 is, if it was uploaded in one part."""
    is_md5 = uri_scheme(entry.ref or "") == "s3" and _HEX_MD5.fullmatch(entry.digest)
    return bytes.fromhex(entry.digest) if is_md5 else None


def _error_of(error: OSError, path: Path) -> ArtfsError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpaceError(f"no space left to write {path}")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PermissionDeniedError(f"{path} cannot be written: {error.strerror}")
    if error.errno in {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}:
        return InvalidInputError(f"{path} is in the way: {error.strerror}", hint="choose another directory")
    return UnreachableError(f"{path} cannot be written: {error.strerror}")
