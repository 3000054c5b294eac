"""`mounted`: a version as a directory, for the time of a ``with`` block."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.api.artifact import Artifact
from artfs.api.public import Api
from artfs.api.session import current_run
from artfs.app.client import mount_points, statuses
from artfs.errors import ArtfsError, BusyError
from artfs.model.names import CollectionRef
from artfs.model.reference import redact
from artfs.private import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.api.client import Client
    from artfs.config import Config

_PRIVATE = "mounted-"


@contextlib.contextmanager
def mounted(ref: str | Artifact) -> Iterator[Path]:
    """Give the directory of a version: ``with artfs.mounted("mnist:latest") as path: ...``.

    It is that of a mount of this user which shows the version, if there is one that answers; otherwise the registry is mounted, read-only,
    in a private place for the time of the block. Files are read as they are opened: nothing is downloaded before. While a run goes on
    (`artfs.init`) the version is recorded as used by it. NotFoundError, UnreachableError; what `artfs mount` raises.
    """
    run = current_run()
    if run is not None:
        artifact = run.use_artifact(ref)
    elif isinstance(ref, Artifact):
        artifact = ref
    else:
        artifact = Api().artifact(ref)
    collection = CollectionRef(artifact.entity, artifact.project, artifact.name.partition(":")[0])
    with _mount_of(artifact.client, collection, artifact.version) as root:
        yield root / str(collection) / artifact.version


@contextlib.contextmanager
def _mount_of(client: Client, collection: CollectionRef, version: str) -> Iterator[Path]:
    config = client.config
    for status in statuses(config):
        mountpoint = Path(status["mountpoint"])
        is_private = mountpoint.name.startswith(_PRIVATE)  # of somebody who ends it at any time
        shows_it = status["registry"] == redact(config.registry) and status["store"] == redact(config.store)
        if shows_it and not is_private and _has(mountpoint / str(collection) / version, client, collection):
            yield mountpoint
            return
    pid = os.getpid()
    root = _begin(config)
    try:
        yield root
    finally:
        if os.getpid() == pid:  # else in a forked child, which leaves it to its parent
            _end(root)


def _has(place: Path, client: Client, collection: CollectionRef) -> bool:
    """Whether a mount shows a version to this process. One made elsewhere shows only when the mount asks the registry again."""
    if not os.path.isdir(place):  # noqa: PTH112 - is_dir() raises for a mount whose registry is away
        client.refresh_mounts(collection, [place.name])
    return os.path.isdir(place)  # noqa: PTH112 - as above


def _begin(config: Config) -> Path:
    """Mount the registry in a directory of its own. Its process ends when this one does, however it ends."""
    from artfs.app.launch import mount

    make_private(config.runtime_dir)
    _remove_dead(config)
    root = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=config.runtime_dir))
    try:
        quiet = dataclasses.replace(config, metrics_port=0)  # the port of the settings is that of a mount that stays
        mount(quiet, str(root), ["ro"], foreground=False, owner=os.getpid())
    except BaseException:
        with contextlib.suppress(OSError):
            root.rmdir()
        raise
    return root


def _end(root: Path) -> None:
    from artfs.app.unmount import detach, unmount

    try:
        unmount(str(root))
    except BusyError:  # something of it is still open or mapped: that stays readable until it is closed
        detach(root)
    finally:
        with contextlib.suppress(OSError):
            root.rmdir()


def _remove_dead(config: Config) -> None:
    """Remove the private mounts whose processes were killed."""
    from artfs.app.unmount import detach

    for root, _ in mount_points():
        if root.parent == config.runtime_dir.resolve() and root.name.startswith(_PRIVATE):
            try:
                root.stat()
            except OSError as error:
                if error.errno == errno.ENOTCONN:
                    with contextlib.suppress(ArtfsError, OSError):
                        detach(root)
                        root.rmdir()
