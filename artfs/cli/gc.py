"""`artfs gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.options import json_option, print_json, with_config

if TYPE_CHECKING:
    from artfs.app.gc import Collector, Garbage
    from artfs.config import Config
    from artfs.registry.sweeps import Expired


@click.command()
@click.option("--delete", is_flag=True, help="Delete it. Without, it is only shown.")
@click.option("--grace", default="24h", show_default=True, metavar="DURATION",
              help="Keep what is younger, and what a version needed that was deleted since: 24h, 7d.")  # fmt: skip
@click.option("--list", "listed", is_flag=True, help="Name every object.")
@json_option
@with_config
def command(config: Config, delete: bool, grace: str, listed: bool, as_json: bool) -> None:
    """Show what the store holds that no version needs, and delete it with --delete.

    What no version needs is left by versions that were deleted (artfs rm) and by commits that failed. Versions whose time to live
    has run out are deleted, too, unless they have an alias or a portfolio links them; their files go when the grace is over. Mounts, reads
    and commits go on meanwhile, on any machine.

    A W&B server collects garbage itself.
    """
    from artfs.app.client import refresh_all
    from artfs.app.gc import open_collector
    from artfs.app.progress import watching
    from artfs.cli.services import open_services
    from artfs.model.durations import parse_duration
    from artfs.model.names import version_name
    from artfs.staging.progress import Progress

    seconds = parse_duration(grace)
    progress = Progress()
    with open_services(config) as services, open_collector(services, seconds, progress) as collector:
        with watching(progress):
            found = collector.find()
        names = _names(collector) if listed else None
        if delete:
            with watching(progress):
                done = collector.collect(found)
            for version in done.expired:
                refresh_all(config, version.collection, [version_name(version.index)])
        else:
            done = found
    if as_json:
        print_json(_json(done, found, names, deleted=delete))
    else:
        _tell(done, found, names, grace, deleted=delete)


def _names(collector: Collector) -> list[dict[str, Any]]:
    return [{"name": str(held.blob), "kind": kind, "size": held.size} for kind, held in collector.dead()]


def _tell(done: Garbage, found: Garbage, names: list[dict[str, Any]] | None, grace: str, *, deleted: bool) -> None:
    from artfs.model.shown import size_text

    for name in names or ():
        click.echo(f"{name['size']:>15,}  {name['kind']:<14}  {name['name']}")
    verb = "deleted" if deleted else "would delete"
    for version in done.expired:
        if not version.kept:
            click.echo(f"{verb} {_version(version)}: its time to live has run out")
    for version in found.expired:
        if version.kept:
            click.echo(f"keeps {_version(version)}, whose time to live has run out: {version.kept}")
    if done.stale_commits:
        click.echo(
            f"{'dropped' if deleted else 'would drop'} {_count(done.stale_commits, 'reservation')} of commits that never ended"
        )
    kinds = ", ".join(f"{kind}: {count:,} ({size_text(size)})" for kind, (count, size) in sorted(done.kinds.items()))
    click.echo(f"{verb} {_count(done.count, 'object')}, {size_text(done.size)}" + (f" - {kinds}" if kinds else ""))
    click.echo(
        f"kept: {_count(found.needed, 'object')} that versions and drafts need"
        + ("" if grace == "0" else f", or needed less than {grace} ago")
        + (f", {found.young:,} that nobody needs and that are younger than {grace}" if found.young else "")
    )
    if not deleted and (done.count or done.stale_commits or any(not version.kept for version in done.expired)):
        click.echo("nothing was deleted: artfs gc --delete does it", err=True)


def _version(version: Expired) -> str:
    from artfs.model.names import version_name

    return f"{version.collection}:{version_name(version.index)}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _json(done: Garbage, found: Garbage, names: list[dict[str, Any]] | None, *, deleted: bool) -> dict[str, Any]:
    return {
        "deleted": deleted,
        "objects": done.count,
        "bytes": done.size,
        "kinds": {kind: {"objects": count, "bytes": size} for kind, (count, size) in sorted(done.kinds.items())},
        "needed": found.needed,
        "young": found.young,
        "expired": [_version(version) for version in done.expired if not version.kept],
        "expired_kept": [
            {"version": _version(version), "because": version.kept} for version in found.expired if version.kept
        ],
        "stale_commits": done.stale_commits,
        **({} if names is None else {"names": names}),
    }
