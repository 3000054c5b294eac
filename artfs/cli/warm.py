"""`artfs warm`, and what `artfs pin` shares with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_ref
from artfs.cli.options import json_option, print_json, warn, with_config
from artfs.errors import ArtfsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artfs.app.readiness import Readiness
    from artfs.app.selecting import Selection
    from artfs.app.services import Services
    from artfs.config import Config

_SHOWN = 20  # files that are named in one list


@click.command()
@click.argument("places", metavar="[REF|PATH...]", nargs=-1, shell_complete=complete_ref)
@click.option(
    "--list", "lists", multiple=True, metavar="FILE", help="Read arguments from FILE, one a line; - is stdin."
)
@click.option("--check", is_flag=True, help="Fetch nothing; read what is here, and say what misses.")
@click.option("--evict", is_flag=True, help="Drop them from the cache instead, but for what is pinned.")
@click.option("--pin", is_flag=True, help="Pin them, too: see artfs pin.")
@json_option
@with_config
def command(
    config: Config, places: tuple[str, ...], lists: tuple[str, ...], check: bool, evict: bool, pin: bool, as_json: bool
) -> int:
    """Fetch files into the block cache, checked, before anybody reads them.

    An argument is a version, ENTITY/PROJECT/NAME:VERSION, with a path in it after a slash, or the same as a path in a mount. The path in
    the version may be a pattern: quote it, so that the shell leaves it alone. '*' and '?' are as in a shell, '**' is any number of
    directories.

    What is in the cache already is not fetched again, so that what was interrupted goes on where it was. A mount of this user with the
    same registry, store and cache does the work, if there is one; no mount is needed. Files come in the order of the arguments, so that a
    list that a training program has written is fetched in the order in which it reads. Files with the same content are counted once.

    The exit code is 9, and nothing is fetched, if it does not fit into the cache. With --check it is 1 if anything misses.
    """
    from artfs.cli.services import open_services

    if check + evict + pin > 1:
        raise click.UsageError("--check, --evict and --pin exclude each other")
    texts = arguments(places, lists)
    with open_services(config) as services:
        from artfs.app.selecting import select

        selections = select(texts, services, in_order=not (check or evict or pin))
        if evict:
            return _evict(services, selections, as_json=as_json)
        if pin:
            from artfs.cli.pin import pin_all

            return pin_all(services, selections, as_json=as_json)
        if not check:
            return show_result(warmed(services, selections), as_json=as_json)
    return tell_readiness(look(config, selections), as_json=as_json)


def arguments(places: Sequence[str], lists: Sequence[str]) -> list[str]:
    """Return the arguments and the lines of lists; an error of usage if there are none."""
    from artfs.app.selecting import read_list

    texts = [*places, *(line for path in lists for line in read_list(path))]
    if not texts and not lists:
        raise click.UsageError("name a version: ENTITY/PROJECT/NAME:VERSION, or a path in a mount")
    return texts


def warmed(services: Services, selections: Sequence[Selection]) -> dict[str, Any]:
    """Warm up, in a mount process if one has the same cache, and show the progress; return what was done.

    What the registry says of the versions is remembered, too, for when it is away.
    """
    from artfs.app.progress import showing
    from artfs.app.warm import warm_here, warm_in_mount, warming_mount
    from artfs.staging.progress import Progress

    progress = Progress()
    shown: dict[str, Any] = {}
    control = warming_mount(services.config)
    _keep_names(services, selections)
    try:
        with showing(lambda: shown or progress.snapshot()):
            if control is None:
                return warm_here(services, selections, progress)
            return warm_in_mount(control, selections, shown.update)
    except KeyboardInterrupt:
        click.echo("artfs: interrupted: what has come stays in the cache, and the same command goes on", err=True)
        raise


def _keep_names(services: Services, selections: Sequence[Selection]) -> None:
    from artfs.app.pins import remember

    try:
        remember(services.registry, selections)
    except ArtfsError as error:
        warn([f"not all of the names are remembered, so a mount without a network may not show them: {error.message}"])


def show_result(result: dict[str, Any], *, as_json: bool) -> int:
    """Print what a warm-up did, and return the exit code: that of the first file that did not come."""
    from artfs import errors
    from artfs.model.shown import size_text, visible

    if as_json:
        print_json(result)
    else:
        names = ", ".join(result["versions"][:3]) + (" ..." if len(result["versions"]) > 3 else "") or "an empty list"
        speed = f" ({size_text(round(result['fetched_bytes'] / max(result['seconds'], 1e-6)))}/s)"
        fetched = f"{size_text(result['fetched_bytes'])} fetched in {result['seconds']:.1f} s{speed}"
        nothing = "nothing fetched" if result["failed_files"] else "nothing to fetch"
        parts = [fetched if result["fetched_bytes"] else nothing]
        if result["here"]:
            parts.append(f"{size_text(result['here'])} were in the cache")
        if result["local"]:
            parts.append(f"{size_text(result['local'])} are on this machine anyway")
        click.echo(f"{names}: {_files(result['files'])}, {size_text(result['bytes'])}: {', '.join(parts)}")
    if result["unsized"]:
        warn([f"{result['unsized']:,} references have no recorded size, and cannot be kept in the cache"])
    for failure in result["failed"][:_SHOWN]:
        click.echo(f"artfs: {visible(failure['path'], 4096)}: {visible(failure['reason'], 1000)}", err=True)
    failed = result["failed_files"]
    if not failed:
        return 0
    click.echo(f"artfs: {failed:,} of {_files(result['files'])} did not come; run it again to try them again", err=True)
    return int(getattr(errors, result["failed"][0]["error"], ArtfsError).exit_code)


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


def look(config: Config, selections: Sequence[Selection]) -> list[Readiness]:
    """Look whether selections can be read without a network, and show the progress."""
    import dataclasses

    from artfs.app.progress import watching
    from artfs.app.readiness import readiness
    from artfs.cli.services import open_services
    from artfs.staging.progress import Progress

    progress = Progress()
    with open_services(dataclasses.replace(config, offline=True)) as services, watching(progress):
        progress.begin("checking")
        return [readiness(services, selection, progress.advance) for selection in selections]


def tell_readiness(found: Sequence[Readiness], *, as_json: bool) -> int:
    """Print what is ready and what misses, and return the exit code: 1 if anything does."""
    from artfs.model.shown import size_text, visible

    if as_json:
        print_json([_readiness_json(one) for one in found])
        return 0 if all(one.ready for one in found) else 1
    for one in found:
        if one.ready:
            click.echo(f"{one.selection.ref}: ready: {_files(one.files)}, {size_text(one.size)}")
        elif one.problem:
            click.echo(f"{one.selection.ref}: not ready: {visible(one.problem, 1000)}")
        else:
            lost = sum(missing.size for missing in one.missing)
            click.echo(
                f"{one.selection.ref}: not ready: {len(one.missing):,} of {one.files:,} files, {size_text(lost)} of {size_text(one.size)}"
            )
            for missing in one.missing[:_SHOWN]:
                click.echo(f"  {visible(missing.path, 4096)}: {visible(missing.reason, 1000)}")
            if len(one.missing) > _SHOWN:
                click.echo(f"  and {len(one.missing) - _SHOWN:,} more: --json names all")
    return 0 if all(one.ready for one in found) else 1


def _readiness_json(one: Readiness) -> dict[str, Any]:
    return {
        "version": str(one.selection.ref),
        "paths": [place for place in one.selection.places if place],
        "ready": one.ready,
        "files": one.files,
        "bytes": one.size,
        "problem": one.problem or None,
        "missing": [{"path": missing.path, "bytes": missing.size, "reason": missing.reason} for missing in one.missing],
    }


def _evict(services: Services, selections: Sequence[Selection], *, as_json: bool) -> int:
    from artfs.app.evicting import evict
    from artfs.app.warm import open_selected
    from artfs.model.shown import size_text

    done = evict(services, open_selected(services, selections))
    if as_json:
        print_json(
            {
                "evicted_files": done.files,
                "evicted_bytes": done.size,
                "pinned_files": done.pinned_files,
                "pinned_bytes": done.pinned_size,
            }
        )
        return 0
    click.echo(f"{size_text(done.size)} of {_files(done.files)} dropped from the cache")
    if done.pinned_files:
        warn([f"{size_text(done.pinned_size)} of {_files(done.pinned_files)} are pinned, and stay (artfs unpin)"])
    return 0
