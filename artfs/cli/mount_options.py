"""What ``-o`` of a mount may say besides mount options: every setting, as ``registry=URL``, and ``config=FILE``.

For `artfs mount` and for the form in which mount(8) calls it (`artfs.cli.mount_helper`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.config.values import SETTINGS, parse_setting
from artfs.errors import InvalidInputError
from artfs.fuse.options import parse_options

if TYPE_CHECKING:
    from collections.abc import Iterable


def take_settings(options: Iterable[str]) -> tuple[dict[str, object], list[str]]:
    """Return the settings that options give, by name and checked, and the options that are left; InvalidInputError.

    ``config=FILE`` is put into the environment, where `load_config` looks for it. A switch may stand alone: ``offline``.
    """
    settings: dict[str, object] = {}
    rest = []
    for option in (part for text in options for part in text.split(",") if part):
        key, equals, value = option.partition("=")
        name, where = key.replace("-", "_"), f"mount option {key}"
        if name == "config":
            if not Path(value).is_absolute():
                raise InvalidInputError(f"mount option {option}: not an absolute path")
            os.environ["ARTFS_CONFIG"] = value
        elif name in SETTINGS and equals:
            settings[name] = parse_setting(name, value, where)
        elif name in SETTINGS and parse_setting(name, "yes", where) is True:
            settings[name] = True
        else:
            rest.append(option)
    return settings, rest


def warnings_of(options: Iterable[str]) -> list[str]:
    """Return what is probably not meant by mount options that root gives."""
    found = parse_options(options)
    if os.geteuid() == 0 and found.uid != 0 and not found.allow_other:
        return [
            f"uid={found.uid} owns what is shown, but only root gets in: add allow_other, or mount with setuid=USER"
        ]
    return []
