"""`artfs log-level`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_mount
from artfs.cli.options import json_option, print_json, with_config
from artfs.config.values import LOG_LEVELS

if TYPE_CHECKING:
    from artfs.config import Config
    from artfs.model.entry import JsonValue


@click.command()
@click.argument("mountpoint", metavar="MOUNTPOINT", shell_complete=complete_mount)
@click.argument(
    "level", metavar="[LEVEL]", required=False, type=click.Choice([*LOG_LEVELS, "reset"], case_sensitive=False)
)
@json_option
@with_config
def command(config: Config, mountpoint: str, level: str | None, as_json: bool) -> None:
    """Say how much the mount at MOUNTPOINT logs; with LEVEL, change that while it runs.

    LEVEL is debug, info, warning, error, or reset, which is what the settings say: that is also where the next mount begins. Where the log
    is, artfs status says.
    """
    from artfs.app.client import request
    from artfs.app.mounts import control_of

    message: dict[str, JsonValue] = {"op": "log_level"}
    if level is not None:
        message["level"] = level.lower()
    *_, answer = request(control_of(config, mountpoint), message, timeout=10.0)
    result: Any = answer["result"]
    if as_json:
        print_json(result)
    else:
        note = "" if result["level"] == result["configured"] else f" (the settings say {result['configured']})"
        click.echo(f"{result['level']}{note}")
