"""Directories of artfs itself are for its user alone, whatever the umask is.

`Path.mkdir` leaves the mode of the parents that it makes to the umask: programs that use the API may have any.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from artfs.errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def naming(name: str, path: Path) -> Iterator[None]:
    """Turn what fails with a directory of the settings (``data``, ``cache``, ...) into a PermissionDeniedError that says which to set."""
    try:
        yield
    except OSError as error:
        raise PermissionDeniedError(
            f"the {name} directory {path} cannot be used: {error.strerror}",
            hint=f"choose another with ARTFS_{name.upper()}_DIR",
        ) from error


def make_private(path: Path) -> None:
    """Make a directory, and those above it that are missing, with the mode 0700; leave what is there as it is.

    Raises OSError; PermissionError if the directory belongs to somebody else (`check_owner`).
    """
    make_closed(path)
    check_owner(path)


def make_closed(path: Path) -> None:
    """Do the same in a place that several users may share, such as a store: whoever owns what is there. Raises OSError."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_closed(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def check_owner(path: Path) -> None:
    """PermissionError if what a path leads to belongs to another user, who could change what is kept there behind the back of this one.

    Root may own it, as it does where directories are made for a container; and root may use what it is told to. Raises OSError.
    """
    owner, user = path.stat().st_uid, os.geteuid()
    if owner not in {user, 0} and user != 0:
        raise PermissionError(errno.EACCES, f"it belongs to uid {owner}, who could change what is in it", str(path))
