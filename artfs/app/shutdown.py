"""End a mount process whose mount point is gone: detached while files were open, or mounted where this process does not see it.

Such a process goes on serving whoever has its files open, and owns its drafts, so that no other mount can take them over.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.app.client import control_sockets, request, socket_name
from artfs.app.unmount import await_end, process_of
from artfs.errors import BusyError, UnreachableError

if TYPE_CHECKING:
    from artfs.config import Config

_ANSWER = 5.0  # seconds that the process has to answer, before it is taken for dead
_END = 10.0  # seconds that it has to end by itself: it is asked to hurry


def end_left(config: Config, path: str, *, force: bool) -> bool:
    """End the process of a mount that was at ``path``; False if there is none. Commits under way are resumed by the next mount.

    BusyError without ``force``: somebody may still use it. UnreachableError if it does not end.
    """
    places = {Path(os.path.abspath(path)), Path(os.path.realpath(path))}  # noqa: PTH100 - nothing is there to be resolved
    names = {socket_name(place): place for place in places}
    for control in control_sockets(config):
        mountpoint = names.get(control.stem)
        if mountpoint is None or not _lives(control):
            continue
        if not force:
            raise BusyError(
                f"nothing is mounted at {path} here, but its mount process goes on: files are open, or it is mounted in a container",
                hint=f"artfs umount --force {path} ends it",
            )
        _end(control, mountpoint)
        return True
    return False


def _lives(control: Path) -> bool:
    try:
        for _ in request(control, {"op": "status"}, timeout=_ANSWER):
            pass
    except UnreachableError as error:
        return isinstance(error.__cause__, TimeoutError)
    return True


def _end(control: Path, mountpoint: Path) -> None:
    process = process_of(mountpoint)
    try:
        for _ in request(control, {"op": "shutdown", "haste": True}, timeout=_END):
            pass
    except UnreachableError as error:
        if isinstance(error.__cause__, TimeoutError) and process is None:
            raise UnreachableError(f"the mount process at {control} does not end", hint="kill it") from error
    # Else it has closed the connection: that is its answer, at its end.
    if process is not None:
        await_end(process, _END)
