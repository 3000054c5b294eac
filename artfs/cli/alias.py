"""`artfs alias`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import default_entity, json_option, print_json, with_config

if TYPE_CHECKING:
    from artfs.config import Config


@click.command()
@click.argument("ref", shell_complete=complete_ref)
@click.argument("aliases", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Remove the aliases from the collection.")
@json_option
@with_config
def command(config: Config, ref: str, aliases: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """Let ALIASES point at the version REF, wherever they pointed before, in one change. Prints the aliases of the version."""
    from artfs.app.client import refresh_all
    from artfs.cli.services import open_services
    from artfs.model.names import parse_alias, parse_artifact_ref, version_name

    names = [parse_alias(alias) for alias in aliases]
    parsed = parse_artifact_ref(ref, default_entity(config))
    with open_services(config) as services:
        registry = services.registry
        version = registry.version(parsed)
        if remove:
            for name in names:
                registry.remove_alias(version.collection, name)
        else:
            registry.add_aliases(parsed, names)
        version = registry.version(version.collection.at(version_name(version.index)))
    refresh_all(config, version.collection, names)
    if as_json:
        print_json(list(version.aliases))
    else:
        for name in version.aliases:
            click.echo(name)
