"""A pipeline that follows references to entries of other versions, and reads what is at their end.

What was followed before is read without suspending, as any other entry; looking it up has threads and a deadline of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from artfs.content.pipeline import DEADLINE, Pipeline
from artfs.content.targets import leads_on
from artfs.errors import ArtfsError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artfs.content.reader import Reader
    from artfs.content.targets import Targets
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer

MAX_LOOKUPS = 4  # threads: each asks the registry once for a version, and then local disk


class FollowingPipeline(Pipeline):
    """The read path of the mount, which follows references to other versions."""

    def __init__(self, reader: Reader, nursery: trio.Nursery, targets: Targets, deadline: float = DEADLINE) -> None:
        super().__init__(reader, nursery, deadline)
        self._targets = targets
        self._background = nursery
        self._patience = deadline
        self._lookup_threads = trio.CapacityLimiter(MAX_LOOKUPS)

    async def read(self, entry: Entry, offset: int, size: int) -> Buffer:
        """Return bytes of an entry; see `Pipeline.read`, and `Targets.of` for what a reference raises that leads nowhere."""
        if entry.ref is not None:
            entry = self._targets.known(entry) or await self._follow(entry)
        return await super().read(entry, offset, size)

    def is_remote(self, entry: Entry) -> bool:
        """Whether the bytes of an entry come over a network, as far as is known: where a reference leads may not be."""
        try:
            known = self._targets.known(entry)
        except ArtfsError:
            return False  # reading it says why
        return known is None or super().is_remote(known)

    async def state(self, entry: Entry) -> tuple[str, str]:
        """Return what `Reader.state` says of an entry."""
        try:
            end = self._targets.known(entry) or await self._follow(entry)
        except ArtfsError:
            return "no", "proven"  # what leads nowhere has no bytes, and none that are not proven
        return await super().state(end)

    def prepare(self, entry: Entry) -> None:
        """Get ready to read a file, if it is known where it leads."""
        known = self._targets.known(entry)
        if known is not None:
            super().prepare(known)

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Fetch remote files that will be opened soon, looking up in the background where they are."""
        found = list(entries)
        super().prefetch(entry for entry in found if not leads_on(entry))
        leading = [entry for entry in found if leads_on(entry)]
        if leading:
            self._background.start_soon(self._prefetch, leading)

    async def _prefetch(self, leading: list[Entry]) -> None:
        ends = []
        for entry in leading:
            try:
                ends.append(self._targets.known(entry) or await self._follow(entry))
            except ArtfsError:  # whoever reads it is told
                return
        super().prefetch(ends)

    async def _follow(self, entry: Entry) -> Entry:
        with trio.move_on_after(self._patience):
            return await trio.to_thread.run_sync(
                self._targets.of, entry, limiter=self._lookup_threads, abandon_on_cancel=True
            )
        raise UnreachableError(f"where {entry.path} leads to was not found within {self._patience:.0f} s")
