"""What an argument of a command names: a version by its reference, or by a path in a mount, and a draft by a path.

What exists in a mount is a path; anything else is a reference.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.app.client import find_mount, mount_of
from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import ArtifactRef, CollectionRef, parse_artifact_ref
from artfs.model.reference import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.app.client import MountInfo
    from artfs.config import Config

_STAGING = ".staging"
REGISTRY_XATTR = "user.artfs.registry"


@dataclass(frozen=True, slots=True)
class NamedVersion:
    """A version, or a directory or file in it: ``inner`` is its path, empty for all of it."""

    ref: ArtifactRef
    inner: str = ""

    def __str__(self) -> str:
        return f"{self.ref}/{self.inner}" if self.inner else str(self.ref)


@dataclass(frozen=True, slots=True)
class NamedDraft:
    """A draft in a mount."""

    live: MountInfo
    collection: str
    name: str
    path: str


def named(text: str, config: Config, default_entity: Callable[[], str]) -> NamedVersion | NamedDraft:
    """Return what an argument names. InvalidInputError for a path in a mount that is neither a version nor a draft.

    ``default_entity`` is asked only where a reference names none.
    """
    path = Path(text)
    # A mount that is dead is not asked whether it has the path.
    if mount_of(path) is not None or (os.path.lexists(text) and mount_of(Path(os.path.realpath(text))) is not None):
        found = _in_mount(text, config)
        if found is not None:
            return found
    if text.startswith(("/", "./", "../")):
        raise InvalidInputError(
            f"{text} is not in a mount of artfs", hint="a version is also written ENTITY/PROJECT/NAME:VERSION"
        )
    place, colon, rest = text.partition(":")
    alias, _, inner = rest.partition("/")
    entity = "" if place.count("/") > 1 else default_entity()
    ref = parse_artifact_ref(f"{place}:{alias}" if colon else place, entity)
    return NamedVersion(ref, inner.strip("/"))


def _in_mount(text: str, config: Config) -> NamedVersion | NamedDraft | None:
    """Return what a path in a mount names; None for one that is relative, is not there, and may be a reference therefore."""
    live = find_mount(text)
    if live is None:
        return None
    if not os.path.lexists(text):
        if text.startswith(("/", ".")):
            raise NotFoundError(f"{text} does not exist")
        return None
    # An alias is a symlink that resolve() would follow, which is right: it names the version that it names now.
    parts = Path(text).absolute().resolve().relative_to(live.mountpoint.resolve()).parts
    if len(parts) == 5 and parts[3] == _STAGING:
        return NamedDraft(live, "/".join(parts[:3]), parts[4], text)
    if len(parts) < 4 or parts[3].startswith("."):
        raise InvalidInputError(
            f"{text} is not a version", hint="versions are ENTITY/PROJECT/NAME/VERSION in the mount"
        )
    shown = os.getxattr(live.mountpoint, REGISTRY_XATTR).decode(errors="replace")
    if shown != redact(config.registry):
        raise InvalidInputError(
            f"{text} is of the registry {shown}, not of {redact(config.registry)}", hint="--registry"
        )
    return NamedVersion(CollectionRef(*parts[:3]).at(parts[3]), "/".join(parts[4:]))
