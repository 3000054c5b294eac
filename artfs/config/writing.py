"""Replace a small file of the user's at once: who reads it sees what was there or what is there now, also after a crash."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import NoSpaceError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Callable


def replace_file(
    path: Path, text: str, *, keep_mode: bool, check: Callable[[Path, Path], object] = lambda new, old: None
) -> None:
    """Write a file, which is its owner's alone (0600) unless ``keep_mode`` and it had another mode. NoSpaceError, PermissionDeniedError.

    A symlink stays: what it leads to is replaced. ``check`` is given the new file and the old one before that, and may raise.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode & 0o777 if keep_mode and target.exists() else 0o600
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            check(new, target)
            new.replace(target)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        kind = NoSpaceError if error.errno in {errno.ENOSPC, errno.EDQUOT} else PermissionDeniedError
        raise kind(f"{path} cannot be written: {error.strerror}") from error
