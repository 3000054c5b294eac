"""Objects of a program in artifacts: the data types of the W&B SDK, by its own classes.

An object is a JSON file, ``NAME.table.json`` for a Table, and the media files that this names; both are byte for byte what the SDK makes
of it. The ``wandb`` package is imported when the first object comes: here is the only place that says how to get it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from types import ModuleType

    from artfs.api.artifact import Artifact
    from artfs.api.building import Building

__all__ = ["data_type", "read", "write"]


def data_type(name: str) -> type[Any]:
    """Return a class of the W&B SDK, such as ``Table``. InvalidInputError if the package is not installed."""
    found: type[Any] = getattr(_wandb(), name)
    return found


def write(obj: object, name: str, building: Building, *, overwrite: bool) -> str:
    """Add an object to an artifact that is being made, and return the path of the entry that stands for it.

    TypeError for what is no data type that artifacts hold; InvalidInputError (a ValueError) if the path has another content already and
    ``overwrite`` is false, or without the ``wandb`` package. What the classes of the SDK raise goes through. After an error nothing
    of the object is in the artifact.
    """
    _wandb()
    from artfs.api.datatypes import writing

    return writing.write(obj, name, building, overwrite=overwrite)


def read(artifact: Artifact, name: str) -> Any:
    """Return the object of a logged artifact that was added under a name; None if there is none. Its own files are downloaded, no others.

    InvalidInputError without the ``wandb`` package; what `ArtifactManifestEntry.download` raises.
    """
    _wandb()
    from artfs.api.datatypes import reading

    return reading.read(artifact, name)


def _wandb() -> ModuleType:
    """Return the module that has every data type."""
    try:
        import wandb.data_types as module
    except ImportError as error:
        raise InvalidInputError(
            f"data types are those of the wandb package, which cannot be imported: {error}",
            hint="pip install 'artfs[wandb]'",
        ) from error
    return module
