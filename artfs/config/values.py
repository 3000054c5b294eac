"""What each setting may be, from whatever source it comes: text of a flag or a variable, or a value of config.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

from artfs.errors import InvalidInputError
from artfs.model.names import parse_entity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOG_LEVELS = ("debug", "info", "warning", "error")
ALGORITHMS = ("MD5", "XXH128")
VERIFY = ("lazy", "strict")

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*([KMGTP]?)(?:i?B)?", re.IGNORECASE)
_TRUTH = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


def parse_setting(name: str, value: object, where: str) -> object:
    """Check a value; ``where`` says in a message where it came from. InvalidInputError."""
    parse = _PARSERS.get(name)
    if parse is None:
        raise InvalidInputError(f"{where}: there is no such setting", hint=f"known are {', '.join(_PARSERS)}")
    return parse(value, where)


def _wrong(value: object, where: str, choices: tuple[str, ...] = ()) -> InvalidInputError:
    allowed = f": choose one of {', '.join(choices)}" if choices else ""
    return InvalidInputError(f"{where}: {value!r} is not a valid value{allowed}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(value, where)
    return value


def _entity(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, where)
    try:
        return parse_entity(value)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error.message}") from error


def _path(value: object, where: str) -> Path:
    """Return a path that means the same in every process, wherever it runs."""
    if not isinstance(value, str | Path) or not str(value):
        raise _wrong(value, where)
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidInputError(f"{where}: {str(value)!r} begins with a user that does not exist") from error


def _paths(value: object, where: str) -> tuple[Path, ...]:
    if isinstance(value, str):
        value = [part for part in value.split(":") if part]
    if not isinstance(value, list | tuple):
        raise _wrong(value, where)
    return tuple(_path(part, where) for part in value)


def _choice(choices: tuple[str, ...], change: Callable[[str], str] = str.lower) -> Callable[[object, str], str]:
    def parse(value: object, where: str) -> str:
        found = change(str(value))
        if found not in choices:
            raise _wrong(value, where, choices)
        return found

    return parse


def _truth(value: object, where: str) -> bool:
    found = _TRUTH.get(str(value).lower())
    if found is None:
        raise _wrong(value, where, ("yes", "no"))
    return found


def _size(value: object, where: str) -> int:
    """Return a number of bytes, given as such or as 512M, 50G, 1.5T: powers of 1024."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise InvalidInputError(f"{where}: {value!r} is not a size", hint="write a number of bytes, or 512M, 50G, 1.5T")
    return int(float(match[1]) * 1024 ** ("KMGTP".index(match[2].upper()) + 1)) if match[2] else int(float(match[1]))


def _number(least: float, most: float, *, whole: bool = False) -> Callable[[object, str], float]:
    def parse(value: object, where: str) -> float:
        try:
            number = float(cast("str", value))
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"{where}: {value!r} is not a number") from error
        if isinstance(value, bool) or (whole and not number.is_integer()):
            raise InvalidInputError(f"{where}: {value!r} is not a {'whole ' * whole}number")
        if not least <= number <= most:
            raise InvalidInputError(f"{where}: {value!r} is not between {least:g} and {most:g}")
        return int(number) if whole else number

    return parse


_PARSERS: Mapping[str, Callable[[object, str], object]] = {
    "registry": _text,
    "store": _text,
    "entity": _entity,
    "data_dir": _path,
    "cache_dir": _path,
    "state_dir": _path,
    "runtime_dir": _path,
    "metadata_ttl": _number(0.0, 86400.0),
    "threads": _number(1, 1024, whole=True),
    "algorithm": _choice(ALGORITHMS, str.upper),
    "log_level": _choice(LOG_LEVELS),
    "reference_roots": _paths,
    "cache_size": _size,
    "cache_free": _size,
    "verify": _choice(VERIFY),
    "metadata_addresses": _truth,
    "offline": _truth,
    "metrics_port": _number(0, 65535, whole=True),
    "retry_seconds": _number(1.0, 3600.0),
}

SETTINGS = tuple(_PARSERS)
"""The names of all settings."""
