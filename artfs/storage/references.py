"""Bytes that lie outside of the store: ``file://`` URIs.

A manifest is untrusted, and a reference makes this machine read something for who wrote it. So only regular files are opened, never a
device or a fifo, where opening alone has effects; under ``roots`` only, when a mount serves other users; and never under
``forbidden`` places, such as the mount itself. What counts is the real path of what was opened, not the path that was asked for.
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
        self._check_forbidden(path)
        if self._roots is not None:
            self._check_roots(path, Path(os.path.realpath(path)))
        try:
            return self._open(path)
        except FileNotFoundError as error:
            raise NotFoundError(f"reference {path} does not exist any more") from error
        except PermissionError as error:
            raise PermissionDeniedError(f"reference {path} cannot be read: {error.strerror}") from error
        except OSError as error:
            raise UnreachableError(f"reference {path} cannot be read: {error.strerror}") from error

    def _open(self, path: Path) -> FileSource:
        """Take hold of what the path names, and open it only if it may be read. Raises OSError."""
        held = os.open(path, os.O_PATH | os.O_CLOEXEC)
        link = f"/proc/self/fd/{held}"  # of the kernel: what is held, whatever the path names by now
        try:
            real = Path(os.readlink(link))  # noqa: PTH115
            self._check_forbidden(real)
            self._check_roots(path, real)
            if not stat.S_ISREG(os.fstat(held).st_mode):
                raise PermissionDeniedError(f"reference {path} is not a regular file")
            return FileSource(os.open(link, os.O_RDONLY | os.O_CLOEXEC), f"reference {path}")
        finally:
            os.close(held)

    def _check_forbidden(self, path: Path) -> None:
        if any(path.is_relative_to(place) for place in self._forbidden):
            raise PermissionDeniedError(f"reference {path} points into a place that references may not name")

    def _check_roots(self, path: Path, real: Path) -> None:
        if self._roots is not None and not any(real.is_relative_to(root) for root in self._roots):
            raise PermissionDeniedError(
                f"reference {path} is outside of the roots that this mount serves to others",
                hint="name its directory in reference_roots of config.toml",
            )

    def walk(self, path: Path) -> Iterator[tuple[str, Path]]:
        """Yield the files at or below a path with their relative paths, each directory sorted by name, following symlinks.

        The relative path of a file itself is empty. InvalidInputError names what cannot be read by bytes: a special file, a link
        to nowhere, a cycle.
        """
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for some links to nowhere
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
            if os.path.isdir(path):  # noqa: PTH112
                real = os.path.realpath(path)
                if real in above:
                    raise InvalidInputError(f"{path} leads back to a directory above it")
                yield from self._walk(path, f"{prefix}{name}/", above | {real})
            elif os.path.isfile(path):  # noqa: PTH113
                yield f"{prefix}{name}", path
            else:
                kind = "not a regular file" if os.path.exists(path) else "a symlink to nowhere"  # noqa: PTH110
                raise InvalidInputError(f"{path} is {kind}")
