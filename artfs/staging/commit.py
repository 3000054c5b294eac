"""Commit: make a draft a version.

The steps: scan, hash, reserve, store the files, store the manifest (both in `artfs.staging.target`), publish, discard. `freeze` journals
the commit before the first of them; `run` may be repeated after a crash at any point, because every step is idempotent: hashes are
remembered, a reservation belongs to the commit's name, what is stored is not stored again, publishing again finds the version published.
The run that the journal names is recorded when there is a version, and the draft is removed last, by one rename.
Blobs come before the manifest, the manifest before the version: who sees a version can read all of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from artfs.errors import ArtfsError, InvalidInputError, OfflineError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.names import LATEST, parse_alias, version_name
from artfs.model.paths import EntryPath, parse_entry_path
from artfs.model.runs import run_or_none
from artfs.registry.port import NewVersion, VersionChange
from artfs.staging.gathered import Gathered, check
from artfs.staging.hashing import Hashed, hash_files
from artfs.staging.journal import Journal
from artfs.staging.progress import CommitInterrupted
from artfs.staging.recheck import Recheck
from artfs.staging.scan import scan
from artfs.staging.turns import GIVEN_UP_KEY, WAITS_KEY, Turns, is_given_up, number, refuse_given_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artfs.model.entry import Entry
    from artfs.registry.port import Registry, Version
    from artfs.staging.drafts import Draft
    from artfs.staging.gathered import Totals
    from artfs.staging.links import Links
    from artfs.staging.progress import Progress
    from artfs.staging.scan import Scan
    from artfs.staging.target import OpenTarget


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit has made. ``created`` is False if ``latest`` had the same content already."""

    version: Version
    created: bool
    warnings: tuple[str, ...]
    hashed_files: int


@dataclass(frozen=True, slots=True)
class _Content:
    """Everything a version will hold."""

    hashed: list[Hashed]
    totals: Totals
    warnings: tuple[str, ...]
    hashed_now: int


class Committer:
    """Makes drafts versions. ``open_target`` says where their files and manifests go.

    ``on_step`` is told the name of each step when it is done.
    """

    def __init__(
        self,
        registry: Registry,
        open_target: OpenTarget,
        links: Links,
        threads: int,
        algorithm: Algorithm = Algorithm.MD5,
        on_step: Callable[[str], None] = lambda _: None,
        keep: Callable[[Entry, Path, Sequence[bytes]], None] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._registry = registry
        self._open_target = open_target
        self._links = links
        self._threads = threads
        self._algorithm = algorithm
        self._on_step = on_step
        self._keep = keep
        self._turns = Turns() if turns is None else turns

    @staticmethod
    def is_frozen(draft: Draft) -> bool:
        """Whether a commit of the draft was begun and has not ended."""
        return Journal.load(draft) is not None

    def freeze(self, draft: Draft, wanted: Journal) -> None:
        """Begin a commit: from here on it is resumed until it succeeds or fails for good. InvalidInputError."""
        names = tuple(name for alias in dict.fromkeys(wanted.aliases) if (name := parse_alias(alias)) != LATEST)
        draft.hold_space()
        try:
            with number(draft) as order, draft.database.transaction():
                dataclasses.replace(wanted, aliases=names, order=order).begin(draft)
                draft.error = None
                draft.turn.ended = None
        except ArtfsError:
            draft.give_space()
            raise
        self._on_step("frozen")

    def run(self, draft: Draft, progress: Progress) -> CommitResult:
        """Do, or go on with, the commit of a frozen draft, when those of the collection that were begun before have ended. Blocks.

        UnreachableError and CommitInterrupted leave the commit to be run again. Any other error ends it: the draft is as it was,
        and ``draft.error`` says why.
        """
        if draft.turn.ended is None and not is_given_up(draft):
            self._turns.take(draft, progress, lambda earlier: self._run_in_turn(earlier, progress))
        result = self._run_in_turn(draft, progress)
        progress.begin("done")
        return result

    def _run_in_turn(self, draft: Draft, progress: Progress) -> CommitResult:
        with draft.turn.lock:
            match draft.turn.ended:
                case None:
                    pass
                case ArtfsError() as error:
                    raise error
                case result:
                    return result
            try:
                with contextlib.closing(Gathered(draft.directory)) as entries:
                    refuse_given_up(draft)
                    draft.database.set(WAITS_KEY, None)
                    result = self._run(draft, entries, progress)
            except CommitInterrupted:
                raise
            except UnreachableError as error:
                with contextlib.suppress(ArtfsError):  # the database may be what cannot be used
                    draft.database.set(WAITS_KEY, error.message)
                if isinstance(error, OfflineError):
                    raise OfflineError(
                        "artfs is offline: a commit waits for a mount that is not",
                        hint="or, with a network: artfs commit --resume",
                    ) from error
                raise
            except ArtfsError as error:
                self._give_back(draft, error)
                draft.turn.ended = error
                raise
            draft.turn.ended = result
            return result

    def _give_back(self, draft: Draft, error: ArtfsError) -> None:
        """Make a draft whose commit failed an ordinary draft again, also where the disk is full or the registry fails."""
        draft.give_space()
        with contextlib.suppress(ArtfsError):  # the next commit of the draft does it, if this one cannot
            journal = Journal.load(draft)
            if journal is not None:
                self._registry.abandon(journal.client_id)
        with draft.database.transaction():
            Journal.clear(draft)
            draft.database.set(WAITS_KEY, None)
            if draft.database.get(GIVEN_UP_KEY):
                draft.database.set(GIVEN_UP_KEY, None)
                draft.transient = False  # it is there to be looked at
            draft.error = f"{error.message}" + (f" ({error.hint})" if error.hint else "")

    def _begin(self, draft: Draft) -> Journal:
        """Drop what an earlier commit of the draft may have left reserved: the draft can have changed since it failed."""
        journal = Journal.load(draft)
        if journal is None:
            raise InvalidInputError(f"draft {draft.name!r} is not frozen")
        if journal.failed is not None:
            self._registry.abandon(journal.failed)
            journal = dataclasses.replace(journal, failed=None)
            journal.save(draft)
        return journal

    def _run(self, draft: Draft, entries: Gathered, progress: Progress) -> CommitResult:
        journal = self._begin(draft)
        description = draft.description if journal.description is None else journal.description
        metadata = draft.metadata if journal.metadata is None else journal.metadata
        content = self._gather(draft, entries, progress, may_be_empty=journal.empty)
        new = NewVersion(
            client_id=journal.client_id,
            collection=draft.collection,
            type=draft.type if journal.type is None else journal.type,
            digest=content.totals.digest,
            algorithm=self._algorithm,
            size=content.totals.size,
            file_count=content.totals.count,
            description=description,
            metadata=metadata,
            aliases=journal.aliases,
            run=journal.run,
        )
        reservation = self._registry.reserve(new)
        if not reservation.existing and journal.reserved != reservation.id:
            journal = dataclasses.replace(journal, reserved=reservation.id)
            journal.save(draft)
        self._on_step("reserved")
        warnings, own = content.warnings, content.hashed
        ref = draft.collection.at(version_name(reservation.index))
        if (
            reservation.own and reservation.existing
        ):  # published before a crash, with its aliases, which may have moved since
            version = self._registry.version(ref)
            created = version.id == journal.reserved
        elif reservation.existing:
            aliases = journal.aliases
            version = self._registry.add_aliases(ref, aliases) if aliases else self._registry.version(ref)
            created = False
        else:
            target = self._open_target(draft, new, reservation)
            target.store_files(draft, content.hashed, progress)
            manifest = target.store_manifest(entries)
            refuse_given_up(draft)
            recheck = Recheck(self._registry, target, draft, entries, content.hashed, progress)
            version = recheck.publish(journal, manifest, reservation.seen)
            created = version.id == reservation.id
            self._on_step("published")
            target.published()
            named = [
                dataclasses.replace(one, entry=target.named(one.entry)) for one in own
            ]  # as who reads them finds them
            own = [one for one in named if one.entry.packed is None]
        if created:
            self._keep_files(draft, own)
        else:
            warnings += (f"nothing new: the content is that of {version.collection}:{version_name(version.index)}",)
            if description is not None or metadata:
                warnings += ("its description and metadata were not recorded: set them on that version instead",)
            if journal.ttl_seconds is not None:
                warnings += ("its time to live was not recorded: set it on that version instead",)
        warnings += self._record_run(journal, version)
        version = self._mark(journal, version, created=created)
        draft.discard()
        self._on_step("discarded")
        return CommitResult(version, created, warnings, content.hashed_now)

    def _mark(self, journal: Journal, version: Version, *, created: bool) -> Version:
        """Give the version the tags and the ttl that were asked for."""
        ttl = journal.ttl_seconds if created else None
        if not journal.tags and ttl is None:
            return version
        ref = version.collection.at(version_name(version.index))
        wanted = None if ttl is None else (version.ttl_seconds, ttl)
        return self._registry.change_version(ref, VersionChange(ttl_seconds=wanted, add_tags=journal.tags))

    def _record_run(self, journal: Journal, version: Version) -> tuple[str, ...]:
        """Record which run logged the version. The version is there: only a registry that is away is a reason to try again."""
        run = run_or_none(journal.run)
        if run is None:
            return ()
        try:
            self._registry.record_logged(self._registry.run(run), version.id)
        except UnreachableError:
            raise
        except ArtfsError as error:
            return (f"it is not recorded that run {run} logged the version: {error.message}",)
        self._on_step("logged")
        return ()

    def _gather(self, draft: Draft, entries: Gathered, progress: Progress, *, may_be_empty: bool) -> _Content:
        """Find out what the version will hold, and put it into ``entries``."""
        found = scan(draft.tree, progress)
        copies = self._resolve(draft, found, entries, progress)
        found.refuse_problems()
        self._on_step("scanned")
        hashed, count = hash_files(draft, found.files, self._threads, self._algorithm, progress)
        own = chain((one.entry for one in hashed), found.entries)
        if copies:
            by_path = {str(entry.path): entry for entry in own}
            own = chain(by_path.values(), (dataclasses.replace(by_path[target], path=path) for path, target in copies))
        entries.add_own(own)
        totals = check(entries.lines(), self._algorithm)
        if not totals.count and not may_be_empty:
            raise InvalidInputError("the draft is empty", hint="write files into it first")
        self._on_step("hashed")
        return _Content(hashed, totals, found.warnings(), count)

    def _resolve(self, draft: Draft, found: Scan, entries: Gathered, progress: Progress) -> list[tuple[EntryPath, str]]:
        """Put the entries that symlinks and references of a draft stand for into ``entries``.

        Return the paths of symlinks that stand for files of the draft, each with the file that it is a copy of.
        """
        copies: list[tuple[EntryPath, str]] = []
        for link in found.symlinks:
            try:
                for meaning in self._links.resolve(draft, link):
                    progress.advance(files=1)
                    if isinstance(meaning, tuple):
                        copies.append((parse_entry_path(meaning[0]), meaning[1].path))
                    else:
                        entries.add(meaning)
            except InvalidInputError as error:
                found.problems.append(error.message)
        for wanted in draft.references:
            for entry in self._links.expand(
                wanted.path, wanted.uri, checksum=wanted.checksum, max_objects=wanted.max_objects
            ):
                progress.advance(files=1)
                entries.add(entry)
        return copies

    def _keep_files(self, draft: Draft, hashed: Sequence[Hashed]) -> None:
        """Hand the files over that are in a store elsewhere by now, so that this machine need not fetch what it has just had."""
        if self._keep is None:
            return
        for one in hashed:
            if one.item.size:
                path = Path(draft.tree.local_path(one.item.path))
                with contextlib.suppress(OSError):  # then it is fetched
                    checksums = [one.blocks[at : at + 32] for at in range(0, len(one.blocks), 32)]
                    self._keep(one.entry, path, checksums or [Digest.of(path.read_bytes(), Algorithm.BLAKE3).raw])
