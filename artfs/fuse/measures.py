"""What the kernel asked of this mount: how often, how long it took, what it failed with, and how many bytes it got.

Written by the boundary of the handlers (`artfs.fuse.errnos`) on the event loop, so without locks, and read from anywhere. It is in the
way of every request, cached reads among them: adding to it takes less than half a microsecond (tests/fuse/test_measures.py).
"""

from __future__ import annotations

from artfs.model.timings import Timings


class Measure:
    """The requests for one operation. ``errors`` counts them by errno; ``begun`` counts those that are not answered yet, too."""

    __slots__ = ("begun", "errors", "timings")

    def __init__(self) -> None:
        self.begun = 0
        self.timings = Timings()
        self.errors: dict[int, int] = {}

    def failed(self, number: int) -> None:
        """Count an errno."""
        self.errors[number] = self.errors.get(number, 0) + 1


class Measures:
    """The requests of one mount, by the name of the operation. Bytes are those that were read and written by requests."""

    __slots__ = ("operations", "read_bytes", "written_bytes")

    def __init__(self) -> None:
        self.operations: dict[str, Measure] = {}
        self.read_bytes = 0
        self.written_bytes = 0

    def of(self, operation: str) -> Measure:
        """Return the measure of an operation, made when it is first asked for."""
        found = self.operations.get(operation)
        if found is None:
            found = self.operations[operation] = Measure()
        return found

    @property
    def in_flight(self) -> int:
        """How many requests are not answered yet."""
        return sum(measure.begun - measure.timings.count for measure in list(self.operations.values()))
