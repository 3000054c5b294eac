"""Content that lies elsewhere: fetched once, proven as the table in `artfs.content.remote` says, and kept on this machine."""

import random
from dataclasses import replace

import pytest

from artfs.content import proof as proof_module
from artfs.content import remote as remote_module
from artfs.errors import IntegrityError, NotFoundError, UnreachableError
from artfs.model.entry import BLOCK_SIZE
from tests.content.fakes import FakeStore, reference

BLOCKS = 4
DATA = random.Random(7).randbytes(BLOCKS * BLOCK_SIZE - 5)
damage = pytest.mark.expects_warning("is damaged or missing")


@pytest.fixture
def store():
    store = FakeStore()
    store.local = False
    return store


@pytest.fixture
def all_is_big(monkeypatch):
    """Treat every content of more than a block as one that is too big to be fetched whole first."""
    monkeypatch.setattr(remote_module, "SMALL", BLOCK_SIZE)


def recorded(reader):
    """Have everything that was fetched where other processes see it, and return the reader."""
    reader.close()
    reader._remote._cache.flush()
    return reader


def content(reader, entry):
    return b"".join(reader.export(entry))


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("size", [1, BLOCK_SIZE, BLOCK_SIZE + 1, len(DATA)])
def test_what_was_read_once_is_read_again_without_the_store_also_by_another_process(store, new_reader, size, listed):
    entry = store.add("f", DATA[:size], listed=listed and size > BLOCK_SIZE)
    reader = new_reader()
    assert content(reader, entry) == DATA[:size]
    recorded(reader)
    store.failure = UnreachableError("the store is away")
    assert content(new_reader(), entry) == DATA[:size]
    assert reader.state(entry) == ("yes", "proven")


@damage
@pytest.mark.parametrize("again", [True, False])
def test_what_one_entry_proves_by_a_list_of_its_own_is_not_served_to_another_that_has_the_same_digest(
    store, new_reader, again
):
    honest, wrong = store.add("f", DATA, listed=True), DATA[::-1]
    liar = replace(store.add("g", wrong, listed=True), digest=honest.digest)
    right, store.blobs[honest.blob] = store.blobs[honest.blob], bytearray(wrong)
    reader = new_reader()
    assert bytes(reader.block(liar, 1)) == wrong[BLOCK_SIZE:][:BLOCK_SIZE]
    recorded(reader)
    reader = new_reader() if again else reader
    with pytest.raises(IntegrityError):
        reader.block(honest, 1)
    store.blobs[honest.blob] = right
    assert content(new_reader(), honest) == DATA


@damage
def test_what_came_from_one_store_and_was_not_proven_yet_is_not_served_as_that_of_another(
    store, new_reader, monkeypatch
):
    for module in (remote_module, proof_module):
        monkeypatch.setattr(module, "SMALL", BLOCK_SIZE)
    honest = replace(store.add("f", DATA), store="s3://ours/prefix")
    other = replace(honest, store="s3://somebody/else")
    store.flip(honest.blob, 0)
    assert bytes(new_reader().block(other, 0)) != DATA[:BLOCK_SIZE]
    store.flip(honest.blob, 0)
    reader = new_reader()
    assert bytes(reader.block(honest, 0)) == DATA[:BLOCK_SIZE]
    assert recorded(reader).state(honest) == ("partly", "provisional")
    del store.blobs[honest.blob]
    assert bytes(new_reader().block(honest, 0)) == DATA[:BLOCK_SIZE]  # out of the cache


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("uri", ["http://host/f", "s3://bucket/f", "gs://bucket/f"])
def test_what_a_reference_gives_is_not_served_as_the_content_whose_digest_it_has(store, new_reader, uri, listed):
    honest = store.add("f", DATA, listed=listed)
    liar, store.blobs[uri] = replace(honest, ref=uri), bytearray(DATA[::-1])
    reader = new_reader()
    assert content(reader, liar) == DATA[::-1]
    assert reader.peek(honest, 0, 0, 9) is None
    assert content(reader, honest) == DATA


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("other", [{"ref": "http://host/g"}, {"extra": {"etag": '"e2"'}}, {"extra": {"versionID": 2}}])
def test_objects_of_one_etag_and_size_are_not_served_for_each_other(store, new_reader, other, again):
    first = replace(reference("f", "http://host/f", DATA), digest="e1", extra={"etag": '"e1"'})
    second = replace(first, **other)
    reader = new_reader()
    store.blobs[first.ref] = bytearray(DATA)
    assert content(reader, first) == DATA
    recorded(reader)
    store.blobs[second.ref] = bytearray(DATA[::-1])
    reader = new_reader() if again else reader
    reader._origins.forget(second)  # what it was opened for by the name of the first
    assert content(reader, second) == DATA[::-1]


def test_of_a_listed_content_only_the_blocks_that_are_asked_for_are_fetched_in_one_request(store, reader):
    entry = store.add("f", DATA, listed=True)
    found = reader.blocks(entry, 1, 2)
    assert [bytes(block) for block in found] == [
        DATA[BLOCK_SIZE : 2 * BLOCK_SIZE],
        DATA[2 * BLOCK_SIZE : 3 * BLOCK_SIZE],
    ]
    assert store.blocks_read(entry) == [1]  # one read that begins there
    assert reader.state(entry) == ("partly", "proven")


def test_only_what_is_missing_between_cached_blocks_is_fetched(store, new_reader):
    entry = store.add("f", DATA, listed=True)
    reader = new_reader()
    reader.block(entry, 1)
    recorded(reader)
    assert content(new_reader(), entry) == DATA
    assert store.blocks_read(entry) == [1, 0, 2]


def test_a_block_that_was_damaged_on_its_way_is_fetched_once_more(store, reader, monkeypatch):
    entry = store.add("f", DATA, listed=True)
    store.flip(entry.blob, BLOCK_SIZE)
    read = remote_module.Remote._read

    def mended(*arguments):
        data = read(*arguments)
        if store.blocks_read(entry) == [0]:
            store.flip(entry.blob, BLOCK_SIZE)
        return data

    monkeypatch.setattr(remote_module.Remote, "_read", staticmethod(mended))
    assert b"".join(reader.blocks(entry, 0, 2)) == DATA[: 3 * BLOCK_SIZE]
    assert store.blocks_read(entry) == [0, 1]


@damage
def test_a_damaged_block_of_a_listed_content_is_an_error_and_the_others_can_be_read(store, reader):
    entry = store.add("f", DATA, listed=True)
    store.flip(entry.blob, BLOCK_SIZE + 3)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="block 1"):
            reader.block(entry, 1)
    assert [bytes(reader.block(entry, number)) for number in (0, 2, 3)] == [
        DATA[number * BLOCK_SIZE : (number + 1) * BLOCK_SIZE] for number in (0, 2, 3)
    ]


@damage
@pytest.mark.parametrize("size", [100, len(DATA)])
def test_a_small_content_without_a_list_is_served_when_all_of_it_is_proven(store, reader, size):
    entry = store.add("f", DATA[:size])
    store.flip(entry.blob, size - 1)
    with pytest.raises(IntegrityError, match="do not match"):
        reader.block(entry, 0)
    assert reader.state(entry)[0] == "no"


@damage
def test_a_short_or_longer_origin_gives_no_false_byte(store, reader):
    entry = store.add("f", DATA, listed=True)
    del store.blobs[entry.blob][-1:]
    with pytest.raises(IntegrityError, match="shorter"):
        reader.block(entry, BLOCKS - 1)
    store.blobs[entry.blob] += DATA[-1:] + b"more"
    assert content(reader, entry) == DATA


def test_a_big_content_without_a_list_is_served_as_it_comes_and_proven_when_it_is_complete(store, reader, all_is_big):
    entry = store.add("f", DATA)
    assert bytes(reader.block(entry, 2)) == DATA[2 * BLOCK_SIZE : 3 * BLOCK_SIZE]
    assert store.blocks_read(entry) == [2]
    assert reader.state(entry) == ("partly", "provisional")
    assert not reader.needs_completion(entry)
    for number in (0, 1, 3):
        reader.block(entry, number)
    assert reader.needs_completion(entry)
    reader.complete(entry)
    assert not reader.needs_completion(entry)
    assert reader.state(entry) == ("yes", "proven")


def test_what_a_list_has_proven_is_not_read_again_when_it_is_complete(store, new_reader):
    entry = store.add("f", DATA, listed=True)
    reader = new_reader()
    for number in range(BLOCKS):
        reader.block(entry, number)
    reader.close()
    assert reader.needs_completion(entry)
    reader.complete(entry)
    assert reader._remote._file(entry).sealed
    assert reader._remote._cache.statistics().hits == 0


@damage
@pytest.mark.parametrize("right", [True, False])
def test_one_block_that_came_unproven_is_proven_with_the_whole(store, new_reader, right):
    entry = store.add("f", DATA, listed=True)
    reader = new_reader()
    for number in range(1, BLOCKS):
        reader.block(entry, number)
    reader.close()
    file = reader._remote._file(entry)
    file.write(0, DATA[:BLOCK_SIZE] if right else bytes(BLOCK_SIZE), proven=False)
    if right:
        reader.complete(entry)
    else:
        with pytest.raises(IntegrityError):
            reader.complete(entry)
    assert (file.sealed, file.proven(0)) == (right, right)


def test_what_a_complete_content_was_proven_to_be_proves_its_blocks_ever_after(store, new_reader, all_is_big):
    entry = store.add("f", DATA)
    reader = new_reader()
    assert content(reader, entry) == DATA
    reader._remote._file(entry).drop()
    store.reads.clear()
    other = new_reader()
    assert bytes(other.block(entry, 2)) == DATA[2 * BLOCK_SIZE : 3 * BLOCK_SIZE]
    assert other.state(entry) == ("partly", "proven")
    assert store.blocks_read(entry) == [2]


@damage
def test_a_big_content_that_is_damaged_is_refused_from_its_completion_on_and_thrown_away(store, new_reader, all_is_big):
    entry = store.add("f", DATA)
    store.flip(entry.blob, 5)
    reader = new_reader()
    with pytest.raises(IntegrityError, match="do not match"):
        content(reader, entry)
    with pytest.raises(IntegrityError, match="do not match"):
        reader.block(entry, 3)
    assert reader.state(entry)[0] == "no"
    store.flip(entry.blob, 5)
    assert content(new_reader(), entry) == DATA


@damage
@pytest.mark.parametrize("number", range(BLOCKS))
def test_strict_serves_nothing_of_a_damaged_content(store, new_reader, all_is_big, number):
    entry = store.add("f", DATA)
    store.flip(entry.blob, number * BLOCK_SIZE)
    with pytest.raises(IntegrityError, match="do not match"):
        new_reader(strict=True).block(entry, (number + 1) % BLOCKS)


def test_strict_reads_what_lazy_has_kept_only_after_proving_it(store, new_reader, all_is_big):
    entry = store.add("f", DATA)
    lazy = new_reader()
    lazy.block(entry, 1)
    recorded(lazy)
    strict = new_reader(strict=True)
    assert not strict.is_here(entry, 1)
    assert bytes(strict.block(entry, 1)) == DATA[BLOCK_SIZE : 2 * BLOCK_SIZE]
    assert strict.state(entry) == ("yes", "proven")


def test_bytes_that_were_kept_as_they_came_are_not_served_to_a_manifest_that_can_prove(store, new_reader, all_is_big):
    entry = store.add("f", DATA)
    store.flip(entry.blob, 5)
    lazy = new_reader()
    lazy.block(entry, 0)
    recorded(lazy)
    store.flip(entry.blob, 5)
    listed = store.add("f", DATA, listed=True)
    assert bytes(new_reader().block(listed, 0)) == DATA[:BLOCK_SIZE]


def test_an_object_whose_digest_is_no_digest_of_content_is_kept_and_stays_provisional(store, new_reader):
    entry = reference("f", "s3://bucket/f", DATA)
    entry = type(entry)(entry.path, "etag-of-parts-4", entry.size, entry.ref)
    store.blobs[entry.ref] = bytearray(DATA)
    reader = new_reader()
    assert content(reader, entry) == DATA
    assert recorded(reader).state(entry) == ("yes", "provisional")
    store.failure = UnreachableError("away")
    assert content(new_reader(), entry) == DATA


@pytest.mark.parametrize("listed", [True, False])
def test_damage_in_the_cache_is_a_miss(store, new_reader, listed):
    entry = store.add("f", DATA, listed=listed)
    reader = new_reader()
    assert content(reader, entry) == DATA
    recorded(reader)
    path = reader._remote._file(entry).path
    with path.open("r+b") as file:
        file.seek(BLOCK_SIZE + 9)
        file.write(b"damage")
    store.reads.clear()
    other = new_reader()
    assert other.cached_blocks(entry, 0, 2) is None
    assert content(other, entry) == DATA
    assert store.blocks_read(entry) == [1]


def test_a_store_that_is_away_is_no_damage(store, reader):
    entry = store.add("f", DATA, listed=True)
    reader.block(entry, 0)
    store.failure = UnreachableError("the store is away")
    with pytest.raises(UnreachableError):
        reader.block(entry, 1)
    assert bytes(reader.block(entry, 0)) == DATA[:BLOCK_SIZE]
    store.failure = None
    assert content(reader, entry) == DATA


@damage
def test_a_blob_that_is_not_in_the_store_is_damage_and_a_reference_that_leads_nowhere_is_not(
    store, reader, monkeypatch
):
    def gone(*_):
        raise NotFoundError("it is not there")

    entry, link = store.add("f", DATA, listed=True), reference("r", "s3://bucket/r", DATA)
    store.blobs[link.ref] = bytearray(DATA)
    monkeypatch.setattr("tests.content.fakes.FakeSource.read", gone)  # as services say it: at the first read
    with pytest.raises(IntegrityError, match="missing in the store"):
        reader.block(entry, 0)
    with pytest.raises(NotFoundError):
        reader.block(link, 0)


@pytest.mark.expects_warning("deriving it")
@damage
def test_where_the_named_block_list_is_damaged_nothing_is_served_before_the_whole_is_proven(
    store, new_reader, all_is_big
):
    entry = store.add("f", DATA, listed=True)
    store.flip(entry.block_list, 3)
    assert bytes(new_reader().block(entry, 0)) == DATA[:BLOCK_SIZE]
    other = store.add("g", DATA[::-1], listed=True)
    store.flip(other.block_list, 3)
    store.flip(other.blob, len(DATA) - 1)
    with pytest.raises(IntegrityError, match="do not match"):
        new_reader().block(other, 0)
