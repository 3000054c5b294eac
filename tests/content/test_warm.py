"""Warming up: what is missing is fetched once, in order, several at a time, behind readers; what fails is named and the rest comes."""

import contextlib
import random

import pytest
import trio

from artfs.content import remote as remote_module
from artfs.content import warm as warm_module
from artfs.content.pipeline import Pipeline
from artfs.content.warm import Failure, Shelves, Warming, survey
from artfs.errors import IntegrityError, NoSpaceError, UnreachableError
from artfs.model.entry import BLOCK_SIZE
from tests.content.fakes import FakeStore

DATA = random.Random(11).randbytes(21 * BLOCK_SIZE + 5)
damage = pytest.mark.expects_warning("is damaged or missing")


class SameTargets:
    """No entry leads to another version."""

    @staticmethod
    def of(entry):
        return entry


@pytest.fixture
def store():
    store = FakeStore()
    store.local = False
    return store


@pytest.fixture
def world(new_reader):
    return World(new_reader())


def _raise(error):
    raise error


class World:
    """A reader, its cache, and warm-ups through a pipeline of its own."""

    def __init__(self, reader):
        self.reader = reader
        self.cache = reader._remote._cache
        self.origins = reader._origins
        self.came = []

    def contents(self, entries):
        return Shelves(self.origins, SameTargets, lambda: self.cache).contents((e.path, e) for e in entries)

    def survey(self, entries):
        self.cache.flush()
        return survey(self.contents(entries), self.cache.upkeep.is_pinned)

    async def warm(self, entries, *, parallel=4, strict=False):
        def advance(*done):
            self.came.append(done)

        with contextlib.ExitStack() as errors:
            async with trio.open_nursery() as own:
                pipeline = Pipeline(self.reader, own)
                warming = Warming(pipeline, self.cache, self.reader.close, advance, parallel=parallel, strict=strict)
                try:
                    return await warming.run(lambda: self.contents(entries))
                except UnreachableError as error:
                    errors.callback(_raise, error)  # as it is, not in a group
                finally:
                    own.cancel_scope.cancel()


@pytest.mark.trio
async def test_everything_is_fetched_once_and_nothing_the_second_time(store, world):
    entries = [store.add(f"d/{number}", DATA[number : number + 1000]) for number in range(300)]
    entries += [store.add("big", DATA, listed=True), store.add("empty", b""), store.add("copy", DATA, listed=True)]
    found = world.survey(entries)
    assert (found.files, found.files_to_fetch, found.to_fetch) == (302, 301, 300_000 + len(DATA))
    done = await world.warm(entries)
    assert (done.files, done.size, done.failures) == (301, found.to_fetch, [])
    assert tuple(map(sum, zip(*world.came, strict=True))) == (301, found.to_fetch)
    assert len([name for name, _ in store.reads if name == entries[0].blob]) == 1
    assert world.survey(entries).to_fetch == 0
    store.failure = UnreachableError("away")
    assert (await world.warm(entries)).files == 0
    assert all(b"".join(world.reader.export(entry)) for entry in entries if entry.size)


@pytest.mark.trio
async def test_what_was_interrupted_goes_on_where_it_was(store, world):
    entry = store.add("big", DATA, listed=True)
    world.reader.blocks(entry, 3, 9)
    world.reader.close()
    assert world.survey([entry]).to_fetch == len(DATA) - 7 * BLOCK_SIZE
    del store.reads[:]
    done = await world.warm([entry])
    assert done.size == len(DATA) - 7 * BLOCK_SIZE
    assert not {block for name, block in store.reads if name == entry.blob} & set(range(3, 10))


@pytest.mark.trio
@pytest.mark.parametrize("size", [9, BLOCK_SIZE, len(DATA)])
async def test_what_was_read_and_is_in_the_cache_no_more_comes_into_it_again(store, world, size):
    entry = store.add("f", DATA[:size], listed=size > BLOCK_SIZE)
    assert b"".join(world.reader.export(entry)) == DATA[:size]  # the last blocks stay in memory
    world.reader.close()
    world.cache.upkeep.clear()
    done = await world.warm([entry])
    assert (done.files, done.size, done.failures) == (1, size, [])
    assert world.survey([entry]).to_fetch == 0


@pytest.mark.trio
async def test_files_come_in_their_order_and_several_at_a_time(store, world):
    entries = [store.add(f"{number:03}", DATA[number : number + 1000]) for number in range(40)]
    assert (await world.warm(entries, parallel=1)).files == 40
    assert [name for name, _ in store.reads] == [entry.blob for entry in entries]
    others = [store.add(f"x{number:03}", DATA[1000 + number : 3000 + number]) for number in range(40)]
    async with trio.open_nursery() as nursery:
        with store.held():
            while store.arrived.acquire(blocking=False):
                pass
            nursery.start_soon(world.warm, others)
            await trio.to_thread.run_sync(store.wait_for_reads, 4)
            assert {name for name, _ in store.reads[40:]} == {entry.blob for entry in others[:4]}
        # all of them go on


@pytest.mark.trio
async def test_a_reader_and_a_warm_up_fetch_a_block_once(store, world):
    entry = store.add("f", DATA[:1000])
    async with trio.open_nursery() as nursery:
        pipeline = Pipeline(world.reader, nursery)
        warming = Warming(pipeline, world.cache, world.reader.close, lambda *_: None, parallel=2)
        with store.held():
            nursery.start_soon(warming.run, lambda: world.contents([entry]))
            await trio.to_thread.run_sync(store.wait_for_reads, 1)
            nursery.start_soon(pipeline.read, entry, 0, 10)
        while world.survey([entry]).to_fetch:
            await trio.to_thread.run_sync(world.reader.close)
        nursery.cancel_scope.cancel()
    assert len(store.reads) == 1


@damage
@pytest.mark.trio
async def test_what_fails_is_named_and_the_others_come(store, world):
    entries = [store.add(f"{number}", DATA[number : number + 1000]) for number in range(5)]
    store.flip(entries[1].blob, 10)
    del store.blobs[entries[3].blob]
    done = await world.warm(entries)
    assert (done.files, done.failed) == (3, 2)
    assert {(path, type(error)) for path, error in done.failures} == {("1", IntegrityError), ("3", IntegrityError)}
    assert [entry.path for entry in entries if world.survey([entry]).to_fetch] == ["1", "3"]


@pytest.mark.trio
async def test_a_service_that_does_not_answer_ends_it(store, world):
    entries = [store.add(f"{number}", DATA[number : number + 1000]) for number in range(500)]
    store.failure = UnreachableError("the store is away")
    with pytest.raises(UnreachableError, match="the store is away"):
        await world.warm(entries)
    assert len(store.reads) < 50


@pytest.mark.trio
async def test_what_has_no_block_list_is_proven_when_it_is_there(store, world, monkeypatch):
    for module in (remote_module, warm_module):
        monkeypatch.setattr(module, "SMALL", BLOCK_SIZE)
    entry = store.add("big", DATA)
    assert (await world.warm([entry])).files == 1
    assert world.reader.state(entry) == ("yes", "proven")


@damage
@pytest.mark.trio
async def test_what_proves_wrong_when_it_is_there_is_a_failure(store, world, monkeypatch):
    for module in (remote_module, warm_module):
        monkeypatch.setattr(module, "SMALL", BLOCK_SIZE)
    entry = store.add("big", DATA)
    store.flip(entry.blob, 5 * BLOCK_SIZE)
    done = await world.warm([entry])
    assert (done.files, done.failed) == (0, 1)
    assert world.survey([entry]).here == 0


@pytest.mark.trio
async def test_strict_reads_a_big_file_once(store, new_reader):
    world = World(new_reader(strict=True))
    entry = store.add("big", DATA)
    assert (await world.warm([entry], strict=True)).files == 1
    assert len(store.reads) == -(-22 // 8)
    assert world.reader.state(entry) == ("yes", "proven")


@pytest.mark.trio
async def test_what_the_cache_does_not_keep_is_a_failure(store, world, monkeypatch):
    entry = store.add("f", DATA[:1000])
    monkeypatch.setattr(type(world.cache.file("md5/" + "0" * 32, 1)), "write", lambda *_, **__: None)
    done = await world.warm([entry])
    assert (done.files, done.failed) == (0, 1)
    assert isinstance(done.failures[0].error, NoSpaceError)


@pytest.mark.trio
async def test_what_is_here_already_is_not_the_first_to_be_evicted_for_what_comes(store, world):
    old, other, new = (
        store.add(name, DATA[start : start + 1000]) for start, name in enumerate(("old", "other", "new"))
    )
    for entry in (old, other):
        world.reader.block(entry, 0)
    world.reader.close()
    world.cache.flush()
    await world.warm([old, new])
    world.cache.flush()
    world.cache._shelf.keeper.evictor.evict(lambda: 1)
    assert [world.survey([entry]).to_fetch > 0 for entry in (old, other, new)] == [False, True, False]


def test_a_survey_says_what_a_cache_must_hold_beside_what_is_pinned(store, world):
    pinned, plain = store.add("pinned", DATA[:5000]), store.add("plain", DATA[1:5001])
    (content,) = world.contents([pinned])
    world.reader.block(pinned, 0)
    world.reader.close()
    assert world.survey([pinned, plain]).need == 16384
    world.cache.pin("me", [content.file.name])
    found = world.survey([pinned, plain])
    assert (found.need, found.here, found.to_fetch) == (8192, 5000, 5000)


def test_what_leads_nowhere_is_a_failure_of_its_own(store, world):
    class Nowhere:
        @staticmethod
        def of(entry):
            raise UnreachableError(f"{entry.path} leads nowhere")

    entry = store.add("f", b"x")
    (found,) = Shelves(world.origins, Nowhere, lambda: world.cache).contents([("me/demo/data:v0/f", entry)])
    assert isinstance(found, Failure)
    assert found.path == "me/demo/data:v0/f"
