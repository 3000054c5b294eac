"""Processes that are killed, and what is tidied after them."""

import random

from artfs.cache import sweep as sweeping
from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    BIG,
    MIB,
    OTHER,
    SMALL,
    block_of,
    data_file,
    fill,
    hits,
    keeper_of,
    numbered,
    opened,
    running,
    sweep_now,
    world_of,
)

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
