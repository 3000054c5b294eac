"""Writing one block into its data file, by the rules in `artfs.cache.datafiles`.

In this order: a place on the way to the ledger, room on the disk, the lock of the block, the bytes, the change. Whatever is not taken over
by the change is given back.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artfs.cache.rows import Written
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from artfs.cache.datafiles import DataFile
    from artfs.cache.keeper import Keeper
    from artfs.cache.known import Begun, Known, State

_ATTEMPTS = 4  # to lock a block while others evict the same content, or to write it to a disk that is full
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Bytes:
    """A block to be written."""

    number: int
    data: memoryview
    checksum: bytes
    proven: bool


def store(known: Known, keeper: Keeper, block: Bytes, begun: Begun) -> bool:
    """Write a block and have it recorded, if there is room and nobody else writes it; return whether that was done.

    Raises OSError and sqlite3.Error.
    """
    if begun.replaces:
        keeper.evictor.discard(known.content, block.number)
    if not keeper.recorder.begin():
        return False
    cost, taken_over = known.content.cost(block.number), False
    try:
        if not keeper.evictor.make_room(cost):
            return False
        try:
            taken_over = _write(known, keeper, block, cost, begun)
        finally:
            keeper.room.landed(cost)
            if not taken_over:
                keeper.room.release(cost)
    finally:
        if not taken_over:
            keeper.recorder.abandon()
    return taken_over


def _write(known: Known, keeper: Keeper, block: Bytes, cost: int, begun: Begun) -> bool:
    locked = _lock(known, keeper, block.number)
    if locked is None:
        return False
    state, file = locked
    taken_over = False
    try:
        if not block.proven and keeper.world.ledger.block(known.content, block.number):
            known.reload(state)  # another process was faster, and its block may be proven
            return False
        try:
            _fill(keeper, file, block)
        except OSError:
            _clear(known, keeper, file, block.number)
            raise
        change = Written(known.content, block.number, block.checksum, block.proven, time.time_ns())
        taken_over = known.written(state, change, file, cost, begun)
        if not taken_over:
            _clear(known, keeper, file, block.number)
    finally:
        if not taken_over:
            file.unlock(block.number)
    return taken_over


def _lock(known: Known, keeper: Keeper, number: int) -> tuple[State, DataFile] | None:
    """Lock a block in the file that is at the path; None if another process writes it, or the world is another one."""
    for _ in range(_ATTEMPTS):
        state = known.fresh()
        if state is None or state.keeper is not keeper:
            return None
        epoch = state.epoch
        file = known.file_for_writing(state)
        if not file.lock(number):
            return None
        if state.counter == epoch:
            return state, file
        file.unlock(number)
    return None


def _fill(keeper: Keeper, file: DataFile, block: Bytes) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            file.write(block.number * BLOCK_SIZE, block.data)
        except OSError as error:
            if error.errno not in _FULL or attempt == _ATTEMPTS - 1:
                raise
            # The disk is fuller than it told, or the limits allow all of it. What is freed may be gone again: the ledger grows, too.
            if keeper.evictor.evict(lambda: keeper.room.shortage(2 * BLOCK_SIZE) or 2 * BLOCK_SIZE) == 0:
                raise
        else:
            return


def _clear(known: Known, keeper: Keeper, file: DataFile, number: int) -> None:
    """Give back the disk space of a block that was not written well."""
    with contextlib.suppress(OSError, sqlite3.Error):
        keeper.evictor.discard(known.content, number)
        file.punch(number)
