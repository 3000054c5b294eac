"""`artfs stage`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, with_config
from artfs.errors import UnreachableError

if TYPE_CHECKING:
    from artfs.config import Config


@click.command()
@click.argument("ref", shell_complete=complete_ref)
@click.option("--empty", is_flag=True, help="Start empty; REF is a collection then, which need not exist.")
@click.option("--name", metavar="NAME", help="The name of the draft; one like from-v3 is chosen otherwise.")
@click.option("--mount", "mountpoint", type=click.Path(), help="The mount to show it in, if there are several.")
@json_option
@with_config
def command(config: Config, ref: str, empty: bool, name: str | None, mountpoint: str | None, as_json: bool) -> None:
    """Start a draft from the version REF, and print where it is. It costs no bytes: a file is copied when it is written to."""
    from artfs.app import client

    live = client.find_mount(mountpoint) if mountpoint else client.mount_of_registry(config)
    if live is None:
        raise UnreachableError("no mount of this registry is up to show the draft in", hint="artfs mount DIRECTORY")
    message: dict[str, Any] = {"op": "stage", "name": name, "collection" if empty else "ref": ref}
    for answer in client.request(live.socket, message):
        result: Any = answer["result"]
        print_json(result) if as_json else click.echo(Path(result["path"]))
