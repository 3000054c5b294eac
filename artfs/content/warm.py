"""Fetch the blocks of many entries into the block cache before anybody reads them.

`survey` says beforehand how much that is; `Warming` does it through the pipeline of a mount, so that nothing is fetched twice, and what
readers wait for comes first. Entries are taken in their order, several requests are under way at a time. What the cache has already is not
fetched again, so a warm-up that was interrupted goes on where it was. What fails is noted, and the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import trio

from artfs.content.packs import place_of
from artfs.content.proof import SMALL, block_length, cache_name
from artfs.errors import ArtfsError, NoSpaceError, OfflineError, UnreachableError
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artfs.cache.blocks import BlockCache
    from artfs.cache.cachefile import CacheFile
    from artfs.content.origin import Origins
    from artfs.content.pipeline import Pipeline
    from artfs.content.targets import Targets
    from artfs.model.entry import Entry

_RUN = 8  # blocks that are asked for together
_BATCH = 256  # entries that are looked at in one go
_GIVE_UP = 8  # files in a row whose service does not answer
_MOST_FAILURES = 1000  # that are named
_PAGE = 4096


class Failure(NamedTuple):
    """A file that could not be had, and why."""

    path: str
    error: ArtfsError


@dataclass(slots=True)
class Survey:
    """How much some entries are. Each content is counted once; sizes are bytes.

    ``local`` lies on this machine outside of the cache, ``here`` is in the cache, ``to_fetch`` is not. ``need`` is what the cache has to
    hold beside what is pinned already. ``unsized`` are references whose size nobody recorded, which cannot be cached.
    """

    files: int = 0
    size: int = 0
    local: int = 0
    here: int = 0
    to_fetch: int = 0
    files_to_fetch: int = 0
    need: int = 0
    unsized: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(slots=True)
class Fetched:
    """What came: files and bytes, and the files that did not (only so many are named; ``failed`` counts all)."""

    files: int = 0
    size: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)

    def fail(self, path: str, error: ArtfsError) -> None:
        """Note a file that could not be had."""
        self.failed += 1
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(Failure(path, error))


class Content(NamedTuple):
    """The content of an entry, as far as the cache is concerned: ``file`` has it, or the pack that it lies in.

    ``file`` is None if it lies on this machine, or has no bytes.
    """

    path: str
    entry: Entry
    file: CacheFile | None

    @property
    def packed(self) -> bool:
        """Whether the content lies in a pack."""
        return self.file is not None and self.entry.packed is not None


class Shelves:
    """Where the contents of entries are: finds each once, in the order of the entries. ``cache`` makes the block cache. Blocks."""

    def __init__(self, origins: Origins, targets: Targets, cache: Callable[[], BlockCache]) -> None:
        self._origins = origins
        self._targets = targets
        self._cache = cache

    def contents(self, entries: Iterable[tuple[str, Entry]]) -> Iterator[Content | Failure]:
        """Yield the content of each entry that has another one than those before, or why it cannot be found.

        Entries come with their full names, under which their contents are told.
        """
        seen: set[int] = set()  # numbers of 64 bits: there may be millions
        for name, entry in entries:
            try:
                found = self._find(name, entry)
            except ArtfsError as error:
                yield Failure(name, error)
                continue
            key = hash((cache_name(found.entry), found.entry.size, found.entry.packed))
            if key not in seen:
                seen.add(key)
                yield found

    def _find(self, name: str, entry: Entry) -> Content:
        end = self._targets.of(entry)
        if end.size == 0 or self._origins.is_local(end):
            return Content(name, end, None)
        place = place_of(end)
        return Content(name, end, self._cache().file(cache_name(place.content), place.content.size))


def missing_bytes(content: Content) -> int:
    """Return how many bytes of a content are neither on this machine nor in the cache, by what is recorded."""
    file, size = content.file, content.entry.size
    if file is None:
        return 0
    place = place_of(content.entry)
    missing = file.missing(place.first, place.last)
    if content.packed:  # others that lie in the same blocks count their own bytes
        return size if missing else 0
    return sum(block_length(size, number) for number in missing)


def survey(contents: Iterable[Content | Failure], is_pinned: Callable[[str], bool]) -> Survey:
    """Sum contents up. Blocks."""
    found = Survey()
    seen: set[int] = set()  # blocks of packs
    for content in contents:
        found.files += 1
        if isinstance(content, Failure):
            found.failures.append(content)
            continue
        size, missing = content.entry.size, missing_bytes(content)
        found.size += size
        if size == 0 and content.entry.ref is not None:
            found.unsized += 1
        if content.file is None:
            found.local += size
            continue
        found.here += size - missing
        found.to_fetch += missing
        found.files_to_fetch += missing > 0
        if content.packed:
            found.need += sum(_new_blocks(content, content.file, seen, pinned=is_pinned(content.file.name)))
        else:
            found.need += _on_disk(missing if is_pinned(content.file.name) else size)
    return found


def _new_blocks(content: Content, file: CacheFile, seen: set[int], *, pinned: bool) -> Iterator[int]:
    """Yield the disk space of the blocks of a pack that a content needs, beside those that were seen. Pinned ones have theirs."""
    place = place_of(content.entry)
    for number in file.missing(place.first, place.last) if pinned else range(place.first, place.last + 1):
        key = hash((file.name, file.size, number))
        if key not in seen:
            seen.add(key)
            yield _on_disk(block_length(file.size, number))


def _on_disk(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


class _File:
    """A content on its way, or some that lie together in a pack: how many of its runs are to come, and whether one has failed."""

    __slots__ = ("contents", "failed", "left", "place")

    def __init__(self, contents: list[Content], runs: int) -> None:
        self.contents = contents
        self.place = place_of(contents[0].entry)
        self.left = runs
        self.failed = False


class _Run(NamedTuple):
    file: _File
    first: int
    last: int


class Warming:
    """One warm-up.

    ``parallel`` requests are under way at a time; ``strict``: contents without a block list come whole or not at all. ``keep`` waits until
    what was fetched is in the cache. ``advance`` is told files and bytes as they come.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cache: BlockCache,
        keep: Callable[[], None],
        advance: Callable[[int, int], object],
        *,
        parallel: int,
        strict: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._cache = cache
        self._keep = keep
        self._advance = advance
        self._parallel = parallel
        self._strict = strict
        self._fetched = Fetched()
        self._failed: set[str] = set()
        self._asked: set[tuple[str, int, int]] = set()  # blocks of packs
        self._silent = 0
        self._gave_up: ArtfsError | None = None

    async def run(self, contents: Callable[[], Iterator[Content | Failure]]) -> Fetched:
        """Fetch what is missing of contents, each as often as it is asked for them: to fetch them, and to see whether they came.

        Files that fail are noted. UnreachableError if a service does not answer for many files in a row, OfflineError if none may.
        """
        await trio.to_thread.run_sync(self._keep)  # what readers have fetched is not missing
        sender, receiver = trio.open_memory_channel[_Run](0)
        async with trio.open_nursery() as nursery:
            for _ in range(self._parallel):
                nursery.start_soon(self._fetch_all, receiver.clone(), nursery.cancel_scope)
            receiver.close()
            async with sender:
                await self._send_runs(contents(), sender)
        if self._gave_up is not None:
            raise self._gave_up
        if self._fetched.files:
            await trio.to_thread.run_sync(self._confirm, contents())
        return self._fetched

    async def _send_runs(self, contents: Iterator[Content | Failure], sender: trio.MemorySendChannel[_Run]) -> None:
        more = True
        while more:
            try:
                runs, more = await trio.to_thread.run_sync(self._next_runs, contents)
            except ArtfsError as error:
                self._gave_up = error
                return
            for run in runs:
                await sender.send(run)

    def _next_runs(self, contents: Iterator[Content | Failure]) -> tuple[list[_Run], bool]:
        """Return what is to be fetched of the next contents, and whether there may be more of them."""
        runs: list[_Run] = []
        packs: dict[tuple[str, int], tuple[list[Content], list[int]]] = {}
        more = False
        for count, content in enumerate(contents, 1):
            if isinstance(content, Failure):
                self._fetched.fail(*content)
            elif content.file is not None:
                content.file.use()  # what is here is not to be evicted for what comes
                place = place_of(content.entry)
                missing = content.file.missing(place.first, place.last)
                if content.packed:
                    key = (content.file.name, content.file.size)
                    blocks = {(*key, number) for number in range(place.first, place.last + 1)}
                    if missing or not self._asked.isdisjoint(blocks):  # it comes, or came with a file before it
                        together, numbers = packs.setdefault(key, ([], []))
                        together.append(content)
                        numbers += missing
                        self._asked.update((*key, number) for number in missing)
                elif missing:
                    runs += self._runs_of(content, missing)
            more = count == _BATCH or len(runs) >= _BATCH
            if more:
                break
        for together, numbers in packs.values():
            runs.append(_Run(_File(together, 1), min(numbers, default=0), max(numbers, default=-1)))
        return runs, more

    def _runs_of(self, content: Content, missing: list[int]) -> list[_Run]:
        whole = content.entry.size <= SMALL or self._strict
        spans = [(missing[0], missing[-1])] if whole else list(_spans(missing))
        one = _File([content], len(spans))
        return [_Run(one, first, last) for first, last in spans]

    async def _fetch_all(self, receiver: trio.MemoryReceiveChannel[_Run], scope: trio.CancelScope) -> None:
        async with receiver:
            async for run in receiver:
                if not run.file.failed:
                    await self._fetch(run, scope)

    async def _fetch(self, run: _Run, scope: trio.CancelScope) -> None:
        file, content = run.file, run.file.place.content
        packed = file.contents[0].packed
        try:
            number = run.first
            while number <= run.last:
                last = await self._pipeline.bring(content, number, run.last)
                if not packed:
                    self._count(min((last + 1) * BLOCK_SIZE, content.size) - number * BLOCK_SIZE)
                number = last + 1
            file.left -= 1
            if file.left == 0 and not file.failed:
                if packed:
                    await self._prove(file.contents)
                else:
                    await self._finish(file.contents[0])
                    self._fetched.files += 1
                    self._advance(1, 0)
                self._silent = 0
        except ArtfsError as error:
            for one in () if file.failed else file.contents:  # else another run of it was as unlucky
                self._fetched.fail(one.path, error)
                self._failed.add(one.path)
            file.failed = True
            if isinstance(error, UnreachableError):
                self._silent += 1
                if self._silent >= _GIVE_UP or isinstance(error, OfflineError):
                    self._gave_up = error
                    scope.cancel()

    async def _prove(self, contents: list[Content]) -> None:
        """Prove the files that were to be fetched of a pack; the rest of what came is of others."""
        errors = await self._pipeline.prove([content.entry for content in contents])
        for content, error in zip(contents, errors, strict=True):
            if error is not None:
                self._fetched.fail(content.path, error)
                self._failed.add(content.path)
                continue
            self._count(content.entry.size)
            self._fetched.files += 1
            self._advance(1, 0)

    async def _finish(self, content: Content) -> None:
        """Prove a content that was fetched as it came."""
        if content.entry.size > SMALL and (await self._pipeline.state(content.entry))[1] == "provisional":
            await self._pipeline.settle(content.entry)

    def _count(self, size: int) -> None:
        self._fetched.size += size
        self._advance(0, size)

    def _confirm(self, contents: Iterator[Content | Failure]) -> None:
        """Look whether everything that came is kept."""
        self._keep()
        self._cache.flush()
        for content in contents:
            if isinstance(content, Failure) or content.path in self._failed or content.file is None:
                continue
            missing = missing_bytes(content)
            if missing:
                reason = self._cache.statistics().trouble or "it was evicted again, or another process writes it"
                self._fetched.files -= 1
                self._fetched.fail(
                    content.path,
                    NoSpaceError(
                        f"{missing:,} bytes were not kept in the cache: {reason}", hint="try again; artfs status"
                    ),
                )


def _spans(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield neighbours among sorted numbers, as first and last, so many at most together."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1 or number - first == _RUN:
            yield first, last
            first = number
        last = number
    yield first, last
