"""`artfs log`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, warn_if_away, with_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.app.services import Services
    from artfs.config import Config
    from artfs.content.changes import Counts
    from artfs.model.run import RunInfo
    from artfs.registry.port import Version

_PATIENCE = 0.5  # seconds until a bar is shown


@click.command()
@click.argument("ref", shell_complete=complete_ref)
@click.option("-n", "--max-count", "count", type=click.IntRange(min=0), metavar="N", help="At most N versions.")
@click.option("--stat", is_flag=True, help="Count the files that each version added, removed, changed and renamed.")
@json_option
@with_config
def command(config: Config, ref: str, count: int | None, stat: bool, as_json: bool) -> None:
    """Show the history of the collection REF, newest version first: when, by which run, aliases, size, files and description.

    REF is written ENTITY/PROJECT/NAME; with :VERSION, the history begins at that version. With --stat, each version is compared with
    the one before it, by digest, which reads their lists of files.
    """
    from artfs.cli.services import open_services

    with open_services(config) as services:
        found = _history(services, ref, count, stat=stat)
        if as_json:
            print_json([_json(version, run, counts) for version, run, counts in found])
            warn_if_away(services)
            return
        for number, (version, run, counts) in enumerate(found):
            if number:
                click.echo()
            for line in _lines(version, run, counts):
                click.echo(line)
        warn_if_away(services)


def _history(
    services: Services, ref: str, count: int | None, *, stat: bool
) -> Iterator[tuple[Version, RunInfo | None, Counts | None]]:
    from artfs.model.names import parse_artifact_ref

    registry = services.registry
    parsed = parse_artifact_ref(ref, registry.default_entity)
    versions = sorted(registry.versions(parsed.collection), key=lambda version: version.index, reverse=True)
    if ":" in ref:
        last = registry.version(parsed).index
        versions = [version for version in versions if version.index <= last]
    before = [*versions[1:], None]
    for version, older in list(zip(versions, before, strict=True))[:count]:
        yield version, registry.logged_by(version.id), _changes(services, older, version) if stat else None


def _changes(services: Services, older: Version | None, version: Version) -> Counts:
    from artfs.app.progress import counted, showing
    from artfs.content.changes import Changes, Counts
    from artfs.model.diff import compare
    from artfs.staging.progress import Progress

    if older is not None and (older.digest, older.algorithm) == (version.digest, version.algorithm):
        return Counts(0, 0, 0, 0, 0)
    progress = Progress()
    with showing(progress.snapshot, after=_PATIENCE):
        old = () if older is None else services.open_index(older).lines()
        index = services.open_index(version)
        progress.begin("comparing", index.file_count)
        with Changes(compare(old, counted(index.lines(), progress))) as changes:
            return changes.counts()


def _json(version: Version, run: RunInfo | None, counts: Counts | None) -> dict[str, Any]:
    from artfs.model.names import version_name

    return {
        "name": f"{version.collection}:{version_name(version.index)}",
        "version": version_name(version.index),
        "created_at": version.created_at.isoformat(),
        "logged_by": None if run is None else {"run": run.path, "name": run.name, "job_type": run.job_type},
        "aliases": list(version.aliases),
        "tags": list(version.tags),
        "type": version.type,
        "size": version.size,
        "file_count": version.file_count,
        "digest": version.digest,
        "description": version.description,
        "changes": None if counts is None else counts.json(),
    }


def _lines(version: Version, run: RunInfo | None, counts: Counts | None) -> Iterator[str]:
    from artfs.model.names import version_name
    from artfs.model.shown import size_text, visible

    aliases = f"  ({', '.join(map(visible, version.aliases))})" if version.aliases else ""
    files = "1 file" if version.file_count == 1 else f"{version.file_count:,} files"
    yield f"{version.collection}:{version_name(version.index)}{aliases}"
    yield f"    {version.created_at:%Y-%m-%d %H:%M:%S} UTC  {size_text(version.size)}, {files}"
    if run is not None:
        name = f' "{visible(run.title)}"' if run.title else ""
        yield f"    logged by {visible(run.path, 400)}{name}"
    if counts is not None:
        words = f"+{counts.added:,} -{counts.removed:,} ~{counts.changed:,}"
        renamed = f" {counts.renamed:,} renamed" if counts.renamed else ""
        yield f"    {words}{renamed}  {'+' if counts.bytes >= 0 else '-'}{size_text(abs(counts.bytes))}"
    for line in (version.description or "").splitlines():
        yield f"    | {visible(line, 400)}"
