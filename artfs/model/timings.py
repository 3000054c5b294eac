"""How long things took: a histogram that costs next to nothing to add to.

Its buckets are powers of four, from 4 microseconds to minutes, so that the bucket of a duration is a shift and a `bit_length`.
Whoever adds from several threads holds a lock of their own; anybody may read.
"""

from __future__ import annotations

_FIRST = 12  # the first bucket is what took less than 2 ** 12 nanoseconds
_SHOWN = 14  # buckets; what took longer than the last one, 4.6 minutes, is only in the total
_SLOTS = 32  # more than the longest duration that 64 bits of nanoseconds can say needs

BOUNDS: tuple[float, ...] = tuple((1 << _FIRST) * 4**number / 1e9 for number in range(_SHOWN))
"""The upper ends of the buckets, in seconds."""


class Timings:
    """Durations by bucket, and their sum."""

    __slots__ = ("nanoseconds", "slots")

    def __init__(self) -> None:
        self.nanoseconds = 0
        self.slots = [0] * _SLOTS

    def add(self, nanoseconds: int) -> None:
        """Add a duration."""
        self.nanoseconds += nanoseconds
        self.slots[(nanoseconds >> _FIRST).bit_length() + 1 >> 1] += 1

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.slots)

    @property
    def seconds(self) -> float:
        """Their sum."""
        return self.nanoseconds / 1e9

    def cumulative(self) -> list[int]:
        """Return, for each of `BOUNDS`, how many took at most as long."""
        slots, total, found = self.slots, 0, []
        for number in range(_SHOWN):
            total += slots[number]
            found.append(total)
        return found
