"""`artfs status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_mount
from artfs.cli.options import json_option, print_json, with_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.config import Config

_GIB = 1 << 30
_ERRORS = 5  # that are shown; all are in the JSON
_LONGEST = 500  # characters of a message


@click.command()
@click.argument("mountpoint", required=False, shell_complete=complete_mount)
@json_option
@with_config
def command(config: Config, mountpoint: str | None, as_json: bool) -> int:
    """Show the mounts of this user, or the one at MOUNTPOINT.

    That is whether the registry answers (it is asked now), what the cache holds, requests under way, drafts, commits under way with their
    rate, and what went wrong since the mount began, each cause once.

    The exit code is 8 if a mount does not answer, or its registry is away and listings show what was seen last; 3 if there is no mount at
    MOUNTPOINT.
    """
    from artfs.app.mounts import survey

    found = survey(config, mountpoint)
    if as_json:
        print_json(found)
    else:
        for status in found:
            for line in _lines(status):
                click.echo(line)
        if not found:
            click.echo("artfs: no mount is up", err=True)
    return 8 if any(_is_bad(status) for status in found) else 0


def _is_bad(status: dict[str, Any]) -> bool:
    if not status["answers"]:
        return True
    now = status.get("registry_now")
    return bool(status["registry_away_since"]) or (now is not None and not now["answers"])


def _lines(status: dict[str, Any]) -> Iterator[str]:
    if not status["answers"]:
        yield f"{status['mountpoint'] or status['control']}  does not answer: {status['reason']}"
        if status["mountpoint"]:
            yield f"  artfs umount --force {status['mountpoint']} takes it away; artfs mount repairs what a crash has left"
        return
    mode = (", read-only" if status["read_only"] else "") + (", offline" if status["offline"] else "")
    yield f"{status['mountpoint']}  (pid {status['pid']}{mode}, up {_duration(status['up_seconds'])})"
    yield from _registry(status)
    yield f"  store     {_store(status)}"
    yield from _cache(status)
    yield from _services(status)
    yield from _drafts(status)
    yield from _commits(status)
    if status["metrics_port"]:
        yield f"  metrics   http://127.0.0.1:{status['metrics_port']}/metrics"
    yield f"  log       {status['log'] or 'on stderr'} ({status['log_level']})"
    yield from _errors(status)


def _store(status: dict[str, Any]) -> str:
    """Return where bytes lie. A W&B server is registry and store in one: the setting is not looked at then."""
    of_wandb = status["registry"].startswith(("http:", "https:"))
    return "on the W&B server" if of_wandb else str(status["store"])


def _registry(status: dict[str, Any]) -> Iterator[str]:
    name, now = status["registry"], status.get("registry_now")
    if status["offline"] and not name.startswith("sqlite:"):
        yield f"  registry  {name}: not asked, offline: showing what was seen last"
    elif status["registry_away_since"]:
        yield f"  registry  {name}: away since {status['registry_away_since']}, showing what was seen last"
        yield f"            {status['registry_reason']}"
    elif now is None:
        yield f"  registry  {name}"
    elif not now["answers"]:
        yield f"  registry  {name}: does not answer"
        yield f"            {now['reason']}"
    else:
        yield f"  registry  {name}: answers in {1000 * now['seconds']:.1f} ms"


def _cache(status: dict[str, Any]) -> Iterator[str]:
    cache, free = status["cache"], status.get("cache_disk_free")
    if cache is None:
        return
    reads = cache["hits"] + cache["misses"]
    share = f", {100 * cache['hits'] / reads:.0f} % of {reads:,} reads" if reads else ""
    left = "" if free is None else f", {free / _GIB:.1f} GiB free on the disk"
    yield f"  cache     {cache['bytes'] / _GIB:.2f} of {cache['max_bytes'] / _GIB:.2f} GiB{share}{left}"
    if cache["trouble"]:
        yield f"            off: {cache['trouble']}"


def _services(status: dict[str, Any]) -> Iterator[str]:
    from artfs.model.shown import size_text

    for scheme, operations in status["services"].items():
        parts = []
        for name, verb in (("read", "reads"), ("write", "writes")):
            count = operations.get(name)
            if count:
                parts.append(
                    f"{count['requests']:,} {verb}, {count['size'] / _GIB:.2f} GiB, {count['failures']:,} failed"
                )
        busy = status["in_flight"].get(scheme)
        if busy and busy["requests"]:
            parts.append(f"{busy['requests']:,} under way, {size_text(busy['bytes'])}")
        if parts:
            yield f"  {scheme:<8}  {'; '.join(parts)}"
        hedge = operations.get("hedge")
        if hedge:
            yield f"            {hedge['requests']:,} slow reads were asked for a second time"
    for name, busy in status["in_flight"].items():
        if name not in status["services"] and busy["requests"]:
            yield f"  {name:<8}  {busy['requests']:,} under way, {size_text(busy['bytes'])}"
    for away in status["away"]:
        yield f"  away      {away['service']} since {away['since']}: only what is on this machine is read"
        yield f"            {away['reason']}"


def _drafts(status: dict[str, Any]) -> Iterator[str]:
    from artfs.model.shown import size_text

    drafts = status.get("drafts")
    if drafts and drafts["count"]:
        least = "" if drafts["complete"] else "at least "
        yield f"  drafts    {drafts['count']:,}, {least}{size_text(drafts['bytes'])}, the oldest since {drafts['oldest']}"


def _commits(status: dict[str, Any]) -> Iterator[str]:
    from artfs.model.shown import size_text, visible

    for commit in status["commits"]:
        progress = commit["progress"]
        parts = []
        if progress["files_total"]:
            parts.append(f"{progress['files_done']:,} of {progress['files_total']:,} files")
        if progress["bytes_total"]:
            parts.append(f"{size_text(progress['bytes_done'])} of {size_text(progress['bytes_total'])}")
        if progress.get("bytes_per_second"):
            parts.append(f"{size_text(progress['bytes_per_second'])}/s")
        if commit["waiting_for"]:
            parts.append(f"waits: {visible(commit['waiting_for'], _LONGEST)}")
        yield f"  commit    {commit['collection']} {commit['draft']!r}: {progress['phase']} {', '.join(parts)}".rstrip()


def _errors(status: dict[str, Any]) -> Iterator[str]:
    from artfs.model.shown import visible

    errors = status["errors"]
    for error in errors[:_ERRORS]:
        times = "" if error["count"] == 1 else f"{error['count']:,} times, last at "
        yield f"  {error['level']:<8}  {times}{error['last']}: {visible(error['message'], _LONGEST)}"
    if len(errors) > _ERRORS:
        yield f"            and {len(errors) - _ERRORS} causes more: artfs status --json"


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes // 1440} days"
