"""`artfs commit`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from artfs.cli.options import content_options, json_option, parse_metadata_option, print_json, warn, with_config
from artfs.errors import ArtfsError, BusyError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from artfs.app.client import MountInfo
    from artfs.config import Config


@click.command()
@click.argument("path", type=click.Path(), required=False)
@content_options
@click.option("--no-wait", is_flag=True, help="Return when the draft is frozen; the commit goes on in the mount.")
@click.option("--resume", is_flag=True, help="Finish every interrupted commit that no mount is working on.")
@click.option(
    "--abort",
    metavar="COLLECTION/DRAFT",
    help="Give up an unfinished commit that others wait for; the draft is an ordinary one again.",
)
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
    abort: str | None,
    as_json: bool,
) -> int:
    """Make the draft at PATH, a directory in .staging/ of a mount, a new version, and print its reference.

    With the content of `latest` there is nothing new to commit: that version is printed. Commits of one collection are finished in
    the order in which they were begun.
    """
    from artfs.app.runs import current_run

    if resume:
        return _resume(config, as_json=as_json)
    if abort is not None:
        return _abort(config, abort, as_json=as_json)
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
    from artfs.cli.services import open_services
    from artfs.model.names import version_name
    from artfs.staging.journal import Journal
    from artfs.staging.progress import Progress

    finished, code = [], 0
    with open_services(config) as services:
        committer = services.committer(tell=lambda text: warn([text]))
        begun = [
            (draft, journal) for draft in services.drafts.acquire() if (journal := Journal.load(draft)) is not None
        ]
        for draft, _ in sorted(begun, key=lambda one: (one[1].order, one[0].id)):
            progress = Progress()
            try:
                with watching(progress):
                    result = committer.run(draft, progress)
            except ArtfsError as error:
                warn([f"draft {draft.name!r} of {draft.collection}: {error}"])
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


def _abort(config: Config, text: str, *, as_json: bool) -> int:
    """Give up the first unfinished commit of a draft."""
    from artfs.cli.services import open_services
    from artfs.model.names import parse_collection_ref
    from artfs.staging.progress import Progress
    from artfs.staging.turns import give_up

    place, _, name = text.rpartition("/")
    if not place:
        raise InvalidInputError(f"{text!r} names no draft", hint="as artfs commit --abort demo/data/DRAFT")
    with open_services(config) as services:
        collection = parse_collection_ref(place, services.registry.default_entity)
        found = give_up(services.drafts.root, collection, name)
        if found is None:
            raise NotFoundError(
                f"{collection} has no unfinished commit of a draft {name!r}", hint="artfs doctor lists unfinished ones"
            )
        draft = services.drafts.adopt(found.id)
        if draft is not None:
            with contextlib.suppress(BusyError):  # which says that it was given up
                services.committer().run(draft, Progress())
    if as_json:
        print_json({"collection": str(collection), "draft": name, "files": str(found.directory / "tree")})
    else:
        click.echo(f"{collection}/.staging/{name}")
    return 0
