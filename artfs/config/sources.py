"""Where each setting is given: read from the flags, the environment and the file, in that order, and checked one by one.

What is wrong is kept beside what is right, so that `artfs config` and `artfs doctor` can go on where a command would stop.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.config.values import SETTINGS, parse_setting
from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHER_VARIABLES = {
    "config",
    "debug",
    "mountpoint",
    "mount_options",
    "project",
    "run",
    "artifact_dir",
    "complete",
    "require_fuse",
}
"""Names of ``ARTFS_*`` variables, in small letters, that are no settings: of commands, of systemd units, of the tests."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value that was given, as parsed. ``source`` is ``flag``, ``variable`` or ``file``; ``where`` names the one."""

    value: object
    source: str
    where: str


@dataclass(slots=True)
class Sources:
    """What was found: the values by name, and the errors in the order in which they were met."""

    values: dict[str, Given] = field(default_factory=dict)
    errors: list[InvalidInputError] = field(default_factory=list)

    def take(self, name: str, value: object, source: str, where: str, said: str) -> None:
        """Take a value over what stands before it in the order, or the error that it is; ``said`` is how errors call its place."""
        try:
            self.values[name] = Given(parse_setting(name, value, said), source, where)
        except InvalidInputError as error:
            self.errors.append(error)


def config_path() -> Path:
    """Return the configuration file, whether it is there or not."""
    import platformdirs

    named = os.environ.get("ARTFS_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("artfs")) / "config.toml"


def read_sources(flags: Mapping[str, object] | None = None, *, are_options: bool = True) -> Sources:
    """Read everything that is given; ``flags`` that are None were not given. Never fails: what is wrong is in ``errors``."""
    found = Sources()
    path = config_path()
    try:
        content = read_file(path)
    except InvalidInputError as error:
        found.errors.append(error)
        content = {}
    for name, value in content.items():
        found.take(name, value, "file", str(path), f"{path}: {name}")
    for name in SETTINGS:
        variable = f"ARTFS_{name.upper()}"
        if os.environ.get(variable):
            found.take(name, os.environ[variable], "variable", variable, variable)
    for name, value in (flags or {}).items():
        if value is not None:
            flag = f"--{name.replace('_', '-')}" if are_options else name
            found.take(name, value, "flag", flag, flag)
    return found


def read_file(path: Path) -> dict[str, object]:
    """Return what a configuration file says, values not checked; nothing if it is missing and ``ARTFS_CONFIG`` does not name it."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        if os.environ.get("ARTFS_CONFIG"):
            raise InvalidInputError(f"ARTFS_CONFIG names {path}, which does not exist") from error
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the ``ARTFS_*`` variables that mean nothing, each with the one that is perhaps meant, or an empty text."""
    import difflib

    known = [name.upper() for name in (*SETTINGS, *sorted(OTHER_VARIABLES))]
    found = {}
    for variable in sorted(environ):
        name = variable.removeprefix("ARTFS_")
        if name != variable and name not in known:
            meant = difflib.get_close_matches(name, known, 1)
            found[variable] = f"ARTFS_{meant[0]}" if meant else ""
    return found
