"""Remove a draft from the disk, with whatever is in it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_REMOVALS = 10  # attempts


def remove_tree(directory: Path) -> None:
    """Remove a directory with everything in it, also where modes forbid it to look inside.

    Who only looks at a draft (a check, a collection of garbage) may make files beside its database at that moment: those go, too.
    """
    for _ in range(_REMOVALS):
        try:
            _remove_tree(directory)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            return
    _remove_tree(directory)


def _remove_tree(directory: Path) -> None:

    def retry(function: Callable[..., object], path: str, _: object) -> None:
        found = Path(path)
        found.parent.chmod(0o700)
        if found.is_dir() and not found.is_symlink():
            found.chmod(0o700)
        function(path)

    shutil.rmtree(directory, onerror=retry)
