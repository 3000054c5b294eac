"""What this process knows of one content of the block cache, and when it stops being true.

That is the rows of its blocks (`artfs.cache.rows`), the counter under which they were read (`artfs.cache.epochs`), which blocks were
verified under it, and the open data file. With another counter all of it is read anew. So to read is: look at what is known,
read the file, look at the counter; if it is another one, begin again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from artfs.cache.rows import Proven, Rows, Written

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from artfs.cache.datafiles import Content, DataFile
    from artfs.cache.keeper import Keeper
    from artfs.cache.rows import Adopted, Change
    from artfs.cache.shelf import Shelf


class State:
    """What is known under one counter. Changed only by its `Known`, under its lock."""

    __slots__ = ("epoch", "file", "keeper", "rows", "slot", "verified")

    def __init__(self, keeper: Keeper, slot: int, epoch: int, rows: Rows) -> None:
        self.keeper = keeper
        self.slot = slot
        self.epoch = epoch
        self.rows = rows
        self.verified: set[int] = set()
        self.file: DataFile | None = None

    @property
    def counter(self) -> int:
        """The counter of the content now. It is to be compared with the ``epoch`` of a `Block`."""
        return self.keeper.world.epochs.current(self.slot)


class Block(NamedTuple):
    """What is known of a block at one moment; ``checksum`` is None if it is not here."""

    epoch: int
    checksum: bytes | None
    proven: bool
    verified: bool
    file: DataFile | None


class Begun(NamedTuple):
    """A write that has begun. ``replaces``: there may be other bytes in its place that somebody trusts."""

    generation: int
    replaces: bool


class Known:
    """The knowledge of one content. Thread-safe. `State` objects are for who uses them at once."""

    def __init__(self, shelf: Shelf, content: Content) -> None:
        self.shelf = shelf
        self.content = content
        self._lock = threading.Lock()  # never held while anything waits for a disk
        self._loading = threading.Lock()
        self._state: State | None = None
        self._generation = 0  # how often all was dropped: what was being written before a drop is not kept
        self._writing: set[int] = set()
        self.refused = False
        """Whether this content cannot be cached, although others can."""
        self.damaged = False
        """Whether damage was found in it."""

    # --- from memory, never blocking

    @property
    def state(self) -> State | None:
        """What is known; None if nothing was loaded from the world in use."""
        state = self._state
        return state if state is not None and state.keeper is self.shelf.keeper else None

    def block(self, state: State, number: int) -> Block:
        """Return what is known of a block."""
        with self._lock:
            rows = state.rows
            checksum = rows.checksums.get(number)
            proven = checksum is not None and number not in rows.unproven
            return Block(state.epoch, checksum, proven, number in state.verified, state.file)

    def here(self, numbers: range) -> list[int]:
        """Return which of some blocks are here."""
        state = self.state
        if state is None:
            return []
        with self._lock:
            known = state.rows.checksums
            if len(known) < len(numbers):  # a huge content, of which little is here
                return sorted(number for number in known if number in numbers)
            return [number for number in numbers if number in known]

    def summary(self) -> tuple[int, bool]:
        """Return how many blocks are here, and whether the content is sealed."""
        state = self.state
        if state is None:
            return 0, False
        with self._lock:
            return len(state.rows.checksums), state.rows.sealed

    # --- loading

    def fresh(self) -> State | None:
        """Return what is known, read anew if it may have changed; None while there is no cache. Raises sqlite3.Error."""
        keeper = self.shelf.open_keeper()
        if keeper is None:
            return None
        state = self._state
        if state is None or state.keeper is not keeper or state.counter != state.epoch:
            with self._loading:
                state = self._state
                if state is None or state.keeper is not keeper or state.counter != state.epoch:
                    state = self._load(keeper)
        return state

    def reload(self, state: State) -> None:
        """Read what is known anew, because another process has written."""
        with self._loading:
            if self._state is state:
                self._load(state.keeper)

    def _load(self, keeper: Keeper) -> State:
        slot = keeper.world.epochs.slot(self.content)
        epoch = keeper.world.epochs.current(slot)  # before the rows: see `artfs.cache.epochs`
        rows = keeper.world.ledger.load(self.content)
        with self._lock:
            for change in keeper.recorder.pending(self.content):
                rows.apply(change)
            self._state = state = State(keeper, slot, epoch, rows)
        self.shelf.admit(self)
        return state

    # --- the data file

    def file(self, state: State) -> DataFile:
        """Return the open data file. Raises OSError; FileNotFoundError if there is none."""
        epoch = state.epoch
        return state.file or self._opened(state, epoch, state.keeper.world.data.open(self.content))

    def file_for_writing(self, state: State) -> DataFile:
        """Return the open data file, made if there was none. Raises OSError."""
        epoch, file = state.epoch, state.file
        if file is None or not file.writable:
            file = self._opened(state, epoch, state.keeper.world.data.create(self.content))
        file.fit(self.content.size)
        return file

    def _opened(self, state: State, epoch: int, file: DataFile) -> DataFile:
        with self._lock:
            if state.epoch != epoch:  # it may have been unlinked since
                return file
            if state.file is None or not state.file.writable:
                state.file = file
            file = state.file
        self.shelf.admit(self)
        return file

    # --- changes

    def verified(self, state: State, number: int, checksum: bytes) -> None:
        """Note that the bytes of a block were found to have its checksum."""
        with self._lock:
            # A file that was closed meanwhile may be another one when it is opened again.
            if state.file is not None and state.rows.checksums.get(number) == checksum:
                state.verified.add(number)

    def record(self, state: State, change: Change) -> None:
        """Make a change, and have it recorded."""
        with self._lock:
            self._record(state, change)

    def _record(self, state: State, change: Change) -> None:
        now = self._state
        if now is not None and now.keeper is state.keeper:  # else it is in the queue when rows are loaded
            now.rows.apply(change)
            now.verified.intersection_update(now.rows.checksums)
        state.keeper.recorder.add(change)

    def seal(self, state: State, checksums: Sequence[bytes] | None) -> None:
        """Note that the whole is what the content promises, if its blocks have these checksums."""
        with self._lock:
            here = (self._state or state).rows.checksums.items()
            equal = {number: value for number, value in here if checksums is None or checksums[number] == value}
            self._record(state, Proven(self.content, equal, sealed=True))

    def seal_if_proven(self) -> bool:
        """Note that the whole was proven, if each block is here and was."""
        state = self.state
        if state is None:
            return False
        with self._lock:
            proven = len(state.rows.checksums) == self.content.blocks and not state.rows.unproven
            if proven and not state.rows.was_sealed:
                self._record(state, Proven(self.content, {}, sealed=True))
            return proven

    def begin_writing(self, state: State, number: int, checksum: bytes, *, proven: bool) -> Begun | None:
        """Take a block to write; None if it is here already, or somebody in this process is writing it.

        What is not proven never replaces what is, and what is here already may become proven.
        """
        with self._lock:
            here = state.rows.checksums.get(number)
            if here is not None and (here == checksum or number not in state.rows.unproven):
                if proven and here == checksum:
                    self._record(state, Proven(self.content, {number: checksum}, sealed=False))
                if not proven or here == checksum:
                    return None
            if number in self._writing:
                return None
            self._writing.add(number)
            return Begun(self._generation, replaces=here is not None or self.damaged)

    def end_writing(self, number: int) -> None:
        """Give a block back."""
        with self._lock:
            self._writing.discard(number)

    def written(self, state: State, change: Written, file: DataFile, cost: int, begun: Begun) -> bool:
        """Have a block recorded that was written under ``state``; False if it is not wanted any more."""
        with self._lock:
            now = self._state
            if now is None or now.keeper is not state.keeper or self._generation != begun.generation:
                return False
            now.rows.apply(change)
            if now is state and now.file is file:
                now.verified.add(change.number)
            else:
                now.verified.discard(change.number)
            now.keeper.recorder.written(change, file, cost)
            return True

    def adopted(self, keeper: Keeper, change: Adopted, cost: int) -> None:
        """Have it recorded that a file was taken over as the whole."""
        with self._lock:
            if self._state is not None and self._state.keeper is keeper:
                self._state.rows.apply(change)
                self._state.verified = set()
                self._state.file = None
            keeper.recorder.add(change, cost)

    def forget(self, numbers: Collection[int] | None, counter: tuple[int, int]) -> None:
        """Forget blocks that this process evicts, or all; ``counter`` is that of the content before and after."""
        with self._lock:
            state = self._state
            if state is None:
                return
            if numbers is None:
                state.rows = Rows()
                state.verified = set()
                state.file = None
            else:
                for number in numbers:
                    state.rows.checksums.pop(number, None)
                    state.rows.unproven.discard(number)
                    state.verified.discard(number)
            if state.epoch == counter[0]:  # nobody else has evicted: what is left is still true
                state.epoch = counter[1]

    def drop(self) -> None:
        """Forget everything, and do not keep what is being written."""
        with self._lock:
            self._generation += 1
            self._state = None

    def release(self) -> None:
        """Close the data file. Blocks will have to be verified again."""
        with self._lock:
            if self._state is not None:
                self._state.file = None
                self._state.verified = set()
