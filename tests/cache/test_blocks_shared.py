"""One cache directory, several processes: never a wrong byte, whoever evicts, writes or is killed."""

import contextlib
import random

import pytest

from artfs.cache.datafiles import DataFile
from artfs.cache.ledger import LedgerDamagedError
from tests.cache.blockcaches import (
    BIG,
    MIB,
    OTHER,
    SMALL,
    block_of,
    evict,
    fill,
    hits,
    keeper_of,
    opened,
    running,
    sweep_now,
    world_of,
)


@pytest.fixture
def two(tmp_path):
    """Two caches on one directory: to all of the cache, two processes."""
    with opened(tmp_path) as one, opened(tmp_path) as other:
        yield one, other


def test_what_one_process_has_recorded_another_one_reads(two):
    one, other = two
    file = other.file(*BIG)
    assert file.missing(0, 3) == [0, 1, 2, 3]
    fill(one, BIG)
    assert file.read(1) == block_of(BIG, 1)
    assert file.missing(0, 3) == []
    assert hits(other, BIG) == [0, 1, 2, 3]


def test_a_block_that_is_evicted_by_another_process_is_a_miss_though_it_was_verified(two):
    one, other = two
    fill(one, BIG)
    for cache in two:
        assert hits(cache, BIG) == [0, 1, 2, 3]
    file = one.file(*BIG)
    assert evict(other, MIB) == MIB  # the coldest block: of this file
    assert file.read_nowait(0, 0, 100) is None
    assert file.read(0, 0, 100) is None
    assert file.missing(0, 3) == [0]
    assert hits(one, BIG) == [1, 2, 3]
    assert one.statistics().damaged == 0


def test_a_block_evicted_in_the_middle_of_a_read_is_a_miss(two, monkeypatch):
    one, other = two
    fill(one, BIG)
    file = one.file(*BIG)
    assert file.read(0, 0, 100) is not None
    for name, read in [("read", lambda: file.read(0, 0, 100)), ("read_nowait", lambda: file.read_nowait(0, 0, 100))]:
        original = getattr(DataFile, name)

        def evict_first(self, offset, size, name=name, original=original):
            monkeypatch.setattr(DataFile, name, original)
            evict(other)
            return original(self, offset, size)

        monkeypatch.setattr(DataFile, name, evict_first)
        assert read() is None
        fill(one, BIG)
        assert file.read(0, 0, 100) is not None


def test_a_block_evicted_by_the_same_process_in_the_middle_of_a_read_is_a_miss(tmp_path, monkeypatch):
    with opened(tmp_path) as cache:
        fill(cache, BIG)
        file, original = cache.file(*BIG), DataFile.read

        def evict_first(self, offset, size):
            monkeypatch.setattr(DataFile, "read", original)
            evict(cache, MIB)
            return original(self, offset, size)

        monkeypatch.setattr(DataFile, "read", evict_first)
        assert file.read(0, 0, 100) is None
        assert file.read_nowait(1, 0, 100) == block_of(BIG, 1)[:100]  # the others are still trusted


def test_rows_loaded_while_another_process_evicts_are_not_trusted(two, monkeypatch):
    one, other = two
    fill(one, BIG)
    ledger = keeper_of(one).world.ledger
    load = ledger.load

    def evict_after(content):
        rows = load(content)
        monkeypatch.setattr(ledger, "load", load)
        evict(other)
        return rows

    monkeypatch.setattr(ledger, "load", evict_after)
    one._shelf.known(BIG)._state = None
    assert hits(one, BIG) == []
    assert one.statistics().damaged == 0


def test_a_block_on_its_way_to_the_ledger_is_not_written_by_another_process(two, monkeypatch):
    one, other = two
    monkeypatch.setattr(keeper_of(one).recorder, "record", lambda **_: [])
    file = one.file(*BIG)
    file.write(0, block_of(BIG, 0), proven=True)
    other.file(*BIG).write(0, block_of(BIG, 0, variant="wrong"), proven=False)
    assert file.read(0, only_proven=True) == block_of(BIG, 0)
    other.flush()
    assert other.statistics().blocks == 0


def test_what_is_not_proven_never_replaces_what_another_process_has_proven(two):
    one, other = two
    file = other.file(*BIG)  # knows of no block
    fill(one, BIG)
    file.write(0, block_of(BIG, 0, variant="wrong"), proven=False)
    other.flush()
    assert hits(one, BIG) == hits(other, BIG) == [0, 1, 2, 3]
    assert file.proven(0)


def test_a_file_is_not_unlinked_while_another_process_writes_to_it(two, monkeypatch):
    one, other = two
    fill(one, BIG, numbers=[0])
    recorder = keeper_of(one).recorder
    record = recorder.record
    monkeypatch.setattr(recorder, "record", lambda **_: [])
    one.file(*BIG).write(1, block_of(BIG, 1), proven=True)
    evict(other)
    monkeypatch.setattr(recorder, "record", record)
    one.flush()
    assert hits(one, BIG) == hits(other, BIG) == [1]
    assert one.statistics().damaged == other.statistics().damaged == 0


def test_a_file_is_not_dropped_while_another_process_writes_to_it(two, monkeypatch):
    one, other = two
    fill(one, BIG, numbers=[0])
    recorder = keeper_of(one).recorder
    record = recorder.record
    monkeypatch.setattr(recorder, "record", lambda **_: [])
    one.file(*BIG).write(1, block_of(BIG, 1), proven=True)
    other.file(*BIG).drop()
    monkeypatch.setattr(recorder, "record", record)
    one.flush()
    assert hits(one, BIG) == hits(other, BIG) == [1]  # written after it was dropped
    assert one.statistics().damaged == other.statistics().damaged == 0


def test_a_file_that_was_unlinked_is_written_anew(two):
    one, other = two
    fill(one, BIG)
    file = one.file(*BIG)
    evict(other)
    file.write(2, block_of(BIG, 2), proven=True)
    one.flush()
    assert hits(one, BIG) == hits(other, BIG) == [2]


def test_a_file_that_was_opened_just_before_it_was_unlinked_is_not_written(two, monkeypatch):
    one, other = two
    fill(one, BIG)
    data = keeper_of(other).world.data
    unlink = data.unlink

    def open_first(content):
        one._shelf.known(BIG)._state = None
        assert one.file(*BIG).read(1) is None
        keeper_of(one).world.data.open(BIG)
        file = one._shelf.known(BIG)
        file.file(file.fresh())
        unlink(content)

    monkeypatch.setattr(data, "unlink", open_first)
    evict(other)
    fill(one, BIG, numbers=[2])
    assert hits(one, BIG) == hits(other, BIG) == [2]
    assert one.statistics().damaged == other.statistics().damaged == 0


def test_a_file_that_was_unlinked_while_it_was_opened_is_not_written(two, monkeypatch):
    one, other = two
    fill(one, BIG)
    known = one._shelf.known(BIG)
    known.release()
    data = keeper_of(one).world.data
    opening = data.open

    def evict_after(content):
        file = opening(content)
        monkeypatch.undo()
        evict(one)
        return file

    monkeypatch.setattr(data, "open", evict_after)
    known.file(known.fresh())
    fill(one, BIG, numbers=[2])
    assert hits(one, BIG) == hits(other, BIG) == [2]


def test_the_lock_of_a_block_is_had_once_also_with_one_open_file(tmp_path):
    with opened(tmp_path) as cache:
        data = keeper_of(cache).world.data
        file, again = data.create(BIG), data.create(BIG)
        assert file.lock(1)
        assert file.lock(2)
        assert not file.lock(1)
        assert not again.lock(1)
        assert not again.lock_whole()
        file.unlock(1)
        assert again.lock(1)
        assert not again.lock(2)


def test_content_dropped_by_another_process_is_a_miss(two):
    one, other = two
    fill(one, BIG)
    assert hits(other, BIG) == [0, 1, 2, 3]
    one.file(*BIG).drop()
    assert hits(other, BIG) == []


def test_only_one_process_evicts_at_a_time(two):
    one, other = two
    fill(one, BIG)
    with keeper_of(other).world.alone() as alone:
        assert alone
        assert evict(one) is None
        assert hits(one, BIG) == [0, 1, 2, 3]
    assert evict(one) == 3 * MIB + 8192


EVICTOR = """
import random
turns = random.Random(7)
for turn in range(int(sys.argv[2])):
    sys.stdin.readline()
    evict(cache, turns.choice([1, 1 << 20, 1 << 60]))
    fill(cache, BIG, numbers=[turn % 4])
    print(turn, flush=True)
cache.close()
"""


def test_a_reader_sees_right_bytes_or_none_while_another_process_evicts_everything(tmp_path):
    rounds = 150
    random_offsets = random.Random(3)
    with opened(tmp_path) as cache, contextlib.ExitStack() as processes:
        file = cache.file(*BIG)
        evictor = processes.enter_context(running(tmp_path, EVICTOR, rounds))
        # All turns are allowed at once: the processes run as they like.
        evictor.stdin.write("\n" * rounds)
        evictor.stdin.flush()
        found = missed = 0
        while evictor.poll() is None:
            number = random_offsets.randrange(4)
            offset = random_offsets.randrange(BIG.length(number) - 100)
            expected = block_of(BIG, number)[offset : offset + 100]
            for _ in range(20):
                data = file.read_nowait(number, offset, 100)
                assert data is None or data == expected
            data = file.read(number, offset, 100)
            assert data in {None, expected}
            if data is None:
                missed += 1
                file.write(number, block_of(BIG, number), proven=True)
            else:
                found += 1
        assert evictor.returncode == 0
        assert found
        assert missed
        cache.flush()
        hits(cache, BIG)
        assert (cache.statistics().trouble, cache.statistics().damaged) == (None, 0)


@pytest.mark.expects_warning("the cache begins empty")
def test_a_process_follows_when_another_one_begins_the_cache_anew(two, tmp_path, caplog):
    one, other = two
    fill(one, BIG)
    file = one.file(*BIG)
    assert file.read(0) == block_of(BIG, 0)
    before = world_of(tmp_path)
    other._shelf.failed(keeper_of(other), LedgerDamagedError("found by the other process"))
    sweep_now(other)
    assert not before.exists()
    fill(other, OTHER)
    assert file.read(0, 0, 10) in {None, block_of(BIG, 0)[:10]}  # from the old file, while it is open
    fill(one, SMALL)  # what is not possible any more leads to the new one
    assert hits(one, OTHER) == [0, 1]
    assert hits(one, BIG) == []
    fill(one, SMALL)
    assert hits(other, SMALL) == [0]
    assert one.statistics().trouble is None
    assert len([record for record in caplog.records if "begins empty" in record.getMessage()]) == 1


def test_statistics_are_of_all_processes_as_of_the_last_record(two):
    one, other = two
    fill(one, BIG)
    fill(other, SMALL)
    assert (other.statistics().blocks, other.statistics().files) == (5, 2)
