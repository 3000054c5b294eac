"""Whatever is done to a block cache, in any order: a read is the right bytes or a miss, and a miss only where there is a reason."""

import os
import random
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from artfs.cache.blocks import BlockCache
from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    PLENTY,
    block_of,
    checksums_of,
    data_file,
    evict,
    flip,
    keeper_of,
    numbered,
    whole_of,
)

CONTENTS = [numbered(1, 700), numbered(2, 2 * BLOCK_SIZE + 10), numbered(3, BLOCK_SIZE, kind="ref")]
BLOCKS = [(content, number) for content in CONTENTS for number in range(content.blocks)]

blocks = st.sampled_from(BLOCKS)
contents = st.sampled_from(CONTENTS)
which = st.integers(0, 1)


class BlockCacheMachine(RuleBasedStateMachine):
    """Two processes (two caches) on one directory, against a set of the blocks that must be there and of those that may."""

    @initialize()
    def begin(self):
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="artfs-machine-", dir=parent))
        self.patch = mock.patch.object(os, "RWF_NOWAIT", 0)  # which a file system in memory may not have
        self.patch.start()
        self.caches = [self.open(), self.open()]
        self.surely = set()  # was written, and nothing happened to it
        self.maybe = set()  # was written once
        self.surely_proven = set()  # is one of the first, and was proven since
        self.maybe_proven = set()  # was proven once

    def open(self):
        return BlockCache(self.directory, max_bytes=PLENTY, keep_free=0)

    def flush(self):
        for cache in self.caches:
            cache.flush()

    def teardown(self):
        for cache in self.caches:
            assert cache.statistics().trouble is None
            cache.close()
        shutil.rmtree(self.directory)
        self.patch.stop()

    def lose(self, *lost):
        self.surely.difference_update(lost)

    @rule(which=which, block=blocks, proven=st.booleans())
    def write(self, which, block, proven):
        content, number = block
        file = self.caches[which].file(*content)
        if block not in self.surely:
            file.read(number)  # as one does before fetching it: what is damaged is found
        file.write(number, block_of(content, number), proven=proven)
        self.flush()
        self.maybe.add(block)
        self.surely.add(block)
        if proven:
            self.prove(block)

    def prove(self, *blocks):
        self.surely_proven.update(blocks)
        self.maybe_proven.update(blocks)

    @rule(which=which, block=blocks, seed=st.integers(0, 1000), nowait=st.booleans(), only_proven=st.booleans())
    def read(self, which, block, seed, nowait, only_proven):
        content, number = block
        length = content.length(number)
        offset = random.Random(seed).randrange(length)
        size = random.Random(seed + 1).randrange(1, length + 10)
        file = self.caches[which].file(*content)
        if nowait:
            data = file.read_nowait(number, offset, size, only_proven=only_proven)
        else:
            data = file.read(number, offset, size, only_proven=only_proven)
            if block in self.surely and (not only_proven or block in self.surely_proven):
                assert data is not None, "a block that must be there is a miss"
        if data is not None:
            assert data == block_of(content, number)[offset : offset + size]
            assert block in self.maybe
            assert not only_proven or block in self.maybe_proven

    @rule(which=which, need=st.sampled_from([1, BLOCK_SIZE + 1, 1 << 60]))
    def evict(self, which, need):
        self.flush()
        before = self.recorded()
        freed = evict(self.caches[which], need)
        gone = [content.cost(number) for content, number in before - self.recorded()]
        assert freed == sum(gone)
        assert freed >= min(need, sum(content.cost(number) for content, number in before))
        assert not gone or freed - max(gone) < need  # and not more than is needed
        self.surely &= self.recorded()

    def recorded(self):
        ledger = keeper_of(self.caches[0]).world.ledger
        return {(content, number) for content, number in BLOCKS if ledger.block(content, number)}

    @rule(which=which, content=contents)
    def drop(self, which, content):
        self.caches[which].file(*content).drop()
        gone = {block for block in BLOCKS if block[0] == content}
        self.surely -= gone
        self.maybe -= gone
        self.maybe_proven -= gone

    @rule(which=which, content=contents)
    def seal(self, which, content):
        file = self.caches[which].file(*content)
        if all((content, number) in self.surely for number in range(content.blocks)):
            file.read(0)
            file.seal(checksums_of(content))
            self.flush()
            self.prove(*[block for block in BLOCKS if block[0] == content])

    @rule(which=which, content=contents)
    def adopt(self, which, content):
        path = self.directory / "private"
        path.write_bytes(whole_of(content))
        assert self.caches[which].adopt(content.name, path, content.size, checksums_of(content))
        self.flush()
        whole = {block for block in BLOCKS if block[0] == content}
        self.surely |= whole
        self.maybe |= whole
        self.prove(*whole)

    @rule(which=which)
    def reopen(self, which):
        self.caches[which].close()
        self.caches[which] = self.open()

    @rule(which=which)
    def kill(self, which):
        """End without recording or closing anything, as far as that is possible in one process."""
        keeper = keeper_of(self.caches[which])
        keeper.end()
        for thread in keeper._threads:
            thread.join()
        keeper.world.ledger.close()
        os.close(keeper.world._session._descriptor)  # which tells of the end
        self.caches[which]._shelf._keeper = None
        self.caches[which].close()
        self.caches[which] = self.open()
        keeper_of(self.caches[which])._threads[1].join()

    def change(self, content):
        """Yield the data file of a content while nobody has the cache open: what is verified is not looked at again."""
        for cache in self.caches:
            cache.close()
        path = data_file(self.directory, content)
        if path.exists():
            yield path
        self.caches = [self.open(), self.open()]

    @rule(block=blocks, seed=st.integers(0, 1000), bit=st.sampled_from([1, 128]))
    def flip(self, block, seed, bit):
        content, number = block
        for path in self.change(content):
            place = number * BLOCK_SIZE + random.Random(seed).randrange(content.length(number))
            if place < path.stat().st_size:
                flip(path, place, bit)
                self.surely.discard(block)

    @rule(content=contents, seed=st.integers(0, 1000))
    def truncate(self, content, seed):
        for path in self.change(content):
            size = random.Random(seed).randrange(content.size)
            with path.open("r+b") as file:
                file.truncate(size)
            self.lose(*[block for block in BLOCKS if block[0] == content and (block[1] + 1) * BLOCK_SIZE > size])

    @rule(content=contents)
    def remove(self, content):
        for path in self.change(content):
            path.unlink()
            self.lose(*[block for block in BLOCKS if block[0] == content])

    @precondition(lambda self: self.surely)
    @rule()
    def remove_ledger_rows(self):
        """A machine that stopped loses the last transactions."""
        with keeper_of(self.caches[0]).world.ledger.transaction() as transaction:
            for content in CONTENTS:
                transaction.forget(transaction.find(content))
        for cache in self.caches:
            cache.close()
        self.caches = [self.open(), self.open()]
        self.surely.clear()

    @invariant()
    def there_is_no_trouble(self):
        if hasattr(self, "surely"):
            self.surely_proven &= self.surely
        for cache in getattr(self, "caches", []):
            assert cache.statistics().trouble is None


BlockCacheMachine.TestCase.settings = settings(
    max_examples=1000, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestBlockCacheMachine = BlockCacheMachine.TestCase
