"""`artfs mount`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from artfs.cli.options import with_config

if TYPE_CHECKING:
    from artfs.config import Config


@click.command()
@click.argument("mountpoint")  # not click.Path, which would ask a mount that may hang
@click.option("--foreground", "-f", is_flag=True, help="Stay in the foreground and log to stderr.")
@click.option(
    "-o",
    "options",
    multiple=True,
    metavar="OPTIONS",
    help="ro, allow_other, uid=N, gid=N, umask=OCTAL, fsname=NAME; separated by commas.",
)
@click.option(
    "--metadata-ttl",
    type=click.FloatRange(0, 86400),
    metavar="SECONDS",
    help="For how long listings and aliases are believed.",
)
@with_config
def command(
    config: Config, mountpoint: str, foreground: bool, options: tuple[str, ...], metadata_ttl: float | None
) -> int:
    """Mount the registry at MOUNTPOINT, and return when it answers.

    A mount point that a crash has left dead is repaired. Drafts that were left are there again, and commits that were
    interrupted go on.
    """
    from artfs.app.launch import mount

    if metadata_ttl is not None:
        config = dataclasses.replace(config, metadata_ttl=metadata_ttl)
    return mount(config, mountpoint, options, foreground=foreground)
