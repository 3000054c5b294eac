"""Find what nobody needs, and remove it, sweep by sweep.

Finding changes nothing, but for the claim of the registry in the store, which gives the store's own time. Removing is safe whatever others
do: a sweep is opened in the registry before it removes, what was published or moved into the store meanwhile is spared, and a process
that is killed at any moment leaves an open sweep, which the next collector closes. Nothing else has to be repaired: each removal is of
something that nobody needs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from artfs.app.gc.live import LiveSet, blob_of_key, draft_needs, key_of
from artfs.errors import InvalidInputError
from artfs.model.digest import Algorithm, Digest
from artfs.registry.owners import this_process
from artfs.registry.sweeps import REMOVING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from artfs.app.gc.live import ReadManifest
    from artfs.registry.sweeps import Expired, SweepBook
    from artfs.staging.progress import Progress
    from artfs.storage.holdings import Held, Holdings

BATCH = 1000
"""Objects of one sweep."""

STALE_COMMIT = 30 * 86400.0
"""Seconds after which the reservation of a commit that has not ended is dropped."""

FILES, BLOCK_LISTS, FILE_LISTS = "files", "block lists", "lists of files"


@dataclass(frozen=True, slots=True)
class Settings:
    """What to collect. ``grace`` is in seconds: nothing younger is removed, and what a version needed that was deleted since is kept."""

    registry_id: str
    drafts: Path
    grace: float


@dataclass(slots=True)
class Garbage:
    """What was found. Sizes are in bytes; ``kinds`` gives count and size of each kind of object that nobody needs."""

    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)
    needed: int = 0
    young: int = 0
    expired: list[Expired] = field(default_factory=list)
    stale_commits: int = 0

    @property
    def count(self) -> int:
        """How many objects nobody needs."""
        return sum(count for count, _ in self.kinds.values())

    @property
    def size(self) -> int:
        """How many bytes those have."""
        return sum(size for _, size in self.kinds.values())


class Collector:
    """Collects the garbage of one registry and its store. ``on_step`` is told the name of each step when it is done."""

    def __init__(
        self,
        book: SweepBook,
        holdings: Holdings,
        read_manifest: ReadManifest,
        settings: Settings,
        progress: Progress,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._book = book
        self._holdings = holdings
        self._settings = settings
        self._progress = progress
        self._on_step = on_step
        self._owner = this_process()
        self._live = LiveSet(read_manifest)
        self._known: set[str] = set()  # versions whose objects are in the live set

    def close(self) -> None:
        """Forget what was found."""
        self._live.close()

    # Finding ----------------------------------------------------------------------------------------------------

    def find(self) -> Garbage:
        """Find what nobody needs. InvalidInputError if the store is not of this registry alone."""
        now = self._claim()
        horizon = now - self._settings.grace
        found = Garbage()
        found.expired = list(self._book.expired(time.time()))
        found.stale_commits = self._book.stale_commits(time.time() - max(STALE_COMMIT, self._settings.grace))
        self._mark()
        self._progress.begin("comparing with the store")
        self._live.database.execute("BEGIN")
        for held in self._holdings.blobs():
            self._progress.advance(files=1)
            if held.blob in self._live:
                found.needed += 1
            elif held.modified > horizon:
                found.young += 1
            else:
                self._live.database.execute(
                    "INSERT OR IGNORE INTO dead VALUES (?, ?, ?)", (key_of(held.blob), held.size, held.modified)
                )
        self._live.database.execute("COMMIT")
        for kind, held in self.dead():
            count, size = found.kinds.get(kind, (0, 0))
            found.kinds[kind] = (count + 1, size + held.size)
        return found

    def _claim(self) -> float:
        now = self._holdings.time(self._settings.registry_id)
        others = [claim for claim in self._holdings.claims() if claim != self._settings.registry_id]
        if others:
            raise InvalidInputError(
                f"the store also holds versions of another registry ({', '.join(others)}): they cannot be told from garbage",
                hint="give each registry a store of its own; if that one is gone for ever, remove its name from registries/ there",
            )
        return now

    def _mark(self) -> None:
        """Put everything that is needed into the live set."""
        live = self._live
        self._progress.begin("reading lists of files")
        for version in self._book.kept(time.time() - self._settings.grace):
            self._known.add(version.id)
            live.add_manifest(version.manifest, version.id, may_be_gone=version.deleted)
            self._progress.advance(files=1)
        live.note_lists(version.manifest.digest for version in self._book.kept(0.0))
        for need in draft_needs(self._settings.drafts):
            if isinstance(need, Digest):
                live.add([need])
            else:
                live.add_manifest(need, "that a draft starts from", may_be_gone=True)
        live.add(self._holdings.held())

    def dead(self) -> Iterator[tuple[str, Held]]:
        """Yield what was found that nobody needs, with its kind."""
        from artfs.storage.holdings import Held

        query = (
            "SELECT dead.key, size, modified, lists.key IS NOT NULL FROM dead LEFT JOIN lists USING (key) ORDER BY 1"
        )
        for key, size, modified, is_list in self._live.database.execute(query):
            blob = blob_of_key(key)
            kind = BLOCK_LISTS if blob.algorithm is Algorithm.BLAKE3 else FILE_LISTS if is_list else FILES
            yield kind, Held(blob, size, modified)

    # Removing ---------------------------------------------------------------------------------------------------

    def collect(self, found: Garbage) -> Garbage:
        """Remove what `find` has found; return what was removed. BusyError while somebody else collects."""
        self._book.begin(self._owner)
        try:
            self._on_step("begun")
            removed = Garbage(needed=found.needed, young=found.young)
            removed.expired = [
                version for version in found.expired if not version.kept and self._book.expire(version.id, time.time())
            ]
            begun_before = time.time() - max(STALE_COMMIT, self._settings.grace)
            removed.stale_commits = self._book.drop_stale_commits(begun_before) if found.stale_commits else 0
            self._progress.begin("deleting", found.count, found.size)
            dead = self.dead()
            while batch := list(islice(dead, BATCH)):
                self._sweep(batch, removed)
            self._holdings.tidy()
        finally:
            self._book.end(self._owner)
        return removed

    def _sweep(self, batch: list[tuple[str, Held]], removed: Garbage) -> None:
        self._progress.check()
        with self._holdings.removing():
            until = time.monotonic() + REMOVING
            number = self._book.open_sweep(self._owner, [str(held.blob) for _, held in batch])
            self._on_step("opened")
            for version in self._book.published_since(self._known):
                self._live.add_manifest(version.manifest, version.id)
                self._known.add(version.id)
            self._live.add(self._holdings.held())
            wanted = [(kind, held) for kind, held in batch if held.blob not in self._live]
            for kind, held in self._removed(wanted, until):
                count, size = removed.kinds.get(kind, (0, 0))
                removed.kinds[kind] = (count + 1, size + held.size)
                self._progress.advance(1, held.size)
            self._on_step("removed")
            self._book.close_sweep(number)
        self._on_step("closed")

    def _removed(self, wanted: list[tuple[str, Held]], until: float) -> list[tuple[str, Held]]:
        count = self._holdings.remove([held.blob for _, held in wanted], lambda: time.monotonic() < until)
        return wanted[:count]
