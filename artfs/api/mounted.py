"""`mounted`: a version as a directory, for the time of a ``with`` block."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.api.artifact import Artifact
from artfs.api.public import Api
from artfs.api.session import current_run
from artfs.app.client import statuses
from artfs.errors import BusyError
from artfs.model.reference import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.api.client import Client


@contextlib.contextmanager
def mounted(ref: str | Artifact) -> Iterator[Path]:
    """Give the directory of a version: ``with artfs.mounted("mnist:latest") as path: ...``.

    It is that of a mount of this user which shows the registry, if there is one that answers; otherwise the registry is mounted, read-only,
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
    place = Path(artifact.entity, artifact.project, artifact.name.partition(":")[0], artifact.version)
    with _mount_of(artifact.client) as root:
        yield root / place


@contextlib.contextmanager
def _mount_of(client: Client) -> Iterator[Path]:
    config = client.config
    for status in statuses(config):
        if status["registry"] == redact(config.registry) and status["store"] == redact(config.store):
            yield Path(status["mountpoint"])
            return
    from artfs.app.launch import mount
    from artfs.app.unmount import detach, unmount

    config.runtime_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = Path(tempfile.mkdtemp(prefix="mounted-", dir=config.runtime_dir))
    try:
        mount(config, str(root), ["ro"], foreground=False)
        try:
            yield root
        finally:
            try:
                unmount(str(root))
            except BusyError:  # something of it is still open or mapped: that stays readable until it is closed
                detach(root)
    finally:
        with contextlib.suppress(OSError):
            root.rmdir()
