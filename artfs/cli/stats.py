"""`artfs stats`."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from typing import TYPE_CHECKING, Any

import click

from artfs.cli.completing import complete_mount
from artfs.cli.options import json_option, warn, with_config
from artfs.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from artfs.app.control import Message
    from artfs.config import Config
    from artfs.model.entry import JsonValue

_LATE = 30.0  # seconds that a mount may be late with a line
_SLOW = 3.0  # seconds after which it is said that the mount does not answer yet


@click.command()
@click.argument("arguments", metavar="[MOUNTPOINT] [INTERVAL [COUNT]]", nargs=-1, shell_complete=complete_mount)
@click.option("--once", is_flag=True, help="Print the averages since the mount began, and no more.")
@click.option("--openmetrics", is_flag=True, help="Print all counters in the OpenMetrics text format.")
@json_option
@with_config
def command(config: Config, arguments: Sequence[str], once: bool, openmetrics: bool, as_json: bool) -> None:
    """Show what a mount does: a line every INTERVAL seconds (1), COUNT times or until Ctrl-C, as vmstat does.

    The first line is the average since the mount began. MOUNTPOINT may be left out if there is one mount.

    \b
    req/s    requests of the kernel      hit%    share of the reads that the block cache answered
    open/s   files opened                miss/s  reads that it did not answer
    read     bytes read, MB/s            fetch   bytes from services, MB/s
    write    bytes written, MB/s         send    bytes to services, MB/s
    busy     requests under way: of the kernel and, after a slash, to services
    commit   commits under way           mem     memory of the mount process, MB; cpu: of one core, %

    After the line, fetched MB/s by service, if there are several. With --json each line is an object, in bytes and seconds. Bytes that the
    kernel has in its own cache are not asked for, and count nowhere.
    """  # noqa: D301 - \b is how click keeps lines
    from artfs.app.client import request
    from artfs.app.mounts import the_mount

    place, interval, count = _parse(arguments)
    control = the_mount(config, place)
    if openmetrics:
        *_, answer = _waiting(request(control, {"op": "metrics"}, timeout=_LATE), control)
        result: Any = answer["result"]
        click.echo(result["openmetrics"], nl=False)
        return
    more = 0 if once else None if count is None else count - 1
    message: dict[str, JsonValue] = {"op": "stats", "interval": interval, "count": more}
    reports: Iterator[Any] = (
        answer["progress"]
        for answer in _waiting(request(control, message, interval + _LATE), control)
        if "progress" in answer
    )
    try:
        _print(reports, as_json=as_json)
    except KeyboardInterrupt:
        click.echo()


def _waiting(answers: Iterator[Message], control: Path) -> Iterator[Message]:
    """Yield answers, and say so if the first of them does not come soon: the process of the mount may be stopped."""
    text = f"the mount does not answer yet at {control}: artfs doctor may say why; it is waited for {_LATE:.0f} s"
    timer = threading.Timer(_SLOW, warn, [[text]])
    timer.daemon = True
    timer.start()
    try:
        for answer in answers:
            timer.cancel()
            yield answer
    finally:
        timer.cancel()


def _parse(arguments: Sequence[str]) -> tuple[str | None, float, int | None]:
    """Take the arguments apart: a mount point does not look like a number, unless it is written ./7."""
    rest = list(arguments)
    place = rest.pop(0) if rest and _number(rest[0]) is None else None
    interval = _number(rest.pop(0)) if rest else 1.0
    count = _number(rest.pop(0)) if rest else None
    if rest or interval is None or (count is None and len(arguments) - (place is not None) > 1):
        raise InvalidInputError(f"{' '.join(arguments)!r} is not [MOUNTPOINT] [INTERVAL [COUNT]]")
    if not 0.05 <= interval <= 86400:
        raise InvalidInputError(f"an interval of {interval:g} s: it is from 0.05 to 86400 seconds")
    if count is not None and (count < 1 or not count.is_integer()):
        raise InvalidInputError(f"a count of {count:g}: it is a whole number from 1 on")
    return place, interval, None if count is None else int(count)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _print(reports: Iterator[dict[str, Any]], *, as_json: bool) -> None:
    from artfs.app.rates import NOTHING, rates

    before = NOTHING
    for number, report in enumerate(reports):
        line = rates(before, report)
        before = report
        if as_json:
            click.echo(json.dumps(line))
        else:
            if number % max(2, shutil.get_terminal_size().lines - 2) == 0:
                click.echo(_HEADER)
            click.echo(_line(line))
        sys.stdout.flush()


_COLUMNS = (
    ("req/s", 7), ("open/s", 7), ("read", 8), ("write", 8), ("hit%", 5), ("miss/s", 7), ("fetch", 8), ("send", 8),
    ("busy", 8), ("commit", 7), ("mem", 6), ("cpu", 5),
)  # fmt: skip
_HEADER = "".join(name.rjust(width) for name, width in _COLUMNS)


def _line(line: dict[str, Any]) -> str:
    hits = line["cache_hit_ratio"]
    cells = (
        f"{line['requests_per_second']:.0f}",
        f"{line['opens_per_second']:.0f}",
        _megabytes(line["read_bytes_per_second"]),
        _megabytes(line["written_bytes_per_second"]),
        "-" if hits is None else f"{100 * hits:.0f}",
        f"{line['misses_per_second']:.0f}",
        _megabytes(line["fetched_bytes_per_second"]),
        _megabytes(line["sent_bytes_per_second"]),
        f"{line['in_flight']}/{sum(one['in_flight'] for one in line['services'].values())}",
        f"{line['commits_running']}",
        f"{line['memory'] / 1e6:.0f}",
        f"{100 * line['cpu_share']:.0f}",
    )
    text = "".join(cell.rjust(width) for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
    sources = {name: one["fetched_bytes_per_second"] for name, one in line["services"].items() if name != "registry"}
    if len(sources) < 2:
        return text
    return f"{text}  " + " ".join(f"{name}={_megabytes(rate)}" for name, rate in sorted(sources.items()))


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f}" if size else "0"
