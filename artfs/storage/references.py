"""Bytes that lie outside of the store: ``file://`` URIs.

A manifest is untrusted, and a reference makes this machine read something for who wrote it. So only regular files are opened, never a
device or a fifo; under ``roots`` only, when a mount serves other users; and never under ``forbidden`` places, such as the
mount itself. What counts is the real path of what was opened, not the path that was asked for.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import InvalidInputError, NotFoundError, PermissionDeniedError, UnreachableError
from artfs.model.reference import FILE_SCHEME, file_uri_path, redact, uri_scheme
from artfs.storage.files import FileSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class FileReferences:
    """Opens ``file://`` references. ``roots`` None means whatever this process may read."""

    def __init__(self, roots: Sequence[Path] | None, forbidden: Sequence[Path]) -> None:
        self._roots = None if roots is None else [Path(os.path.realpath(root)) for root in roots]
        self._forbidden = list(forbidden)

    def open(self, uri: str) -> FileSource:
        """Open a reference; NotFoundError, PermissionDeniedError, InvalidInputError for another scheme."""
        if uri_scheme(uri) != FILE_SCHEME:
            raise InvalidInputError(f"reference {redact(uri)} cannot be read", hint="file:// references can")
        return self.open_path(Path(file_uri_path(uri)))

    def open_path(self, path: Path) -> FileSource:
        """Open a local file under the same rules."""
        self._check(path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError as error:
            raise NotFoundError(f"reference {path} does not exist any more") from error
        except PermissionError as error:
            raise PermissionDeniedError(f"reference {path} cannot be read: {error.strerror}") from error
        except OSError as error:
            raise UnreachableError(f"reference {path} cannot be read: {error.strerror}") from error
        try:
            self._check(Path(os.readlink(f"/proc/self/fd/{descriptor}")))  # noqa: PTH115 - a link of the kernel
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PermissionDeniedError(f"reference {path} is not a regular file")
            return FileSource(descriptor, f"reference {path}")
        except BaseException:
            os.close(descriptor)
            raise

    def _check(self, path: Path) -> None:
        if any(path.is_relative_to(place) for place in self._forbidden):
            raise PermissionDeniedError(f"reference {path} points into a place that references may not name")
        if self._roots is not None and not any(path.is_relative_to(root) for root in self._roots):
            raise PermissionDeniedError(
                f"reference {path} is outside of the roots that this mount serves to others",
                hint="name its directory in reference_roots of config.toml",
            )

    def walk(self, path: Path) -> Iterator[tuple[str, Path]]:
        """Yield the files at or below a path with their relative paths, sorted, following symlinks; the path of a file is empty.

        InvalidInputError names what cannot be read by bytes: a special file, a link to nowhere, a cycle.
        """
        if not path.is_dir():
            yield "", path
            return
        yield from self._walk(path, "", {os.path.realpath(path)})

    def _walk(self, directory: Path, prefix: str, above: set[str]) -> Iterator[tuple[str, Path]]:
        try:
            names = sorted(os.listdir(directory))  # noqa: PTH208 - names, not paths
        except OSError as error:
            raise PermissionDeniedError(f"{directory} cannot be listed: {error.strerror}") from error
        for name in names:
            path = directory / name
            if path.is_dir():
                real = os.path.realpath(path)
                if real in above:
                    raise InvalidInputError(f"{path} leads back to a directory above it")
                yield from self._walk(path, f"{prefix}{name}/", above | {real})
            elif path.is_file():
                yield f"{prefix}{name}", path
            else:
                kind = "a symlink to nowhere" if path.is_symlink() else "not a regular file"
                raise InvalidInputError(f"{path} is {kind}")
