"""Durations as people write them: ``90s``, ``15m``, ``24h``, ``7d``, ``2w``, and several of them, ``1d12h``."""

from __future__ import annotations

import re

from artfs.errors import InvalidInputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = re.compile(r"(\d{1,9})([smhdw])", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII | re.IGNORECASE)


def parse_duration(text: str) -> float:
    """Return seconds; InvalidInputError. A number alone is not accepted but for 0: nobody can tell its unit."""
    if text.strip() == "0":
        return 0.0
    if not _WHOLE.fullmatch(text.strip()):
        raise InvalidInputError(f"{text!r} is not a duration", hint="write it as 90s, 15m, 24h, 7d or 1d12h")
    return float(sum(int(number) * _UNITS[unit.lower()] for number, unit in _PART.findall(text)))


def duration_text(seconds: float) -> str:
    """Return a duration as `parse_duration` reads it, to whole seconds."""
    left, parts = round(seconds), []
    for unit, length in reversed(_UNITS.items()):
        if unit != "w" and left >= length:
            parts.append(f"{left // length}{unit}")
            left %= length
    return "".join(parts) or "0s"
