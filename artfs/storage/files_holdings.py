"""What is in a store in a directory: see `artfs.storage.holdings`. The time of a blob is when its file got its name (``st_ctime``)."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from artfs.errors import PermissionDeniedError, UnreachableError
from artfs.model.digest import Algorithm
from artfs.storage.holdings import REGISTRIES, Held, blob_of
from artfs.storage.holds import Holds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from artfs.model.digest import Digest
    from artfs.storage.files import FilesStore


class FileHoldings:
    """What is in a store in a directory."""

    def __init__(self, store: FilesStore, root: Path) -> None:
        self._store = store
        self._root = root
        self.holds = Holds(root)
        self._read: dict[Path, int] = {}  # how far the holds were read

    def claim(self, registry: str) -> None:
        """Make the file of the claim."""
        path = self._root / REGISTRIES / registry
        with _converted(path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.touch(0o600)

    def time(self, registry: str) -> float:
        """Touch the file of the claim."""
        self.claim(registry)
        path = self._root / REGISTRIES / registry
        with _converted(path):
            os.utime(path)
            return path.stat().st_ctime

    def claims(self) -> list[str]:
        """Return the registries that have versions here."""
        directory = self._root / REGISTRIES
        with _converted(directory):
            return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []

    def blobs(self) -> Iterator[Held]:
        """Yield every blob, directory by directory."""
        for algorithm in Algorithm:
            for first in self._names(self._root / algorithm.value):
                yield from self._within(algorithm.value, first)

    @staticmethod
    def _names(directory: Path) -> list[str]:
        with _converted(directory), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted(path.name for path in directory.iterdir())
        return []

    def _within(self, algorithm: str, first: str) -> Iterator[Held]:
        directory = self._root / algorithm / first
        with (
            _converted(directory),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(directory) as found,
        ):
            for item in found:
                blob = blob_of(algorithm, first + item.name) if len(first) == 2 else None
                with contextlib.suppress(FileNotFoundError):
                    if blob is not None and item.is_file(follow_symlinks=False):
                        status = item.stat(follow_symlinks=False)
                        yield Held(blob, status.st_size, status.st_ctime)

    def held(self) -> Iterator[Digest]:
        """Yield the blobs that drafts hold, but for those that were yielded before: holds only grow."""
        for hold in self.holds.all():
            if not hold.is_over:
                with _converted(hold.path), contextlib.suppress(FileNotFoundError):
                    for blob, offset in hold.names(self._read.get(hold.path, 0)):
                        self._read[hold.path] = offset
                        yield blob

    def removing(self) -> AbstractContextManager[None]:
        """Keep files from being moved into the store meanwhile."""
        return self.holds.removing()

    def remove(self, blobs: Collection[Digest], may_go_on: Callable[[], bool]) -> int:
        """Remove blobs."""
        count = 0
        for blob in blobs:
            if not may_go_on():
                break
            path = self._store.path(blob)
            with _converted(path), contextlib.suppress(FileNotFoundError):
                path.unlink()
            count += 1
        return count

    def tidy(self) -> None:
        """Remove the holds of drafts that are gone."""
        for hold in self.holds.all():
            if hold.is_over:
                with _converted(hold.path):
                    hold.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _converted(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise PermissionDeniedError(f"{path}: {error.strerror}", hint="the store belongs to another user") from error
    except OSError as error:
        raise UnreachableError(f"{path}: {error.strerror}") from error
