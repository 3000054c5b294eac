"""`artfs show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, with_config

if TYPE_CHECKING:
    from artfs.config import Config

_BELOW = "\n" + " " * 17  # what begins a further line of a value


@click.command()
@click.argument("ref", shell_complete=complete_ref)
@json_option
@with_config
def command(config: Config, ref: str, as_json: bool) -> None:
    """Show what is known of the version REF. With --json, the attribute names are those of the Artifact class.

    REF may also be a path in a mount: then the registry of that mount is asked.
    """
    from artfs.app.named import as_reference
    from artfs.cli.services import open_services
    from artfs.model.names import parse_artifact_ref
    from artfs.model.shown import visible_whole
    from artfs.registry.summary import version_summary

    ref, config = as_reference(ref, config, version=True)
    with open_services(config) as services:
        registry = services.registry
        version = registry.version(parse_artifact_ref(ref, registry.default_entity))
        summary = version_summary(version, registry.logged_by(version.id), registry.used_by(version.id))
    if as_json:
        print_json(summary)
        return
    for name, value in summary.items():
        if value not in (None, [], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            click.echo(f"{name:>15}  {_BELOW.join(map(visible_whole, text.splitlines()))}")
