"""Put files of a version into directories of the user: what download, checkout and verify do. Nothing outside of the root is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.app.progress import showing
from artfs.content.export import error_of, export, is_content
from artfs.errors import IntegrityError, InvalidInputError, NotFoundError, PermissionDeniedError
from artfs.model.paths import join
from artfs.model.reference import file_uri_path, uri_scheme
from artfs.staging.calls import process_umask
from artfs.staging.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artfs.api.client import Client
    from artfs.cache.index import ManifestIndex, Node
    from artfs.config import Config
    from artfs.model.entry import Entry
    from artfs.registry.port import Version

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def place_version(
    client: Client, version: Version, root: Path, *, prefix: str | None = None, skip_missing: bool = False
) -> None:
    """Write the files of a version below a directory, or those at or below ``prefix``; NotFoundError if it names nothing."""
    index = client.services.open_index(version)
    node = index.find((prefix or "").strip("/"))
    if node is None:
        raise NotFoundError(f"{version.collection}:v{version.index} has no {prefix!r}")
    progress = Progress()
    if node.number == 0:
        progress.begin("download", index.file_count, index.size)
    else:
        progress.begin("download")
    with showing(progress.snapshot, after=0.5):
        _write(client, version, index.entries(node.number), root, progress, skip_missing=skip_missing)


def place(client: Client, version: Version, entries: Iterable[Entry], root: Path) -> None:
    """Write some files of a version below a directory."""
    _write(client, version, entries, root, Progress(), skip_missing=False)


def _write(
    client: Client, version: Version, entries: Iterable[Entry], root: Path, progress: Progress, *, skip_missing: bool
) -> None:
    services = client.services
    root = root.absolute()
    if root.is_symlink() and not root.exists():
        raise InvalidInputError(f"{root} is a symlink to nowhere")
    export(
        entries, services.reader, root, version.created_at, client.config.threads,
        replace=True, umask=process_umask(), done=progress.advance, target=services.targets.of, skip_missing=skip_missing,
    )  # fmt: skip


# Checkout ---------------------------------------------------------------------------------------------------------


def replace_directory(client: Client, version: Version, root: Path) -> None:
    """Let a directory hold the files of a version and nothing else. Symlinks in it are not followed.

    What stands in the way of a file is deleted first, everything else that is not in the version when all of it is there: a store that is
    away, or a full disk, costs nothing that is not replaced. InvalidInputError: see `_clear_directory`.
    """
    index = client.services.open_index(version)
    _clear_directory(client, root, index, everything=False)
    place_version(client, version, root)
    _clear_directory(client, root, index, everything=True)


def _clear_directory(client: Client, root: Path, index: ManifestIndex, *, everything: bool) -> None:
    """Delete what is there as something else than in a version, or also ``everything`` that is not in it.

    InvalidInputError for a root that no artifact should replace: one that holds the home directory or the data of artfs, the root of the
    file system with them, and one in the data of artfs.
    """
    real = Path(os.path.realpath(root))
    own = [Path(os.path.realpath(one)) for one in _own_directories(client.config)]
    holds_it = any(one.is_relative_to(real) for one in (Path(os.path.realpath(Path.home())), *own))
    is_in_it = any(real.is_relative_to(one) for one in own)
    if holds_it or is_in_it or (os.path.lexists(real) and not real.is_dir()):
        raise InvalidInputError(f"{root} cannot be replaced by an artifact", hint="name a directory of its own")
    if not real.is_dir():
        return
    try:
        descriptor = os.open(real, _DIRECTORY)
        try:
            _clear(descriptor, real, index, index.node(0), everything=everything)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise error_of(error, real) from error


def _own_directories(config: Config) -> list[Path]:
    """Return where the only copy of something lies: registry, drafts, store."""
    store = [Path(file_uri_path(config.store))] if uri_scheme(config.store) == "file" else []
    return [config.data_dir, *store]


def _clear(directory: int, where: Path, index: ManifestIndex, node: Node, *, everything: bool) -> None:
    """Every directory is opened in the one above it, so that nothing leads out of the root that somebody puts there meanwhile."""
    with os.scandir(directory) as found:
        entries = list(found)
    for entry in entries:
        wanted = _child(index, node, entry.name)
        if wanted is None and not everything:
            continue
        is_dir = entry.is_dir(follow_symlinks=False)
        if wanted is not None and wanted.is_dir and is_dir:
            below = os.open(entry.name, _DIRECTORY, dir_fd=directory)
            try:
                _clear(below, where / entry.name, index, wanted, everything=everything)
            finally:
                os.close(below)
        elif wanted is None or wanted.is_dir != is_dir or not (is_dir or entry.is_file(follow_symlinks=False)):
            try:
                if is_dir:
                    shutil.rmtree(entry.name, dir_fd=directory)
                else:
                    os.unlink(entry.name, dir_fd=directory)
            except OSError as error:
                raise PermissionDeniedError(
                    f"{where / entry.name} cannot be removed: {error.strerror} ({error.filename})"
                ) from error


def _child(index: ManifestIndex, node: Node, name: str) -> Node | None:
    try:
        return index.child(node.number, name)
    except UnicodeEncodeError:  # no manifest can hold such a name
        return None


# Verify -----------------------------------------------------------------------------------------------------------


def verify_directory(root: Path, index: ManifestIndex) -> None:
    """IntegrityError (a ValueError) unless a directory holds the files of a version and no others. References are not compared."""
    if not root.is_dir():
        raise IntegrityError(f"there is no directory {root} to verify")
    for path in _files(root, ""):
        node = index.find(path) if _encodable(path) else None
        if node is None or node.is_dir:
            raise IntegrityError(f"Found file {root / path} which is not a member of the artifact")
    for entry in index.entries():
        file = root / entry.path
        if entry.ref is not None:
            continue
        if file.is_symlink() or not file.is_file():
            raise IntegrityError(f"File is missing: {entry.path}")
        try:
            is_right = is_content(file, entry)
        except OSError as error:
            raise PermissionDeniedError(f"{file} cannot be read: {error.strerror}") from error
        if not is_right:
            raise IntegrityError(f"Digest mismatch for file: {entry.path}")


def _files(directory: Path, prefix: str) -> Iterator[str]:
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda one: one.name)
    for entry in entries:
        path = join(prefix, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), path)
        else:
            yield path


def _encodable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
