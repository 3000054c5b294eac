"""`artfs ready`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, with_config
from artfs.cli.warm import look, tell_readiness

if TYPE_CHECKING:
    from artfs.config import Config


@click.command()
@click.argument("places", metavar="[REF|PATH...]", nargs=-1, shell_complete=complete_ref)
@json_option
@with_config
def command(config: Config, places: tuple[str, ...], as_json: bool) -> int:
    """Say whether versions can be read with no network at all: what was pinned, or those that are named.

    Names and lists of files must be remembered, and every byte must be here: all of it is read from the disk and proven. Nothing is
    fetched, and no connection is made.

    The exit code is 0 only if everything is ready; else it is 1, and what misses is named.
    """
    import dataclasses

    from artfs.app.pins import Pins
    from artfs.app.selecting import select
    from artfs.cli.services import open_services

    with open_services(dataclasses.replace(config, offline=True)) as services:
        selections = select(places, services) if places else [pin.selection for pin in Pins(services).all()]
    if not selections:
        click.echo("artfs: nothing is pinned, and no version was named", err=True)
        return 1
    return tell_readiness(look(config, selections), as_json=as_json)
