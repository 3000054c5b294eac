"""Commit: make a draft a version.

The steps: scan, hash, reserve, bind, adopt, store the manifest, publish, discard. `freeze` journals the commit before the
first of them; `run` may be repeated after a crash at any point, because every step is idempotent: hashes are remembered, a
reservation belongs to the draft's id, a file that has become a blob is bound to its entry first, publishing again finds
the version published. The draft is removed last, by one rename.
Blobs come before the manifest, the manifest before the version: who sees a version can read all of it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from artfs.errors import ArtfsError, BusyError, InvalidInputError, UnreachableError
from artfs.model.digest import Algorithm, Digest, version_digest
from artfs.model.manifest import encode_manifest
from artfs.model.names import LATEST, parse_alias, version_name
from artfs.model.paths import EntryPath, parse_entry_path
from artfs.registry.port import ManifestFile, NewVersion
from artfs.staging.hashing import Hashed, hash_files, unchanged
from artfs.staging.progress import CommitInterrupted
from artfs.staging.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artfs.model.entry import Entry
    from artfs.registry.port import Registry, Version
    from artfs.staging.drafts import Draft
    from artfs.staging.links import Links
    from artfs.staging.progress import Progress
    from artfs.staging.scan import Scan
    from artfs.storage.port import BlobStore

_BIND_BATCH = 4096


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
    entries: list[Entry]  # all of them, sorted by path
    warnings: tuple[str, ...]
    hashed_now: int


class Committer:
    """Makes drafts versions. ``on_step`` is told the name of each step when it is done."""

    def __init__(
        self,
        registry: Registry,
        store: BlobStore,
        links: Links,
        threads: int,
        algorithm: Algorithm = Algorithm.MD5,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._registry = registry
        self._store = store
        self._links = links
        self._threads = threads
        self._algorithm = algorithm
        self._on_step = on_step

    @staticmethod
    def is_frozen(draft: Draft) -> bool:
        """Whether a commit of the draft was begun and has not ended."""
        return draft.database.get("commit") is not None

    @staticmethod
    def aliases(draft: Draft) -> list[str]:
        """Return the aliases that the commit of a frozen draft gives to the version."""
        journal = cast("dict[str, list[str]]", draft.database.get("commit") or {})
        return list(journal.get("aliases", []))

    def freeze(self, draft: Draft, aliases: Sequence[str]) -> None:
        """Begin a commit: from here on it is resumed until it succeeds or fails for good. InvalidInputError."""
        names = [parse_alias(alias) for alias in dict.fromkeys(aliases)]
        with draft.database.transaction():
            draft.database.set("commit", {"aliases": [name for name in names if name != LATEST]})
            draft.error = None
        self._on_step("frozen")

    def run(self, draft: Draft, progress: Progress) -> CommitResult:
        """Do, or go on with, the commit of a frozen draft. Blocks.

        UnreachableError and CommitInterrupted leave the commit to be run again. Any other error ends it: the draft is as it was,
        and ``draft.error`` says why.
        """
        try:
            return self._run(draft, progress)
        except (UnreachableError, CommitInterrupted):
            raise
        except ArtfsError as error:
            self._registry.abandon(draft.id)
            with draft.database.transaction():
                draft.database.set("commit", None)
                draft.error = f"{error.message}" + (f" ({error.hint})" if error.hint else "")
            raise

    def _run(self, draft: Draft, progress: Progress) -> CommitResult:
        content = self._gather(draft, progress)
        size = sum(entry.size for entry in content.entries)
        digest = version_digest(((entry.path, entry.digest) for entry in content.entries), self._algorithm)
        reservation = self._registry.reserve(
            NewVersion(
                client_id=draft.id,
                collection=draft.collection,
                type=draft.type,
                digest=digest,
                algorithm=self._algorithm,
                size=size,
                file_count=len(content.entries),
                description=draft.description,
                metadata=draft.metadata,
            )
        )
        self._on_step("reserved")
        warnings = content.warnings
        if reservation.existing:
            ref = draft.collection.at(version_name(reservation.index))
            aliases = self.aliases(draft)
            version = self._registry.add_aliases(ref, aliases) if aliases else self._registry.version(ref)
            created = False
        else:
            self._adopt(draft, content.hashed, progress)
            manifest = self._store_manifest(content.entries)
            progress.begin("publishing")
            version = self._registry.publish(draft.id, manifest, self.aliases(draft))
            created = version.id == reservation.id
            self._on_step("published")
        if not created:
            warnings += (f"nothing new: the content is that of {version.collection}:{version_name(version.index)}",)
            if draft.description is not None or draft.metadata:
                warnings += ("its description and metadata were not recorded: set them on that version instead",)
        draft.discard()
        self._on_step("discarded")
        progress.begin("done")
        return CommitResult(version, created, warnings, content.hashed_now)

    def _gather(self, draft: Draft, progress: Progress) -> _Content:
        """Find out what the version will hold."""
        found = scan(draft.tree, progress)
        linked, copies = self._resolve(draft, found)
        found.refuse_problems()
        self._on_step("scanned")
        hashed, count = hash_files(draft, found.files, self._threads, self._algorithm, progress)
        by_path = {one.item.path: one.entry for one in hashed} | {entry.path: entry for entry in found.entries}
        entries = [*by_path.values(), *linked]
        for path, target in copies:
            entries.append(dataclasses.replace(by_path[target], path=path))
        if not entries:
            raise InvalidInputError("the draft is empty", hint="write files into it first")
        entries.sort(key=lambda entry: entry.path)
        self._on_step("hashed")
        return _Content(hashed, entries, found.warnings(), count)

    def _resolve(self, draft: Draft, found: Scan) -> tuple[list[Entry], list[tuple[EntryPath, str]]]:
        """Return what the symlinks of a draft stand for: entries, and paths with the file of the draft they are copies of."""
        linked: list[Entry] = []
        copies: list[tuple[EntryPath, str]] = []
        for link in found.symlinks:
            try:
                for meaning in self._links.resolve(draft, link):
                    if isinstance(meaning, tuple):
                        copies.append((parse_entry_path(meaning[0]), meaning[1].path))
                    else:
                        linked.append(meaning)
            except InvalidInputError as error:
                found.problems.append(error.message)
        return linked, copies

    def _adopt(self, draft: Draft, hashed: Sequence[Hashed], progress: Progress) -> None:
        """Move the files of the draft into the store. Each is bound to its entry before it leaves."""
        progress.begin("storing", len(hashed), sum(one.item.size for one in hashed))
        for start in range(0, len(hashed), _BIND_BATCH):
            batch = hashed[start : start + _BIND_BATCH]
            draft.tree.bind((one.item.path, one.entry, one.item.mode, one.item.mtime_ns) for one in batch)
            self._on_step("bound")
            for one in batch:
                self._adopt_file(draft, one)
                progress.advance(1, one.item.size)
        self._on_step("adopted")

    def _adopt_file(self, draft: Draft, one: Hashed) -> None:
        if not unchanged(draft, one.item):
            raise BusyError(f"{one.item.path} has changed while it was being committed", hint="try again")
        block_list = one.entry.block_list
        if block_list is not None:
            self._store.write(block_list, [one.blocks])
        self._store.adopt(one.entry.blob, Path(draft.tree.local_path(one.item.path)))

    def _store_manifest(self, entries: Sequence[Entry]) -> ManifestFile:
        hasher, size = Algorithm.MD5.hasher(), 0
        for piece in encode_manifest(entries):
            hasher.update(piece)
            size += len(piece)
        digest = Digest(Algorithm.MD5, hasher.digest())
        self._store.write(digest, encode_manifest(entries))
        self._store.sync()
        self._on_step("stored")
        return ManifestFile(digest, size)
