"""Change one setting in config.toml, and nothing else of the file: comments, blank lines and the order of keys stay.

The file is flat: one key a line, lists perhaps over several. So the lines of the one key are found by asking the TOML parser where its
value ends, and are replaced; what comes out is parsed, and must differ from what was there by that key only, before it takes the place
of the file, at once, by a rename. That is less than a TOML editor does, and needs none.
"""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, cast

from artfs.config.values import SETTINGS, parse_setting
from artfs.config.writing import replace_file
from artfs.errors import InvalidInputError, NotFoundError, PermissionDeniedError
from artfs.private import make_private

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY = re.compile(r"""\s*(?:"([^"\\]*)"|'([^']*)'|([\w-]+))\s*=""", re.ASCII)
_NUMBERS = {"metadata_ttl", "threads", "metrics_port", "retry_seconds"}
_TRUTHS = {"metadata_addresses", "offline"}
_LISTS = {"reference_roots"}


def parse_name(name: str) -> str:
    """Return the name of a setting, for which dashes are as good; InvalidInputError that suggests one."""
    import difflib

    found = name.replace("-", "_").lower()
    if found in SETTINGS:
        return found
    close = difflib.get_close_matches(found, SETTINGS, 1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(SETTINGS)}"
    raise InvalidInputError(f"there is no setting {name!r}", hint=hint)


def set_value(path: Path, name: str, text: str) -> None:
    """Write a setting, given as on the command line. InvalidInputError for a bad name or value, or a file that cannot be read."""
    name = parse_name(name)
    value = parse_setting(name, text, name)
    _write(path, _with(_read(path), name, f"{name} = {_toml(name, text, value)}", path))


def unset_value(path: Path, name: str) -> None:
    """Take a setting out of the file; NotFoundError if it is not there."""
    name = parse_name(name)
    before = _read(path)
    if name not in _parsed(before, path):
        raise NotFoundError(f"{path} does not say {name}")
    _write(path, _with(before, name, None, path))


def _toml(name: str, text: str, value: object) -> str:
    """Return a value as TOML: as it was written where that is text, so that 50G stays 50G."""
    if name in _NUMBERS:
        return f"{value:g}" if isinstance(value, float) and not value.is_integer() else str(int(cast("float", value)))
    if name in _TRUTHS:
        return "true" if value else "false"
    if name in _LISTS:
        return "[" + ", ".join(_quoted(str(part)) for part in cast("Sequence[Path]", value)) + "]"
    return _quoted(str(value) if isinstance(value, Path) else text.strip())


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{text!r} is not valid Unicode, and cannot be written into the file") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _with(before: str, name: str, line: str | None, path: Path) -> str:
    """Return the text with the line for a setting in its place, or without it; the rest as it was."""
    old = _parsed(before, path)
    lines = before.splitlines(keepends=True)
    start, end = _place(lines, name)
    ending = "\r\n" if "\r\n" in before else "\n"
    if start < end:
        comment = _comment(lines[start:end], name)
        new = [] if line is None else [line + (f"  {comment}" if comment else "") + ending]
    else:
        new = [] if line is None else [line + ending]
        if start and new and not lines[start - 1].endswith("\n"):
            lines[start - 1] += ending
    after = "".join([*lines[:start], *new, *lines[end:]])
    try:
        changed = tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        changed = {}
    if {key: value for key, value in changed.items() if key != name} != {
        key: value for key, value in old.items() if key != name
    } or (name in changed) != (line is not None):
        raise InvalidInputError(f"{path} is written in a way that only a person can change", hint="edit it by hand")
    return after


def _place(lines: list[str], name: str) -> tuple[int, int]:
    """Return which lines say a setting; an empty span after the last line of the top table if none does."""
    number = 0
    while number < len(lines):
        if lines[number].lstrip().startswith("["):
            return number, number
        match = _KEY.match(lines[number])
        if match is None:
            number += 1
            continue
        end = _end(lines, number)
        if name in match.groups():
            return number, end
        number = end
    return number, number


def _end(lines: list[str], start: int) -> int:
    """Return where the value that begins on a line has ended: its first lines that are TOML for themselves."""
    for end in range(start + 1, len(lines) + 1):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            tomllib.loads("".join(lines[start:end]))
            return end
    return len(lines)


def _comment(lines: list[str], name: str) -> str:
    """Return the comment at the end of a value of one line."""
    if len(lines) != 1:
        return ""
    text = lines[0].rstrip("\r\n")
    for match in re.finditer(r"#", text):  # the first mark that the value is complete without
        with contextlib.suppress(tomllib.TOMLDecodeError):
            if name in tomllib.loads(text[: match.start()]):
                return text[match.start() :]
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error


def _parsed(text: str, path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{path} cannot be read: {error}", hint="mend it by hand first") from error


def _write(path: Path, text: str) -> None:
    try:
        make_private(path.parent)
    except OSError as error:
        raise PermissionDeniedError(f"{path} cannot be written: {error.strerror}") from error
    replace_file(path, text, keep_mode=True)
