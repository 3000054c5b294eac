"""artfs: machine-learning artifacts mounted as plain files.

The public names are those of `artfs.api`, which is imported when one of them is first used: `Api`, `Artifact`, `init`, `run`,
`use_artifact`, `log_artifact`, `finish`, `mounted`, and the data types of the W&B SDK (`Table`, `Image`, ...) if it is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from artfs.version import __version__

if TYPE_CHECKING:
    from artfs.api.artifact import Artifact
    from artfs.api.attributes import ArtifactTTL
    from artfs.api.collections import ArtifactCollection, ArtifactType
    from artfs.api.entries import ArtifactManifest, ArtifactManifestEntry
    from artfs.api.mounted import mounted
    from artfs.api.public import Api
    from artfs.api.runs import Run
    from artfs.api.session import finish, init, log_artifact, use_artifact
    from artfs.errors import (
        ArtfsError,
        ArtifactFinalizedError,
        ArtifactNotLoggedError,
        ArtifactStatusError,
        ConflictError,
        WaitTimeoutError,
    )

    run: Run | None

__all__ = [
    "Api",
    "ArtfsError",
    "Artifact",
    "ArtifactCollection",
    "ArtifactFinalizedError",
    "ArtifactManifest",
    "ArtifactManifestEntry",
    "ArtifactNotLoggedError",
    "ArtifactStatusError",
    "ArtifactTTL",
    "ArtifactType",
    "ConflictError",
    "Run",
    "WaitTimeoutError",
    "__version__",
    "finish",
    "init",
    "log_artifact",
    "mounted",
    "run",
    "use_artifact",
]  # fmt: skip

_MODULES = {
    "Api": "public",
    "Artifact": "artifact",
    "ArtifactCollection": "collections",
    "ArtifactManifest": "entries",
    "ArtifactManifestEntry": "entries",
    "ArtifactTTL": "attributes",
    "ArtifactType": "collections",
    "Run": "runs",
    "finish": "session",
    "init": "session",
    "log_artifact": "session",
    "mounted": "mounted",
    "use_artifact": "session",
}
_ERRORS = {
    "ArtfsError",
    "ArtifactFinalizedError",
    "ArtifactNotLoggedError",
    "ArtifactStatusError",
    "ConflictError",
    "WaitTimeoutError",
}
_DATA_TYPES = {
    "Audio", "Bokeh", "BoundingBoxes2D", "Classes", "Html", "Image", "ImageMask", "JoinedTable", "Molecule", "Object3D",
    "PartitionedTable", "Table", "Video",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = getattr(importlib.import_module(f"artfs.api.{_MODULES[name]}"), name)
    elif name in _ERRORS:
        value = getattr(importlib.import_module("artfs.errors"), name)
    elif name in _DATA_TYPES:
        value = importlib.import_module("artfs.api.datatypes").data_type(name)
    elif name == "run":  # not kept: it changes
        return importlib.import_module("artfs.api.session").current_run()
    else:
        raise AttributeError(f"module 'artfs' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_DATA_TYPES})
