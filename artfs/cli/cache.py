"""`artfs cache`: what is in the block cache, and keeping it small and sound."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from artfs.cli.options import json_option, print_json, warn, with_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.app.cached import Holding
    from artfs.app.services import Services
    from artfs.cache.upkeep import Space, Upkeep
    from artfs.config import Config

_NICE = 10
_SHOWN = 100  # damaged files that are named


@click.group()
def command() -> None:
    """Look into the block cache, make it smaller, prove it or empty it.

    All of it is safe while mounts use the cache, and asks no network. What is dropped is fetched again when it is read.
    """


@contextlib.contextmanager
def _opened(config: Config) -> Iterator[tuple[Services, Upkeep]]:
    from artfs.cli.services import open_services

    with open_services(dataclasses.replace(config, offline=True)) as services:
        yield services, services.cache().upkeep


@command.command("ls")
@click.option("-h", "--human", is_flag=True, help="Sizes such as 12 MB instead of bytes.")
@json_option
@with_config
def show(config: Config, human: bool, as_json: bool) -> None:
    """Show what the cache holds by version, those used last first: disk space, pinned or not, and when it was last used.

    A content that several versions have is counted for each of them, and once in the total. What belongs to no version whose list of
    files is on this machine comes last.
    """
    from artfs.app.cached import holdings

    with _opened(config) as (services, upkeep):
        found, space = holdings(services), upkeep.space()
    if as_json:
        print_json(
            {
                "versions": [_json(one) for one in found.versions],
                "rest": _json(found.rest),
                "total": _json(found.total),
                "most": space.most,
            }
        )
        return
    click.echo(f"{'here':>20}{'of':>20}{'files':>12}  {'pinned':<7} {'last used':<16}  version")
    for one in found.versions:
        _print(one, one.version, human=human)
    if found.rest.files_here:
        _print(found.rest, "(of no version that is known here)", human=human)
    _print(found.total, f"total; at most {_size(space.most, human=human)}", human=human)


def _print(one: Holding, name: str, *, human: bool) -> None:
    from datetime import UTC, datetime

    size = _size(one.size, human=human) if one.size else ""
    pinned = "yes" if one.here and one.pinned == one.here else "partly" if one.pinned else ""
    used = f"{datetime.fromtimestamp(one.used / 1e9, UTC):%Y-%m-%d %H:%M}" if one.used else ""
    click.echo(
        f"{_size(one.here, human=human):>20}{size:>20}{one.files_here:>12,}  {pinned:<7} {used:<16}  {name}".rstrip()
    )


def _size(size: int, *, human: bool) -> str:
    from artfs.model.shown import size_text

    return size_text(size) if human else f"{size:,}"


def _json(one: Holding) -> dict[str, Any]:
    from datetime import UTC, datetime

    return {
        "version": one.version or None,
        "files": one.files,
        "bytes": one.size,
        "files_here": one.files_here,
        "here": one.here,
        "pinned": one.pinned,
        "last_used": datetime.fromtimestamp(one.used / 1e9, UTC).isoformat() if one.used else None,
    }


@command.command()
@click.option("--to", "size", metavar="SIZE", help="Evict until it takes no more than this, as 10G.")
@json_option
@with_config
def gc(config: Config, size: str | None, as_json: bool) -> None:
    """Evict what was not used for longest, until the cache keeps to its limits, or to SIZE.

    A mount does this by itself. Here it is done at once, and what processes that were killed have left is removed, too. What is pinned
    stays.
    """
    from artfs.config.values import parse_setting

    target = None if size is None else parse_setting("cache_size", size, "--to")
    with _opened(config) as (_, upkeep):
        upkeep.tidy()
        freed = upkeep.shrink(target if isinstance(target, int) else None)
        space = upkeep.space()
    _tell(freed, space, as_json=as_json)
    if isinstance(target, int) and space.used > target and not as_json:
        warn(["it is larger than that still: the rest is pinned, or in use"])


def _tell(freed: int, space: Space, *, as_json: bool) -> None:
    from artfs.model.shown import size_text

    if as_json:
        print_json({"freed": freed, "bytes": space.used, "pinned": space.pinned, "most": space.most})
        return
    pinned = f", {size_text(space.pinned)} of it pinned" if space.pinned else ""
    click.echo(f"{size_text(freed)} evicted; the cache holds {size_text(space.used)}{pinned}")


@command.command()
@json_option
@with_config
def verify(config: Config, as_json: bool) -> int:
    """Read every block of the cache from the disk, and compare it with its checksum. What is damaged is dropped and named.

    It runs with low priority, beside mounts: for a timer of systemd, add IOSchedulingClass=idle. The exit code is 1 if anything was
    damaged: then the disk is to be suspected, although no reader was given a wrong byte.
    """
    from artfs.app.cached import names_of
    from artfs.app.parallel import each
    from artfs.app.progress import watching
    from artfs.model.shown import size_text, visible
    from artfs.staging.progress import Progress

    os.nice(_NICE)
    progress, read = Progress(), 0
    damaged: dict[Any, list[int]] = {}
    with _opened(config) as (services, upkeep):
        contents = upkeep.contents()
        progress.begin("verifying", len(contents), sum(kept.bytes for kept in contents))
        with watching(progress):
            for kept, (size, bad) in zip(
                contents, each(contents, lambda kept: upkeep.check(kept.content), config.threads), strict=True
            ):
                read += size
                progress.advance(1, size)
                if bad:
                    damaged[kept.content] = bad
        names = names_of(services, damaged) if damaged else {}
    blocks = sum(map(len, damaged.values()))
    rows = [{"content": content.name, "size": content.size, "blocks": bad, "file": names.get(content)}
            for content, bad in damaged.items()]  # fmt: skip
    if as_json:
        print_json({"contents": len(contents), "bytes": read, "damaged_blocks": blocks, "damaged": rows})
    else:
        for row in rows[:_SHOWN]:
            name = visible(row["file"], 4096) if row["file"] else row["content"]
            click.echo(f"damaged  {name}: blocks {', '.join(map(str, row['blocks'][:_SHOWN]))}")
        click.echo(
            f"{len(contents):,} contents, {size_text(read)} read: {blocks:,} {'block was' if blocks == 1 else 'blocks were'} damaged"
            + (", and dropped" if blocks else "")
        )
    return 1 if damaged else 0


@command.command()
@click.option("--pinned", is_flag=True, help="Drop what is pinned, too. It stays pinned: artfs pin fetches it again.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@with_config
def clear(config: Config, pinned: bool, yes: bool, as_json: bool) -> None:
    """Drop everything from the cache but what is pinned. A terminal is asked first."""
    from artfs.model.shown import size_text

    with _opened(config) as (_, upkeep):
        space = upkeep.space()
        going = space.used - (0 if pinned else space.pinned)
        if not yes and sys.stdin.isatty():
            click.confirm(
                f"Drop {size_text(going)} from the cache in {config.cache_dir}? What is read again is fetched again",
                abort=True,
                err=True,
            )
        freed = upkeep.clear(pinned=pinned)
        space = upkeep.space()
    _tell(freed, space, as_json=as_json)
