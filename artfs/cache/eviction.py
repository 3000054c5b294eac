"""Making room in the block cache, and forgetting what is wrong: the only place where bytes that are recorded are removed.

Blocks go in the order of their last use over all contents, but for those of pinned names. One process evicts at a time. Each step
keeps to the rules in `artfs.cache.datafiles`: lock, delete the rows, then bump and punch, or unlink and bump. Whoever is killed in
between leaves bytes that nobody knows, which `artfs.cache.sweep` finds.

Where the file system cannot punch holes, whole files go. A ledger that cannot even delete rows, because the disk is full, is helped by
unlinking the coldest files first: that harms no reader, who has them open or finds them missing.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from artfs.cache.datafiles import valid_content
from artfs.cache.ledger import is_full

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from artfs.cache.datafiles import Content, DataFile
    from artfs.cache.recorder import Recorder
    from artfs.cache.room import Room
    from artfs.cache.transaction import ColdBlock, Transaction
    from artfs.cache.world import World

log = logging.getLogger(__name__)

_BATCH = 256  # rows looked at in one transaction
_MAX_FILES = 64  # opened in one transaction
_PINNED_REST = 3600 * 10**9  # nanoseconds
_EMERGENCY = 2 << 20  # bytes, enough for the log of the ledger
_CANNOT_RENAME = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOENT}
_CANNOT_PUNCH = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class Forget(Protocol):
    """Tells this process what was evicted: blocks of a content, or all; and its counter before and after."""

    def __call__(self, content: Content, numbers: Collection[int] | None, counter: tuple[int, int], /) -> None:
        """Forget blocks."""


@dataclass(slots=True)
class _Victim:
    content: Content
    numbers: list[int]
    file: DataFile | None  # None if it is missing
    whole: bool = False

    @property
    def size(self) -> int:
        return sum(self.content.cost(number) for number in self.numbers)


class Evictor:
    """Evicts from one world. Thread-safe; methods raise OSError and sqlite3.Error."""

    def __init__(self, world: World, recorder: Recorder, room: Room, forget: Forget) -> None:
        self._world = world
        self._recorder = recorder
        self._room = room
        self._forget = forget
        self._lock = threading.RLock()
        self.evicted = 0
        """Blocks evicted by this process."""
        self.evicted_bytes = 0
        """The disk space that they had."""

    def make_room(self, cost: int, *, on_disk: bool = True) -> bool:
        """Set room aside, evicting where there is none; False if another process is evicting now.

        OSError if nothing is left that may be evicted.
        """
        if self._room.reserve(cost, on_disk=on_disk):
            return True
        if cost > self._room.max_bytes:
            return False
        with self._lock:
            self._look()
            if self._room.reserve(cost, on_disk=on_disk):
                return True
            freed: int | None = 1
            while freed:
                freed = self.evict(lambda: self.shortage(cost))
                if freed is None:
                    return False
                if self._room.reserve(cost, on_disk=on_disk):  # else others were faster
                    return True
        if self._room.used + cost > self._room.max_bytes:
            raise OSError(errno.ENOBUFS, "its size limit is reached, and nothing may be evicted")
        raise OSError(errno.ENOSPC, "as much of the disk is free as is to be kept free")

    def evict(self, needed: Callable[[], int]) -> int | None:
        """Evict as many bytes as are needed, or more, if there are so many; return how many. None if another process is evicting.

        ``needed`` is asked when nobody else evicts: others may have made the room meanwhile, and it must not be made twice.
        """
        with self._lock, self._world.alone() as alone:
            if not alone:
                return None
            need = needed()
            return self._free(need) if need else 0

    def shortage(self, cost: int = 0) -> int:
        """Return how many bytes the limits ask to evict before ``cost`` more come in, by all that is recorded now."""
        self.record()
        self._look()
        return self._room.shortage(cost)

    def _free(self, need: int) -> int:
        try:
            freed = self._evict(need)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            freed = self._unlink_coldest(max(need, _EMERGENCY))
            if not freed:
                raise
        self._look()
        return freed

    def _look(self) -> None:
        """See what others have recorded and evicted, and how much of the disk is free."""
        self._room.settle(0, self._world.ledger.totals.bytes)
        self._room.refresh(now=True)

    def record(self, *, touches: bool = False) -> list[Content]:
        """Record what there is (see `Recorder.record`), evicting if the disk has no room for the ledger to grow."""
        try:
            return self._recorder.record(touches=touches)
        except sqlite3.Error as error:
            if not is_full(error) or not self.evict(lambda: 1):
                raise
        return self._recorder.record(touches=touches)

    def _evict(self, need: int) -> int:
        self._recorder.record(touches=True)
        stamp, freed = time.time_ns(), 0
        for after in (False, True):  # last the blocks of a clock that was wrong
            looked = _BATCH
            while freed < need and looked == _BATCH:
                looked, victims = self._choose(stamp, need - freed, after=after)
                size = sum(victim.size for victim in victims)
                try:
                    for victim in victims:
                        self._finish(victim)
                finally:
                    self._room.going(-size)
                freed += size
        return freed

    def _choose(self, stamp: int, need: int, *, after: bool) -> tuple[int, list[_Victim]]:
        """Lock the coldest blocks and delete their rows; return how many were looked at (`_BATCH`: ask again), and the victims."""
        size, looked = 0, _BATCH
        try:
            with self._world.ledger.transaction() as transaction:
                cold = transaction.coldest(stamp, _BATCH, after=after)
                files: dict[int, list[ColdBlock]] = {}
                for block in cold:
                    if need <= 0 or (len(files) == _MAX_FILES and block.file not in files):
                        break
                    files.setdefault(block.file, []).append(block)
                    content = _content(block)
                    if content is not None and not transaction.is_pinned(content.name):
                        need -= content.cost(block.number)
                else:
                    looked = len(cold)
                victims = self._take(transaction, files, stamp, after=after)
                size = sum(victim.size for victim in victims)
                self._room.going(size)  # they take disk space until they are punched out
        except BaseException:
            self._room.going(-size)
            raise
        return looked, victims

    def _take(
        self, transaction: Transaction, files: dict[int, list[ColdBlock]], stamp: int, *, after: bool
    ) -> list[_Victim]:
        victims: list[_Victim] = []
        for file, blocks in files.items():
            content, numbers = _content(blocks[0]), [block.number for block in blocks]
            if content is None or any(_content(block) is None for block in blocks):
                transaction.forget(file)  # not written by anybody: damage
            elif transaction.is_pinned(content.name):
                # Out of the way for a while: it would be met in each round, and a big pin has a million blocks.
                transaction.warm(file, numbers, stamp if after else stamp + _PINNED_REST)
            else:
                numbers = numbers if self._world.can_punch else transaction.numbers(file)
                victims.append(self._lock_blocks(transaction, file, content, numbers, stamp))
        return victims

    def _lock_blocks(
        self, transaction: Transaction, file: int, content: Content, numbers: list[int], stamp: int
    ) -> _Victim:
        try:
            opened = self._world.data.open(content)
        except FileNotFoundError:
            transaction.remove(file, numbers)
            return _Victim(content, numbers, None)
        locked = [number for number in numbers if self._world.can_punch and opened.lock(number)]
        if not self._world.can_punch and opened.lock_whole():
            locked = numbers
        if not self._world.data.is_current(content, opened):
            locked = []
        if len(locked) < len(numbers):
            transaction.warm(file, set(numbers) - set(locked), stamp)
        left = transaction.remove(file, locked) if locked else True
        return _Victim(content, locked, opened, whole=not left and opened.lock_whole())

    def _finish(self, victim: _Victim) -> None:
        """Remove the bytes of blocks whose rows are deleted."""
        content, file = victim.content, victim.file
        if not victim.numbers:
            return
        if victim.whole:
            self._remove(content, file)
        else:
            self._forget(content, victim.numbers, self._bump(content))
        self.evicted += len(victim.numbers)
        self.evicted_bytes += victim.size
        if file is not None and not victim.whole and not self._punch(file, victim.numbers):
            self._drop(content, file if file.lock_whole() else None)

    def _punch(self, file: DataFile, numbers: Iterable[int]) -> bool:
        for number in numbers:
            try:
                file.punch(number)
            except OSError as error:
                if error.errno not in _CANNOT_PUNCH:
                    raise
                if self._world.can_punch:
                    self._world.can_punch = False
                    log.info("%s cannot punch holes: whole files are evicted", self._world.directory)
                return False
        return True

    def _unlink_coldest(self, need: int) -> int:
        freed, gone = 0, []
        for content in self._world.ledger.coldest_names(_BATCH):
            if freed >= need:
                break
            file = self._lock_whole(content)
            if file is not None:
                freed += file.status().st_blocks * 512
                self._remove(content, file)
                gone.append(content)
        with self._world.ledger.transaction() as transaction:
            for content in gone:
                transaction.forget(transaction.find(content))
        self._recorder.record(touches=True)
        return freed

    def drop(self, content: Content) -> None:
        """Forget a content: its rows, and its file unless somebody is writing it anew."""
        self.record()
        self._drop(content, self._lock_whole(content))

    def _drop(self, content: Content, file: DataFile | None) -> None:
        # The file was locked first: what others record after that is of another one.
        with self._world.ledger.transaction() as transaction:
            transaction.forget(transaction.find(content))
        self._remove(content, file)
        self._room.settle(0, self._world.ledger.totals.bytes)

    def _lock_whole(self, content: Content) -> DataFile | None:
        """Lock the file of a content; None if there is none, or somebody is writing it."""
        try:
            file = self._world.data.open(content)
        except FileNotFoundError:
            return None
        return file if file.lock_whole() and self._world.data.is_current(content, file) else None

    def _remove(self, content: Content, file: DataFile | None) -> None:
        """Remove the locked file of a content, if there is one."""
        if file is not None:
            self._world.data.unlink(content)
        self._forget(content, None, self._bump(content))

    def _bump(self, content: Content) -> tuple[int, int]:
        return self._world.epochs.bump(self._world.epochs.slot(content))

    def discard(self, content: Content, number: int) -> None:
        """Forget a block, before other bytes are written in its place: nobody may trust a mixture."""
        self.record()
        with self._world.ledger.transaction() as transaction:
            file = transaction.find(content)
            if file is not None:
                transaction.remove(file, [number])
        self._forget(content, [number], self._bump(content))
        self._room.settle(0, self._world.ledger.totals.bytes)

    def adopt(self, content: Content, source: Path) -> bool:
        """Make a file that of a content, in place of the one that is there; False if somebody writes that one, or it cannot be."""
        self.record()  # blocks on their way keep their locks until then
        target = self._world.data.create(content)
        if not (target.lock_whole() and self._world.data.is_current(content, target)):
            return False
        try:
            self._world.data.replace(content, source)
        except OSError as error:
            if error.errno in _CANNOT_RENAME:
                return False
            raise
        self._forget(content, None, self._bump(content))
        return True


def _content(block: ColdBlock) -> Content | None:
    """Return the content of a row, unless it is one that nobody wrote."""
    content = valid_content(block.name, block.size)
    if content is None or not isinstance(block.number, int) or not 0 <= block.number < content.blocks:
        return None
    return content
