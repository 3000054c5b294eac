"""Small files in packs, as a mount reads them: one fetch for each block whoever waits, and errors that reach who they concern."""

import contextlib

import pytest
import trio
import trio.testing

from artfs.content import fetch as fetch_module
from artfs.content.pipeline import Pipeline
from artfs.errors import IntegrityError, UnreachableError
from artfs.model.entry import BLOCK_SIZE
from tests.content.packs import (
    DATA,
    FILES,
    FIRST_BLOCK,
    PACK,
    SIZE,
    SPANS,
    bytes_of,
    complaints,
    damage,
    damaged_on_its_way,
    entries_of,
    in_pack,
    reads_arrived,
    requests,
    store_of_pack,
)


@pytest.fixture
def store():
    return store_of_pack()


# Reading for a mount --------------------------------------------------------------------------------------------------


@pytest.fixture
def pipeline(reader, nursery, monkeypatch):
    monkeypatch.setattr(fetch_module, "_LONG", 600.0)  # no test is so slow that an error is remembered
    return Pipeline(reader, nursery)


@pytest.mark.trio
@pytest.mark.parametrize("path", ["d/00", "d/10", "d/15"])
@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 1), (0, SIZE), (0, 2 * SIZE), (1, 5), (SIZE - 1, 1), (SIZE - 1, 50), (SIZE, 10), (SIZE + 5, 1), (48_575, 2),
     (48_576, 1), (48_577, 5), (5, 0), (4096, 131_072)],
)  # fmt: skip
async def test_any_span_of_a_file_can_be_read(store, pipeline, path, offset, size):
    assert bytes(await pipeline.read(FILES[path], offset, size)) == bytes_of(path)[offset : offset + size]


@pytest.mark.trio
async def test_a_file_is_read_in_pieces_of_any_size_from_any_offset(store, pipeline):
    spans = {"a": (0, 37), "b": (37, 1), "c": (BLOCK_SIZE - 20, 37), "d": (len(DATA) - 37, 37)}
    for path, entry in entries_of(DATA, spans).items():
        start, size = spans[path]
        whole = DATA[start : start + size]
        for offset in range(size + 2):
            for length in (1, 7, 37, 50):
                assert bytes(await pipeline.read(entry, offset, length)) == whole[offset : offset + length]
    assert sorted(set(requests(store))) == [0, 1, 3] or requests(store) == [0, 3]
    assert len(requests(store)) <= 3


@pytest.mark.trio
async def test_readers_of_different_files_that_wait_for_one_block_cause_one_request(store, pipeline):
    found = {}

    async def read(path, part):
        found[path, part] = bytes(await pipeline.read(FILES[path], part * 1000, 1000))

    with store.held():
        async with trio.open_nursery() as readers:
            for path in FIRST_BLOCK:
                for part in range(3):
                    readers.start_soon(read, path, part)
            await reads_arrived(store, 1)
            await trio.testing.wait_all_tasks_blocked()
            assert found == {}
            store.gate.set()
    assert found == {(path, part): bytes_of(path)[part * 1000 :][:1000] for path, part in found}
    assert len(found) == 3 * len(FIRST_BLOCK)
    assert requests(store) == [0]


@pytest.mark.trio
async def test_readers_of_all_files_at_once_get_their_bytes_with_few_requests(store, pipeline):
    found = {}

    async def read(path):
        found[path] = bytes(await pipeline.read(FILES[path], 0, SIZE))

    async with trio.open_nursery() as readers:
        for path in SPANS:
            readers.start_soon(read, path)
    assert found == {path: bytes_of(path) for path in SPANS}
    assert len(requests(store)) <= len(DATA) // BLOCK_SIZE


@pytest.mark.trio
async def test_a_neighbour_of_what_was_read_is_read_without_suspending(store, pipeline):
    await pipeline.read(FILES["d/00"], 0, 10)
    with trio.testing.assert_no_checkpoints():
        for path in FIRST_BLOCK:
            assert bytes(await pipeline.read(FILES[path], 0, SIZE)) == bytes_of(path)
            assert bytes(await pipeline.read(FILES[path], 5, 10)) == bytes_of(path)[5:15]
    assert requests(store) == [0]


@pytest.mark.trio
@damage
async def test_damage_reaches_the_reader_of_that_file_alone(store, pipeline, caplog):
    store.flip(PACK, SPANS["d/03"][0])
    for _ in range(2):
        for path in FIRST_BLOCK:
            with (
                pytest.raises(IntegrityError, match=FILES[path].blob.hex)
                if path == "d/03"
                else contextlib.nullcontext()
            ):
                assert bytes(await pipeline.read(FILES[path], 0, SIZE)) == bytes_of(path)
    (message,) = complaints(caplog)
    assert "d/03" in message


@pytest.mark.trio
async def test_a_mount_fetches_again_what_was_damaged_on_its_way(store, pipeline, monkeypatch):
    with damaged_on_its_way(monkeypatch):
        assert bytes(await pipeline.read(FILES["d/00"], 0, SIZE)) == bytes_of("d/00")
    assert requests(store) == [0, 0]
    assert bytes(await pipeline.read(FILES["d/01"], 0, SIZE)) == bytes_of("d/01")
    assert requests(store) == [0, 0]


@pytest.mark.trio
async def test_everybody_who_waits_for_what_is_damaged_on_its_way_gets_right_bytes(store, pipeline, monkeypatch):
    found = []

    async def read():
        found.append(bytes(await pipeline.read(FILES["d/00"], 0, SIZE)))

    with damaged_on_its_way(monkeypatch), store.held():
        async with trio.open_nursery() as readers:
            for _ in range(20):
                readers.start_soon(read)
            await reads_arrived(store, 1)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
    assert found == [bytes_of("d/00")] * 20
    assert requests(store) == [0, 0]


ONE = b"the only file of its pack"


@pytest.mark.trio
@damage
@pytest.mark.parametrize("where", ["in the store", "on its way"])
async def test_a_pack_of_one_file_is_proven_as_any_other(store, pipeline, monkeypatch, where):
    entry = in_pack("f", ONE, ONE, 0)
    store.blobs[entry.blob] = bytearray(ONE)
    if where == "in the store":
        store.flip(entry.blob, 5)
        for _ in range(2):
            with pytest.raises(IntegrityError):
                await pipeline.read(entry, 0, len(ONE))
    else:
        with damaged_on_its_way(monkeypatch):
            assert bytes(await pipeline.read(entry, 0, len(ONE))) == ONE


@pytest.mark.trio
@damage
async def test_a_missing_pack_reaches_the_reader_by_the_name_of_the_file(store, pipeline):
    del store.blobs[PACK]
    with pytest.raises(IntegrityError, match=FILES["d/03"].blob.hex):
        await pipeline.read(FILES["d/03"], 0, 10)
    store.blobs[PACK] = bytearray(DATA)
    assert bytes(await pipeline.read(FILES["d/03"], 0, 10)) == bytes_of("d/03")[:10]


@pytest.mark.trio
async def test_an_error_reaches_everybody_who_waits_and_the_next_read_tries_again(store, pipeline):
    store.failure, errors = UnreachableError("the store does not answer"), []

    async def read(path):
        with pytest.raises(UnreachableError, match="does not answer") as caught:
            await pipeline.read(FILES[path], 0, 10)
        errors.append(caught.value)

    with store.held():
        async with trio.open_nursery() as readers:
            for path in FIRST_BLOCK:
                readers.start_soon(read, path)
            await reads_arrived(store, 1)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
    assert len(errors) == len(FIRST_BLOCK)
    assert requests(store) == [0]
    store.failure = None
    assert bytes(await pipeline.read(FILES["d/00"], 0, 10)) == bytes_of("d/00")[:10]


@pytest.mark.trio
async def test_who_has_waited_long_for_an_error_does_not_wait_again_at_once(store, pipeline, monkeypatch):
    monkeypatch.setattr(fetch_module, "_LONG", -1.0)
    monkeypatch.setattr(fetch_module, "_REMEMBERED", 600.0)
    store.failure = UnreachableError("the store does not answer")
    with pytest.raises(UnreachableError, match="does not answer"):
        await pipeline.read(FILES["d/00"], 0, 10)
    store.failure = None
    with pytest.raises(UnreachableError, match="does not answer"):
        await pipeline.read(FILES["d/00"], 0, 10)
    assert requests(store) == [0]
    monkeypatch.setattr(fetch_module, "_REMEMBERED", 0.0)
    assert bytes(await pipeline.read(FILES["d/00"], 0, 10)) == bytes_of("d/00")[:10]


@pytest.mark.trio
async def test_a_file_that_does_not_come_in_time_is_named(store, pipeline, autojump_clock):
    with store.held(), pytest.raises(UnreachableError, match="d/03 did not come within"):
        await pipeline.read(FILES["d/03"], 0, 10)


@pytest.mark.trio
async def test_a_reader_that_is_cancelled_does_not_take_the_fetch_from_the_others(store, pipeline):
    found = []

    async def read():
        found.append(bytes(await pipeline.read(FILES["d/01"], 0, 4)))

    with store.held():
        async with trio.open_nursery() as readers:
            async with trio.open_nursery() as impatient:
                impatient.start_soon(pipeline.read, FILES["d/00"], 0, 4)
                await reads_arrived(store, 1)
                readers.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                impatient.cancel_scope.cancel()
            store.gate.set()
    assert found == [bytes_of("d/01")[:4]]
    assert requests(store) == [0]


@pytest.mark.trio
async def test_the_next_files_are_fetched_before_they_are_opened_with_few_requests(store, pipeline):
    pipeline.prefetch(FILES[path] for path in SPANS)
    await reads_arrived(store, 1)
    for path in SPANS:
        assert bytes(await pipeline.read(FILES[path], 0, SIZE)) == bytes_of(path)
    assert requests(store) == [0]


@pytest.mark.trio
async def test_what_is_here_or_on_its_way_is_not_fetched_ahead_again(store, pipeline):
    await pipeline.read(FILES["d/00"], 0, SIZE)
    with store.held():
        for _ in range(3):
            pipeline.prefetch(FILES[path] for path in ["d/00", "d/05", "d/15", "d/16"])
        await reads_arrived(store, 2)
        await trio.testing.wait_all_tasks_blocked()
    assert bytes(await pipeline.read(FILES["d/15"], 0, SIZE)) == bytes_of("d/15")
    assert requests(store) == [0, 1]


@pytest.mark.trio
async def test_nothing_is_fetched_ahead_of_what_lies_on_this_machine_or_is_a_lie(store, pipeline):
    store.local = True
    pipeline.prefetch(FILES.values())
    await trio.testing.wait_all_tasks_blocked()
    assert store.reads == []


@pytest.mark.trio
async def test_packs_and_files_by_themselves_are_fetched_ahead_side_by_side(store, pipeline):
    alone = store.add("alone", b"by itself")
    pipeline.prefetch([FILES["d/00"], alone, FILES["d/15"]])
    await reads_arrived(store, 2)
    assert bytes(await pipeline.read(alone, 0, 20)) == b"by itself"
    assert bytes(await pipeline.read(FILES["d/15"], 0, SIZE)) == bytes_of("d/15")
    assert sorted(store.reads, key=str) == sorted([(PACK, 0), (alone.blob, 0)], key=str)


@pytest.mark.trio
async def test_packs_on_this_machine_are_read_by_a_mount_also_out_of_the_page_cache(store, pipeline):
    store.local = True
    for path in ("d/00", "d/10", "d/15"):
        assert bytes(await pipeline.read(FILES[path], 7, 100)) == bytes_of(path)[7:107]
        assert bytes(await pipeline.read(FILES[path], 0, SIZE)) == bytes_of(path)
