"""Where a repair puts what may be the only copy of something: ``<data>/lost+found/``, under its old name and the time."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LostAndFound:
    """A directory of things that were put aside. Nothing in it is ever looked at, or removed, by artfs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put(self, path: Path) -> Path:
        """Move a file or a directory there, and return where it is now. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        time = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        target = self.directory / f"{path.name}-{time}"
        shutil.move(path, target)
        return target
