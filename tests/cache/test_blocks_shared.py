"""One cache directory, several processes: never a wrong byte, whoever evicts, writes or is killed."""

import contextlib
import random
import subprocess
import sys
import textwrap

import pytest

from artfs.cache import sweep as sweeping
from artfs.cache.datafiles import DataFile
from artfs.cache.ledger import LedgerDamagedError
from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    BIG,
    MIB,
    OTHER,
    SMALL,
    block_of,
    data_file,
    evict,
    fill,
    hits,
    keeper_of,
    numbered,
    opened,
    world_of,
)

PREAMBLE = """
import sys
from pathlib import Path
from tests.cache.blockcaches import *
cache = BlockCache(Path(sys.argv[1]), max_bytes=PLENTY, keep_free=0)
"""


@contextlib.contextmanager
def running(cache_dir, program, *arguments):
    """Run a program in another process, which is killed in the end."""
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), str(cache_dir), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


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
                assert data in {None, expected}
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


WRITER = """
contents = [numbered(number, 2 * BLOCK_SIZE + 77) for number in range(4)]
turn = int(sys.argv[2])
while True:
    content, number = contents[turn % 4], turn // 4 % 3
    file = cache.file(*content)
    if turn % 7 == 0:
        evict(cache, 1 << 20)
    if turn % 11 == 0:
        file.seal()
    data = file.read(number)
    assert data in (None, block_of(content, number))
    file.write(number, block_of(content, number), proven=True)
    print(turn, flush=True)
    turn += 1
"""


def test_whatever_a_killed_process_was_doing_every_block_is_right_or_missing(tmp_path):
    contents = [numbered(number, 2 * BLOCK_SIZE + 77) for number in range(4)]
    kills = random.Random(11)
    found = 0
    for turn in range(8):
        with running(tmp_path, WRITER, turn * 5) as writer:
            for _ in range(kills.randrange(1, 60)):
                assert writer.stdout.readline()
        with opened(tmp_path) as cache:
            found += sum(len(hits(cache, content)) for content in contents)
            keeper_of(cache)._threads[1].join()
            cache.flush()
            statistics = cache.statistics()
            assert statistics.trouble is None
            assert statistics.damaged == 0
            assert statistics.blocks == sum(len(hits(cache, content)) for content in contents)
    assert found


def leave_unclean(tmp_path, program="fill(cache, BIG, OTHER, SMALL)"):
    """Have a process write and be killed."""
    with running(tmp_path, program + "\nprint('done', flush=True)\nsys.stdin.readline()") as process:
        assert process.stdout.readline()


def sweep_now(cache):
    keeper_of(cache)._threads[1].join()


def test_what_nobody_knows_is_removed_after_an_unclean_end_when_it_is_old(tmp_path, monkeypatch):
    leave_unclean(tmp_path)
    stray = data_file(tmp_path, numbered(1))
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x" * 5000)
    with opened(tmp_path) as cache:
        sweep_now(cache)
        assert stray.exists()  # it is young: maybe another process is about to record it
    leave_unclean(tmp_path, "pass")
    monkeypatch.setattr(sweeping, "LEFTOVER_AGE", -60.0)
    with opened(tmp_path) as cache:
        sweep_now(cache)
        assert not stray.exists()
        assert hits(cache, BIG) == [0, 1, 2, 3]
        assert hits(cache, SMALL) == [0]


def test_blocks_that_nobody_knows_are_punched_out_after_an_unclean_end(tmp_path):
    leave_unclean(tmp_path, "fill(cache, BIG, numbers=[1])")
    with data_file(tmp_path, BIG).open("r+b") as file:
        file.seek(2 * BLOCK_SIZE)
        file.write(b"x" * BLOCK_SIZE)
    with opened(tmp_path) as cache:
        sweep_now(cache)
        assert data_file(tmp_path, BIG).stat().st_blocks * 512 < 1.5 * MIB
        assert hits(cache, BIG) == [1]


def test_rows_without_a_file_are_removed_after_an_unclean_end(tmp_path):
    leave_unclean(tmp_path)
    data_file(tmp_path, BIG).unlink()
    with opened(tmp_path) as cache:
        sweep_now(cache)
        cache.pin("x", [])  # any transaction
        assert (cache.statistics().blocks, cache.statistics().files) == (3, 2)
        assert hits(cache, OTHER) == [0, 1]


def test_nothing_is_swept_after_a_clean_end_and_only_once_after_another(tmp_path, monkeypatch):
    swept = []
    monkeypatch.setattr(sweeping, "_sweep_directory", lambda *arguments: swept.append(arguments))
    with opened(tmp_path) as cache:
        fill(cache, BIG)
    with opened(tmp_path) as cache:
        sweep_now(cache)
        assert swept == []
    leave_unclean(tmp_path)
    with opened(tmp_path) as cache:
        sweep_now(cache)
        assert len(swept) == 512  # of md5 and xxh128
    with opened(tmp_path) as cache:
        sweep_now(cache)
        assert len(swept) == 512
    assert not list(world_of(tmp_path).glob("session-*"))


def test_a_sweep_beside_a_living_process_harms_nothing_it_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "LEFTOVER_AGE", -60.0)
    leave_unclean(tmp_path, "pass")
    with opened(tmp_path) as living:
        sweep_now(living)
        recorder = keeper_of(living).recorder
        record = recorder.record
        monkeypatch.setattr(recorder, "record", lambda **_: [])
        living.file(*BIG).write(0, block_of(BIG, 0), proven=True)  # on its way, and on the disk
        leave_unclean(tmp_path, "pass")
        with opened(tmp_path) as other:
            sweep_now(other)
        monkeypatch.setattr(recorder, "record", record)
        living.flush()
        assert hits(living, BIG) == [0]


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
