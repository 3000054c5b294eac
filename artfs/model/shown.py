"""Text and sizes as people see them in a terminal or in a drawing. Names and descriptions are untrusted: here they are made safe to show.

`visible` leaves no character that moves a cursor, changes the direction of writing, or that XML forbids.
"""

from __future__ import annotations

import unicodedata

_LONGEST = 100  # characters of a text that anybody may choose, such as the name of a run
_LONGEST_ESCAPE = 10  # characters of one escape, such as that of U+E0001
_INVISIBLE = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # control, format (bidi among them), surrogate, line and paragraph separators
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def visible(text: str, longest: int = _LONGEST) -> str:
    """Return a text on one line, with what cannot be seen as an escape, and shortened in the middle."""
    text = shorten(text, longest)
    return shorten("".join(_escape(char) if _is_invisible(char) else char for char in text), longest)


def visible_whole(text: str) -> str:
    """Do so without making the text shorter."""
    return visible(text, len(text) * _LONGEST_ESCAPE)


def shorten(text: str, longest: int) -> str:
    """Return a text of at most so many characters: its start and its end."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 3
    return f"{text[: longest - 1 - end]}…{text[len(text) - end :]}"


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE or ord(char) & 0xFFFE == 0xFFFE


def _escape(char: str) -> str:
    """Return the escape that Python has for a character."""
    return char.encode("unicode_escape").decode()


def size_text(size: int) -> str:
    """Return a size for people, in powers of 1000: ``12 MB``."""
    value, units = float(size), iter(_UNITS)
    unit = next(units)
    while value >= 999.5 and unit != _UNITS[-1]:
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}" if unit != "B" and value < 9.95 else f"{value:.0f} {unit}"
