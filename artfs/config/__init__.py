"""Where things are and how they behave: flags, environment, the configuration file, defaults.

The order is flag > ``ARTFS_*`` > ``config.toml`` > default, for every setting alike. A setting is one field of `Config`; the name of
its flag, its variable and its key in the file follow from the name of the field.
"""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from artfs.errors import InvalidInputError
from artfs.model.names import parse_entity

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LEVELS = ("debug", "info", "warning", "error")
ALGORITHMS = ("MD5", "XXH128")


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one run.

    ``registry`` and ``store`` are URLs. ``metadata_ttl`` is in seconds. ``reference_roots`` are the directories under which ``file://``
    references are served to other users (``allow_other``).
    """

    registry: str
    store: str
    entity: str
    data_dir: Path
    cache_dir: Path
    state_dir: Path
    runtime_dir: Path
    metadata_ttl: float
    threads: int
    algorithm: str
    log_level: str
    reference_roots: tuple[Path, ...]


def load_config(flags: Mapping[str, object] | None = None) -> Config:
    """Put the settings together; ``flags`` that are None were not given. InvalidInputError names a bad one and where it is."""
    values: dict[str, object] = _from_file()
    for field in dataclasses.fields(Config):
        variable = f"ARTFS_{field.name.upper()}"
        if os.environ.get(variable):
            values[field.name] = _parse(field.name, os.environ[variable], variable)
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = _parse(name, value, f"--{name.replace('_', '-')}")
    return _complete(values)


def _complete(values: dict[str, object]) -> Config:
    import platformdirs

    def directory(name: str, default: str) -> Path:
        return Path(cast("Path", values.get(name, Path(default)))).expanduser().absolute()

    data = directory("data_dir", platformdirs.user_data_dir("artfs"))
    state = directory("state_dir", platformdirs.user_state_dir("artfs"))
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    defaults: dict[str, object] = {
        "registry": f"sqlite:///{data / 'registry.sqlite'}",
        "store": (data / "store").as_uri(),
        "entity": _user_name(),
        "metadata_ttl": 1.0,
        "threads": max(1, len(os.sched_getaffinity(0))),
        "algorithm": "MD5",
        "log_level": "info",
        "reference_roots": (),
    }
    places = {
        "data_dir": data,
        "state_dir": state,
        "cache_dir": directory("cache_dir", platformdirs.user_cache_dir("artfs")),
        "runtime_dir": directory("runtime_dir", f"{runtime}/artfs" if runtime else str(state / "run")),
    }
    return Config(**cast("dict[str, Any]", defaults | values | places))


def _from_file() -> dict[str, object]:
    import platformdirs

    named = os.environ.get("ARTFS_CONFIG")
    path = Path(named) if named else Path(platformdirs.user_config_dir("artfs")) / "config.toml"
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        if named:
            raise InvalidInputError(f"ARTFS_CONFIG names {path}, which does not exist") from error
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    return {name: _parse(name, value, f"{path}: {name}") for name, value in content.items()}


def _parse(name: str, value: object, where: str) -> object:
    """Check a value of any source; ``where`` says in a message where it came from."""
    match name:
        case "registry" | "store" if isinstance(value, str) and value:
            return value
        case "entity" if isinstance(value, str):
            return parse_entity(value)
        case "data_dir" | "cache_dir" | "state_dir" | "runtime_dir" if isinstance(value, str | Path) and str(value):
            return Path(value)
        case "metadata_ttl":
            return _number(value, where, 0.0, 86400.0)
        case "threads":
            return int(_number(value, where, 1, 1024))
        case "algorithm" if str(value).upper() in ALGORITHMS:
            return str(value).upper()
        case "log_level" if str(value).lower() in LOG_LEVELS:
            return str(value).lower()
        case "reference_roots" if isinstance(value, str):
            return tuple(Path(part) for part in value.split(":") if part)
        case "reference_roots" if isinstance(value, list | tuple) and all(
            isinstance(part, str | Path) for part in value
        ):
            return tuple(Path(part) for part in value)
    known = ", ".join(field.name for field in dataclasses.fields(Config))
    if name not in known.split(", "):
        raise InvalidInputError(f"{where}: there is no such setting", hint=f"known are {known}")
    raise InvalidInputError(f"{where}: {value!r} is not a valid value{_allowed(name)}")


def _allowed(name: str) -> str:
    choices = {"algorithm": ALGORITHMS, "log_level": LOG_LEVELS}.get(name)
    return f": choose one of {', '.join(choices)}" if choices else ""


def _number(value: object, where: str, least: float, most: float) -> float:
    try:
        number = float(cast("str", value))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{where}: {value!r} is not a number") from error
    if not least <= number <= most:
        raise InvalidInputError(f"{where}: {value!r} is not between {least:g} and {most:g}")
    return number


def _user_name() -> str:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container without an entry for its user
        name = ""
    return re.sub(r"[^\w\-.]", "-", name).lstrip(".") or "user"


def config_to_json(config: Config) -> dict[str, object]:
    """Return the settings as JSON values, for another process."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}
    return {
        name: str(value)
        if isinstance(value, Path)
        else [str(part) for part in value]
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }


def config_from_json(values: Mapping[str, object]) -> Config:
    """Return the settings that `config_to_json` wrote."""
    return _complete({name: _parse(name, value, name) for name, value in values.items()})
