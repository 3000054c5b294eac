"""What the registry knows of objects that are removed from the store, so that no version is published that needs one of them.

A collection of garbage goes by *sweeps*, numbered from 1. A sweep is opened with the names of the objects that it is about to remove, in
one transaction, and closed when it has removed them, or will not. A commit learns at its reservation up to which sweep everything is
over (``seen``), and looks into the store only then. When it publishes, and a later sweep is recorded, the transaction refuses: the
commit finds out whether that sweep names something of its own, waits for the end of it, brings what is missing again, and publishes
anew. The collector, having opened a sweep, spares what versions need that were published meanwhile. So each of the two sees the other,
whoever comes first. What a commit takes over from other versions is safe as long as those exist: publishing checks that, too.

Whoever opens a sweep removes nothing later than `REMOVING` seconds after it; who waits for one gives it up after `ENDED` seconds of
their own clock, so that clocks are never compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from artfs.model.names import CollectionRef
    from artfs.registry.port import ManifestFile

REMOVING = 120.0  # seconds
ENDED = 600.0  # seconds: more than a request may take that was sent at the last moment


@dataclass(frozen=True, slots=True)
class Sweep:
    """Objects that are being removed, or were. ``names`` are digests as text; ``owner`` says who does it."""

    number: int
    owner: str
    over: bool
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Relied:
    """What a version relies on that is about to be published: no sweep after ``seen`` but those it has looked at, and other versions."""

    seen: int
    versions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Kept:
    """A version whose objects are kept: it is COMMITTED, or was ``deleted`` not long ago."""

    id: str
    manifest: ManifestFile
    deleted: bool


@dataclass(frozen=True, slots=True)
class Expired:
    """A version whose time to live has run out. ``kept`` says why it stays nevertheless; empty if it does not."""

    id: str
    collection: CollectionRef
    index: int
    size: int
    kept: str


class SweepBook(Protocol):
    """What a collector of garbage asks of a registry, beside the port. Every method may raise UnreachableError."""

    def kept(self, deleted_since: float) -> Iterator[Kept]:
        """Yield each version that is COMMITTED, or was deleted since a unix time. One that is published meanwhile may be missing."""

    def published_since(self, known: Collection[str]) -> Sequence[Kept]:
        """Return the COMMITTED versions but for those known."""

    def begin(self, owner: str) -> None:
        """Become the only collector, closing what a dead one has left open. BusyError while another one is at work."""

    def end(self, owner: str) -> None:
        """Let others collect. A sweep that is still open is over: nothing is being removed any more."""

    def open_sweep(self, owner: str, names: Collection[str]) -> int:
        """Record that objects are about to be removed; return the number of the sweep. BusyError if somebody else took over."""

    def close_sweep(self, number: int) -> None:
        """Record that nothing more is removed in a sweep, and forget the names that no commit under way needs to see."""

    def expired(self, now: float) -> Sequence[Expired]:
        """Return the versions whose time to live has run out."""

    def expire(self, version_id: str, now: float) -> bool:
        """Delete a version if its time to live has run out and nothing keeps it; False if it is kept."""

    def stale_commits(self, begun_before: float) -> int:
        """Return how many commits were begun before a unix time and have not ended."""

    def drop_stale_commits(self, begun_before: float) -> int:
        """Drop their reservations; one that is resumed reserves anew."""
