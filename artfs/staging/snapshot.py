"""Copy a user's directory into a draft, to be committed from there: what `artfs put` does.

Copying first makes the version a snapshot: files that change meanwhile cannot make it inconsistent, and a crash leaves nothing half
done. Where the file system shares blocks (reflinks) it costs no bytes. Symlinks are followed, as W&B's ``add_dir`` does.
"""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import (
    ArtfsError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.storage.files import clone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.staging.drafts import Draft
    from artfs.staging.progress import Progress


def fill(draft: Draft, source: Path, threads: int, progress: Progress) -> None:
    """Copy a directory, or a single file under its own name, into an empty draft. InvalidInputError names what cannot be."""
    if not source.exists():
        raise NotFoundError(f"{source} does not exist")
    if not (source.is_dir() or source.is_file()):
        raise InvalidInputError(f"{source} is a device, a socket or a fifo")
    files = (
        [(source, source.name)] if not source.is_dir() else list(_walk(source, "", {os.path.realpath(source)}, draft))
    )
    sizes = [file.stat().st_size for file, _ in files]
    progress.begin("copying", len(files), sum(sizes))

    def copy(file: Path, path: str, size: int) -> None:
        progress.check()
        copy_file(file, Path(draft.tree.local_path(path)), progress.check)
        progress.advance(1, size)

    with ThreadPoolExecutor(threads, thread_name_prefix="artfs-copy") as pool:
        tasks = [pool.submit(copy, file, path, size) for (file, path), size in zip(files, sizes, strict=True)]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            raise


def _walk(directory: Path, prefix: str, above: set[str], draft: Draft) -> Iterator[tuple[Path, str]]:
    """Yield files and their paths in the draft, making its directories on the way."""
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names, not paths
    except OSError as error:
        raise PermissionDeniedError(f"{directory} cannot be listed: {error.strerror}") from error
    for name in names:
        file, path = directory / name, f"{prefix}{name}"
        try:
            mode = file.stat().st_mode
        except OSError as error:
            reason = "is a symlink to nowhere" if file.is_symlink() else str(error.strerror)
            raise InvalidInputError(f"{file} {reason}") from error
        if stat.S_ISDIR(mode):
            real = os.path.realpath(file)
            if real == os.path.realpath(draft.directory):
                raise InvalidInputError(
                    f"{directory} is where artfs keeps its own files: they are no part of a version",
                    hint="put a directory without them, or move them with ARTFS_DATA_DIR",
                )
            if real in above:
                raise InvalidInputError(f"{file} leads back to a directory above it")
            draft.tree.mkdir(path, 0o755)
            yield from _walk(file, f"{path}/", above | {real}, draft)
        elif stat.S_ISREG(mode):
            yield file, path
        else:
            raise InvalidInputError(f"{file} is a device, a socket or a fifo")


def copy_file(source: Path, target: Path, check: Callable[[], None] = lambda: None) -> None:
    """Copy a file with its mode and times to a new one. ``check`` is called now and then, and may raise to give up."""
    try:
        clone(source, target, check)
        found = source.stat()
        target.chmod(stat.S_IMODE(found.st_mode) | 0o400)
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    except OSError as error:
        raise _error_of(error, source) from error


def _error_of(error: OSError, source: Path) -> ArtfsError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpaceError(
            f"no space left to copy {source}", hint="the draft lies in the data directory: ARTFS_DATA_DIR"
        )
    if error.errno == errno.ENOENT:
        return NotFoundError(f"{source} is not there any more")
    if error.errno == errno.EACCES:
        return PermissionDeniedError(f"{source} cannot be read: permission denied")
    return UnreachableError(f"{source} cannot be copied: {error.strerror}")
