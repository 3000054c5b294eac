"""`artfs pin`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, with_config
from artfs.cli.warm import arguments, show_result, warmed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.app.pins import PinState
    from artfs.app.selecting import Selection
    from artfs.app.services import Services
    from artfs.config import Config


@click.command()
@click.argument("places", metavar="[REF|PATH...]", nargs=-1, shell_complete=complete_ref)
@click.option("-l", "--list", "listing", is_flag=True, help="Show what is pinned, as without an argument.")
@json_option
@with_config
def command(config: Config, places: tuple[str, ...], listing: bool, as_json: bool) -> int:
    """Fetch versions into the block cache and keep them there: what is pinned is never evicted, until `artfs unpin`.

    Arguments are as those of `artfs warm`. A pin is of a version: NAME:latest pins the version that it names now, and the pin does not
    move with the alias. Without an argument, or with --list, the pins are shown, with their bytes and those that are on this machine.

    The exit code is 9, and nothing is pinned, if it does not fit into the cache.
    """
    from artfs.app.selecting import select
    from artfs.cli.services import open_services

    if listing and places:
        raise click.UsageError("--list takes no arguments")
    with open_services(config) as services:
        if not places:
            return _list(services, as_json=as_json)
        return pin_all(services, select(arguments(places, ()), services), as_json=as_json)


def pin_all(services: Services, selections: Sequence[Selection], *, as_json: bool) -> int:
    """Pin and fetch, and return the exit code."""
    from artfs.app.pins import Pins
    from artfs.app.warm import check_fit, open_selected

    selected = open_selected(services, selections)
    check_fit(services, selected)
    pins = Pins(services)
    for one in selected:
        pins.add(one)
        if not as_json:
            selection = one.selection
            moves = selection.named != selection.ref
            said = f" ({selection.named} names it now; the pin stays with this version)" if moves else ""
            click.echo(f"pinned {selection.ref}{said}")
    return show_result(warmed(services, selections), as_json=as_json)


def _list(services: Services, *, as_json: bool) -> int:
    from artfs.app.pins import Pins
    from artfs.model.shown import size_text, visible

    pins = Pins(services)
    found = [pins.state(pin) for pin in pins.all()]
    if as_json:
        print_json([_json(state) for state in found])
        return 0
    if not found:
        click.echo("artfs: nothing is pinned", err=True)
        return 0
    rows = [(str(one.pin.selection.ref), size_text(one.size), size_text(one.here), one) for one in found]
    width = max(len(name) for name, *_ in rows)
    click.echo(f"{'version':<{width}}{'bytes':>10}{'here':>10}  paths")
    for name, size, here, one in rows:
        places = " ".join(visible(place, 4096) for place in one.pin.selection.places if place)
        problem = f"  ({visible(one.problem, 1000)})" if one.problem else ""
        click.echo(f"{name:<{width}}{size:>10}{here:>10}  {places or 'all'}{problem}")
    return 0


def _json(state: PinState) -> dict[str, Any]:
    selection = state.pin.selection
    return {
        "version": str(selection.ref),
        "named": str(selection.named),
        "version_id": state.pin.version_id,
        "paths": [place for place in selection.places if place],
        "pinned_at": state.pin.pinned_at.isoformat(),
        "files": state.files,
        "bytes": state.size,
        "here": state.here,
        "problem": state.problem or None,
    }
