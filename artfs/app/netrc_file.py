"""Write the entry of one machine into a netrc file, and leave everything else in it as it is, to the letter.

Words are found as Python's `netrc` finds them. What comes out is read with it before it takes the place of the file, at once, by a
rename: the entry must be there, and all others as they were. The file is its owner's alone (0600) afterwards.
"""

from __future__ import annotations

import netrc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.config.writing import replace_file
from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    end: int


def write_entry(path: Path, machine: str, login: str, password: str) -> None:
    """Set login and password of a machine. InvalidInputError if the file cannot be read; PermissionDeniedError, NoSpaceError."""
    target = Path(os.path.realpath(path))  # a symlink to where somebody keeps such files stays one
    try:
        before = target.read_bytes().decode()
    except FileNotFoundError:
        before = ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {getattr(error, 'strerror', 'it is not text')}") from None
    after = with_entry(before, machine, login, password)
    replace_file(path, after, keep_mode=False, check=lambda new, old: _check(new, old, path, machine, login, password))


def with_entry(text: str, machine: str, login: str, password: str) -> str:
    """Return a netrc text in which the machine has one entry, where its first one was, else before ``default``, else at the end."""
    entry = f"machine {machine}\n  login {login}\n  password {password}\n"
    spans = list(_spans(text))
    mine = [(start, end) for name, start, end in spans if name == machine]
    if mine:
        pieces, at = [], 0
        for number, (start, end) in enumerate(mine):
            pieces += [text[at:start], "" if number else entry]
            at = end
        return "".join([*pieces, text[at:]])
    default = next((start for name, start, _ in spans if name is None), None)
    if default is not None:
        return text[:default] + entry + text[default:]
    return text + ("\n" if text and not text.endswith("\n") else "") + entry


def _spans(text: str) -> Iterator[tuple[str | None, int, int]]:
    """Yield the machines (None for ``default``) with where each entry begins and ends: after the line of its last word."""
    word = _next(text, 0)
    while word is not None:
        if word.text == "macdef":  # its body goes on to an empty line
            end = text.find("\n\n", word.end)
            word = None if end < 0 else _next(text, end + 2)
            continue
        if word.text not in {"machine", "default"}:  # no entry: the check afterwards says so
            word = _next(text, word.end)
            continue
        start, name, last = word.start, None, word
        if word.text == "machine" and (found := _next(text, word.end, comments=False)):
            name, last = found.text, found
        word = _next(text, last.end)
        while word is not None and word.text in {"login", "user", "account", "password"}:
            last = _next(text, word.end, comments=False) or word
            word = _next(text, last.end)
        line_end = text.find("\n", last.end)
        end = len(text) if line_end < 0 else line_end + 1
        yield name, start, last.end if text[last.end : end].strip() else end


def _next(text: str, at: int, *, comments: bool = True) -> _Word | None:
    """Return the next word; ``comments``: not one of a comment, which there cannot be where a value is due."""
    while at < len(text):
        if text[at] in " \t\r\n":
            at += 1
        elif comments and text[at] == "#":
            at = _after_line(text, at)
        else:
            return _word(text, at)
    return None


def _word(text: str, start: int) -> _Word:
    at = start + 1 if text[start] == '"' else start
    ends = '"' if at > start else " \t\r\n"
    found = ""
    while at < len(text) and text[at] not in ends:
        at += text[at] == "\\"
        found += text[at : at + 1]
        at += 1
    return _Word(found, start, at + 1 if at > start and ends == '"' else at)


def _after_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _check(new: Path, target: Path, path: Path, machine: str, login: str, password: str) -> None:
    """Refuse to go on if the new file does not say what it should, or says anything else than before of others."""
    others = _parse(target, path) if target.exists() else {}
    hosts = _parse(new, path)
    others.pop(machine, None)
    entry = hosts.pop(machine, None)
    if entry is None or (entry[0], entry[2]) != (login, password) or hosts != others:
        raise InvalidInputError(f"{path} is written in a way that only a person can change", hint="edit it by hand")


def _parse(file: Path, path: Path) -> dict[str, tuple[str, str | None, str | None]]:
    try:
        return dict(netrc.netrc(file).hosts)
    except netrc.NetrcParseError as error:  # its text may be a word of the file, such as a password
        raise InvalidInputError(
            f"{path} cannot be read: an error on line {error.lineno}", hint="mend it by hand first"
        ) from None
