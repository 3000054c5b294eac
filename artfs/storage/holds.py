"""What drafts hold in a store in a directory, and the lock between those who move files into it and those who remove files.

A commit moves the files of its draft into the store: from then on, those are the only place of their bytes, also when the commit fails
and the draft is an ordinary one again. So their names are written to ``<store>/holds/<draft>`` before they move, and nobody removes
them as long as the draft is there. The first line of the file says where that is. ``<store>/lock`` is locked by whoever moves files in
(shared), and by whoever removes some (alone), from looking at the holds to the last removal.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError, NoSpaceError, PermissionDeniedError, UnreachableError
from artfs.model.digest import Algorithm, Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

_MACHINE_ID = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class Hold:
    """What one draft holds. ``machine`` is where its directory is."""

    path: Path
    machine: str
    directory: Path

    @property
    def is_over(self) -> bool:
        """Whether the draft is known to be gone: its directory is not where the others of this machine are."""
        return self.machine == machine() and self.directory.parent.is_dir() and not self.directory.exists()

    def names(self, offset: int = 0) -> Iterator[tuple[Digest, int]]:
        """Yield the blobs that are held, from an offset in the file, each with the offset after it.

        A last line that was not written to its end stands for nothing that was moved.
        """
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                offset += len(line)
                algorithm, _, name = line.decode("ascii", "replace").rstrip("\n").partition(":")
                with contextlib.suppress(ValueError, InvalidInputError):
                    yield Digest.from_hex(name, Algorithm(algorithm)), offset


class Holds:
    """The holds in a store in a directory."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "holds"
        self._lock = root / "lock"

    def of_draft(self, directory: Path) -> DraftHold:
        """Return the hold of the draft in a directory."""
        return DraftHold(self, directory)

    @contextlib.contextmanager
    def adding(self, draft: Path, blobs: Iterable[Digest]) -> Iterator[None]:
        """Hold blobs for the draft in a directory; they may be moved into the store inside."""
        with self._locked(fcntl.LOCK_SH):
            with _converted(self._directory):
                self._add(draft, blobs)
            yield

    def _add(self, draft: Path, blobs: Iterable[Digest]) -> None:
        path = self._path(draft)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor
            if not os.fstat(descriptor).st_size:
                file.write(_header(draft, machine()))
            file.write("\n")  # ends a line that was broken off
            file.writelines(f"{blob}\n" for blob in blobs)
            file.flush()
            os.fdatasync(descriptor)

    def follow(self, draft: Path, move: Callable[[], Path]) -> Path:
        """Move a draft to where its hold goes on; ``move`` does it, and returns where that is.

        If that breaks off in the middle, the hold stays for ever.
        """
        path = self._path(draft)
        with self._locked(fcntl.LOCK_EX), _converted(self._directory):
            if not path.exists():
                return move()
            self._rewrite(path, _header(draft, ""))
            target = move()
            self._rewrite(path, _header(target, machine()))
            return target

    @staticmethod
    def _rewrite(path: Path, header: str) -> None:
        """Give a hold another first line, atomically."""
        new = path.with_name(f".{path.name}")
        with path.open() as old, new.open("w") as file:
            next(old, None)
            file.write(f"{header}\n")
            shutil.copyfileobj(old, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)

    def end(self, draft: Path) -> None:
        """Hold nothing more for a draft."""
        with _converted(self._directory):
            self._path(draft).unlink(missing_ok=True)

    @contextlib.contextmanager
    def removing(self) -> Iterator[None]:
        """Keep everybody from moving files into the store."""
        with self._locked(fcntl.LOCK_EX):
            yield

    def all(self) -> list[Hold]:
        """Return all holds, also those that are over."""
        found = []
        with _converted(self._directory):
            for path in sorted(self._directory.glob("[!.]*")) if self._directory.is_dir() else ():
                with contextlib.suppress(FileNotFoundError), path.open() as file:
                    found.append(_parse(path, file.readline()))
        return found

    def _path(self, draft: Path) -> Path:
        return self._directory / draft.name

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        with _converted(self._lock):
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with _converted(self._lock):
                fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


class DraftHold:
    """The hold of one draft."""

    def __init__(self, holds: Holds, directory: Path) -> None:
        self._holds = holds
        self._directory = directory

    def adding(self, blobs: Iterable[Digest]) -> AbstractContextManager[None]:
        """Hold blobs; they may be moved into the store inside."""
        return self._holds.adding(self._directory, blobs)

    def end(self) -> None:
        """Hold nothing more."""
        self._holds.end(self._directory)


def machine() -> str:
    """Return a name of this machine."""
    try:
        number = _MACHINE_ID.read_text().strip()
    except OSError:
        number = ""
    return f"{platform.node()} {number}".strip()


def _header(draft: Path, where: str) -> str:
    return json.dumps({"machine": where, "draft": str(draft)})


def _parse(path: Path, line: str) -> Hold:
    """Return a hold; one whose first line cannot be read is never over."""
    try:
        about = json.loads(line)
        return Hold(path, str(about["machine"]), Path(about["draft"]))
    except (ValueError, KeyError, TypeError):
        return Hold(path, "", path)


@contextlib.contextmanager
def _converted(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError):
            raise PermissionDeniedError(
                f"{path}: {error.strerror}", hint="the store belongs to another user"
            ) from error
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError(f"no space left in the store for {path}", hint="free some space on its disk") from error
        raise UnreachableError(f"{path}: {error.strerror}") from error
