"""Where things are and how they behave: flags, environment, the configuration file, defaults.

The order is flag > ``ARTFS_*`` > ``config.toml`` > default, for every setting alike. A setting is one field of `Config`; the name of
its flag, its variable and its key in the file follow from the name of the field.
"""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote_from_bytes

from artfs.config.sources import Sources, read_sources
from artfs.config.values import parse_setting

if TYPE_CHECKING:
    from collections.abc import Mapping


_USER_LENGTH = 60  # characters: not too many bytes for a name in any script


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one run.

    ``registry`` and ``store`` are URLs. ``entity`` is empty where the registry, a W&B server, says which it is. ``metadata_ttl`` is in
    seconds. ``reference_roots`` are the directories under which ``file://`` references are served to other users (``allow_other``).
    ``cache_size`` is the most that the block cache may hold, ``cache_free`` what it leaves free on its disk (bytes). ``verify`` is
    ``strict`` if no byte may be served before the whole file is proven. ``metadata_addresses`` lets HTTP references lead to link-local
    addresses. ``offline``: no network is used; a registry elsewhere is what was seen of it last, and bytes are those on this machine.
    ``retry_seconds`` is for how long a read or a question is tried again that fails. ``metrics_port`` is where a mount serves its metrics
    on the loopback interface; 0 is nowhere.
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
    cache_size: int
    cache_free: int
    verify: str
    metadata_addresses: bool
    offline: bool
    metrics_port: int
    retry_seconds: float


def load_config(flags: Mapping[str, object] | None = None, *, are_options: bool = True) -> Config:
    """Put the settings together; ``flags`` that are None were not given. InvalidInputError names a bad one and where it is.

    Flags are called as options of the command line are (``--data-dir``), or as arguments of Python (``data_dir``).
    """
    found = read_sources(flags, are_options=are_options)
    if found.errors:
        raise found.errors[0]
    return config_of(found)


def config_of(sources: Sources) -> Config:
    """Return the settings that the sources give, with defaults for what they do not give or get wrong."""
    return _complete({name: given.value for name, given in sources.values.items()})


def _complete(values: dict[str, object]) -> Config:
    import platformdirs

    def directory(name: str, default: str) -> Path:
        return cast("Path", values.get(name)) or Path(default).expanduser().absolute()

    data = directory("data_dir", platformdirs.user_data_dir("artfs"))
    state = directory("state_dir", platformdirs.user_state_dir("artfs"))
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    defaults: dict[str, object] = {
        "registry": f"sqlite:///{quote_from_bytes(bytes(data / 'registry.sqlite'))}",
        "store": (data / "store").as_uri(),
        "entity": "" if str(values.get("registry")).lower().startswith(("http://", "https://")) else _user_name(),
        "metadata_ttl": 1.0,
        "threads": max(1, len(os.sched_getaffinity(0))),
        "algorithm": "MD5",
        "log_level": "info",
        "reference_roots": (),
        "cache_size": 50 << 30,
        "cache_free": 2 << 30,
        "verify": "lazy",
        "metadata_addresses": False,
        "offline": False,
        "metrics_port": 0,
        "retry_seconds": 60.0,
    }
    places = {
        "data_dir": data,
        "state_dir": state,
        "cache_dir": directory("cache_dir", platformdirs.user_cache_dir("artfs")),
        "runtime_dir": directory("runtime_dir", f"{runtime}/artfs" if runtime else str(state / "run")),
    }
    return Config(**cast("dict[str, Any]", defaults | values | places))


def _user_name() -> str:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container without an entry for its user
        name = ""
    return re.sub(r"[^\w\-.]", "-", name).lstrip(".")[:_USER_LENGTH] or "user"


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
    return _complete({name: parse_setting(name, value, name) for name, value in values.items() if value != ""})
