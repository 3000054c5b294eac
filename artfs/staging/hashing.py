"""Hash the local files of a draft with several threads, and remember the results, so that nothing is hashed twice.

One pass over each file gives its digest and, above one block, its block list. Results are kept in the draft's database with
size, times and inode number of the file: a commit that is resumed, or tried again, hashes only what is new or has changed since.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.errors import BusyError, InvalidInputError, UnreachableError
from artfs.model.digest import Algorithm, Digest
from artfs.model.entry import BLOCK_SIZE, HEAD_SIZE, Entry, file_extra
from artfs.model.manifest import decode_entry, encode_entry
from artfs.model.paths import parse_entry_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from artfs.staging.drafts import Draft
    from artfs.staging.items import Item
    from artfs.staging.progress import Progress

_BATCH_FILES = 256  # files in one task of a thread
_BATCH_BYTES = 64 << 20  # bytes after which a task is given out
_SAVE_FILES = 2048  # results in one transaction
_REST_NS = 2_000_000_000  # far more than a tick of any clock that stamps files


@dataclass(frozen=True, slots=True)
class Hashed:
    """A local file with its entry. ``blocks`` is its block list, empty up to one block."""

    item: Item
    entry: Entry
    blocks: bytes


def hash_files(
    draft: Draft, items: Sequence[Item], threads: int, algorithm: Algorithm, progress: Progress
) -> tuple[list[Hashed], int]:
    """Return all files with their entries, and how many were hashed now. BusyError names a file that changes meanwhile."""
    known = _load(draft)
    results: list[Hashed] = []
    todo: list[Item] = []
    for item in items:
        found = known.get(item.path)
        if found is not None and found[0] == _identity(item) and found[1].algorithm is algorithm:
            results.append(Hashed(item, found[1], found[2]))
        else:
            todo.append(item)
    progress.begin("hashing", len(todo), sum(item.size for item in todo))
    unsaved: list[Hashed] = []
    for batch in _run(draft, _batches(todo), threads, algorithm, progress):
        results += batch
        unsaved += batch
        if len(unsaved) >= _SAVE_FILES:
            remember(draft, unsaved)
            unsaved = []
    remember(draft, unsaved)
    return results, len(todo)


def _run(
    draft: Draft, batches: Iterable[list[Item]], threads: int, algorithm: Algorithm, progress: Progress
) -> Iterator[list[Hashed]]:
    """Hash batches in threads, a few ahead of the one who takes the results."""
    remaining = deque(batches)
    with ThreadPoolExecutor(threads, thread_name_prefix="artfs-hash") as pool:
        running: set[Future[list[Hashed]]] = set()
        try:
            while remaining or running:
                while remaining and len(running) < 2 * threads:
                    running.add(pool.submit(_hash_batch, draft, remaining.popleft(), algorithm, progress))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _hash_batch(draft: Draft, items: Iterable[Item], algorithm: Algorithm, progress: Progress) -> list[Hashed]:
    buffer = memoryview(bytearray(BLOCK_SIZE))
    hashed, files, size = [], 0, 0
    for item in items:
        hashed.append(_hash_file(draft, item, algorithm, progress, buffer))
        files, size = files + 1, size + (item.size if item.size <= BLOCK_SIZE else 0)
    progress.advance(files, size)
    return hashed


def _hash_file(draft: Draft, item: Item, algorithm: Algorithm, progress: Progress, buffer: memoryview) -> Hashed:
    try:
        descriptor = os.open(draft.tree.local_path(item.path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PermissionError as error:
        raise InvalidInputError(
            f"the draft cannot be committed: {item.path} cannot be read: permission denied"
        ) from error
    except OSError as error:
        raise BusyError(f"{item.path} has changed while it was being committed", hint="try again") from error
    try:
        if item.size > BLOCK_SIZE:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        whole, blocks, head = algorithm.hasher(), bytearray(), None
        remaining = item.size
        while remaining:
            data = buffer[: _fill(descriptor, buffer[: min(BLOCK_SIZE, remaining)])]
            if not data:
                break
            whole.update(data)
            if item.size > BLOCK_SIZE:
                head = head or Digest.of(data[:HEAD_SIZE], Algorithm.BLAKE3)
                blocks += Digest.of(data, Algorithm.BLAKE3).raw
                progress.advance(0, len(data))
            remaining -= len(data)
        if _changed(os.fstat(descriptor), item):
            raise BusyError(f"{item.path} has changed while it was being committed", hint="try again")
    except OSError as error:
        raise UnreachableError(f"{item.path} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    block_list = Digest.of(blocks, Algorithm.BLAKE3) if blocks else None
    executable = bool(item.mode & 0o111)
    extra = file_extra(algorithm, executable=executable, block_list=block_list, head=head)
    digest = Digest(algorithm, whole.digest()).base64
    return Hashed(item, Entry(parse_entry_path(item.path), digest, item.size, extra=extra), bytes(blocks))


def _fill(descriptor: int, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends; return how many bytes were read."""
    count = 0
    while count < len(buffer) and (more := os.readv(descriptor, [buffer[count:]])):
        count += more
    return count


def _changed(found: os.stat_result, item: Item) -> bool:
    return (found.st_size, found.st_mtime_ns) != (item.size, item.mtime_ns)


def unchanged(draft: Draft, item: Item) -> bool:
    """Whether a file is still the one that was scanned, as far as size, time and inode tell."""
    try:
        found = os.lstat(draft.tree.local_path(item.path))
    except OSError:
        return False
    return not _changed(found, item) and stat.S_ISREG(found.st_mode) and found.st_ino == item.key[-1]


def _identity(item: Item) -> tuple[int, int, int, int, int]:
    return item.size, item.mtime_ns, item.ctime_ns, int(str(item.key[-1])), item.mode


def _load(draft: Draft) -> dict[str, tuple[tuple[int, ...], Entry, bytes]]:
    rows = draft.database.stream("SELECT path, entry, blocks, size, mtime_ns, ctime_ns, ino, mode FROM hashes")
    return {
        os.fsdecode(path): (tuple(identity), decode_entry(os.fsdecode(path), json.loads(entry)), blocks or b"")
        for path, entry, blocks, *identity in rows
    }


def hash_in_use(
    draft: Draft, items: Sequence[Item], threads: int, algorithm: Algorithm, progress: Progress
) -> Iterator[Hashed]:
    """Yield files with their entries, of a draft that may be written to meanwhile. BusyError names a file that changes.

    A file that has rested since before it was hashed is remembered. One that was written a moment ago is not: it may be written again
    within the same tick of the clock, and nobody could tell, which a commit must never have to rely on.
    """
    known = _load(draft)
    rested_ns = time.time_ns() - _REST_NS
    todo: list[Item] = []
    for item in items:
        found = known.get(item.path)
        if found is not None and found[0] == _identity(item) and found[1].algorithm is algorithm:
            yield Hashed(item, found[1], found[2])
        else:
            todo.append(item)
    progress.begin("hashing", len(todo), sum(item.size for item in todo))
    for batch in _run(draft, _batches(todo), threads, algorithm, progress):
        remember(draft, [one for one in batch if one.item.ctime_ns < rested_ns and unchanged(draft, one.item)])
        yield from batch


def hash_one(draft: Draft, item: Item, algorithm: Algorithm, progress: Progress) -> Hashed:
    """Return a file with its entry, which nobody remembers yet; see `hash_files`."""
    size = min(item.size, BLOCK_SIZE)
    return _hash_file(draft, item, algorithm, progress, memoryview(bytearray(size)))


def remember(draft: Draft, batch: Iterable[Hashed]) -> None:
    """Keep results in the draft's database, so that a commit need not hash these files again."""
    rows = [
        (os.fsencode(one.item.path), encode_entry(one.entry), one.blocks or None, *_identity(one.item)) for one in batch
    ]
    draft.database.execute_many("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
