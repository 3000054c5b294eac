"""``artfs SOURCE MOUNTPOINT -o OPTIONS``: the form in which mount(8), fstab and systemd call a file system of type fuse.artfs.

The caller is mount.fuse3(8). It ends with the codes of mount(8), and whose mount it is, is whose process this is: root's, or
that of ``setuid=USER``, which mount.fuse3 has become, but with the environment of root.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import click

from artfs.cli.mount_options import take_settings, warnings_of
from artfs.cli.options import warn
from artfs.config import load_config
from artfs.errors import InvalidInputError

MOUNT_FAILED = 32
"""The exit code that mount(8) knows."""

_NO_SOURCE = {"artfs", "none"}
_OF_A_SESSION = ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")


@click.command(add_help_option=False)
@click.argument("source")
@click.argument("mountpoint")
@click.option("-o", "options", multiple=True)
@click.option("-s", "sloppy", is_flag=True)
@click.option("-f", "fake", is_flag=True)
@click.option("-n", "-v", "nothing", is_flag=True)  # no mtab, verbose
def command(source: str, mountpoint: str, options: tuple[str, ...], sloppy: bool, fake: bool, nothing: bool) -> int:
    """Mount SOURCE, the URL of a registry or 'artfs', and return when the mount answers."""
    from artfs.app.launch import mount
    from artfs.fuse.options import is_known

    _be_at_home()
    settings, rest = take_settings(options)
    if "://" in source:
        settings.setdefault("registry", source)
    elif source not in _NO_SOURCE:
        raise InvalidInputError(
            f"the source {source!r} is no URL of a registry", hint="write 'artfs' for the one that the settings name"
        )
    if sloppy:
        rest = [option for option in rest if is_known(option)]
    config = load_config(settings)
    warn(warnings_of(rest))
    return 0 if fake else mount(config, mountpoint, rest, foreground=False)


def _be_at_home() -> None:
    """Use the directories of this user, whoever's the environment is, and none that ends with a login session."""
    os.environ.pop("XDG_RUNTIME_DIR", None)
    try:
        if Path(os.environ["HOME"]).stat().st_uid == os.geteuid():
            return
    except (KeyError, OSError):
        pass  # there is no environment when the machine starts
    try:
        os.environ["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError as error:
        raise InvalidInputError(
            f"uid {os.geteuid()} has no home directory", hint="add -o data_dir=, cache_dir=, state_dir="
        ) from error
    for name in _OF_A_SESSION:
        os.environ.pop(name, None)
