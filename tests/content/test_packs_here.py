"""Small files in packs: what of them is on this machine, proving it, and fetching it beforehand."""

import threading

import pytest
import trio
import trio.testing

from artfs.cache.blocklists import BlockLists
from artfs.content.pipeline import Pipeline
from artfs.content.targets import Targets
from artfs.content.usage import bytes_here, usage_of
from artfs.content.verify import State, Verifier, verify
from artfs.content.warm import Shelves, Warming, survey
from artfs.errors import IntegrityError, NotFoundError, UnreachableError
from artfs.model.digest import Digest
from artfs.model.entry import BLOCK_SIZE
from tests.content.packs import (
    DATA,
    FILES,
    FIRST_BLOCK,
    MOVED,
    PACK,
    SIZE,
    SPANS,
    bytes_of,
    content,
    damage,
    entries_of,
    in_pack,
    kept,
    reads_arrived,
    requests,
    store_of_pack,
)
from tests.content.test_warm import SameTargets


@pytest.fixture
def store():
    return store_of_pack()


# What is here, and proving it -----------------------------------------------------------------------------------------


class World:
    """What proves and counts beside a reader, over the same cache."""

    def __init__(self, reader, store, path):
        self.cache = reader._remote._cache
        self.origins = reader._origins
        self.done = [0, 0]
        lock = threading.Lock()

        def advance(files, size):
            with lock:
                self.done[0] += files
                self.done[1] += size

        def nowhere(_):
            raise NotFoundError("there is no such version")

        targets = Targets(nowhere, nowhere, nowhere)
        self.here = bytes_here(self.origins, targets, lambda: self.cache)
        self.verifier = Verifier(self.origins, targets, BlockLists(path / "cache"), lambda: self.cache, advance)

    def origin(self, entries):
        return {verdict.path: verdict for verdict in verify(entries, self.verifier.origin, 3)}

    def cached(self, entries):
        return {verdict.path: verdict for verdict in verify(entries, self.verifier.cached, 3)}


@pytest.fixture
def world(reader, store, tmp_path):
    return World(reader, store, tmp_path)


def states(verdicts):
    return {path: verdict.state for path, verdict in verdicts.items()}


@pytest.mark.parametrize("local", [False, True])
def test_every_file_is_proven_where_it_lies(store, world, local):
    store.local = local
    found = world.origin(FILES.values())
    assert states(found) == dict.fromkeys(SPANS, State.PROVEN)
    assert world.done == [len(SPANS), len(SPANS) * SIZE]
    assert sum(verdict.size for verdict in found.values()) == len(SPANS) * SIZE


@pytest.mark.parametrize("local", [False, True])
def test_a_damaged_file_is_found_and_its_neighbours_are_proven(store, world, local):
    store.local = local
    store.flip(PACK, SPANS["d/10"][0] + SIZE - 1)
    found = world.origin(FILES.values())
    assert states(found) == dict.fromkeys(SPANS, State.PROVEN) | {"d/10": State.DAMAGED}
    assert "do not match the manifest" in found["d/10"].reason


def test_every_file_of_a_missing_pack_is_missing_and_of_a_short_one_those_that_are_cut(store, world):
    del store.blobs[PACK][SPANS["d/20"][0] + 5 :]
    found = states(world.origin(FILES.values()))
    assert {path for path, state in found.items() if state is not State.PROVEN} == {
        path for path in SPANS if path >= "d/20"
    }
    assert found["d/20"] is State.DAMAGED


def test_all_files_of_a_missing_pack_are_missing(store, world):
    del store.blobs[PACK]
    assert states(world.origin(FILES.values())) == dict.fromkeys(SPANS, State.MISSING)


def test_what_is_in_the_cache_cannot_hide_that_the_store_is_damaged(store, reader, world):
    for path in SPANS:
        reader.block(FILES[path], 0)
    store.flip(PACK, SPANS["d/03"][0])
    found = world.origin(FILES.values())
    assert found["d/03"].state is State.DAMAGED
    assert [path for path, verdict in found.items() if verdict.cache_damaged] == []


def test_files_are_proven_with_few_requests_where_they_lie_together(store, world):
    assert states(world.origin(FILES.values())) == dict.fromkeys(SPANS, State.PROVEN)
    assert len(store.reads) < len(SPANS) / 2


def test_what_is_here_is_proven_without_the_store_and_the_rest_is_absent(store, reader, world):
    reader.block(FILES["d/00"], 0)
    store.failure = UnreachableError("away")
    found = world.cached(FILES.values())
    assert {path for path, state in states(found).items() if state is State.PROVEN} == set(FIRST_BLOCK)
    assert found["d/10"].state is State.ABSENT
    assert found["d/10"].reason == "48,576 of 100,000 bytes are here"
    assert found["d/15"].state is State.ABSENT


@damage
def test_what_is_damaged_in_the_store_does_not_take_its_neighbours_out_of_the_cache(store, reader):
    store.flip(PACK, SPANS["d/03"][0])
    assert content(reader, FILES["d/00"]) == bytes_of("d/00")
    kept(reader)
    store.failure = UnreachableError("away")
    with pytest.raises((IntegrityError, UnreachableError)):
        reader.block(FILES["d/03"], 0)
    assert reader.state(FILES["d/01"]) == ("yes", "proven")
    assert content(reader, FILES["d/01"]) == bytes_of("d/01")


def test_a_file_that_is_damaged_in_the_cache_as_in_the_store_is_the_only_one_that_a_check_names(store, reader, world):
    store.flip(PACK, SPANS["d/03"][0])
    for path in SPANS:
        if path != "d/03":
            reader.block(FILES[path], 0)
    kept(reader)
    for _ in range(2):
        found = states(world.cached(FILES.values()))
        assert [path for path, state in found.items() if state is not State.PROVEN] == ["d/03"]


def test_the_bytes_that_are_here_are_counted_by_file(store, reader, world):
    reader.block(FILES["d/00"], 0)
    ((_, total), (_, below)) = usage_of(FILES.values(), "", 1, world.here)
    assert (total.files, total.size) == (len(SPANS), len(SPANS) * SIZE)
    assert (total.files_here, total.here) == (len(FIRST_BLOCK), len(FIRST_BLOCK) * SIZE)
    assert below == total


def test_a_content_in_two_packs_is_counted_once(store, reader, world):
    other = in_pack("x", bytes_of("d/00"), MOVED, 3 * BLOCK_SIZE)
    reader.block(FILES["d/00"], 0)
    ((_, total),) = usage_of([FILES["d/00"], other], "", 0, world.here)
    assert (total.files, total.size, total.here, total.files_here) == (2, SIZE, SIZE, 2)


@damage
def test_a_file_that_a_check_finds_whole_in_a_short_pack_can_be_read(store, reader, tmp_path):
    del store.blobs[PACK][SIZE + 5 :]
    found = World(reader, store, tmp_path).origin([FILES["d/00"]])
    assert states(found) == {"d/00": State.PROVEN}
    assert content(reader, FILES["d/00"]) == bytes_of("d/00")


# Warming --------------------------------------------------------------------------------------------------------------


class Warm:
    """Warm-ups through a pipeline of their own."""

    def __init__(self, reader):
        self.reader = reader
        self.cache = reader._remote._cache
        self.came = []

    def contents(self, entries):
        return Shelves(self.reader._origins, SameTargets, lambda: self.cache).contents((e.path, e) for e in entries)

    def survey(self, entries):
        self.cache.flush()
        return survey(self.contents(entries), self.cache.upkeep.is_pinned)

    async def warm(self, entries, *, parallel=4, strict=False):
        async with trio.open_nursery() as own:
            warming = Warming(
                Pipeline(self.reader, own), self.cache, self.reader.close, lambda *done: self.came.append(done),
                parallel=parallel, strict=strict,
            )  # fmt: skip
            try:
                return await warming.run(lambda: self.contents(entries))
            finally:
                own.cancel_scope.cancel()


@pytest.fixture
def warm(reader):
    return Warm(reader)


@pytest.mark.trio
@pytest.mark.parametrize("strict", [False, True])
async def test_a_warm_up_fetches_each_block_once_and_counts_files_and_their_bytes(store, warm, new_reader, strict):
    alone = store.add("alone", bytes_of("d/00")[::-1])
    entries = [*FILES.values(), alone, in_pack("d/copy", bytes_of("d/02"), DATA, 2 * SIZE)]
    found = warm.survey(entries)
    size = (len(SPANS) + 1) * SIZE
    assert (found.files, found.size, found.files_to_fetch, found.to_fetch) == (
        len(SPANS) + 1,
        size,
        len(SPANS) + 1,
        size,
    )
    done = await warm.warm(entries, strict=strict)
    assert (done.files, done.size, done.failures) == (len(SPANS) + 1, size, [])
    assert tuple(map(sum, zip(*warm.came, strict=True))) == (len(SPANS) + 1, size)
    assert requests(store) == [0]
    after = warm.survey(entries)
    assert (after.to_fetch, after.here, after.files_to_fetch) == (0, size, 0)
    kept(warm.reader)
    store.failure = UnreachableError("away")
    assert (await warm.warm(entries)).files == 0
    again = new_reader()
    assert {path: content(again, FILES[path]) for path in SPANS} == {path: bytes_of(path) for path in SPANS}


@pytest.mark.trio
async def test_a_warm_up_of_many_files_in_packs_has_as_many_requests_as_packs_need(store, warm, monkeypatch):
    size = 1000
    spans = {f"{number:04}": (number * size, size) for number in range(3 * 1000)}
    files = entries_of(DATA, spans)
    done = await warm.warm(files.values())
    assert (done.files, done.size, done.failures) == (3000, 3000 * size, [])
    touched = set()
    for number in requests(store):
        touched.add(number)
    assert len(requests(store)) == len(touched) <= 3
    assert warm.survey(files.values()).to_fetch == 0


@pytest.mark.trio
async def test_a_warm_up_of_a_few_files_fetches_only_the_blocks_that_they_lie_in(store, warm):
    done = await warm.warm([FILES["d/15"]])
    assert (done.files, done.size) == (1, SIZE)
    assert requests(store) == [1]
    assert warm.reader.state(FILES["d/00"])[0] == "no"
    assert warm.reader.state(FILES["d/12"])[0] == "yes"


@pytest.mark.trio
async def test_a_warm_up_goes_on_where_readers_were(store, warm):
    warm.reader.block(FILES["d/00"], 0)
    kept(warm.reader)
    found = warm.survey(FILES.values())
    assert (found.here, found.to_fetch) == (len(FIRST_BLOCK) * SIZE, (len(SPANS) - len(FIRST_BLOCK)) * SIZE)
    done = await warm.warm(FILES.values())
    assert (done.files, done.size) == (len(SPANS) - len(FIRST_BLOCK), found.to_fetch)
    assert requests(store) == [0, 1]


@pytest.mark.trio
async def test_a_pack_that_was_read_and_is_in_the_cache_no_more_comes_into_it_again(store, warm):
    for entry in FILES.values():
        warm.reader.block(entry, 0)
    kept(warm.reader)
    warm.cache.upkeep.clear()
    done = await warm.warm(FILES.values())
    assert (done.files, done.failures) == (len(SPANS), [])
    assert warm.survey(FILES.values()).to_fetch == 0


@pytest.mark.trio
async def test_a_pack_that_is_missing_fails_its_files_by_their_paths_and_the_others_come(store, warm):
    store.blobs[Digest.of(MOVED)] = bytearray(MOVED)
    others = entries_of(MOVED, {f"x/{number}": (number * 77_777, 77_777) for number in range(20)})
    del store.blobs[PACK]
    done = await warm.warm([*FILES.values(), *others.values()])
    assert (done.files, done.size) == (20, 20 * 77_777)
    assert {failure.path for failure in done.failures} == set(SPANS)
    assert done.failed == len(SPANS)


@pytest.mark.trio
@damage
async def test_a_warm_up_names_a_file_whose_bytes_are_damaged(store, warm):
    """`artfs warm --help`: files are fetched into the block cache, checked."""
    store.flip(PACK, SPANS["d/03"][0])
    done = await warm.warm(FILES.values())
    assert [failure.path for failure in done.failures] == ["d/03"]
    assert (done.files, done.failed) == (len(SPANS) - 1, 1)


def test_what_a_warm_up_needs_of_the_cache_is_what_the_blocks_of_the_packs_are(store, warm):
    files = entries_of(DATA, {f"{number:04}": (number * 100, 100) for number in range(5000)})
    assert warm.survey(files.values()).need <= BLOCK_SIZE
    assert warm.survey([FILES["d/00"]]).need >= BLOCK_SIZE


@pytest.mark.trio
async def test_a_reader_and_a_warm_up_fetch_a_block_once(store, reader, nursery):
    pipeline, warm = Pipeline(reader, nursery), Warm(reader)
    warming = Warming(pipeline, warm.cache, reader.close, lambda *_: None, parallel=2)
    async with trio.open_nursery() as tasks:
        with store.held():
            tasks.start_soon(pipeline.read, FILES["d/00"], 0, 10)
            await reads_arrived(store, 1)
            tasks.start_soon(warming.run, lambda: warm.contents([FILES[path] for path in FIRST_BLOCK]))
            await trio.testing.wait_all_tasks_blocked()
    assert requests(store) == [0]
