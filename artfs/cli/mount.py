"""`artfs mount`."""

from __future__ import annotations

import dataclasses

import click

from artfs.cli.options import warn, with_flags
from artfs.config import load_config


@click.command()
@click.argument("mountpoint")  # not click.Path, which would ask a mount that may hang
@click.option("--foreground", "-f", is_flag=True, help="Stay in the foreground and log to stderr.")
@click.option(
    "-o",
    "options",
    multiple=True,
    metavar="OPTIONS",
    help="ro, noexec, allow_other, uid=N, gid=N, umask=OCTAL, fsname=NAME, or a setting; separated by commas.",
)
@click.option(
    "--metadata-ttl",
    type=click.FloatRange(0, 86400),
    metavar="SECONDS",
    help="For how long listings and aliases are believed.",
)
@click.option(
    "--offline", is_flag=True, help="Use no network: show what was seen last, and read what is on this machine."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve metrics (OpenMetrics) at http://127.0.0.1:PORT/metrics.",
)
@with_flags
def command(
    flags: dict[str, object],
    mountpoint: str,
    foreground: bool,
    options: tuple[str, ...],
    metadata_ttl: float | None,
    offline: bool,
    metrics_port: int | None,
) -> int:
    """Mount the registry at MOUNTPOINT, and return when it answers.

    A mount point that a crash has left dead is repaired. Drafts that were left are there again, and commits that were
    interrupted go on. MOUNTPOINT may be /dev/fd/N: a descriptor of /dev/fuse that whoever starts this has mounted.

    With --offline nothing waits for a network, and no connection is made. A file that is not (all) on this machine is an error at once,
    ENETUNREACH, and commits wait for a mount that is not offline. `artfs ready` says beforehand what could be read.
    """
    from artfs.app.launch import mount
    from artfs.app.login import missing_credentials
    from artfs.cli.mount_options import take_settings, warnings_of

    settings, options_left = take_settings(options)
    warn(warnings_of(options_left))
    config = load_config(settings | {name: value for name, value in flags.items() if value is not None})
    if metadata_ttl is not None:
        config = dataclasses.replace(config, metadata_ttl=metadata_ttl)
    if metrics_port is not None:
        config = dataclasses.replace(config, metrics_port=metrics_port)
    if offline:
        config = dataclasses.replace(config, offline=True)
    warn(missing_credentials(config))
    return mount(config, mountpoint, options_left, foreground=foreground)
