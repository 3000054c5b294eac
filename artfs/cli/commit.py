"""`artfs commit`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from artfs.cli.options import content_options, json_option, parse_metadata_option, print_json, warn, with_config
from artfs.errors import ArtfsError, InvalidInputError

if TYPE_CHECKING:
    from artfs.app.client import MountInfo
    from artfs.config import Config


@click.command()
@click.argument("path", type=click.Path(), required=False)
@content_options
@click.option("--no-wait", is_flag=True, help="Return when the draft is frozen; the commit goes on in the mount.")
@click.option("--resume", is_flag=True, help="Finish every interrupted commit that no mount is working on.")
@json_option
@with_config
def command(
    config: Config,
    path: str | None,
    aliases: tuple[str, ...],
    type_: str | None,
    description: str | None,
    metadata: str | None,
    tags: tuple[str, ...],
    ttl: int | None,
    no_wait: bool,
    resume: bool,
    as_json: bool,
) -> int:
    """Make the draft at PATH, a directory in .staging/ of a mount, a new version, and print its reference.

    With the content of `latest` there is nothing new to commit: that version is printed.
    """
    from artfs.app.runs import current_run

    if resume:
        return _resume(config, as_json=as_json)
    if path is None:
        raise click.UsageError("Missing argument 'PATH'.")
    live, collection, draft = _place(path)
    message: dict[str, Any] = {
        "op": "commit",
        "collection": collection,
        "draft": draft,
        "aliases": list(aliases),
        "type": type_,
        "description": description,
        "metadata": parse_metadata_option(metadata),
        "tags": list(tags),
        "ttl_seconds": ttl,
        "run": None if (run := current_run(os.environ)) is None else str(run),
        "wait": not no_wait,
    }
    try:
        result = _watch(live, message)
    except KeyboardInterrupt:
        warn([f"the commit goes on: {live.mountpoint / collection}/.commit/ lists it until it has ended"])
        raise
    if "version" in result:
        warn(result["warnings"])
    print_json(result) if as_json else click.echo(result.get("version") or result["committing"])
    return 0


def _place(path: str) -> tuple[MountInfo, str, str]:
    """Return the mount, the collection and the name of the draft at a path."""
    from artfs.app.client import find_mount

    live = find_mount(path)
    if live is None:
        raise InvalidInputError(
            f"{path} is not in a mount of artfs", hint="log a plain directory with: artfs put DIR REF"
        )
    parts = Path(path).absolute().resolve().relative_to(live.mountpoint.resolve()).parts
    if len(parts) != 5 or parts[3] != ".staging":
        raise InvalidInputError(
            f"{path} is not a draft", hint="drafts are ENTITY/PROJECT/NAME/.staging/DRAFT in the mount"
        )
    return live, "/".join(parts[:3]), parts[4]


def _watch(live: MountInfo, message: dict[str, Any]) -> dict[str, Any]:
    from artfs.app.client import request
    from artfs.app.progress import bar

    result: dict[str, Any] = {}
    told = None
    with bar() as shown:
        for answer in request(live.socket, message):
            found: Any = answer
            if "progress" in found:
                shown.show(found["progress"])
                if found.get("waiting_for") not in {None, told}:
                    told = found["waiting_for"]
                    warn([f"the commit waits, and is tried again: {told}"])
            else:
                result = found["result"]
    return result


def _resume(config: Config, *, as_json: bool) -> int:
    """Finish the commits that were left in the data directory."""
    from artfs.app.client import refresh_all
    from artfs.app.progress import watching
    from artfs.app.services import open_services
    from artfs.model.names import version_name
    from artfs.staging.progress import Progress

    finished, code = [], 0
    with open_services(config) as services:
        committer = services.committer()
        for draft in services.drafts.acquire():
            if not committer.is_frozen(draft):
                continue
            progress = Progress()
            try:
                with watching(progress):
                    result = committer.run(draft, progress)
            except ArtfsError as error:
                warn([f"draft {draft.name!r} of {draft.collection}: {error.message}"])
                code = error.exit_code
                continue
            warn(result.warnings)
            reference = f"{result.version.collection}:{version_name(result.version.index)}"
            finished.append(reference)
            if not as_json:
                click.echo(reference)
    if as_json:
        print_json(finished)
    elif not finished and not code:
        click.echo("artfs: no interrupted commit was found", err=True)
    refresh_all(config)
    return code
