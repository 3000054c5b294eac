"""`artfs lineage`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, warn, with_config
from artfs.cli.umask import USER_UMASK
from artfs.errors import ArtfsError, InvalidInputError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artfs.api.lineage import Lineage
    from artfs.config import Config
    from artfs.model.run import RunInfo
    from artfs.registry.port import Registry, Version


@click.command()
@click.argument("ref", shell_complete=complete_ref)
@click.option("--up", is_flag=True, help="Only what it was made from.")
@click.option("--down", is_flag=True, help="Only what was made of it.")
@click.option(
    "--depth",
    type=click.IntRange(min=0),
    metavar="N",
    help="At most N steps; to a run is one, from it to a version another.",
)
@click.option("--dot", is_flag=True, help="Print the graph in the language of Graphviz.")
@click.option("--svg", metavar="FILE", help="Draw the graph to FILE; - is stdout.")
@click.option("--html", metavar="FILE", help="Draw it as a page to move and zoom in; - is stdout.")
@json_option
@with_config
def command(
    config: Config,
    ref: str,
    up: bool,
    down: bool,
    depth: int | None,
    dot: bool,
    svg: str | None,
    html: str | None,
    as_json: bool,
) -> None:
    """Show the lineage of REF as a tree: the run that logged it, what that run used, and so on; the runs that used it, and so on.

    REF is a version, or a run, written ENTITY/PROJECT/runs/ID. The tree shows each version and run once, and marks where it comes again.
    A graph of more than 2,000 versions and runs is cut, farthest first, and says where.
    """
    if sum([dot, svg is not None, html is not None, as_json]) > 1:
        raise InvalidInputError("give only one of --dot, --svg, --html and --json")
    from artfs.api.lineage import Direction, Reason, render_dot, render_html, render_svg, to_json, trace
    from artfs.cli.services import open_services

    both = up == down
    directions = tuple(way for way, wanted in ((Direction.UP, up), (Direction.DOWN, down)) if wanted or both)
    with open_services(config) as services:
        root = _root(services.registry, ref, services.registry.default_entity)
        lineage = trace(services.registry, root, directions=directions, depth=depth)
    if any(gap.reason is Reason.SIZE for gap in lineage.gaps):
        warn(
            [
                f"the graph is cut at {len(lineage.nodes):,} versions and runs: look at less of it with --depth, --up or --down"
            ]
        )
    if as_json:
        click.echo(json.dumps(to_json(lineage), indent=2).replace("\x7f", "\\u007f"))  # names are untrusted: ASCII only
    elif dot:
        _write("-", render_dot(lineage))
    elif svg is not None:
        _write(svg, render_svg(lineage))
    elif html is not None:
        _write(html, render_html(lineage))
    else:
        _print_tree(lineage)


def _root(registry: Registry, text: str, entity: str) -> Version | RunInfo:
    """Return what a reference names. No version is named by four parts, so that a run cannot be mistaken for one."""
    from artfs.model.names import parse_artifact_ref, parse_run_ref

    if ":" not in text and text.count("/") == 3 and text.split("/")[2] == "runs":
        return registry.run(parse_run_ref(text, entity))
    try:
        return registry.version(parse_artifact_ref(text, entity))
    except ArtfsError as error:
        if text.count("/") > 1 and ":" not in text:
            run = f"a run is written {'/runs/'.join(text.rsplit('/', 1))}"
            error.hint = "; ".join(filter(None, [error.hint, run]))
        raise


def _print_tree(lineage: Lineage) -> None:
    from artfs.api.lineage import render_text

    try:
        "└─…é".encode(sys.stdout.encoding or "ascii")
        ascii_only = False
    except UnicodeEncodeError:
        ascii_only = True
    for line in render_text(lineage, ascii_only=ascii_only):
        click.echo(line)


def _write(file: str, lines: Iterable[str]) -> None:
    """Write lines to a file of the user, or to stdout, in UTF-8 whatever the locale: so each of these formats says of itself."""
    data = "".join(f"{line}\n" for line in lines).encode()
    if file == "-":
        click.echo(data, nl=False)
        return
    private = os.umask(USER_UMASK)
    try:
        Path(file).write_bytes(data)
    except OSError as error:
        kind = PermissionDeniedError if isinstance(error, PermissionError) else InvalidInputError
        raise kind(f"{file}: {error.strerror}") from error
    finally:
        os.umask(private)
