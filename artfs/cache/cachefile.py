"""One content in the block cache, as its users see it: read and write blocks, ask what is here, seal, drop."""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
from typing import TYPE_CHECKING

import blake3

from artfs.cache.rows import CHECKSUM_SIZE, Gone, Lost
from artfs.cache.storing import Bytes, store
from artfs.model.entry import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from artfs.cache.known import Block, Known, State
    from artfs.cache.rows import Change

log = logging.getLogger(__name__)

_ATTEMPTS = 4  # to read a block while others evict the same content
_NOT_HERE = {
    errno.ELOOP,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EFBIG,
}  # this content cannot be kept, others can


class CacheFile:
    """A content in the cache. Thread-safe. Nothing but a wrong argument raises: what cannot be had is a miss.

    What is said to be here is so as far as is known; only a read tells. Methods that never block say so.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._content = known.content

    @property
    def name(self) -> str:
        """The name of the content."""
        return self._content.name

    @property
    def size(self) -> int:
        """The bytes of the whole content."""
        return self._content.size

    @property
    def path(self) -> Path | None:
        """Where the data file is, or would be; None while there is no cache.

        Other processes evict from it at any time: who copies it pins the name, and looks at `whole` after that.
        """
        keeper = self._known.shelf.open_keeper()
        return None if keeper is None else keeper.world.data.path(self._content)

    def has(self, number: int) -> bool:
        """Whether a block is here. Never blocks."""
        return bool(self._known.here(range(number, number + 1)))

    def missing(self, first: int, last: int) -> list[int]:
        """Return which of the blocks from ``first`` to ``last`` are not here. Never blocks."""
        numbers = range(max(first, 0), min(last, self._content.blocks - 1) + 1)
        here = set(self._known.here(numbers))
        return [number for number in numbers if number not in here]

    @property
    def count(self) -> int:
        """How many blocks are here. Never blocks."""
        return self._known.summary()[0]

    def checksum(self, number: int) -> bytes | None:
        """Return the BLAKE3 of a block that is here. Never blocks."""
        state = self._known.state
        return None if state is None else self._known.block(state, number).checksum

    def proven(self, number: int) -> bool:
        """Whether a block is here and proven. Never blocks. Blocks may be replaced: to act on it, read with ``only_proven``."""
        state = self._known.state
        return state is not None and self._known.block(state, number).proven

    @property
    def whole(self) -> bool:
        """Whether every block is here. Never blocks."""
        return self._known.summary()[0] == self._content.blocks

    @property
    def damaged(self) -> bool:
        """Whether this process has found something of it damaged, or missing where it should be. Never blocks."""
        return self._known.damaged

    @property
    def sealed(self) -> bool:
        """Whether the whole content was proven once, and all that is here is. Never blocks."""
        return self._known.summary()[1]

    def read_nowait(self, number: int, offset: int, size: int, *, only_proven: bool = False) -> memoryview | None:
        """Return bytes of a block that this process has verified, if they are in the page cache still. Never blocks.

        None says nothing: ask `read`, which verifies what comes from the disk again. The arguments are those of `read`.
        """
        state = self._known.state
        if state is None or not 0 <= number < self._content.blocks or offset < 0:
            return None
        block = self._known.block(state, number)
        size = min(size, self._content.length(number) - offset)
        if block.file is None or not block.verified or size < 0 or (only_proven and not block.proven):
            return None
        data = block.file.read_nowait(number * BLOCK_SIZE + offset, size)
        if data is None or state.counter != block.epoch:
            return None
        self._hit(state, number)
        return data

    def _hit(self, state: State, number: int) -> None:
        state.keeper.recorder.touch(self._content, number)
        self._known.shelf.count(hits=1)

    def load(self) -> bool:
        """Read from the disk what is here, unless that is in memory; False while there is no cache."""
        return self._state() is not None

    def read(self, number: int, offset: int = 0, size: int | None = None, *, only_proven: bool = False) -> bytes | None:
        """Return bytes of a block: ``size`` of them from ``offset`` in it, fewer at its end; None is a miss.

        The whole block is read and verified. With ``only_proven``, one that is not proven is a miss.
        """
        data = None
        if 0 <= number < self._content.blocks and offset >= 0:
            length = max(self._content.length(number) - offset, 0)
            data = self._read(number, offset, length if size is None else min(size, length), only_proven=only_proven)
        if data is None:
            self._known.shelf.count(misses=1)
        return data

    def _read(self, number: int, offset: int, size: int, *, only_proven: bool) -> bytes | None:
        for attempt in range(_ATTEMPTS):
            known = self._known.state
            state = self._state()
            if state is None:
                return None
            block = self._known.block(state, number)
            if block.checksum is None:
                if attempt or state is not known or not self._written_by_others(state, number):
                    return None
                continue
            if only_proven and not block.proven:
                return None
            try:
                data = self._bytes(state, number, offset, size, block)
            except OSError as error:
                if state.counter == block.epoch:
                    self._failed(state, number, block.checksum, error)
                    return None
                continue
            if state.counter != block.epoch:  # somebody evicts: what was read may be a hole
                continue
            if data is None:
                self._lost(state, Lost(self._content, number, block.checksum))
                return None
            if not block.verified:
                self._known.verified(state, number, block.checksum)
            self._hit(state, number)
            return data
        return None

    def _state(self) -> State | None:
        keeper = self._known.shelf.keeper
        try:
            return self._known.fresh()
        except sqlite3.Error as error:
            keeper = keeper or self._known.shelf.keeper
            if keeper is not None:
                self._known.shelf.failed(keeper, error)
            return None

    def _written_by_others(self, state: State, number: int) -> bool:
        try:
            if state.keeper.world.ledger.block(self._content, number):
                self._known.reload(state)
                return True
        except sqlite3.Error as error:
            self._known.shelf.failed(state.keeper, error)
        return False

    def _bytes(self, state: State, number: int, offset: int, size: int, block: Block) -> bytes | None:
        """Read a block, and return a part of it; None if its bytes are not those that were written."""
        length = self._content.length(number)
        data = self._known.file(state).read(number * BLOCK_SIZE, length)
        if len(data) != length or blake3.blake3(data).digest() != block.checksum:
            return None
        return data if size == length else data[offset : offset + size]

    def check(self, number: int) -> bool | None:
        """Whether a block is on the disk as it was written; None if it is not here. A damaged one is forgotten.

        Unlike `read`, this is no use of the block, and leaves the page cache as it is.
        """
        for _ in range(_ATTEMPTS):
            state = self._state()
            block = None if state is None else self._known.block(state, number)
            if state is None or block is None or block.checksum is None:
                return None
            try:
                length = self._content.length(number)
                data = state.keeper.world.data.read_direct(self._content, number * BLOCK_SIZE, length)
            except OSError as error:
                if state.counter == block.epoch:
                    self._failed(state, number, block.checksum, error)
                    return False
                continue
            if state.counter != block.epoch:  # somebody evicts: what was read may be a hole
                continue
            if len(data) == length and blake3.blake3(data).digest() == block.checksum:
                return True
            self._lost(state, Lost(self._content, number, block.checksum))
            return False
        return None

    def use(self) -> None:
        """Note that all blocks that are here are used now, so that others are evicted before them. Never blocks."""
        state = self._known.state
        if state is not None:
            for number in self._known.here(range(self._content.blocks)):
                state.keeper.recorder.touch(self._content, number)

    def _failed(self, state: State, number: int, checksum: bytes, error: OSError) -> None:
        if isinstance(error, FileNotFoundError) and state.keeper.world.intact():
            self._lost(state, Gone(self._content))
            return
        if error.errno == errno.EIO:
            self._lost(state, Lost(self._content, number, checksum))
        self._known.shelf.failed(state.keeper, error)

    def _lost(self, state: State, change: Change) -> None:
        self._known.record(state, change)
        if isinstance(change, Lost):
            self._warn_others(state, change.number)
        self._known.shelf.count(damaged=1)
        if not self._known.damaged:
            self._known.damaged = True
            what = f"block {change.number}" if isinstance(change, Lost) else "the data file"
            log.info("%s of %s in the cache is damaged or missing, and is forgotten", what, self._content.name)

    def _warn_others(self, state: State, number: int) -> None:
        """Have every process verify again what it trusts: the damaged block may be in the page cache now, by this very read."""
        with contextlib.suppress(OSError):  # a disk that fails is told of elsewhere
            self._known.forget([number], state.keeper.world.epochs.bump(state.slot))

    def write(
        self, number: int, data: bytes | bytearray | memoryview, *, proven: bool, checksum: bytes | None = None
    ) -> None:
        """Keep a whole block; ``checksum`` is its BLAKE3 if that is known. What is not proven never replaces what is.

        Raises ValueError if the block is not one of this content, and for nothing else: a block may not be kept.
        """
        view = memoryview(data).cast("B")
        if not 0 <= number < self._content.blocks or view.nbytes != self._content.length(number):
            raise ValueError(f"{view.nbytes} bytes are not block {number} of {self._content}")
        if checksum is not None and len(checksum) != CHECKSUM_SIZE:
            raise ValueError(f"a checksum has {CHECKSUM_SIZE} bytes, not {len(checksum)}")
        if self._known.refused or not self._known.shelf.writable:
            return
        state = self._state()
        if state is None:
            return
        if checksum is None:
            checksum = blake3.blake3(view).digest()
        begun = self._known.begin_writing(state, number, checksum, proven=proven)
        if begun is None:
            return
        try:
            if store(self._known, state.keeper, Bytes(number, view, checksum, proven), begun):
                self._known.shelf.wrote()
        except (OSError, sqlite3.Error) as error:
            self._cannot_write(state, error)
        finally:
            self._known.end_writing(number)

    def _cannot_write(self, state: State, error: OSError | sqlite3.Error) -> None:
        if isinstance(error, OSError) and error.errno in _NOT_HERE:
            self._known.refused = True
            log.info("%s cannot be cached: %s", self._content.name, error.strerror)
        else:
            self._known.shelf.failed(state.keeper, error, writing=True)

    def seal(self, checksums: Sequence[bytes] | None = None) -> None:
        """Note that the whole content was proven: every block that is here becomes proven.

        ``checksums`` are the BLAKE3 of the blocks that were proven. Without them the caller knows that no block was evicted
        and written again since it was read; with them, a block that is another one is dropped.
        """
        state = self._state()
        if state is None:
            return
        if checksums is not None:
            if len(checksums) != self._content.blocks:
                raise ValueError(f"{len(checksums)} checksums are not those of {self._content}")
            self._discard_others(state, checksums)
        self._known.seal(state, checksums)

    def seal_if_proven(self) -> bool:
        """Note that the whole content was proven, if every block is here and was proven by itself; False if not. Never blocks."""
        return self._known.seal_if_proven()

    def _discard_others(self, state: State, checksums: Sequence[bytes]) -> None:
        for number in self._known.here(range(self._content.blocks)):
            if self._known.block(state, number).checksum != checksums[number]:
                try:
                    state.keeper.evictor.discard(self._content, number)
                except (OSError, sqlite3.Error) as error:
                    self._known.shelf.failed(state.keeper, error, writing=True)

    def drop(self) -> None:
        """Forget everything of this content: its source changed, or the whole was wrong."""
        keeper = self._known.shelf.open_keeper()
        self._known.drop()
        if keeper is None:
            return
        try:
            keeper.evictor.drop(self._content)
        except (OSError, sqlite3.Error) as error:
            keeper.recorder.add(Gone(self._content))  # as soon as the ledger can be written
            self._known.shelf.failed(keeper, error, writing=True)
