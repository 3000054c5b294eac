"""The asynchronous read path: one fetch for each block, nobody waits for what is there, errors reach everybody."""

import gc
import random
from dataclasses import replace

import pytest
import trio
import trio.testing

from artfs.content import fetch as fetch_module
from artfs.content.fetch import Fetch
from artfs.content.lanes import MAX_DISK_READS, MAX_FETCHES
from artfs.content.pipeline import RUN, WINDOW_BYTES, Pipeline
from artfs.errors import IntegrityError, UnreachableError
from artfs.model.entry import BLOCK_SIZE, HEAD_SIZE, Entry
from artfs.model.paths import parse_entry_path
from tests.content.fakes import reference

DATA = random.Random(3).randbytes(3 * BLOCK_SIZE + 5)
damage = pytest.mark.expects_warning("is damaged or missing")

pytestmark = pytest.mark.trio


@pytest.fixture
def pipeline(reader, nursery, monkeypatch):
    monkeypatch.setattr(fetch_module, "_LONG", 600.0)  # no test is so slow that an error is remembered
    return Pipeline(reader, nursery)


async def reads_arrived(store, count):
    await trio.to_thread.run_sync(store.wait_for_reads, count)


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (0, len(DATA)), (5, 10), (BLOCK_SIZE - 1, 2), (BLOCK_SIZE, BLOCK_SIZE),
                                              (len(DATA) - 3, 100), (len(DATA), 10), (len(DATA) + BLOCK_SIZE, 1),
                                              (10, 2 * BLOCK_SIZE + 50), (7, 0)])  # fmt: skip
async def test_any_span_of_a_file_can_be_read(store, pipeline, offset, size):
    entry = store.add("f", DATA, listed=True)
    assert bytes(await pipeline.read(entry, offset, size)) == DATA[offset : offset + size]


async def test_an_empty_file_is_empty_and_one_that_should_not_be_is_refused(store, pipeline):
    assert await pipeline.read(store.add("f", b""), 0, 4096) == b""
    with pytest.raises(IntegrityError):
        await pipeline.read(Entry(parse_entry_path("g"), store.add("g", b"x").digest, 0), 0, 4096)


@pytest.fixture
def headed(store):
    """Keep a remote file whose entry proves its head, and return the entry."""
    store.local = False
    return store.add("f", DATA, listed=True, headed=True)


async def test_who_opens_a_file_and_reads_its_beginning_waits_for_its_head_alone(store, headed, pipeline):
    pipeline.prepare(headed)
    with store.held():
        async with trio.open_nursery() as readers:
            for size in (4096, HEAD_SIZE, 1):
                readers.start_soon(pipeline.read, headed, 0, size)
            await reads_arrived(store, 1)
            await trio.testing.wait_all_tasks_blocked()
            assert store.spans == [(headed.blob, 0, HEAD_SIZE)]
            store.gate.set()
    assert bytes(await pipeline.read(headed, len(DATA) - 9, 9)) == DATA[-9:]  # with the list


async def test_no_byte_of_a_head_is_fetched_twice_and_all_that_follows_is_kept(store, headed, pipeline, new_reader):
    assert bytes(await pipeline.read(headed, 5, 10)) == DATA[5:15]
    assert bytes(await pipeline.read(headed, 0, len(DATA))) == DATA
    spans = sorted((start, size) for name, start, size in store.spans if name == headed.blob)
    assert spans[0] == (0, HEAD_SIZE)
    assert [start for start, _ in spans[1:]] == [start + size for start, size in spans[:-1]]
    assert sum(size for _, size in spans) == len(DATA)
    pipeline._reader.close()
    pipeline._reader._remote._cache.flush()
    store.failure = UnreachableError("the store is away")
    assert b"".join(new_reader().export(headed)) == DATA


async def test_who_reads_the_head_alone_has_the_first_block_in_the_cache(store, headed, pipeline):
    await pipeline.read(headed, 0, 4096)
    while not pipeline._reader.is_here(headed, 0):  # it is written behind the reader's back
        await trio.sleep(0.01)
    store.failure = UnreachableError("the store is away")
    assert bytes(await pipeline.read(headed, 0, BLOCK_SIZE)) == DATA[:BLOCK_SIZE]


async def test_the_head_is_served_while_the_first_block_is_on_its_way(store, headed, pipeline):
    await pipeline.read(headed, 0, 4096)
    with store.held():
        await trio.testing.wait_all_tasks_blocked()
        assert bytes(await pipeline.read(headed, 4096, HEAD_SIZE - 4096)) == DATA[4096:HEAD_SIZE]
    assert bytes(await pipeline.read(headed, len(DATA) - 9, 9)) == DATA[-9:]


async def test_a_head_that_is_on_the_disk_is_not_fetched(store, headed, pipeline):
    await pipeline.read(headed, BLOCK_SIZE - 9, 9)
    while not pipeline._reader.is_here(headed, 0):  # it is written behind the reader's back
        await trio.sleep(0.01)
    del store.spans[:]
    assert bytes(await pipeline.read(headed, 0, 4096)) == DATA[:4096]
    assert (headed.blob, 0, HEAD_SIZE) not in store.spans


@damage
@pytest.mark.parametrize("offset", [0, HEAD_SIZE - 1])
async def test_a_damaged_head_is_not_served(store, headed, pipeline, offset):
    store.flip(headed.blob, offset)
    with pytest.raises(IntegrityError, match="block 0"):
        await pipeline.read(headed, 0, 4096)
    assert bytes(await pipeline.read(headed, BLOCK_SIZE, 9)) == DATA[BLOCK_SIZE:][:9]
    store.flip(headed.blob, offset)
    assert bytes(await pipeline.read(headed, 0, 4096)) == DATA[:4096]


@damage
async def test_a_head_that_is_right_before_a_block_that_is_not_is_served_and_the_block_is_an_error(
    store, headed, pipeline
):
    store.flip(headed.blob, HEAD_SIZE)
    assert bytes(await pipeline.read(headed, 0, 4096)) == DATA[:4096]
    with pytest.raises(IntegrityError, match="block 0"):
        await pipeline.read(headed, HEAD_SIZE, 9)


@damage
async def test_what_an_entry_says_of_its_head_is_not_believed_of_another_with_the_same_digest(store, headed, pipeline):
    other = b"x" * HEAD_SIZE + DATA[HEAD_SIZE:]
    liar = replace(store.add("g", other, listed=True, headed=True), digest=headed.digest)
    store.blobs[headed.blob][:] = other
    assert bytes(await pipeline.read(liar, 0, 4096)) == other[:4096]
    for offset in (0, HEAD_SIZE):
        with pytest.raises(IntegrityError):
            await pipeline.read(headed, offset, 4096)


async def test_a_head_that_does_not_come_is_an_error_of_everybody_who_waits_for_it(store, headed, pipeline):
    store.failure, errors = UnreachableError("the store does not answer"), []

    async def read():
        with pytest.raises(UnreachableError, match="does not answer") as caught:
            await pipeline.read(headed, 0, 4096)
        errors.append(caught.value)

    with store.held():
        async with trio.open_nursery() as readers:
            for _ in range(5):
                readers.start_soon(read)
            await reads_arrived(store, 1)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
    assert len(errors) == 5
    assert [start for _, start, _ in store.spans] == [0]


async def test_a_head_that_does_not_come_delays_nobody_whose_file_begins_in_the_same_way(store, headed, pipeline):
    hanging = replace(headed, ref="http://dead/f")
    store.blobs[hanging.ref] = bytearray(DATA)
    with store.held():
        async with trio.open_nursery() as readers:
            readers.start_soon(pipeline.read, hanging, 0, 4)
            await reads_arrived(store, 1)
            readers.start_soon(pipeline.read, headed, 0, 4)
            await reads_arrived(store, 1)
            assert store.spans[-1] == (headed.blob, 0, HEAD_SIZE)
            readers.cancel_scope.cancel()


async def test_a_block_is_fetched_once_however_many_wait_for_it(store, pipeline):
    entry, found = store.add("f", b"the only block"), []

    async def read(offset):
        found.append(bytes(await pipeline.read(entry, offset, 4)))

    with store.held():
        async with trio.open_nursery() as readers:
            for offset in range(50):
                readers.start_soon(read, offset % 10)
            await reads_arrived(store, 1)
            await trio.testing.wait_all_tasks_blocked()
            assert found == []
            store.gate.set()
    assert sorted(found) == sorted(b"the only block"[offset % 10 :][:4] for offset in range(50))
    assert store.blocks_read(entry) == [0]
    assert len(store.opened) == 1


async def test_two_files_of_the_same_bytes_are_fetched_once(store, pipeline):
    first, second = store.add("a", b"same"), store.add("b", b"same")
    async with trio.open_nursery() as readers:
        readers.start_soon(pipeline.read, first, 0, 4)
        readers.start_soon(pipeline.read, second, 0, 4)
    assert store.blocks_read(first) == [0]


async def test_a_reader_that_is_cancelled_does_not_take_the_fetch_from_the_others(store, pipeline):
    entry, found = store.add("f", b"data"), []

    async def read():
        found.append(await pipeline.read(entry, 0, 4))

    with store.held():
        async with trio.open_nursery() as readers:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as impatient:
                    impatient.start_soon(pipeline.read, entry, 0, 4)
                    await reads_arrived(store, 1)
                    readers.start_soon(read)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            store.gate.set()
    assert [bytes(data) for data in found] == [b"data"]
    assert store.blocks_read(entry) == [0]


async def test_an_error_reaches_everybody_who_waits_and_the_next_read_tries_again(store, pipeline):
    entry, errors = store.add("f", b"data"), []
    store.failure = UnreachableError("the store does not answer")

    async def read():
        with pytest.raises(UnreachableError, match="does not answer") as caught:
            await pipeline.read(entry, 0, 4)
        errors.append(caught.value)

    with store.held():
        async with trio.open_nursery() as readers:
            for _ in range(5):
                readers.start_soon(read)
            await reads_arrived(store, 1)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
    assert len(errors) == 5
    assert store.blocks_read(entry) == [0]
    store.failure = None
    assert await pipeline.read(entry, 0, 4) == b"data"
    assert store.blocks_read(entry) == [0, 0]


@damage
async def test_damage_reaches_the_reader_as_an_error_each_time_and_the_log_once(store, pipeline, caplog):
    entry = store.add("f", DATA, listed=True)
    store.flip(entry.blob, 2 * BLOCK_SIZE)
    for _ in range(3):
        with pytest.raises(IntegrityError, match=entry.blob.hex):
            await pipeline.read(entry, 2 * BLOCK_SIZE - 10, 20)
    assert sum(entry.blob.hex in record.getMessage() for record in caplog.records) == 1


async def test_a_mistake_of_the_program_in_a_fetch_reaches_the_reader_and_ends_nothing(store, pipeline):
    entry = store.add("f", b"data")
    store.failure = ZeroDivisionError("a mistake")
    with pytest.raises(ZeroDivisionError):
        await pipeline.read(entry, 0, 4)
    store.failure = None
    assert await pipeline.read(entry, 0, 4) == b"data"


async def test_what_is_in_memory_is_read_without_suspending(store, pipeline):
    entry = store.add("f", DATA, listed=True)
    await pipeline.read(entry, 0, len(DATA))
    with trio.testing.assert_no_checkpoints():
        assert bytes(await pipeline.read(entry, 0, len(DATA))) == DATA
        assert bytes(await pipeline.read(entry, BLOCK_SIZE - 1, 2)) == DATA[BLOCK_SIZE - 1 : BLOCK_SIZE + 1]
        assert await pipeline.read(entry, len(DATA), 10) == b""


async def test_what_is_in_the_page_cache_is_read_and_proven_without_suspending(store, pipeline):
    entry = store.add("f", DATA, listed=True)
    await pipeline.read(entry, 3 * BLOCK_SIZE, 5)  # opens the file and its block list
    store.in_page_cache = True
    with trio.testing.assert_no_checkpoints():
        assert bytes(await pipeline.read(entry, BLOCK_SIZE + 7, 100)) == DATA[BLOCK_SIZE + 7 :][:100]
    assert store.nowait_reads == [(entry.blob, 1)]
    assert store.blocks_read(entry) == [3]


async def test_what_was_read_ahead_of_a_slow_reader_is_not_read_again_from_the_disk(store, pipeline):
    store.local = False
    count = 2 * WINDOW_BYTES // BLOCK_SIZE
    entry = store.add("f", bytes(count * BLOCK_SIZE), listed=True)
    for number in range(count):
        await pipeline.read(entry, number * BLOCK_SIZE, BLOCK_SIZE)
        while pipeline.in_flight:
            await trio.sleep(0.001)
    assert len(store.spans) < count
    assert pipeline._reader._remote._cache.statistics().hits == 0


async def test_who_has_read_files_to_their_end_has_all_the_memory_for_the_next_one(store, pipeline):
    store.local = False
    count = 24
    for name in range(WINDOW_BYTES // BLOCK_SIZE):
        entry = store.add(f"before-{name}", bytes([name]) * (2 * BLOCK_SIZE), listed=True)
        for number in range(2):
            await pipeline.read(entry, number * BLOCK_SIZE, BLOCK_SIZE)
    entry = store.add("f", bytes(count * BLOCK_SIZE), listed=True)
    del store.spans[:]
    for number in range(count):
        await pipeline.read(entry, number * BLOCK_SIZE, BLOCK_SIZE)
    assert max(size for _, _, size in store.spans) == RUN * BLOCK_SIZE


async def test_what_is_read_ahead_of_many_readers_of_the_cache_is_read_from_the_disk_once(store, pipeline):
    store.local = False
    readers, count = 16, 12  # more than memory holds, if all of it is read ahead
    entries = [store.add(str(n), bytes([n]) * (count * BLOCK_SIZE), listed=True) for n in range(readers)]
    for entry in entries:
        await pipeline.read(entry, 0, entry.size)
    pipeline._reader.close()
    pipeline._reader._blocks.clear()
    statistics = pipeline._reader._remote._cache.statistics
    before = statistics().hits
    for number in range(count):
        for entry in entries:
            await pipeline.read(entry, number * BLOCK_SIZE, BLOCK_SIZE)
            while pipeline.in_flight:
                await trio.sleep(0.001)
    again = statistics().hits - before - readers * count
    assert 0 <= again <= readers  # those that begin do not know of the others


async def test_cold_reads_of_many_files_do_not_delay_a_cached_read_nor_other_threads(store, pipeline):
    warm = store.add("warm", b"warm")
    await pipeline.read(warm, 0, 4)
    await reads_arrived(store, 1)
    cold = [store.add(f"cold{number}", b"cold %d" % number) for number in range(64)]
    with store.held():
        async with trio.open_nursery() as readers:
            for entry in cold:
                readers.start_soon(pipeline.read, entry, 0, 10)
            await reads_arrived(store, MAX_DISK_READS)
            await trio.testing.wait_all_tasks_blocked()
            with trio.testing.assert_no_checkpoints():
                assert await pipeline.read(warm, 0, 4) == b"warm"
            assert await trio.to_thread.run_sync(lambda: "the threads of others are free") != ""
            assert len([name for name, _ in store.reads if name != warm.blob]) == MAX_DISK_READS
            store.gate.set()
    assert sorted(store.blocks_read(entry) for entry in cold) == [[0]] * 64


async def test_readers_are_let_go_when_the_mount_ends(store, reader):
    entry = store.add("f", b"data")
    with store.held():
        async with trio.open_nursery() as readers, trio.open_nursery() as mount:
            pipeline = Pipeline(reader, mount)

            async def read():
                with pytest.raises(UnreachableError, match="ending"):
                    await pipeline.read(entry, 0, 4)

            for number in range(MAX_DISK_READS):  # no thread is left for the one that is waited for
                mount.start_soon(pipeline.read, store.add(f"g{number}", b"%d" % number), 0, 4)
            await reads_arrived(store, MAX_DISK_READS)
            readers.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            mount.cancel_scope.cancel()


async def test_who_has_waited_long_for_an_error_does_not_wait_again_at_once(store, pipeline, monkeypatch):
    monkeypatch.setattr(fetch_module, "_LONG", -1.0)
    monkeypatch.setattr(fetch_module, "_REMEMBERED", 600.0)
    entry = store.add("f", DATA, listed=True)
    store.failure = UnreachableError("the store does not answer")
    with pytest.raises(UnreachableError, match="does not answer"):
        await pipeline.read(entry, BLOCK_SIZE, 4)
    store.failure = None
    with pytest.raises(UnreachableError, match="does not answer"):
        await pipeline.read(entry, BLOCK_SIZE, 4)
    assert store.blocks_read(entry) == [1]
    assert bytes(await pipeline.read(entry, 0, 4)) == DATA[:4]
    monkeypatch.setattr(fetch_module, "_REMEMBERED", 0.0)
    assert bytes(await pipeline.read(entry, BLOCK_SIZE, 4)) == DATA[BLOCK_SIZE:][:4]


async def test_a_service_that_hangs_does_not_delay_another(store, reader, nursery):
    store.local = False
    pipeline = Pipeline(reader, nursery)
    healthy = store.add("healthy", b"healthy")
    hanging = [reference(f"{number}", f"s3://dead/{number}", b"%d" % number) for number in range(100)]
    for number, entry in enumerate(hanging):
        store.blobs[entry.ref] = bytearray(b"%d" % number)
    with store.held():
        async with trio.open_nursery() as readers:
            for entry in hanging:
                readers.start_soon(pipeline.read, entry, 0, 4)
            await reads_arrived(store, MAX_FETCHES)
            await trio.testing.wait_all_tasks_blocked()
            readers.start_soon(pipeline.read, healthy, 0, 4)
            await reads_arrived(store, 1)
            assert store.blocks_read(healthy) == [0]
            readers.cancel_scope.cancel()


async def test_what_was_fetched_is_given_back_without_the_garbage_collector(store, pipeline):
    def fetches():
        return sum(type(found) is Fetch for found in gc.get_objects())

    entry = store.add("f", DATA, listed=True)
    gc.collect()
    gc.disable()
    try:
        before = fetches()
        for number in range(3):
            await pipeline.read(entry, number * BLOCK_SIZE, 10)
        with trio.fail_after(120):
            while pipeline.in_flight:
                await trio.sleep(0)
        await trio.testing.wait_all_tasks_blocked()
        assert fetches() == before
    finally:
        gc.enable()
