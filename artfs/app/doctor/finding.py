"""What a check of the doctor says."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from artfs.model.entry import JsonValue


class Level(enum.Enum):
    """How bad it is. ``WARNING``: it works, but not as well as it could, or not for long. ``PROBLEM``: something does not work."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was found, and what to do about it.

    ``repair`` does that, where it is safe: it harms nothing that is in use. It may fail with an OSError or an ArtfsError.
    """

    check: str
    level: Level
    message: str
    hint: str = ""
    repair: Callable[[], None] | None = None
    repaired: bool = False

    def json(self) -> dict[str, JsonValue]:
        """Return it for ``--json``."""
        return {
            "check": self.check,
            "level": self.level.value,
            "message": self.message,
            "hint": self.hint,
            "fixable": self.repair is not None and not self.repaired,
            "fixed": self.repaired,
        }


def ok(check: str, message: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, hint: str = "", repair: Callable[[], None] | None = None) -> Finding:
    """Return a warning."""
    return Finding(check, Level.WARNING, message, hint, repair)


def problem(check: str, message: str, hint: str = "", repair: Callable[[], None] | None = None) -> Finding:
    """Return a problem."""
    return Finding(check, Level.PROBLEM, message, hint, repair)
