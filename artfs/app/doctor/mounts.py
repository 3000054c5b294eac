"""Checks of the mounts of this user: dead ones, ones that do not answer, sockets that dead ones have left, other versions.

A mount is asked in a thread that is left alone if it hangs. A repair looks again before it does anything.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs.app.client import TableEntry, control_sockets, mount_table, request
from artfs.app.doctor.bounded import Bounded, LateError, run_bounded
from artfs.app.doctor.finding import Finding, ok, problem, warning
from artfs.app.unmount import detach
from artfs.errors import ArtfsError, BusyError
from artfs.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artfs.config import Config

ANSWER = 3.0  # seconds that a mount has for an answer out of its memory


def check_mounts(
    table: Sequence[TableEntry],
    look: Callable[[Path], object] = Path.stat,
    uid: int | None = None,
    seconds: float = ANSWER,
) -> list[Finding]:
    """Ask each mount for its root, all at once."""
    uid = os.geteuid() if uid is None else uid
    asked = [(entry, Bounded(lambda entry=entry: look(entry.mountpoint), seconds)) for entry in table]  # type: ignore[misc]
    return [_about(entry, call, uid) for entry, call in asked] or [ok("mounts", "none is up")]


def _about(entry: TableEntry, call: Bounded[object], uid: int) -> Finding:
    point = entry.mountpoint
    try:
        call.result()
    except LateError as error:
        return problem("mounts", f"{point} does not answer: {error}", f"artfs umount --force {point}")
    except PermissionError:
        return ok("mounts", f"{point} is of uid {entry.uid}")
    except OSError as error:
        if error.errno not in {errno.ENOTCONN, errno.ECONNABORTED}:
            return problem("mounts", f"{point} does not answer: {error.strerror}", f"artfs umount --force {point}")
        mine = entry.uid == uid
        return problem("mounts", f"{point} is dead: {error.strerror}", f"artfs mount {point}, or artfs umount {point}",
                       (lambda: _detach_dead(point)) if mine else None)  # fmt: skip
    return ok("mounts", f"{point} answers")


def _detach_dead(mountpoint: Path) -> None:
    """Take a dead mount away, if it is one still: somebody may have mounted anew meanwhile."""
    try:
        run_bounded(mountpoint.stat, ANSWER)
    except OSError as error:
        if error.errno not in {errno.ENOTCONN, errno.ECONNABORTED}:
            raise
    else:
        return
    detach(mountpoint)


def check_sockets(runtime_dir: Path, ask: Callable[[Path], dict[str, Any]] | None = None) -> list[Finding]:
    """Ask at each control socket, all at once."""
    ask = ask or ask_status
    asked = [(path, Bounded(lambda path=path: ask(path), ANSWER + 1)) for path in sorted(runtime_dir.glob("*.sock"))]  # type: ignore[misc]
    found = []
    for path, call in asked:
        try:
            status = call.result()
        except (ArtfsError, LateError) as error:
            found.append(_about_silent(path, error))
        else:
            found.append(_about_version(status))
    return found or [ok("sockets", f"none in {runtime_dir}")]


def ask_status(path: Path) -> dict[str, Any]:
    """Return what a mount process says of itself."""
    *_, answer = request(path, {"op": "status"}, timeout=ANSWER)
    status: Any = answer["result"]
    return dict(status)


def _about_silent(path: Path, error: Exception) -> Finding:
    if isinstance(error.__cause__, ConnectionRefusedError):
        return warning(
            "sockets", f"{path} was left by a process that has died", f"rm {path}", lambda: _remove_stale(path)
        )
    return problem(
        "sockets", f"the mount process at {path} does not answer: {error}", "artfs umount --force its mount point"
    )


def _remove_stale(path: Path) -> None:
    """Remove a socket at which nobody listens, while no mount is being started that may be about to."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # that of `artfs.app.launch`
        try:
            ask_status(path)
        except ArtfsError as error:
            if isinstance(error.__cause__, ConnectionRefusedError):
                path.unlink(missing_ok=True)
                return
        raise BusyError(f"{path} is in use")
    except BlockingIOError as error:
        raise BusyError("a mount is being started") from error
    finally:
        os.close(descriptor)


def _about_version(status: dict[str, Any]) -> Finding:
    point, found = status.get("mountpoint"), status.get("version")
    if found != __version__:
        return warning("versions", f"the mount at {point} runs artfs {found or 'of an older version'}, and this is {__version__}",
                       f"artfs umount {point} && artfs mount {point}")  # fmt: skip
    if since := status.get("registry_away_since"):
        text = f"the mount at {point} cannot reach its registry since {since}: {status.get('registry_reason')}"
        return warning("sockets", text, "artfs status")
    return ok("sockets", f"the mount process of {point} answers, version {found}")


def live_commits(config: Config) -> set[tuple[str, str]]:
    """Return the commits that mounts of this user are working on: collection and draft."""
    found = set()
    for path in control_sockets(config):
        with contextlib.suppress(ArtfsError):
            status = ask_status(path)
            found |= {(str(one["collection"]), str(one["draft"])) for one in status.get("commits", ())}
    return found


__all__ = ["ANSWER", "ask_status", "check_mounts", "check_sockets", "live_commits", "mount_table"]
