"""`artfs rm`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, with_config

if TYPE_CHECKING:
    from artfs.config import Config


@click.command()
@click.argument("ref", shell_complete=complete_ref)
@click.option("--delete-aliases", is_flag=True, help="Remove its aliases with it.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@with_config
def command(config: Config, ref: str, delete_aliases: bool, yes: bool, as_json: bool) -> None:
    """Delete the version REF, for ever. Its index is not used again, and its bytes stay in the store until artfs gc.

    Of a link in a portfolio, the link only: the version stays where it was logged.
    """
    from artfs.app.client import refresh_all
    from artfs.cli.services import open_services
    from artfs.model.names import parse_artifact_ref, version_name

    with open_services(config) as services:
        version = services.registry.version(parse_artifact_ref(ref, services.registry.default_entity))
        name = f"{version.collection}:{version_name(version.index)}"
        source = f"{version.source}:{version_name(version.source_index)}"
        if not yes and sys.stdin.isatty():
            what = f"the link {name} to {source}" if version.is_link else name
            click.confirm(
                f"Delete {what} ({version.file_count:,} files, {version.size:,} bytes)?", abort=True, err=True
            )
        exact = version.collection.at(version_name(version.index))
        if version.is_link:
            services.registry.unlink(exact)
        else:
            services.registry.delete_version(exact, delete_aliases=delete_aliases)
    refresh_all(config, version.collection, [version_name(version.index), *version.aliases])
    if as_json:
        print_json({"unlinked" if version.is_link else "deleted": name})
    else:
        click.echo(f"unlinked {name}: {source} stays" if version.is_link else f"deleted {name}", err=True)
