"""`artfs unpin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, with_config

if TYPE_CHECKING:
    from artfs.app.pins import Pin, Pins
    from artfs.app.services import Services
    from artfs.config import Config


@click.command()
@click.argument("places", metavar="REF|PATH...", nargs=-1, shell_complete=complete_ref)
@click.option("--all", "everything", is_flag=True, help="Unpin everything of this registry.")
@json_option
@with_config
def command(config: Config, places: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Let versions be evicted from the block cache again. What is in it stays, until its room is needed.

    An alias means the version that was pinned by this name, or else the one that it names now.
    """
    from artfs.app.pins import Pins
    from artfs.cli.services import open_services

    if everything == bool(places):
        raise click.UsageError("name what to unpin, or --all")
    with open_services(config) as services:
        pins = Pins(services)
        found = pins.all() if everything else [_find(pins, services, text) for text in places]
        for pin in found:
            pins.remove(pin)
            if not as_json:
                click.echo(f"unpinned {pin.selection.ref}")
    if as_json:
        print_json([str(pin.selection.ref) for pin in found])


def _find(pins: Pins, services: Services, text: str) -> Pin:
    """Return the pin that an argument means. A version that was deleted since can be unpinned as well."""
    from artfs.app.selecting import named_version, select

    ref = named_version(text, services).ref
    for pin in pins.all():
        if ref in {pin.selection.ref, pin.selection.named}:
            return pin
    (selection,) = select([text], services)
    return pins.named(selection)
