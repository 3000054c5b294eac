"""Tidying the block cache after an unclean end: bytes that nobody knows, rows without bytes, totals that are wrong.

Runs in a thread of its own beside everything else, a directory at a time, and can be stopped between two of them. It keeps to the
rules in `artfs.cache.datafiles`. What is unknown and younger than an hour may be on its way into the ledger, and stays.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from typing import TYPE_CHECKING

from artfs.cache.ledger import LedgerDamagedError
from artfs.cache.world import LEFTOVER_AGE, leftovers
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artfs.cache.datafiles import Content, DataFile
    from artfs.cache.world import World

log = logging.getLogger(__name__)

_OVERHEAD = 256 << 10  # bytes of disk that a file may take beyond its blocks before it is looked at


def sweep(world: World, stopped: Callable[[], bool], *, always: bool = False) -> None:
    """Remove what older worlds left, and tidy this one if a process ended without closing it, or ``always``.

    Raises OSError and sqlite3.Error, and InterruptedError if it was stopped.
    """
    for path in leftovers(world):
        _remove(path, stopped)
    with world.unclean_ends() as unclean:
        if not (unclean or always):
            return
        if unclean:
            log.info("the block cache in %s was not closed, looking for what is not recorded", world.directory)
        if not world.ledger.sound():
            raise LedgerDamagedError("its pages are not in order")
        with world.ledger.transaction() as transaction:
            transaction.recount()
        for kind in sorted(world.ledger.kinds() | set(world.data.kinds())):
            for number in range(256):
                if stopped():
                    raise InterruptedError("the block cache is being closed")
                _sweep_directory(world, kind, f"{number:02x}")


def sweep_temporaries(cache_dir: Path) -> None:
    """Remove files beside the block cache that were being written when a process ended: block lists, and indexes of manifests."""
    for pattern in ("blocklists/*/.new-*", "index/*/.compile-*"):
        for path in cache_dir.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LEFTOVER_AGE:
                    path.unlink()


def _remove(path: Path, stopped: Callable[[], bool]) -> None:
    for directory in path.glob("data/*/*"):
        if stopped():
            return
        shutil.rmtree(directory, ignore_errors=True)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sweep_directory(world: World, kind: str, prefix: str) -> None:
    found = world.data.listing(kind, prefix)
    recorded = world.ledger.contents(kind, prefix)  # read later: what is recorded meanwhile is known
    for content in found:
        try:
            file = world.data.open(content)
        except OSError:
            continue
        if content not in recorded:
            _remove_unknown(world, content, file)
        elif file.status().st_blocks * 512 > recorded[content] + _OVERHEAD:
            _punch_unknown(world, content, file)
    missing = recorded.keys() - set(found)
    if missing:
        with world.ledger.transaction() as transaction:
            for content in missing & _still_missing(world, missing):
                transaction.forget(transaction.find(content))


def _still_missing(world: World, contents: set[Content]) -> set[Content]:
    return {content for content in contents if not world.data.exists(content)}


def _remove_unknown(world: World, content: Content, file: DataFile) -> None:
    status = file.status()
    if time.time() - max(status.st_mtime, status.st_ctime) < LEFTOVER_AGE:
        return
    if not (file.lock_whole() and world.data.is_current(content, file)):
        return
    with world.ledger.transaction() as transaction:
        if transaction.find(content) is not None:
            return
    world.data.unlink(content)
    world.epochs.bump(world.epochs.slot(content))


def _punch_unknown(world: World, content: Content, file: DataFile) -> None:
    numbers: set[int] = set()
    for start, end in file.data_ranges():
        numbers.update(range(start // BLOCK_SIZE, -(-end // BLOCK_SIZE)))
    numbers.difference_update(world.ledger.load(content).checksums)
    locked = [number for number in numbers if file.lock(number)]
    if not locked or not world.data.is_current(content, file):
        return
    with world.ledger.transaction() as transaction:
        unknown = [number for number in locked if not transaction.has(content, number)]
    world.epochs.bump(world.epochs.slot(content))
    for number in unknown:
        try:
            file.punch(number)
        except OSError as error:
            log.info("block %d of %s is not recorded, and cannot be punched out: %s", number, content.name, error)
            return
