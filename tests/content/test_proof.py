"""Block lists: the one that the manifest names, the one that is derived, and what happens when either is damaged."""

import dataclasses
import random

import pytest

from artfs.cache.blocklists import BlockLists
from artfs.content import proof
from artfs.content.proof import Prover, block_count, block_length
from artfs.errors import UnreachableError
from artfs.model.digest import Algorithm
from artfs.model.entry import BLOCK_SIZE, Entry

DATA = random.Random(2).randbytes(3 * BLOCK_SIZE + 5)
ALL_BLOCKS = [0, 1, 2, 3]


def test_blocks_are_counted_and_measured():
    assert [block_count(size) for size in (0, 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE)] == [0, 1, 1, 2, 2]
    assert [block_length(BLOCK_SIZE + 3, number) for number in (0, 1)] == [BLOCK_SIZE, 3]


def test_a_named_list_proves_a_block_without_the_rest_of_the_file(store, reader):
    entry = store.add("f", DATA, listed=True)
    assert reader.block(entry, 2) == DATA[2 * BLOCK_SIZE : 3 * BLOCK_SIZE]
    assert store.blocks_read(entry) == [2]


def test_a_list_is_read_once_and_then_known(store, reader):
    entry = store.add("f", DATA, listed=True)
    for number in ALL_BLOCKS:
        reader.block(entry, number)
    assert [name for name, _ in store.reads].count(entry.block_list) == 1


@pytest.mark.expects_warning("is damaged, deriving it")
@pytest.mark.parametrize("break_list", [
    lambda blocks: blocks.__setitem__(0, blocks[0] ^ 1),
    lambda blocks: blocks.__delitem__(slice(-32, None)),
    lambda blocks: blocks.extend(b"\0" * 32),
    lambda blocks: blocks.clear(),
])  # fmt: skip
def test_a_named_list_that_is_damaged_is_derived_instead(store, reader, break_list):
    entry = store.add("f", DATA, listed=True)
    break_list(store.blobs[entry.block_list])
    assert b"".join(reader.export(entry)) == DATA
    assert store.blocks_read(entry) == [0, *ALL_BLOCKS, 1, 2, 3]  # read whole once, then as it is asked for


@pytest.mark.expects_warning("is damaged, deriving it")
@pytest.mark.parametrize("size", [BLOCK_SIZE + 1, len(DATA) + BLOCK_SIZE])
def test_a_named_list_of_another_number_of_blocks_is_derived_instead(store, reader, size):
    entry, other = store.add("f", DATA), store.add("g", (DATA * 2)[:size], listed=True)
    entry = dataclasses.replace(entry, extra=other.extra)
    assert b"".join(reader.export(entry)) == DATA


@pytest.mark.expects_warning("cannot be read, deriving it")
def test_a_named_list_that_is_missing_is_derived_instead(store, reader):
    entry = store.add("f", DATA, listed=True)
    del store.blobs[entry.block_list]
    assert b"".join(reader.export(entry)) == DATA


@pytest.mark.expects_warning("deriving it")
def test_a_damaged_list_is_complained_of_once_in_a_process(store, reader, caplog):
    entry = store.add("f", DATA, listed=True)
    store.flip(entry.block_list, 0)
    for number in ALL_BLOCKS:
        reader.block(entry, number)
    assert [record.getMessage() for record in caplog.records if "deriving" in record.getMessage()] == [
        f"block list {entry.block_list} of blob {entry.blob} is damaged, deriving it"
    ]


@pytest.mark.parametrize("algorithm", [Algorithm.MD5, Algorithm.XXH128])
def test_a_derived_list_is_kept_and_used_by_the_next_process(store, new_reader, algorithm):
    entry = store.add("f", DATA, algorithm)
    assert new_reader().block(entry, 1) == DATA[BLOCK_SIZE : 2 * BLOCK_SIZE]
    assert store.blocks_read(entry) == [1, *ALL_BLOCKS]
    store.reads.clear()
    again = new_reader()
    assert again.block(entry, 3) == DATA[3 * BLOCK_SIZE :]
    assert store.blocks_read(entry) == [3]


def test_a_kept_list_that_was_damaged_is_derived_anew(store, new_reader, tmp_path):
    entry = store.add("f", DATA)
    new_reader().block(entry, 0)
    (kept,) = (tmp_path / "cache/blocklists/md5").iterdir()
    kept.write_bytes(b"\0" * kept.stat().st_size)
    store.reads.clear()
    again = new_reader()
    assert again.block(entry, 0) == DATA[:BLOCK_SIZE]
    assert store.blocks_read(entry) == [0, *ALL_BLOCKS]
    store.reads.clear()
    assert new_reader().block(entry, 0) == DATA[:BLOCK_SIZE]
    assert store.blocks_read(entry) == [0]


@pytest.mark.expects_warning("cannot be kept")
def test_a_cache_that_cannot_be_written_costs_time_only(store, reader, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the directory should be")
    entry = store.add("f", DATA)
    assert b"".join(reader.export(entry)) == DATA
    assert sum("cannot be kept" in record.getMessage() for record in caplog.records) == 1


def test_no_list_is_kept_of_content_that_was_not_proven(store, reader, tmp_path):
    entry = store.add("f", DATA)
    prover = Prover(store, BlockLists(tmp_path / "cache"))
    lie = Entry(entry.path, entry.digest, entry.size + 1)
    for wrong in (lie, Entry(entry.path, store.add("g", b"other").digest, entry.size)):
        with pytest.raises(proof.IntegrityError, match="is damaged"):
            prover.prove(wrong, 0, DATA[:BLOCK_SIZE], store.open(entry.blob))
    assert not list((tmp_path / "cache").rglob("*"))


def test_a_failure_while_deriving_reaches_the_reader_and_keeps_nothing(store, reader, tmp_path):
    entry = store.add("f", DATA)
    store.failure = UnreachableError("the store does not answer")
    with pytest.raises(UnreachableError):
        reader.block(entry, 0)
    assert not (tmp_path / "cache").exists()


def test_memory_alone_proves_small_files_and_files_whose_list_is_known(store, tmp_path):
    prover = Prover(store, BlockLists(tmp_path / "cache"))
    small, big = store.add("s", b"small"), store.add("b", DATA, listed=True)
    assert prover.try_prove(small, 0, b"small") is True
    assert prover.try_prove(small, 0, b"smell") is False
    block = DATA[BLOCK_SIZE : 2 * BLOCK_SIZE]
    assert prover.try_prove(big, 1, block) is None
    assert prover.prove(big, 1, block, store.open(big.blob)) is True
    assert prover.try_prove(big, 1, block) is True
    assert prover.try_prove(big, 0, block) is False


def test_a_list_too_long_for_memory_is_read_each_time(store, tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "_LISTS_BYTES", 64)
    prover = Prover(store, BlockLists(tmp_path / "cache"))
    entry = store.add("f", DATA, listed=True)
    for number in ALL_BLOCKS:
        block = DATA[number * BLOCK_SIZE :][:BLOCK_SIZE]
        assert prover.prove(entry, number, block, store.open(entry.blob)) is True
    assert [name for name, _ in store.reads].count(entry.block_list) == len(ALL_BLOCKS)
