"""`artfs du`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, with_config
from artfs.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.app.named import NamedVersion
    from artfs.app.services import Services
    from artfs.config import Config
    from artfs.content.usage import Usage

_PATIENCE = 0.5  # seconds until a bar is shown


@click.command()
@click.argument("places", metavar="REF|PATH...", nargs=-1, required=True, shell_complete=complete_ref)
@click.option("-d", "--max-depth", "depth", type=click.IntRange(min=0), default=0, metavar="N",
              help="Show directories, too, down to N below each argument.")  # fmt: skip
@click.option("-h", "--human", is_flag=True, help="Sizes such as 12 MB instead of bytes.")
@json_option
@with_config
def command(config: Config, places: Sequence[str], depth: int, human: bool, as_json: bool) -> None:
    """Show how many bytes a version has, how many of them are on this machine, and how many would have to be fetched to read all of it.

    An argument is a version, ENTITY/PROJECT/NAME:VERSION, with a path in it after a slash, or the same as a path in a mount. Bytes that
    several files of a version share are counted once, for the first of them. What is on this machine is the store, if that is a directory
    here, files that references name here, and the block cache.
    """
    from artfs.app.named import NamedVersion, named
    from artfs.cli.services import open_services

    rows: list[dict[str, Any]] = []
    with open_services(config) as services:
        for text in places:
            found = named(text, config, lambda: services.registry.default_entity)
            if not isinstance(found, NamedVersion):
                raise InvalidInputError(f"{text} is a draft: its files are on this machine", hint=f"du -sh {text}")
            rows += [_row(found, path, usage) for path, usage in _usages(services, found, depth)]
    if as_json:
        print_json(rows)
        return
    click.echo(f"{'bytes':>20}{'here':>20}{'to fetch':>20}  name")
    for row in rows:
        click.echo(
            "".join(f"{_size(row[name], human=human):>20}" for name in ("size", "here", "to_fetch")) + f"  {_name(row)}"
        )


def _usages(services: Services, place: NamedVersion, depth: int) -> list[tuple[str, Usage]]:
    from artfs.app.progress import counted, showing
    from artfs.content.usage import usage_of
    from artfs.staging.progress import Progress

    index = services.open_index(services.registry.version(place.ref))
    node = index.find(place.inner)
    if node is None:
        raise NotFoundError(f"{place.ref} has no {place.inner!r}")
    progress = Progress()
    with showing(progress.snapshot, after=_PATIENCE):
        progress.begin("counting", 0 if place.inner else index.file_count)
        return usage_of(counted(index.entries(node.number), progress), place.inner, depth, services.here())


def _row(place: NamedVersion, path: str, usage: Usage) -> dict[str, Any]:
    return {
        "version": str(place.ref),
        "path": path,
        "size": usage.size,
        "here": usage.here,
        "to_fetch": usage.size - usage.here,
        "files": usage.files,
        "files_here": usage.files_here,
    }


def _size(size: int, *, human: bool) -> str:
    from artfs.model.shown import size_text

    return size_text(size) if human else f"{size:,}"


def _name(row: dict[str, Any]) -> str:
    from artfs.model.shown import visible

    return f"{row['version']}/{visible(row['path'], 4096)}" if row["path"] else str(row["version"])
