"""Write a version out to a plain directory.

Every byte is proven before it is written, every file appears whole (written without a name, then renamed), and nothing is ever
written outside of the directory: a symlink in the way is refused, not followed, also one that somebody puts there meanwhile, because
each directory is opened in the one above it. Where the file system can, a file shares its blocks with
the store or the cache; it is never a hard link to them, through which they could be changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from pathlib import Path
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
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from artfs.content.reader import Reader
    from artfs.errors import ArtfsError
    from artfs.model.entry import Entry

_PIECE = 1 << 20
_ANY_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PLAIN_DIRECTORY = _ANY_DIRECTORY | os.O_NOFOLLOW  # a symlink is no directory: ENOTDIR
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
    _make_root(directory, umask)
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
            for future in as_completed(running):
                future.result()
        except BaseException:
            job.stop()
            for future in running:
                future.cancel()
            raise


def _make_root(directory: Path, umask: int) -> None:
    try:
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)  # another export may be making it, too
            directory.chmod(0o777 & ~umask)
        if not directory.is_dir():
            raise InvalidInputError(f"{directory} is in the way: it is no directory", hint="choose another directory")
    except OSError as error:
        raise error_of(error, directory) from error


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
        self._stopped = False

    def stop(self) -> None:
        """Let no thread go on with a big file: somebody presses Ctrl-C, or another file has failed."""
        self._stopped = True

    def _check(self) -> None:
        if self._stopped:
            raise InterruptedError(errno.EINTR, "it was interrupted")

    def write(self, entry: Entry) -> None:
        path = self._directory / entry.path
        try:
            with self._parent(entry.path) as parent:
                place = Path(f"/proc/self/fd/{parent}", path.name)
                if not self._is_there(place, path, entry):
                    self._write(place, entry)
        except OSError as error:
            raise error_of(error, path) from error
        self._done(1, 0)

    @contextlib.contextmanager
    def _parent(self, relative: str) -> Iterator[int]:
        """Give a descriptor of the directory of a file, which is made where it is missing; refuse a symlink or a file among its parents."""
        descriptor, path = os.open(self._directory, _ANY_DIRECTORY), self._directory
        try:
            for name in relative.split("/")[:-1]:
                path /= name
                try:
                    below = self._open_or_make(name, descriptor)
                except NotADirectoryError as error:
                    raise InvalidInputError(
                        f"{path} is in the way: it is no plain directory", hint="choose another directory"
                    ) from error
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_or_make(self, name: str, parent: int) -> int:
        try:
            return os.open(name, _PLAIN_DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            pass
        try:
            os.mkdir(name, dir_fd=parent)
        except FileExistsError:  # another thread made it
            return os.open(name, _PLAIN_DIRECTORY, dir_fd=parent)
        descriptor = os.open(name, _PLAIN_DIRECTORY, dir_fd=parent)
        Path(f"/proc/self/fd/{descriptor}").chmod(0o777 & ~self._umask)
        return descriptor

    def _is_there(self, place: Path, path: Path, entry: Entry) -> bool:
        if not place.is_symlink() and not place.exists():
            return False
        if place.is_symlink() or not place.is_file():
            raise InvalidInputError(f"{path} is in the way: it is no plain file", hint="choose another directory")
        if is_content(place, entry, self._check):
            self._done(0, entry.size)
            return True
        if not self._replace:
            raise ExistsError(f"{path} is there with other content", hint="choose another directory, or use --force")
        return False

    def _write(self, path: Path, entry: Entry) -> None:
        temporary = path.with_name(f".{uuid.uuid4().hex}.artfs")
        try:
            with _open_new(temporary) as file:
                opened = Path(f"/proc/self/fd/{file.fileno()}")
                if not self._share(entry, file, opened):
                    for piece in self._reader.export(entry):
                        self._check()
                        file.write(piece)
                        self._done(0, len(piece))
                file.flush()
                opened.chmod((0o777 if entry.executable else 0o666) & ~self._umask)
                os.utime(opened, ns=(self._time_ns, self._time_ns))
                if (
                    not temporary.exists()
                ):  # the descriptor makes link() follow the symlink that `opened` is; the path is absolute
                    os.link(opened, temporary, dst_dir_fd=file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _share(self, entry: Entry, file: BinaryIO, temporary: Path) -> bool:
        """Give a new file the blocks of the store or the cache, and prove them; False, and the file empty, where that cannot be."""
        if not self._reader.share(entry, file.fileno()):
            return False
        if is_content(temporary, entry, self._check):
            self._done(0, entry.size)
            return True
        file.truncate(0)
        return False


def _open_new(path: Path) -> BinaryIO:
    """Open a new file that has no name yet, so that nothing is left of it if the process is killed; with one where that cannot be."""
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}:
            raise
        return path.open("xb")
    return os.fdopen(descriptor, "wb")


def _nanoseconds(time: datetime) -> int:
    """Return a time as nanoseconds since the epoch, exactly: a float would be off by some, and the mount shows the exact one."""
    return int(time.replace(microsecond=0).timestamp()) * 1_000_000_000 + time.microsecond * 1000


def is_content(path: Path, entry: Entry, check: Callable[[], None] = lambda: None) -> bool:
    """Whether a file has the bytes of an entry; False where its digest, an ETag or a URI, cannot tell.

    ``check`` is called before each piece, and may raise to give up.
    """
    expected = _md5_of_etag(entry) if not is_provable(entry) else entry.blob.raw
    if expected is None or path.stat().st_size != entry.size:
        return False
    hasher = entry.algorithm.hasher()
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            check()
            hasher.update(data)
    return hasher.digest() == expected


def _md5_of_etag(entry: Entry) -> bytes | None:
    """Return the digest that the ETag of an object of S3 is, if it was uploaded in one part."""
    is_md5 = uri_scheme(entry.ref or "") == "s3" and _HEX_MD5.fullmatch(entry.digest)
    return bytes.fromhex(entry.digest) if is_md5 else None


def error_of(error: OSError, path: Path) -> ArtfsError:
    """Return what to raise for a failure to write, make or remove what is at a path."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpaceError(f"no space left to write {path}")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PermissionDeniedError(f"{path} cannot be written: {error.strerror}")
    if error.errno in {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}:
        return InvalidInputError(f"{path} is in the way: {error.strerror}", hint="choose another directory")
    return UnreachableError(f"{path} cannot be written: {error.strerror}")
