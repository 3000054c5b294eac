"""Which blocks go when there is no room, and that the limits are kept."""

import contextlib
import errno
import os
import threading

import pytest

from artfs.cache.datafiles import DataFile
from artfs.cache.room import Room
from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    BIG,
    MIB,
    OTHER,
    SMALL,
    Clock,
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


def used(directory):
    total = 0
    for path in (world_of(directory) / "data").rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the thread of the cache evicts, too
            total += path.lstat().st_blocks * 512 if path.is_file() else 0
    return total


def free(directory):
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def test_the_blocks_not_used_for_longest_go_first_over_all_contents(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, OTHER, BIG)  # other 0 1, big 0 1 2 3
        cache.file(*OTHER).read(0, 0, 1)
        assert cache.file(*BIG).read_nowait(1, 0, 1) == block_of(BIG, 1)[:1]
        left = [("other", 0), ("other", 1), ("big", 0), ("big", 1), ("big", 2), ("big", 3)]
        for gone in [("other", 1), ("big", 0), ("big", 2), ("big", 3), ("other", 0), ("big", 1)]:
            assert evict(cache, 1)
            left.remove(gone)
            found = {("other", n) for n in range(2) if cache.file(*OTHER).has(n)}
            found |= {("big", n) for n in range(4) if cache.file(*BIG).has(n)}
            assert found == set(left)
        assert cache.statistics().evicted == 6


def test_the_order_of_use_survives_a_restart(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, BIG)
        cache.file(*BIG).read(0)
    with opened(tmp_path) as cache:
        evict(cache, 1)
        assert hits(cache, BIG) == [0, 2, 3]


def test_evicted_blocks_give_their_disk_space_back_and_empty_files_go(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, BIG)
        assert used(tmp_path) >= 3 * MIB
        evict(cache, 3 * MIB)
        assert used(tmp_path) < MIB
        assert hits(cache, BIG) == [3]
        assert data_file(tmp_path, BIG).stat().st_size == BIG.size
        evict(cache)
        assert not data_file(tmp_path, BIG).exists()
        assert (cache.statistics().bytes, cache.statistics().files) == (0, 0)
        fill(cache, BIG)
        assert hits(cache, BIG) == [0, 1, 2, 3]


def test_the_cache_never_passes_its_size_limit(tmp_path):
    limit = 10 * MIB
    with opened(tmp_path, max_bytes=limit) as cache:
        for number in range(40):
            content = numbered(number)
            cache.file(*content).write(0, block_of(content, 0), proven=True)
            assert cache.statistics().bytes <= limit
            assert used(tmp_path) <= limit + MIB // 8
        assert hits(cache, numbered(39)) == [0]  # the newest is there, so room was made for it
        cache.flush()
        assert cache.statistics().bytes >= limit - 2 * MIB  # and not more than needed
        assert cache.statistics().trouble is None
        assert cache.statistics().evicted >= 30


def test_a_smaller_limit_after_a_restart_is_kept(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, *(numbered(number) for number in range(6)))
    with opened(tmp_path, max_bytes=3 * MIB) as cache:
        cache.file(*SMALL).write(0, block_of(SMALL, 0), proven=True)
        assert cache.statistics().bytes <= 3 * MIB
        assert hits(cache, numbered(5)) == [0]


def test_a_block_larger_than_the_limit_is_not_cached_and_no_trouble(tmp_path):
    with opened(tmp_path, max_bytes=MIB // 2) as cache:
        fill(cache, OTHER, SMALL)
        assert (hits(cache, OTHER), hits(cache, SMALL)) == ([], [0])
        assert cache.statistics().trouble is None


def test_pinned_names_are_not_evicted_whatever_their_size(tmp_path):
    liar = SMALL._replace(size=999)
    with opened(tmp_path) as cache, opened(tmp_path) as other:
        fill(cache, SMALL, liar, BIG, OTHER)
        assert cache.pin("me", [SMALL.name])
        assert cache.pin("you", [SMALL.name, BIG.name])
        assert cache.pinned("you") == {SMALL.name, BIG.name}
        evict(other)
        assert (hits(cache, SMALL), hits(cache, liar), hits(cache, BIG)) == ([0], [0], [0, 1, 2, 3])
        assert hits(cache, OTHER) == []
        assert cache.unpin("you")
        evict(other)
        assert (hits(cache, SMALL), hits(cache, BIG)) == ([0], [])
    with opened(tmp_path) as cache:
        assert (cache.pinned("me"), cache.pinned("you")) == ({SMALL.name}, set())
        evict(cache)
        assert hits(cache, SMALL) == [0]
        cache.unpin("me")
        evict(cache)
        assert hits(cache, SMALL) == []


def test_an_unpinned_block_is_as_cold_as_the_others(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, BIG)
        cache.pin("me", [BIG.name])
        fill(cache, OTHER)
        assert evict(cache, 2 * MIB) == 2 * MIB
        cache.unpin("me")
        fill(cache, OTHER)
        evict(cache, 3 * MIB)
        assert (hits(cache, BIG), hits(cache, OTHER)) == ([3], [0, 1])


def test_more_pinned_blocks_than_are_looked_at_at_once_do_not_hide_the_others(tmp_path):
    pinned = [numbered(number, 10) for number in range(600)]
    with opened(tmp_path) as cache:
        fill(cache, *pinned)
        cache.pin("me", [content.name for content in pinned])
        fill(cache, OTHER)
        assert evict(cache) == 2 * MIB
        assert evict(cache) == 0
        assert cache.statistics().blocks == 600


def test_blocks_used_in_the_future_are_evicted_last_and_not_never(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, OTHER)
        with keeper_of(cache).world.ledger.transaction() as transaction:
            transaction.warm(transaction.find(OTHER), [0, 1], 1 << 62)  # the clock was wrong
        fill(cache, BIG)
        evict(cache, 3 * MIB + 8192)
        assert (hits(cache, BIG), hits(cache, OTHER)) == ([], [0, 1])
        evict(cache, 1)
        assert cache.statistics().blocks == 1


@pytest.mark.expects_warning("nothing may be evicted")
def test_where_everything_is_pinned_reads_go_through_and_that_is_said_once(tmp_path, caplog):
    clock = Clock()
    with opened(tmp_path, max_bytes=2 * MIB, clock=clock) as cache:
        cache.pin("me", [OTHER.name])
        fill(cache, OTHER)
        for _ in range(3):
            fill(cache, BIG)
            assert hits(cache, BIG) == []
            assert hits(cache, OTHER) == [0, 1]
            assert "nothing may be evicted" in cache.statistics().trouble
            clock.now += 61
        assert len([record for record in caplog.records if "nothing may be evicted" in record.getMessage()]) == 1
        cache.unpin("me")
        fill(cache, BIG)
        assert hits(cache, BIG)
        assert cache.statistics().trouble is None


def test_whole_files_are_evicted_where_holes_cannot_be_punched(tmp_path, monkeypatch):
    def cannot(self, number):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(DataFile, "punch", cannot)
    with opened(tmp_path) as cache:
        for content in (BIG, OTHER):
            fill(cache, content)
            assert used(tmp_path) >= 2 * MIB
        evict(cache, 1)
        assert (hits(cache, BIG), hits(cache, OTHER)) == ([], [0, 1])
        assert not data_file(tmp_path, BIG).exists()
        evict(cache, 1)
        assert hits(cache, OTHER) == []
        assert used(tmp_path) == 0
        assert (cache.statistics().blocks, cache.statistics().bytes) == (0, 0)


def test_the_disk_keeps_its_free_space(small_disk):
    disk = small_disk(24)
    with opened(disk, keep_free=8 * MIB) as cache:
        for number in range(40):
            content = numbered(number)
            cache.file(*content).write(0, block_of(content, 0), proven=True)
            assert free(disk) >= 8 * MIB - MIB // 8  # the ledger may grow a little
        assert hits(cache, numbered(39)) == [0]
        cache.flush()
        assert cache.statistics().blocks >= 10
        with (disk / "of others").open("wb") as file:
            file.write(bytes(5 * MIB))
        keeper_of(cache).room.refresh(now=True)
        evict(cache, keeper_of(cache).room.shortage())
        fill(cache, numbered(40))
        assert free(disk) >= 8 * MIB - MIB // 8
        assert hits(cache, numbered(40)) == [0]
        assert cache.statistics().trouble is None


def test_a_disk_that_is_full_although_the_limits_are_kept_evicts_for_each_block(small_disk):
    disk = small_disk(8)
    with opened(disk) as cache:
        for number in range(30):
            content = numbered(number)
            cache.file(*content).write(0, block_of(content, 0), proven=True)
            assert hits(cache, content) == [0]
        assert cache.statistics().trouble is None
        assert cache.statistics().damaged == 0
        cache.flush()
        assert cache.statistics().blocks >= 3


def fill_disk(disk):
    """Take every byte of a disk."""
    with (disk / "of others").open("ab", buffering=0) as file:
        piece = bytes(1 << 16)
        while piece:
            try:
                while file.write(piece) == len(piece):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            piece = piece[: len(piece) // 2]


def test_a_disk_filled_by_others_to_its_last_byte_is_given_space_back_by_evicting(small_disk):
    disk = small_disk(16)
    contents = [numbered(number) for number in range(8)]
    with opened(disk) as cache:
        fill(cache, *contents)
    with opened(disk) as cache:
        fill_disk(disk)
        assert free(disk) == 0
        fill(cache, BIG)
        assert hits(cache, BIG)
        assert hits(cache, contents[7]) == [0]
        assert hits(cache, contents[0]) == []
        assert cache.statistics().trouble is None


@pytest.mark.expects_warning("the disk is full")
def test_a_disk_that_is_full_of_what_others_have_is_read_through(small_disk, caplog):
    disk = small_disk(8)
    clock = Clock()
    with opened(disk, clock=clock) as cache:
        fill_disk(disk)
        for _ in range(3):
            fill(cache, BIG)
            assert hits(cache, BIG) == []
            assert "the disk is full" in cache.statistics().trouble
            clock.now += 61
        (disk / "of others").unlink()
        fill(cache, BIG)
        assert hits(cache, BIG) == [0, 1, 2, 3]
        assert cache.statistics().trouble is None
    assert len([record for record in caplog.records if "the disk is full" in record.getMessage()]) == 1


def test_the_disk_is_not_asked_for_each_block(tmp_path, monkeypatch):
    asked = []
    statvfs = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: (asked.append(path), statvfs(path))[1])
    room = Room(tmp_path, 1 << 40, 0, Clock())
    room.refresh()
    for _ in range(1000):
        assert room.reserve(4096)
        room.refresh()
    assert len(asked) == 1
    assert room.reserve(16 * MIB)
    room.refresh()
    assert len(asked) == 2


def test_room_is_not_given_twice_while_blocks_are_punched_out(tmp_path, monkeypatch):
    punch, asked = DataFile.punch, []
    with opened(tmp_path, max_bytes=10 * MIB) as cache:
        keeper = keeper_of(cache)
        monkeypatch.setattr(keeper.room, "shortage", lambda *_: 0)  # nothing is evicted but here
        fill(cache, *(numbered(number, 2 * BLOCK_SIZE) for number in range(5)))

        def ask_first(self, number):
            keeper.room.settle(0, keeper.world.ledger.totals.bytes)  # as when others record
            asked.append(keeper.room.reserve(MIB))
            punch(self, number)

        monkeypatch.setattr(DataFile, "punch", ask_first)
        assert evict(cache, 1) == MIB
        assert asked == [False]
        assert keeper.room.reserve(MIB)


def test_what_is_written_while_the_disk_is_asked_counts(tmp_path, monkeypatch):
    statvfs = os.statvfs
    room = Room(tmp_path, 1 << 60, 0, Clock())
    room.refresh()

    def write_meanwhile(path):
        answer = statvfs(path)
        monkeypatch.undo()
        assert room.reserve(8192)
        room.landed(8192)
        assert room.reserve(4096)
        free_bytes.append(answer.f_bavail * answer.f_frsize)
        return answer

    free_bytes = []
    monkeypatch.setattr(os, "statvfs", write_meanwhile)
    room.refresh(now=True)
    assert not room.reserve(free_bytes[0] - 12287)
    assert room.reserve(free_bytes[0] - 12288)


def test_room_that_others_have_made_meanwhile_is_not_made_again(tmp_path, monkeypatch):
    seen, go = threading.Event(), threading.Event()
    shortage = Room.shortage

    def looked(room, cost=0):
        found = shortage(room, cost)
        if found and threading.current_thread().name == "artfs-cache" and not seen.is_set():
            seen.set()
            assert go.wait(60)
        return found

    with opened(tmp_path) as cache:
        fill(cache, *(numbered(number) for number in range(6)))
    monkeypatch.setattr(Room, "shortage", looked)
    with opened(tmp_path, max_bytes=3 * MIB) as cache:
        thread = threading.Thread(
            target=cache.file(*SMALL).write, args=(0, block_of(SMALL, 0)), kwargs={"proven": True}
        )
        thread.start()
        assert seen.wait(60)
        thread.join(60)
        go.set()
        cache.flush()
        keeper_of(cache)._work()
        assert cache.statistics().bytes > MIB
        assert hits(cache, numbered(5)) == [0]
