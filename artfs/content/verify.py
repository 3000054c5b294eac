"""Prove the bytes of a version where they lie, file by file, and go on after a bad one.

`Verifier.origin` reads everything from where it comes from (the store, the places that references name) and compares the digest of the
whole with the manifest's; the block cache is neither asked nor filled, so that what is in it cannot hide that the origin is damaged. The
copies in the cache are checked beside that: damage there is forgotten, as in any read, and no fault of the version.

`Verifier.cached` reads what is on this machine, and never waits for a network: local origins, and the blocks that the cache holds.
"""

from __future__ import annotations

import enum
import re
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

from artfs.content.packs import Flights, place_of
from artfs.content.proof import block_count, block_length, cache_name, content_key, describe, is_provable
from artfs.content.targets import leads_on
from artfs.errors import (
    ChangedError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE
from artfs.model.reference import unchecked_file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artfs.cache.blocklists import BlockLists
    from artfs.cache.blocks import BlockCache
    from artfs.cache.cachefile import CacheFile
    from artfs.content.origin import Origins
    from artfs.content.targets import Targets
    from artfs.errors import ArtfsError
    from artfs.model.entry import Entry
    from artfs.storage.port import Buffer, Source

_RUN = 8  # blocks in one request
_AHEAD = 4  # requests for one big remote file under way at once
_SAME = 1 << 16  # contents that need not be read again if another path names them
_BLOCKS = 16  # of packs, in memory
_GIVE_UP = 8  # files in a row whose origin does not answer
_HEX_MD5 = re.compile(r"[0-9a-f]{32}")


class State(enum.Enum):
    """What was found out about a file."""

    PROVEN = "proven"  # its bytes are those that the manifest names
    PINNED = (
        "pinned"  # it is the object that was recorded, as the service says; its digest is an ETag and proves no bytes
    )
    UNPINNED = "unpinned"  # it was recorded without anything that could tell
    ABSENT = "absent"  # it is not on this machine, or not all of it
    DAMAGED = "damaged"
    MISSING = "missing"
    CHANGED = "changed"  # a reference names something else than was recorded
    REFUSED = "refused"  # it may not be read
    UNREACHABLE = "unreachable"

    @property
    def bad(self) -> bool:
        """Whether the version has not the bytes that it should have."""
        return self in {State.DAMAGED, State.MISSING, State.CHANGED, State.REFUSED}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one file. ``size`` is how many bytes were looked at, ``reason`` says what is wrong, if anything is.

    ``cache_damaged``: its copy in the block cache was not what was written there.
    """

    path: str
    state: State
    size: int
    reason: str = ""
    cache_damaged: bool = False


class Verifier:
    """Judges entries. Thread-safe.

    ``cache`` makes the block cache when it is first asked for. ``advance`` is told files and bytes, and may raise to give up.
    """

    def __init__(
        self,
        origins: Origins,
        targets: Targets,
        lists: BlockLists,
        cache: Callable[[], BlockCache],
        advance: Callable[[int, int], object],
    ) -> None:
        self._origins = origins
        self._targets = targets
        self._lists = lists
        self._cache = cache
        self._advance = advance
        self._lock = threading.Lock()
        self._same: LRUCache[object, tuple[State, str]] = LRUCache(_SAME)
        self._judging: dict[object, threading.Lock] = {}
        self._blocks: LRUCache[object, Buffer] = LRUCache(_BLOCKS)
        self._flights: Flights[object, Buffer] = Flights()

    # Where it comes from ----------------------------------------------------------------------------------------

    def origin(self, entry: Entry) -> Verdict:
        """Read an entry from where it lies, and judge it."""
        try:
            end = self._targets.of(entry)
        except _FAILURES as error:
            return self._failed(entry, error)
        key = (content_key(end), end.ref, end.home if end.ref is None else None, end.packed)
        with self._lock:
            judging = self._judging.setdefault(key, threading.Lock())
        try:
            with judging:  # whoever has the same content waits: it is read once
                with self._lock:
                    known = self._same.get(key)
                if known is None:
                    return self._first(entry, end, key)
        finally:
            with self._lock:
                self._judging.pop(key, None)
        self._advance(1, entry.size)
        return Verdict(entry.path, known[0], 0, known[1])

    def _first(self, entry: Entry, end: Entry, key: object) -> Verdict:
        """Judge the first entry of those that have one content, and remember what came of it for the others."""
        read, damaged = 0, False
        try:
            state, read = self._judge(end)
            damaged = not self._origins.is_local(end) and self._read_cached(end)[2]
        except _FAILURES as error:
            verdict = self._failed(entry, error)
        else:
            verdict = Verdict(entry.path, state, read, cache_damaged=damaged)
            self._advance(1, 0)
        if verdict.state is not State.UNREACHABLE:
            with self._lock:
                self._same[key] = verdict.state, verdict.reason
        return verdict

    def _judge(self, entry: Entry) -> tuple[State, int]:
        """Return what the origin of an entry proves, and how many bytes were read. Raises what is wrong with it."""
        expected = _expected(entry)
        if entry.ref is None and entry.size == 0:  # nothing need be stored
            if expected != entry.algorithm.hasher().digest():
                raise IntegrityError(f"{describe(entry)} is named with the size 0, which its digest denies")
            return State.PROVEN, 0
        opened = self._origins.open(entry)  # held until the end: it closes the source when nobody does
        if expected is None:
            opened.source.read(0, 1)  # the service is asked for what was recorded, and refuses anything else
            self._advance(0, entry.size)
            return State.PINNED if _is_pinned(entry) else State.UNPINNED, 1
        algorithm = entry.algorithm if is_provable(entry) else Algorithm.MD5
        hasher, read = algorithm.hasher(), 0
        for data in self._pieces(entry, opened.source):
            hasher.update(data)
            read += len(data)
            self._advance(0, len(data))
        if read != entry.size:
            raise IntegrityError(f"{describe(entry)} has {read:,} bytes, not the {entry.size:,} of the manifest")
        longer = opened.source.size if opened.source.local else None
        if longer is not None and longer != entry.size:
            raise IntegrityError(f"{describe(entry)} has {longer:,} bytes, not the {entry.size:,} of the manifest")
        if entry.ref is not None and entry.digest == unchecked_file_digest(entry.ref):
            raise IntegrityError(
                f"{describe(entry)} was recorded without a checksum: nothing can prove it, so it cannot be read"
            )
        if hasher.digest() != expected:
            raise IntegrityError(f"{describe(entry)} is damaged: its bytes do not match the manifest")
        return State.PROVEN, read

    def _pieces(self, entry: Entry, source: Source) -> Iterator[Buffer]:
        """Yield the bytes of an entry; fewer than it has if the source ends before."""
        if entry.packed is not None and not self._origins.is_local(entry):
            place = place_of(entry)
            for number, offset, length in place.pieces(entry.size):
                yield memoryview(self._fetched_block(place.content, number))[offset : offset + length]
            return
        run = 1 if self._origins.is_local(entry) else _RUN
        spans = deque(
            (first * BLOCK_SIZE, min(run * BLOCK_SIZE, entry.size - first * BLOCK_SIZE))
            for first in range(0, block_count(entry.size), run)
        )
        if run == 1 or len(spans) < 2:
            for span in spans:
                yield source.read(*span)
            return
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="artfs-fetch") as pool:
            tasks = deque(pool.submit(source.read, *spans.popleft()) for _ in range(min(_AHEAD, len(spans))))
            try:
                while tasks:
                    yield tasks.popleft().result()
                    if spans:
                        tasks.append(pool.submit(source.read, *spans.popleft()))
            finally:
                for task in tasks:
                    task.cancel()

    def _failed(self, entry: Entry, error: ArtfsError) -> Verdict:
        match error:
            case ChangedError():
                state = State.CHANGED
            case IntegrityError():
                state = State.DAMAGED if entry.ref is None else State.CHANGED
            case NotFoundError():
                state = State.MISSING
            case UnreachableError():
                state = State.UNREACHABLE
            case _:
                state = State.REFUSED
        self._advance(1, 0)
        return Verdict(entry.path, state, 0, error.message)

    # What is on this machine ------------------------------------------------------------------------------------

    def cached(self, entry: Entry) -> Verdict:
        """Read what there is of an entry on this machine, and judge it. Only local disks are waited for."""
        try:
            end = self._targets.known(entry) if leads_on(entry) else entry
        except _FAILURES as error:
            return self._failed(entry, error)
        if end is None:
            self._advance(1, entry.size)
            return Verdict(entry.path, State.ABSENT, 0, "where it leads to is not known on this machine")
        if self._origins.is_local(end):
            return self.origin(entry)
        state, read, damaged = self._read_cached(end)
        self._advance(1, max(end.size - read, 0))
        if damaged:
            reason = "its copy in the cache was damaged, and is forgotten: it is fetched again when it is read"
            return Verdict(entry.path, State.DAMAGED, read, reason, cache_damaged=True)
        if state is State.DAMAGED:
            return Verdict(entry.path, state, read, "its bytes in the cache do not match the manifest")
        if state is State.ABSENT and read:
            return Verdict(entry.path, state, read, f"{read:,} of {end.size:,} bytes are here")
        return Verdict(entry.path, state, read)

    def _read_cached(self, entry: Entry) -> tuple[State, int, bool]:
        """Read every block of an entry that the cache holds.

        Return what they prove, how many bytes they are, and whether any of them was damaged, which is forgotten then.
        """
        if entry.size == 0:
            return State.PROVEN if _expected(entry) == entry.algorithm.hasher().digest() else State.ABSENT, 0, False
        if entry.packed is not None:
            return self._read_packed(entry)
        file = self._cache().file(cache_name(entry), entry.size)
        expected = _expected(entry)
        algorithm = entry.algorithm if is_provable(entry) else Algorithm.MD5
        hasher, read = algorithm.hasher(), 0
        for number in range(block_count(entry.size)):
            data = file.read(number) if file.has(number) else None
            if data is None:
                continue
            if self._is_wrong(entry, number, data):
                file.drop()
                return State.ABSENT, read, True
            hasher.update(data)
            read += len(data)
        if read < entry.size or file.damaged:
            return State.ABSENT, read, file.damaged
        if expected is None:
            return State.PINNED if _is_pinned(entry) else State.UNPINNED, read, False
        return self._conclude(file, hasher.digest() == expected, read)

    def _read_packed(self, entry: Entry) -> tuple[State, int, bool]:
        """Do as `_read_cached` for a small file that lies in a pack, of which nothing is forgotten: others lie in it as well."""
        place, hasher, read, damaged = place_of(entry), entry.algorithm.hasher(), 0, False
        file = self._cache().file(cache_name(place.content), place.content.size)
        for number, offset, length in place.pieces(entry.size):
            here = file.has(number)
            block = self._block(file, number) if here else None
            damaged |= here and block is None
            if block is not None:
                piece = memoryview(block)[offset : offset + length]
                hasher.update(piece)
                read += len(piece)
        if read < entry.size:
            return State.ABSENT, read, damaged
        return State.PROVEN if hasher.digest() == _expected(entry) else State.DAMAGED, read, False

    def _fetched_block(self, pack: Entry, number: int) -> Buffer:
        """Return a block of a pack from where it lies, read once for all files that are in it."""
        key = (pack.digest, pack.size, number)

        def fetch(_: object) -> list[Buffer]:
            with self._lock:
                data = self._blocks.get(key)
            if data is None:
                data = self._origins.open(pack).source.read(number * BLOCK_SIZE, BLOCK_SIZE)
                with self._lock:
                    self._blocks[key] = data
            return [data]

        return self._flights.join([key], fetch)[0]

    def _block(self, file: CacheFile, number: int) -> Buffer | None:
        """Return a block of a pack; the last ones are kept, because the next file is mostly in the same."""
        key = (file.name, file.size, number)
        with self._lock:
            data = self._blocks.get(key)
        if data is None:
            data = file.read(number)
            if data is not None:
                with self._lock:
                    self._blocks[key] = data
        return data

    @staticmethod
    def _conclude(file: CacheFile, right: bool, read: int) -> tuple[State, int, bool]:
        if right:
            return State.PROVEN, read, False
        file.drop()
        return State.ABSENT, read, True

    def _is_wrong(self, entry: Entry, number: int, data: bytes) -> bool:
        """Whether a block is not that of a list that is known on this machine."""
        if entry.size <= BLOCK_SIZE or not is_provable(entry):
            return False
        blocks = self._lists.find(entry.blob, entry.block_list, block_count(entry.size))
        if blocks is None or len(data) != block_length(entry.size, number):
            return False
        return Digest.of(data, Algorithm.BLAKE3).raw != blocks[32 * number : 32 * number + 32]


_FAILURES = (IntegrityError, NotFoundError, PermissionDeniedError, InvalidInputError, UnreachableError)


def _expected(entry: Entry) -> bytes | None:
    """Return the digest that the bytes of an entry must have. An ETag of S3 often is an MD5: then it proves, else nothing does."""
    if is_provable(entry):
        return entry.blob.raw
    return bytes.fromhex(entry.digest) if _HEX_MD5.fullmatch(entry.digest) and entry.size else None


def _is_pinned(entry: Entry) -> bool:
    """Whether a reference says more of its object than the URI: a version, or an ETag that stands for the bytes."""
    if entry.extra.get("versionID") is not None or re.search(r"\?versionId=|#\d+$", entry.ref or ""):
        return True
    etag = entry.extra.get("etag")
    return entry.digest != entry.ref and not str(etag or entry.digest).startswith("W/")


def verify(entries: Iterable[Entry], judge: Callable[[Entry], Verdict], threads: int) -> Iterator[Verdict]:
    """Yield the verdict on every entry, as they come, several at a time.

    UnreachableError when the origins of many files in a row do not answer: then the others would not either.
    """
    silent = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="artfs-verify") as pool:
        running: set[Future[Verdict]] = set()
        try:
            for verdict in _run(pool, entries, judge, threads, running):
                silent = silent + 1 if verdict.state is State.UNREACHABLE else 0
                yield verdict
                if silent >= _GIVE_UP:
                    raise UnreachableError(f"{verdict.path}: {verdict.reason}", hint="try again when it answers")
        finally:
            for future in running:
                future.cancel()


def _run(
    pool: ThreadPoolExecutor,
    entries: Iterable[Entry],
    judge: Callable[[Entry], Verdict],
    threads: int,
    running: set[Future[Verdict]],
) -> Iterator[Verdict]:
    for entry in entries:
        running.add(pool.submit(judge, entry))
        if len(running) >= 8 * threads:
            yield from _finished(running)
    while running:
        yield from _finished(running)


def _finished(running: set[Future[Verdict]]) -> Iterator[Verdict]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        running.discard(future)
        yield future.result()
