"""`artfs get`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from artfs.cli.options import with_config
from artfs.cli.umask import USER_UMASK

if TYPE_CHECKING:
    from artfs.config import Config


@click.command()
@click.argument("ref")
@click.argument("directory", type=click.Path())
@click.option("--force", is_flag=True, help="Replace files that are there with other content.")
@with_config
def command(config: Config, ref: str, directory: str, force: bool) -> None:
    """Write the files of the version REF out to DIRECTORY, every byte checked, and print DIRECTORY.

    Files that are there already with the right content are left alone, and so is everything that the version does not name. A file
    of the version that is there with other content is an error, unless --force is given.
    """
    from artfs.app.services import open_services
    from artfs.cli.progress import watching
    from artfs.content.export import export
    from artfs.model.names import parse_artifact_ref
    from artfs.staging.progress import Progress

    with open_services(config) as services:
        version = services.registry.version(parse_artifact_ref(ref, config.entity))
        index, progress = services.open_index(version), Progress()
        progress.begin("writing", index.file_count, index.size)
        with watching(progress):
            export(
                map(services.targets.of, index.entries()), services.reader, Path(directory).absolute(), version.created_at, config.threads,
                replace=force, umask=USER_UMASK, done=progress.advance,
            )  # fmt: skip
    click.echo(directory)
