"""What is known of one content: the rows of its blocks, the changes that are recorded of it, and the form of a stored checksum.

`Rows.apply` does in memory what `artfs.cache.ledger` does on disk when it records a change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from artfs.cache.datafiles import Content

CHECKSUM_SIZE = 32
_COMPLEMENT = bytes(range(255, -1, -1))


@dataclass(frozen=True, slots=True)
class Written:
    """A block was written. ``used`` is in nanoseconds since 1970."""

    content: Content
    number: int
    checksum: bytes
    proven: bool
    used: int


@dataclass(frozen=True, slots=True)
class Proven:
    """Blocks were found to be what their content promises, if they still have these checksums; ``sealed``: all of them."""

    content: Content
    checksums: Mapping[int, bytes]
    sealed: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """A block is not what its checksum says. A row with another checksum is another block, and stays."""

    content: Content
    number: int
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """The data file of a content is not there."""

    content: Content


@dataclass(frozen=True, slots=True)
class Adopted:
    """A file is the whole of a content, and every block is proven."""

    content: Content
    checksums: Sequence[bytes]
    used: int


Change: TypeAlias = Written | Adopted | Proven | Lost | Gone


@dataclass(slots=True)
class Rows:
    """What is known of a content: the checksums of its blocks by number, and which of them are not proven."""

    checksums: dict[int, bytes] = field(default_factory=dict)
    unproven: set[int] = field(default_factory=set)
    was_sealed: bool = False

    @property
    def sealed(self) -> bool:
        """Whether the whole was proven once, and everything that is here is."""
        return self.was_sealed and not self.unproven

    def apply(self, change: Change) -> None:
        """Do to these rows what recording a change does to those of the ledger."""
        match change:
            case Written(_, number, checksum, proven, _):
                self.checksums[number] = checksum
                if proven:
                    self.unproven.discard(number)
                else:
                    self.unproven.add(number)
            case Adopted(_, whole, _):
                self.checksums = dict(enumerate(whole))
                self.unproven.clear()
                self.was_sealed = True
            case Proven(_, checksums, sealed):
                equal = {number for number, checksum in checksums.items() if self.checksums.get(number) == checksum}
                self.unproven -= equal
                self.was_sealed |= sealed
            case Lost(_, number, checksum):
                if self.checksums.get(number) == checksum:
                    del self.checksums[number]
                    self.unproven.discard(number)
            case Gone():
                self.checksums.clear()
                self.unproven.clear()
                self.was_sealed = False


def parse_rows(content: Content, blocks: Iterable[tuple[object, object, object]], *, sealed: bool) -> Rows:
    """Return the rows ``(number, stored checksum, proven)`` of a content, without those that cannot be."""
    rows, count = Rows(was_sealed=sealed), content.blocks
    for number, checksum, proven in blocks:
        if not (isinstance(number, int) and 0 <= number < count):
            continue
        if not (isinstance(checksum, bytes) and len(checksum) == CHECKSUM_SIZE):
            continue
        rows.checksums[number] = stored_checksum(checksum, proven=proven == 1)
        if proven != 1:
            rows.unproven.add(number)
    return rows


def stored_checksum(checksum: bytes, *, proven: bool) -> bytes:
    """Return the form in which a checksum is kept, or back: complemented while the block is not proven."""
    return checksum if proven else checksum.translate(_COMPLEMENT)
