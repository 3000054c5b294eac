"""Write a version out to a plain directory.

Every byte is proven before it is written, every file appears whole (a temporary name, then a rename), and nothing is ever
written outside of the directory: a symlink in the way is refused, not followed.
"""

from __future__ import annotations

import errno
import os
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from artfs.errors import ExistsError, InvalidInputError, NoSpaceError, PermissionDeniedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    from artfs.content.reader import Reader
    from artfs.errors import ArtfsError
    from artfs.model.entry import Entry

_PIECE = 1 << 20


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
) -> None:
    """Write entries below a directory with the time of the version.

    ``done`` is told files and bytes as they come, ``umask`` is taken from the modes. A file that is there with the right
    content stays; with other content it is replaced, or refused with ExistsError. IntegrityError where the store is damaged;
    what was written before stays.
    """
    try:
        if not directory.exists():
            directory.mkdir(parents=True)
            directory.chmod(0o777 & ~umask)
    except OSError as error:
        raise _error_of(error, directory) from error
    job = _Export(reader, directory, _nanoseconds(created_at), replace=replace, umask=umask, done=done)
    with ThreadPoolExecutor(threads, thread_name_prefix="artfs-get") as pool:
        running: set[Future[None]] = set()
        try:
            for entry in entries:
                running.add(pool.submit(job.write, entry))
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
        if path.stat().st_size == entry.size and _digest_of(path, entry) == entry.blob.raw:
            self._done(0, entry.size)
            return True
        if not self._replace:
            raise ExistsError(f"{path} is there with other content", hint="choose another directory, or use --force")
        return False

    def _write(self, path: Path, entry: Entry) -> None:
        temporary = path.with_name(f".{uuid.uuid4().hex}.artfs")
        try:
            with temporary.open("xb") as file:
                for piece in self._reader.export(entry):
                    file.write(piece)
                    self._done(0, len(piece))
            temporary.chmod((0o777 if entry.executable else 0o666) & ~self._umask)
            os.utime(temporary, ns=(self._time_ns, self._time_ns))
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)


def _nanoseconds(time: datetime) -> int:
    """Return a time as nanoseconds since the epoch, exactly: a float would be off by some, and the mount shows the exact one."""
    return int(time.replace(microsecond=0).timestamp()) * 1_000_000_000 + time.microsecond * 1000


def _digest_of(path: Path, entry: Entry) -> bytes:
    hasher = entry.algorithm.hasher()
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            hasher.update(data)
    return hasher.digest()


def _error_of(error: OSError, path: Path) -> ArtfsError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpaceError(f"no space left to write {path}")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PermissionDeniedError(f"{path} cannot be written: {error.strerror}")
    if error.errno in {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}:
        return InvalidInputError(f"{path} is in the way: {error.strerror}", hint="choose another directory")
    return UnreachableError(f"{path} cannot be written: {error.strerror}")
