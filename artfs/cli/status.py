"""`artfs status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.options import json_option, print_json, with_config

if TYPE_CHECKING:
    from artfs.config import Config

_GIB = 1 << 30


@click.command()
@json_option
@with_config
def command(config: Config, as_json: bool) -> int:
    """Show the mounts of this user: whether their registry answers, what the cache holds, and the commits under way.

    The exit code is 8 if a registry is away and listings show what was seen last.
    """
    from artfs.app.client import statuses

    found = list(statuses(config))
    if as_json:
        print_json(found)
    else:
        for status in found:
            _show(status)
        if not found:
            click.echo("artfs: no mount is up", err=True)
    return 8 if any(status["registry_away_since"] for status in found) else 0


def _show(status: dict[str, Any]) -> None:
    mode = ", read-only" if status["read_only"] else ""
    click.echo(f"{status['mountpoint']}  (pid {status['pid']}{mode})")
    if status["registry_away_since"]:
        click.echo(
            f"  registry  {status['registry']}: away since {status['registry_away_since']}, showing what was seen last"
        )
        click.echo(f"            {status['registry_reason']}")
    else:
        click.echo(f"  registry  {status['registry']}: answers")
    click.echo(f"  store     {status['store']}")
    cache = status["cache"]
    if cache is not None:
        reads = cache["hits"] + cache["misses"]
        share = f", {100 * cache['hits'] / reads:.0f} % of {reads:,} reads" if reads else ""
        click.echo(f"  cache     {cache['bytes'] / _GIB:.2f} of {cache['max_bytes'] / _GIB:.2f} GiB{share}")
        if cache["trouble"]:
            click.echo(f"            off: {cache['trouble']}")
    for scheme, operations in status["services"].items():
        read = operations.get("read")
        if read:
            click.echo(
                f"  {scheme:<8}  {read['requests']:,} reads, {read['size'] / _GIB:.2f} GiB, {read['failures']:,} failed"
            )
    for commit in status["commits"]:
        progress = commit["progress"]
        done = f"{progress['files_done']:,} of {progress['files_total']:,} files" if progress["files_total"] else ""
        waits = f"waits: {commit['waiting_for']}" if commit["waiting_for"] else ""
        click.echo(
            f"  commit    {commit['collection']} {commit['draft']!r}: {progress['phase']} {done} {waits}".rstrip()
        )
