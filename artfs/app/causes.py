"""What went wrong in a mount process, grouped by cause: what the log says of it, and what `artfs status` lists.

A cause is what messages have in common when names, paths, digests and numbers are taken out. The first messages of a cause are said; what
comes after them is counted, and the count is said at growing intervals while it goes on. A cause of which nothing is heard for one
interval begins anew. So neither a program that reads a damaged file in a loop nor a store that is away fills a disk.
"""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artfs.model.entry import JsonValue

INTERVALS = (10.0, 60.0, 600.0, 3600.0)
"""Seconds from one message about a cause that goes on to the next."""

BURST = 10
"""Different messages of one cause that are said in one interval."""

MOST = 256
"""Causes that are remembered: the ones that were heard of last."""

_DETAILS = re.compile(
    r"""'[^']*' | "[^"]*"                       # names
    | (?P<url>[a-z][a-z0-9+.\-]*://[^/\s]*)\S*  # of an address, the service stays
    | (?<!\w)/\S+                               # paths
    | \b[0-9a-f]{8,}\b | [A-Za-z0-9+/]{20,}={0,2}  # digests
    | (?P<status>\b(?:status|http|error|:)\ [45]\d\d\b|\b[45]\d\d\ (?-i:[A-Z])\w+)  # of an HTTP reply: stays
    | \d+(?:\.\d+)?""",
    re.VERBOSE | re.IGNORECASE,
)


def cause_of(message: str) -> str:
    """Return a message without its details."""
    return _DETAILS.sub(lambda match: match["url"] or match["status"] or "…", message)


@dataclass(slots=True, eq=False)
class Cause:
    """What has happened ``count`` times between two unix times; ``message`` is the last one."""

    level: int
    logger: str
    message: str
    count: int
    first: float
    last: float
    _said: set[str] = field(default_factory=set)
    _withheld: int = 0
    _since: float = 0.0  # monotonic: the beginning of the present interval
    _step: int = 0

    def say(self, message: str, now: float) -> bool:
        """Note that it has happened again; return whether to say so."""
        self.count += 1
        self.message, self.last = message, time.time()
        if not self._said:
            self._since, self._step = now, 0
        if message in self._said or len(self._said) >= BURST:
            self._withheld += 1
            return False
        self._said.add(message)
        return True

    def summary(self, now: float, *, at_once: bool = False) -> str | None:
        """Return what is to be said of what was withheld; None if nothing is, now."""
        if not self._said or (now - self._since < INTERVALS[self._step] and not at_once):
            return None
        withheld, self._withheld = self._withheld, 0
        seconds, self._since = now - self._since, now
        if not withheld:
            self._said.clear()
            return None
        self._step = min(self._step + 1, len(INTERVALS) - 1)
        return f"repeated {withheld} times in {seconds:.0f} s, last: {self.message}"


class Causes:
    """The causes of one process. Not thread-safe: its user (`artfs.app.logs`) has a lock. ``clock`` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._causes: OrderedDict[tuple[str, int, str], Cause] = OrderedDict()

    def note(self, level: int, logger: str, message: str) -> bool:
        """Note a message; return whether to say it. What informs is one cause for each text, what warns for each kind of text."""
        key = (logger, level, cause_of(message) if level >= logging.WARNING else message)
        cause = self._causes.get(key)
        if cause is None:
            now = time.time()
            cause = self._causes[key] = Cause(level, logger, message, 0, now, now)
            if len(self._causes) > MOST:
                self._causes.popitem(last=False)
        self._causes.move_to_end(key)
        return cause.say(message, self._clock())

    def due(self, *, at_once: bool = False) -> Iterator[tuple[Cause, str]]:
        """Yield what is to be said now of causes that go on."""
        now = self._clock()
        for cause in list(self._causes.values()):
            text = cause.summary(now, at_once=at_once)
            if text is not None:
                yield cause, text

    def errors(self, most: int = 20) -> list[JsonValue]:
        """Return what has warned, the last first: message, count, level, first and last time."""
        found = [cause for cause in self._causes.values() if cause.level >= logging.WARNING]
        return [
            {
                "message": cause.message,
                "count": cause.count,
                "level": logging.getLevelName(cause.level).lower(),
                "first": _time(cause.first),
                "last": _time(cause.last),
            }
            for cause in sorted(found, key=lambda cause: cause.last, reverse=True)[:most]
        ]

    def counts(self) -> dict[str, int]:
        """Return how many messages there were of each level that warns."""
        found = dict.fromkeys(("warning", "error"), 0)
        for cause in list(self._causes.values()):
            if cause.level >= logging.WARNING:
                found["warning" if cause.level < logging.ERROR else "error"] += cause.count
        return found


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
