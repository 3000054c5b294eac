"""Publish a commit, although objects may be removed from the store meanwhile (`artfs.registry.sweeps`).

The registry refuses to publish if something was, or if a version is gone whose files the commit takes over. Then this finds out what of
the new version that concerns, waits until nothing of it is being removed any more, looks whether it is there, and brings again what is
not. What this machine does not have, and nobody else has any more, fails the commit by its name.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from artfs.errors import CollectedError, NotFoundError
from artfs.registry.owners import is_gone
from artfs.registry.sweeps import ENDED, Relied

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

    from artfs.model.digest import Digest
    from artfs.model.entry import Entry
    from artfs.registry.port import ManifestFile, Registry, Version
    from artfs.registry.sweeps import Sweep
    from artfs.staging.drafts import Draft
    from artfs.staging.gathered import Gathered
    from artfs.staging.hashing import Hashed
    from artfs.staging.journal import Journal
    from artfs.staging.progress import Progress
    from artfs.staging.target import Target

_PAUSE = 0.2  # seconds


class Recheck:
    """What one commit relies on, and how it is brought again."""

    def __init__(
        self,
        registry: Registry,
        target: Target,
        draft: Draft,
        entries: Gathered,
        hashed: Sequence[Hashed],
        progress: Progress,
    ) -> None:
        self._registry = registry
        self._target = target
        self._draft = draft
        self._entries = entries
        self._hashed = hashed
        self._progress = progress

    def publish(self, journal: Journal, manifest: ManifestFile, seen: int) -> Version:
        """Publish; ``seen`` is from the reservation. NotFoundError names a file that is gone for good."""
        versions = self._entries.homes | self._target.homes
        while True:
            self._progress.begin("publishing")
            try:
                relied = Relied(seen, versions)
                return self._registry.publish(journal.client_id, manifest, journal.aliases, relied)
            except CollectedError:
                self._progress.begin("checking")
            gone = self._gone(versions)
            sweeps = self._sweeps_after(seen)
            manifest = self._look(manifest, gone, sweeps)
            seen = max([seen, *(sweep.number for sweep in sweeps)])
            versions -= gone

    def _gone(self, versions: frozenset[str]) -> frozenset[str]:
        """Return those of the versions that are not COMMITTED any more."""
        gone = set()
        for version_id in versions:
            try:
                self._registry.version_by_id(version_id)
            except NotFoundError:
                gone.add(version_id)
        return frozenset(gone)

    def _sweeps_after(self, seen: int) -> list[Sweep]:
        found: list[Sweep] = []
        while part := self._registry.sweeps(found[-1].number if found else seen):
            found += part
        return found

    def _look(self, manifest: ManifestFile, gone: Set[str], sweeps: list[Sweep]) -> ManifestFile:
        """See that everything is there that may have been removed; return the manifest, which may be another one then."""
        names: frozenset[str] = frozenset().union(*(sweep.names for sweep in sweeps))
        concerned = {blob for entry in self._named() for blob in self._concerned(entry, gone, names)}
        if str(manifest.digest) in names:
            concerned.add(manifest.digest)
        for sweep in sweeps:
            if not sweep.over and any(str(blob) in sweep.names for blob in concerned):
                self._wait_for(sweep)
        missing = self._target.missing(concerned)
        if not missing:
            return manifest
        lost = missing - self._target.restore(self._draft, self._hashed, missing, self._progress)
        for entry in self._named():
            if lost.intersection(entry.stored):
                raise NotFoundError(
                    f"the bytes of {entry.path} are not in the store any more: the version that it was taken over from was deleted",
                    hint="write the file into the draft again, or remove it there",
                )
        return self._target.store_manifest(self._entries)

    def _named(self) -> Iterator[Entry]:
        return map(self._target.named, self._entries)

    @staticmethod
    def _concerned(entry: Entry, gone: Set[str], names: Set[str]) -> Iterator[Digest]:
        for blob in entry.stored:
            if entry.home in gone or str(blob) in names:
                yield blob

    def _wait_for(self, sweep: Sweep) -> None:
        """Wait until a sweep is over, or whoever did it is dead, or was silent for as long as removals may take."""
        until = time.monotonic() + ENDED
        self._progress.begin("waiting for a garbage collection")
        while time.monotonic() < until and not is_gone(sweep.owner):
            now = self._registry.sweeps(sweep.number - 1)
            if not now or now[0].number != sweep.number or now[0].over:
                return
            self._progress.check()
            time.sleep(_PAUSE)
