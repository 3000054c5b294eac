"""The mounts of this user as they look from outside: which one a path means, and what each says of itself, or that it does not answer.

Nothing here waits for a mount that hangs: paths are found in the mount table, and every question has a deadline.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs.app.client import CONTROL_XATTR, control_sockets, mount_of, mount_points, request, socket_name
from artfs.app.doctor.bounded import Bounded, LateError, run_bounded
from artfs.errors import ArtfsError, InvalidInputError, NotFoundError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.config import Config

_ANSWER = 5.0  # seconds that a mount process has for its status, of which it gives the registry two
_LOOK = 2.0  # seconds that a mount has to say where its socket is


def survey(config: Config, place: str | None = None, *, ask: bool = True) -> list[dict[str, Any]]:
    """Return what each mount of this user says of itself; of the one that a path lies in, with ``place``.

    With ``ask``, each asks its registry, and looks at disks. For one that does not answer, ``answers`` is false and ``reason`` says
    why; ``mountpoint`` is null if it is not in the mount table. What a dead process has left, and is mounted no more, is left out.
    NotFoundError if no artfs is mounted at ``place``.
    """
    sockets = control_sockets(config) if place is None else [control_of(config, place)]
    asked = [(control, Bounded(lambda control=control: _ask(control, ask), _ANSWER + 1)) for control in sockets]  # type: ignore[misc]
    places = {socket_name(mountpoint): mountpoint for mountpoint, _ in mount_points()}
    found = []
    for control, call in asked:
        try:
            found.append({**call.result(), "control": str(control)})
        except (ArtfsError, LateError) as error:
            mountpoint = places.get(control.stem)
            dead = isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError)
            if mountpoint is None and dead and place is None:
                continue
            found.append(_silent(control, mountpoint, "its process has died" if dead else str(error)))
    return found


def _silent(control: Path, mountpoint: Path | None, reason: str) -> dict[str, Any]:
    shown = None if mountpoint is None else str(mountpoint)
    return {"mountpoint": shown, "answers": False, "reason": reason, "control": str(control)}


def _ask(control: Path, ask: bool) -> dict[str, Any]:
    *_, answer = request(control, {"op": "status", "ask": ask}, timeout=_ANSWER)
    status: Any = answer["result"]
    return dict(status)


def control_of(config: Config, place: str) -> Path:
    """Return the control socket of the mount that a path lies in. It need not answer.

    NotFoundError if the path lies in no mount of artfs; UnreachableError if the mount hangs, and its socket is not where it should be.
    """
    mountpoint = mount_of(Path(place))
    if mountpoint is None:
        path = Path(os.path.abspath(place))  # noqa: PTH100 - resolve() would ask a mount that may be dead
        left = _socket(config, path)
        if left is not None:
            return left
        raise NotFoundError(f"no artfs is mounted at {place}", hint="findmnt -t fuse.artfs lists the mounts")
    found = _socket(config, mountpoint)
    if found is not None:
        return found
    try:
        return Path(os.fsdecode(run_bounded(lambda: os.getxattr(mountpoint, CONTROL_XATTR), _LOOK)))
    except (OSError, LateError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreachableError(
            f"the mount at {mountpoint} does not answer: {reason}", hint=f"artfs umount --force {mountpoint}"
        ) from error


def _socket(config: Config, mountpoint: Path) -> Path | None:
    name = socket_name(mountpoint)
    return next((control for control in control_sockets(config) if control.stem == name), None)


def the_mount(config: Config, place: str | None) -> Path:
    """Return the control socket of the mount that a path lies in, or of the only one that there is.

    NotFoundError if there is none, InvalidInputError if there are several.
    """
    if place is not None:
        return control_of(config, place)
    found = survey(config, ask=False)
    if not found:
        raise NotFoundError("no mount is up", hint="artfs mount MOUNTPOINT")
    if len(found) > 1:
        raise InvalidInputError("there are several mounts: say which one", hint=_names(found))
    return Path(found[0]["control"])


def _names(found: Sequence[dict[str, Any]]) -> str:
    return " or ".join(str(one["mountpoint"] or one["control"]) for one in found)
