"""`artfs get`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, warn, with_config
from artfs.cli.umask import USER_UMASK
from artfs.errors import ArtfsError

if TYPE_CHECKING:
    from artfs.config import Config
    from artfs.registry.port import Registry


@click.command()
@click.argument("ref", shell_complete=complete_ref)
@click.argument("directory", type=click.Path())
@click.option("--force", is_flag=True, help="Replace files that are there with other content.")
@json_option
@with_config
def command(config: Config, ref: str, directory: str, force: bool, as_json: bool) -> None:
    """Write the files of the version REF out to DIRECTORY, every byte checked, and print DIRECTORY.

    Files that are there already with the right content are left alone, and so is everything that the version does not name. A file
    of the version that is there with other content is an error, unless --force is given.
    """
    from artfs.app.progress import watching
    from artfs.cli.services import open_services
    from artfs.content.export import export
    from artfs.model.names import parse_artifact_ref, version_name
    from artfs.staging.progress import Progress

    with open_services(config) as services:
        version = services.registry.version(parse_artifact_ref(ref, services.registry.default_entity))
        index, progress = services.open_index(version), Progress()
        progress.begin("writing", index.file_count, index.size)
        with watching(progress):
            export(
                index.entries(), services.reader, Path(directory).absolute(), version.created_at, config.threads,
                replace=force, umask=USER_UMASK, done=progress.advance, target=services.targets.of,
            )  # fmt: skip
        _record_use(services.registry, version.id)
    if as_json:
        name = str(version.collection.at(version_name(version.index)))
        print_json({"version": name, "directory": directory, "files": index.file_count, "bytes": index.size})
    else:
        click.echo(directory)


def _record_use(registry: Registry, version_id: str) -> None:
    """Record the version as used by the run that this process belongs to. It is written out already: a failure is a warning."""
    from artfs.app.runs import current_run, use_in_run

    run = current_run(os.environ)
    if run is not None:
        try:
            use_in_run(registry, run, version_id)
        except ArtfsError as error:
            warn([f"it is not recorded that run {run} used the version: {error.message}"])
