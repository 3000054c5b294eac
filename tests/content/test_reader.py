"""Proven bytes: what the manifest names comes back, and nothing else ever does."""

import contextlib
import gc
import logging
import random
import threading

import pytest

from artfs.content import origin
from artfs.content import reader as reader_module
from artfs.content.proof import block_count
from artfs.errors import ChangedError, IntegrityError, NotFoundError, UnreachableError
from artfs.model.digest import Algorithm
from artfs.model.entry import BLOCK_SIZE, Entry
from artfs.model.paths import parse_entry_path
from tests.content.fakes import reference

DATA = random.Random(1).randbytes(3 * BLOCK_SIZE + 5)
damage = pytest.mark.expects_warning("is damaged or missing")


def content(reader, entry):
    return b"".join(reader.export(entry))


def complaints(caplog, entry):
    """Return the messages that name the bytes of an entry as damaged."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.ERROR and entry.blob.hex in record.getMessage()
    ]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("algorithm", [Algorithm.MD5, Algorithm.XXH128])
@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE, 3 * BLOCK_SIZE + 5])
def test_the_bytes_that_the_manifest_names_come_back(store, reader, size, algorithm, listed):
    entry = store.add("f", DATA[:size], algorithm, listed=listed)
    assert content(reader, entry) == DATA[:size]
    assert content(reader, entry) == DATA[:size]


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE + 1])
def test_the_bytes_of_a_reference_come_back(store, reader, size):
    store.blobs["file:///data/f"] = bytearray(DATA[:size])
    assert content(reader, reference("f", "file:///data/f", DATA[:size])) == DATA[:size]


@pytest.mark.parametrize("local", [True, False])
def test_a_reference_that_has_changed_is_an_error_and_no_damage(store, reader, local):
    store.local = local
    store.blobs["s3://bucket/f"] = bytearray(DATA)
    entry = reference("f", "s3://bucket/f", DATA)
    store.failure = ChangedError("s3://bucket/f has changed")
    with pytest.raises(ChangedError, match="has changed"):
        reader.block(entry, 0)
    assert not reader.damaged
    store.failure = None
    assert content(reader, entry) == DATA


@damage
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(("size", "offset"), [(1, 0), (BLOCK_SIZE, 9), (len(DATA), 0), (len(DATA), BLOCK_SIZE),
                                              (len(DATA), 2 * BLOCK_SIZE + 77), (len(DATA), len(DATA) - 1)])  # fmt: skip
def test_a_flipped_bit_is_an_error_that_is_logged_once(store, reader, caplog, size, offset, listed):
    entry = store.add("dir/f", DATA[:size], listed=listed and size > BLOCK_SIZE)
    store.flip(entry.blob, offset)
    damaged = offset // BLOCK_SIZE
    for number in [*range(block_count(size))] * 3:
        with contextlib.nullcontext() if listed and number != damaged else pytest.raises(IntegrityError):
            found = reader.block(entry, number)
            assert found == DATA[:size][number * BLOCK_SIZE :][:BLOCK_SIZE]
    (message,) = complaints(caplog, entry)
    assert "'dir/f'" in message


@damage
def test_the_other_blocks_of_a_damaged_file_can_still_be_read(store, reader):
    entry = store.add("f", DATA, listed=True)
    store.flip(entry.blob, BLOCK_SIZE)
    with pytest.raises(IntegrityError, match="block 1"):
        reader.block(entry, 1)
    assert reader.block(entry, 0) == DATA[:BLOCK_SIZE]
    assert reader.block(entry, 3) == DATA[3 * BLOCK_SIZE :]


@damage
def test_damage_after_the_first_read_is_found(store, new_reader):
    entry = store.add("f", DATA)
    assert content(new_reader(), entry) == DATA  # the block list is derived and kept
    store.flip(entry.blob, 5)
    again = new_reader()
    with pytest.raises(IntegrityError):
        again.block(entry, 0)
    assert again.block(entry, 1) == DATA[BLOCK_SIZE : 2 * BLOCK_SIZE]


@damage
@pytest.mark.parametrize("listed", [True, False])
def test_a_repaired_blob_is_read_again(store, reader, listed):
    entry = store.add("f", DATA, listed=listed)
    store.flip(entry.blob, 5)
    with pytest.raises(IntegrityError):
        reader.block(entry, 0)
    store.blobs[entry.blob] = bytearray(DATA)  # another file under the same name, as a rename makes it
    assert content(reader, entry) == DATA


@damage
def test_a_missing_blob_is_an_integrity_error_that_is_logged_once(store, reader, caplog):
    entry = store.add("f", b"gone")
    del store.blobs[entry.blob]
    for _ in range(2):
        with pytest.raises(IntegrityError, match="missing in the store"):
            reader.block(entry, 0)
    assert len(complaints(caplog, entry)) == 1
    store.add("f", b"gone")
    assert reader.block(entry, 0) == b"gone"


def test_a_missing_reference_is_not_found(store, reader):
    with pytest.raises(NotFoundError):
        reader.block(reference("f", "file:///nowhere", b"x"), 0)


@damage
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("size", [7, BLOCK_SIZE, len(DATA)])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_manifest_that_lies_about_a_size_gets_no_false_byte(store, reader, caplog, size, change, listed):
    true = store.add("f", DATA[:size], listed=listed and size > BLOCK_SIZE)
    lie = Entry(true.path, true.digest, size + change, extra=true.extra)
    served = []
    with pytest.raises(IntegrityError):
        served.extend(reader.export(lie))
    assert b"".join(served) == DATA[: len(b"".join(served))]
    assert len(b"".join(served)) % BLOCK_SIZE == 0  # whole blocks that are the same in both, at most
    assert content(reader, true) == DATA[:size]


@damage
@pytest.mark.parametrize("change", [-1, 1])
def test_a_lie_about_a_size_is_found_also_when_the_true_bytes_are_in_memory(store, reader, change):
    true = store.add("f", b"0123456789")
    assert reader.block(true, 0) == b"0123456789"
    with pytest.raises(IntegrityError):
        reader.block(Entry(true.path, true.digest, 10 + change), 0)


@damage
def test_bytes_in_memory_are_not_served_under_another_algorithm(store, reader):
    true = store.add("f", b"0123456789")
    assert reader.block(true, 0) == b"0123456789"
    other = Entry(true.path, true.digest, 10, extra={"alg": "XXH128"})
    with pytest.raises(IntegrityError):
        reader.block(other, 0)


@damage
@pytest.mark.parametrize("size", [10, len(DATA)])
def test_a_blob_that_was_cut_off_is_damaged_and_one_that_grew_serves_what_was_named(store, reader, size):
    entry = store.add("f", DATA[:size])
    store.blobs[entry.blob] += b"more"
    assert content(reader, entry) == DATA[:size]
    other = store.add("g", DATA[1 : size + 1])
    del store.blobs[other.blob][-1:]
    with pytest.raises(IntegrityError):
        content(reader, other)


def test_an_empty_file_has_the_digest_of_nothing_or_is_refused(store, reader):
    assert content(reader, store.add("f", b"")) == b""
    assert store.opened == []
    lie = Entry(parse_entry_path("g"), store.add("g", b"not empty").digest, 0)
    with pytest.raises(IntegrityError, match="size 0"):
        content(reader, lie)


def test_a_failing_store_is_not_damage_and_is_asked_again(store, reader, caplog):
    entry = store.add("f", DATA)
    store.failure = UnreachableError("the store does not answer")
    with pytest.raises(UnreachableError):
        reader.block(entry, 0)
    store.failure = None
    assert content(reader, entry) == DATA
    assert complaints(caplog, entry) == []


def test_the_last_blocks_are_kept_in_memory(store, reader):
    entry = store.add("f", DATA, listed=True)
    assert not reader.in_memory(entry, 1)
    reader.block(entry, 1)
    reader.block(entry, 1)
    assert reader.peek(entry, 1, 0, BLOCK_SIZE) == DATA[BLOCK_SIZE : 2 * BLOCK_SIZE]
    assert store.blocks_read(entry) == [1]


def test_memory_is_bounded_and_old_blocks_are_read_again(store, new_reader, monkeypatch):
    monkeypatch.setattr(reader_module, "_MEMORY_BYTES", 2 * BLOCK_SIZE + 1000)
    reader, entry = new_reader(), store.add("f", DATA, listed=True)
    for number in range(3):
        reader.block(entry, number)
    assert not reader.in_memory(entry, 0)
    assert reader.in_memory(entry, 2)
    assert reader.block(entry, 0) == DATA[:BLOCK_SIZE]
    assert store.blocks_read(entry) == [0, 1, 2, 0]


def test_open_sources_are_bounded_and_closed(store, new_reader, monkeypatch):
    monkeypatch.setattr(origin, "_OPEN_SOURCES", 4)
    reader = new_reader()
    for number in range(10):
        reader.block(store.add("f", b"%d" % number), 0)
    gc.collect()
    assert [source.closed for source in store.opened] == [True] * 6 + [False] * 4


def test_a_source_is_not_closed_under_a_thread_that_reads_it(store, new_reader, monkeypatch):
    monkeypatch.setattr(origin, "_OPEN_SOURCES", 1)
    reader, first = new_reader(), store.add("f", b"first")
    other = store.add("g", b"other")
    found = []
    with store.held():
        threads = [
            threading.Thread(target=lambda entry=entry: found.append(reader.block(entry, 0)))
            for entry in (first, other)
        ]
        for thread in threads:
            thread.start()
        store.wait_for_reads(2)  # opening the second has taken the place of the first
        assert [source.closed for source in store.opened] == [False, False]
    for thread in threads:
        thread.join()
    assert sorted(found) == [b"first", b"other"]


def test_a_block_in_the_page_cache_is_read_without_blocking(store, reader):
    entry = store.add("f", b"small")
    assert reader.peek(entry, 0, 0, BLOCK_SIZE) is None  # not opened yet, which blocks
    held = reader._open(entry)
    assert reader.peek(entry, 0, 0, BLOCK_SIZE) is None
    store.in_page_cache = True
    assert reader.peek(entry, 0, 0, BLOCK_SIZE) == b"small"
    assert held.source.size == 5


def test_a_block_whose_list_is_not_in_memory_is_not_tried(store, new_reader):
    entry = store.add("f", DATA, listed=True)
    reader = new_reader()
    reader._open(entry)
    store.in_page_cache = True
    assert reader.peek(entry, 1, 0, BLOCK_SIZE) is None
    reader.block(entry, 0)
    assert reader.peek(entry, 1, 0, BLOCK_SIZE) == DATA[BLOCK_SIZE : 2 * BLOCK_SIZE]


@damage
def test_damage_in_the_page_cache_is_found(store, reader):
    entry = store.add("f", DATA, listed=True)
    reader.block(entry, 0)
    store.in_page_cache = True
    store.flip(entry.blob, BLOCK_SIZE)
    with pytest.raises(IntegrityError, match="block 1"):
        reader.peek(entry, 1, 0, BLOCK_SIZE)
