"""What an argument of a command names: a version by its reference, or by a path in a mount, and a draft by a path.

What exists in a mount is a path; anything else is a reference.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs.app.client import find_mount, mount_of, request, statuses
from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import ArtifactRef, CollectionRef, parse_artifact_ref
from artfs.model.reference import redact, uri_scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
    if _is_in_mount(text):
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


def as_reference(text: str, config: Config, *, version: bool = False) -> tuple[str, Config]:
    """Return what a path in a mount names, as a place or a reference, and the settings with which it is looked up: those of the mount.

    Anything else comes back as it is. InvalidInputError for a path in a mount that names neither, or no collection where a ``version``
    is wanted, and where the registry of the mount cannot be asked.
    """
    if not _is_in_mount(text):
        return text, config
    found = _parts(text)
    if found is None:
        return text, config
    live, parts = found
    if version and len(parts) < 3:
        raise InvalidInputError(
            f"{text} is not a version", hint="versions are ENTITY/PROJECT/NAME/VERSION in the mount"
        )
    if len(parts) > 3 and parts[3].startswith("."):
        raise InvalidInputError(f"{text} is neither a place nor a version", hint="drafts are shown by artfs status")
    reference = "/".join(parts[:3]) + "".join(f":{name}" for name in parts[3:4])
    inner = "" if version else "/".join(parts[4:])
    return f"{reference}/{inner}" if inner else reference, _config_of(live, config)


def _config_of(live: MountInfo, config: Config) -> Config:
    """Return settings by which the registry of a mount is asked. InvalidInputError where it does not say all of its address."""
    (answer,) = request(live.socket, {"op": "status"}, timeout=5.0)
    status: Any = answer["result"]
    if status["registry"] == redact(config.registry):
        return config
    if uri_scheme(status["registry"]) not in {
        "sqlite",
        "http",
        "https",
    }:  # others have users and passwords, which no mount tells
        raise InvalidInputError(
            f"{live.mountpoint} shows the registry {status['registry']}, not {redact(config.registry)}",
            hint="--registry, or ARTFS_REGISTRY",
        )
    return dataclasses.replace(config, registry=status["registry"], store=status["store"])


def _is_in_mount(text: str) -> bool:
    """Whether a path is in a mount, or leads into one. A mount that is dead is not asked whether it has the path."""
    return mount_of(Path(text)) is not None or (
        os.path.lexists(text) and mount_of(Path(os.path.realpath(text))) is not None
    )


def _parts(text: str) -> tuple[MountInfo, tuple[str, ...]] | None:
    """Return a mount and the names on the way to a path in it; None for one that is relative, is not there, and may be a reference."""
    live = find_mount(text)
    if live is None:
        return None
    if not os.path.lexists(text):
        if text.startswith(("/", ".")):
            raise NotFoundError(f"{text} does not exist")
        return None
    # An alias is a symlink that resolve() would follow, which is right: it names the version that it names now.
    return live, Path(text).absolute().resolve().relative_to(live.mountpoint.resolve()).parts


def _in_mount(text: str, config: Config) -> NamedVersion | NamedDraft | None:
    """Return what a path in a mount names; None for one that may be a reference."""
    there = _parts(text)
    if there is None:
        return None
    live, parts = there
    if len(parts) == 5 and parts[3] == _STAGING:
        return NamedDraft(live, "/".join(parts[:3]), parts[4], text)
    if len(parts) < 4 or parts[3].startswith("."):
        raise InvalidInputError(
            f"{text} is not a version", hint="versions are ENTITY/PROJECT/NAME/VERSION in the mount"
        )
    shown = os.getxattr(live.mountpoint, REGISTRY_XATTR).decode(errors="replace")
    if shown != redact(config.registry):
        raise InvalidInputError(
            f"{text} is of the registry {shown}, not of {redact(config.registry)}",
            hint=f"--registry {shown}, or ARTFS_REGISTRY",
        )
    return NamedVersion(CollectionRef(*parts[:3]).at(parts[3]), "/".join(parts[4:]))


def hint_of_mounts(config: Config, arguments: Iterable[object]) -> str:
    """Return what to try where something is not found: another registry, which a mount of this user shows; empty if that is no help.

    ``arguments`` are those of the command: of a path in a mount it is clear which registry was asked.
    """
    if any(isinstance(one, str) and _is_in_mount(one) for one in arguments):
        return ""
    shown = {status["registry"]: status["mountpoint"] for status in statuses(config)}
    if redact(config.registry) in shown or not shown:
        return ""
    registry, mountpoint = next(iter(shown.items()))
    return f"{redact(config.registry)} was asked; {mountpoint} shows another registry: --registry {registry}, or ARTFS_REGISTRY"
