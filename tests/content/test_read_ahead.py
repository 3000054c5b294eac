"""Read-ahead: for who reads in order, and for nobody else."""

import random

import pytest
import trio
import trio.testing

from artfs.content.pipeline import Pipeline
from artfs.errors import IntegrityError
from artfs.model.entry import BLOCK_SIZE

BLOCKS = 40
FAR_APART = (36, 4, 24, 12, 32, 8, 20, 28, 16)
DATA = random.Random(4).randbytes(64) * (BLOCKS * BLOCK_SIZE // 64)

pytestmark = pytest.mark.trio


class Reading:
    """A file that is read piece by piece, and what is fetched because of it."""

    def __init__(self, store, pipeline, entry):
        self._store, self._pipeline, self._entry = store, pipeline, entry

    @property
    def fetched(self):
        return self._store.blocks_read(self._entry)

    async def read(self, block, size=4096, at=0):
        """Read some bytes of a block, wait for all that was begun, and return the blocks that were fetched."""
        before = len(self.fetched)
        offset = block * BLOCK_SIZE + at
        assert bytes(await self._pipeline.read(self._entry, offset, size)) == DATA[offset : offset + size]
        await settled(self._pipeline)
        return sorted(self.fetched[before:])


async def settled(pipeline):
    """Wait for all that was begun, or is about to."""
    with trio.fail_after(120):
        await trio.testing.wait_all_tasks_blocked()
        while pipeline.in_flight:
            await trio.sleep(0)


@pytest.fixture
def pipeline(reader, nursery):
    return Pipeline(reader, nursery)


@pytest.fixture
def reading(store, pipeline):
    return Reading(store, pipeline, store.add("f", DATA, listed=True))


async def test_a_file_read_from_its_start_is_fetched_ahead_but_not_whole(reading):
    fetched = await reading.read(0)
    assert fetched == list(range(len(fetched)))
    assert 2 <= len(fetched) < BLOCKS // 2


async def test_a_sequential_reader_finds_every_block_fetched_and_none_is_fetched_twice(reading):
    for block in range(BLOCKS):
        assert block == 0 or block in reading.fetched
        await reading.read(block)
    assert sorted(reading.fetched) == list(range(BLOCKS))


async def test_the_pieces_of_one_block_start_nothing_new(reading):
    await reading.read(0, 128 << 10)
    for piece in range(1, 8):
        assert await reading.read(0, 128 << 10, at=piece * (128 << 10)) == []


async def test_a_reader_who_goes_on_in_the_middle_is_fetched_ahead_when_he_has_shown_it(reading):
    assert await reading.read(20) == [20]
    assert await reading.read(21) == list(range(21, 21 + len(reading.fetched) - 1))
    assert len(reading.fetched) > 2
    assert 22 in reading.fetched


async def test_a_random_reader_fetches_only_what_it_asks_for(reading):
    for block in FAR_APART:
        assert await reading.read(block) == [block]


async def test_a_reader_who_goes_backwards_fetches_only_what_it_asks_for(reading):
    for block in range(BLOCKS - 1, BLOCKS // 2, -1):
        assert await reading.read(block) == [block]


async def test_nothing_is_fetched_beyond_the_end(reading):
    await reading.read(BLOCKS - 3)
    assert await reading.read(BLOCKS - 2) == [BLOCKS - 2, BLOCKS - 1]
    assert await reading.read(BLOCKS - 1) == []


async def test_a_reader_of_several_blocks_at_once_is_a_sequential_reader(reading):
    fetched = await reading.read(0, 3 * BLOCK_SIZE)
    assert fetched == list(range(len(fetched)))
    assert len(fetched) > 3


async def test_a_small_file_is_one_fetch(store, pipeline):
    entry = store.add("small", DATA[:100])
    await pipeline.read(entry, 0, 100)
    await settled(pipeline)
    assert store.blocks_read(entry) == [0]


async def test_files_are_followed_apart(store, pipeline):
    first, second = (store.add(name, data, listed=True) for name, data in (("f", DATA), ("g", DATA[64:])))
    await pipeline.read(first, 20 * BLOCK_SIZE, 10)
    await pipeline.read(second, 21 * BLOCK_SIZE, 10)
    await settled(pipeline)
    assert store.blocks_read(second) == [21]


async def test_who_catches_up_with_the_read_ahead_waits_for_the_same_fetch(store, pipeline):
    entry = store.add("f", DATA, listed=True)
    await pipeline.read(entry, 0, 10)
    with store.held():
        async with trio.open_nursery() as readers:
            for block in (1, 2, 3):
                readers.start_soon(pipeline.read, entry, block * BLOCK_SIZE, 10)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
    await settled(pipeline)
    fetched = store.blocks_read(entry)
    assert sorted(fetched) == list(range(len(fetched)))
    assert len(fetched) >= 4


@pytest.mark.expects_warning("is damaged or missing")
async def test_damage_ahead_is_no_error_of_the_reader_until_he_comes_there(store, pipeline):
    entry = store.add("f", DATA, listed=True)
    store.flip(entry.blob, 2 * BLOCK_SIZE)
    for block in (0, 1):
        assert bytes(await pipeline.read(entry, block * BLOCK_SIZE, 10)) == DATA[block * BLOCK_SIZE :][:10]
    with pytest.raises(IntegrityError, match="block 2"):
        await pipeline.read(entry, 2 * BLOCK_SIZE, 1)
    assert bytes(await pipeline.read(entry, 3 * BLOCK_SIZE, 10)) == DATA[3 * BLOCK_SIZE :][:10]
