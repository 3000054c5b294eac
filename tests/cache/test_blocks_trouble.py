"""A cache disk that fails: nothing is raised, reads go through, it is said once, and tried again after a minute."""

import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import subprocess
import threading

import pytest

from artfs.cache import ledger as ledgers
from artfs.cache.datafiles import DataFile
from tests.cache.blockcaches import (
    BIG,
    OTHER,
    SMALL,
    Clock,
    block_of,
    checksums_of,
    fill,
    hits,
    keeper_of,
    opened,
    whole_of,
    world_of,
)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(tmp_path, clock):
    with opened(tmp_path, clock=clock) as cache:
        yield cache


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def use_everything(cache, path):
    """Call every method; nothing may be raised."""
    path.write_bytes(whole_of(BIG))
    file = cache.file(*BIG)
    assert file.read(0) is None
    assert file.read_nowait(0, 0, 1) is None
    file.write(0, block_of(BIG, 0), proven=True)
    file.seal()
    file.seal(checksums_of(BIG))
    file.drop()
    assert (file.has(0), file.whole, file.sealed, file.proven(0), file.checksum(0)) == (
        False,
        False,
        False,
        False,
        None,
    )
    assert file.missing(0, 1) == [0, 1]
    assert file.path is None
    assert cache.opened(*BIG) is None
    assert not cache.adopt(BIG.name, path, BIG.size, checksums_of(BIG))
    assert path.read_bytes() == whole_of(BIG)
    assert not cache.pin("me", [BIG.name])
    assert not cache.unpin("me")
    assert cache.pinned("me") == frozenset()
    cache.flush()
    assert cache.statistics().trouble


@pytest.mark.expects_warning("is off for 60 s: Read-only file system")
def test_a_read_only_cache_is_off_until_it_can_be_written(small_disk, clock, caplog, tmp_path):
    disk = small_disk(16)
    with opened(disk) as cache:
        fill(cache, BIG)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with opened(disk, clock=clock) as cache:
        for _ in range(3):
            use_everything(cache, tmp_path / "private")
            clock.now += 61
        assert len(warnings_in(caplog)) == 1
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert hits(cache, BIG) == [0, 1, 2, 3]
        fill(cache, SMALL)
        assert hits(cache, SMALL) == [0]
        assert cache.statistics().trouble is None


@pytest.mark.expects_warning("is off for 60 s")
@pytest.mark.parametrize("kind", ["a file", "a dangling link"])
def test_a_cache_whose_directory_cannot_be_made_is_off(tmp_path, clock, caplog, kind):
    place = tmp_path / "cache"
    place.write_text("in the way") if kind == "a file" else place.symlink_to("nowhere/at/all")
    with opened(place, clock=clock) as cache:
        use_everything(cache, tmp_path / "private")
        clock.now += 59
        place.unlink()
        use_everything(cache, tmp_path / "private")  # not tried again so soon
        clock.now += 2
        fill(cache, BIG)
        assert hits(cache, BIG) == [0, 1, 2, 3]
        assert cache.statistics().trouble is None
        assert len(warnings_in(caplog)) == 1


@pytest.mark.expects_warning("writing to the block cache")
@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO])
def test_a_disk_that_cannot_be_written_is_still_read(cache, clock, monkeypatch, caplog, code):
    fill(cache, OTHER)
    monkeypatch.setattr(DataFile, "write", failing(code))
    for _ in range(3):
        fill(cache, BIG)
        assert hits(cache, BIG) == []
        assert hits(cache, OTHER) == [0, 1]
        assert cache.statistics().trouble
        clock.now += 61
    assert len(warnings_in(caplog)) == 1
    monkeypatch.undo()
    fill(cache, BIG)
    assert hits(cache, BIG) == [0, 1, 2, 3]
    assert cache.statistics().trouble is None
    assert "works again" in caplog.text
    assert cache.statistics().bytes == 5 * (1 << 20) + 8192  # what was set aside for nothing was given back


@pytest.mark.expects_warning("the disk is full")
def test_a_quota_that_is_reached_is_like_a_full_disk(cache, monkeypatch):
    fill(cache, OTHER)
    monkeypatch.setattr(DataFile, "write", failing(errno.EDQUOT))
    fill(cache, BIG)
    assert hits(cache, BIG) == []
    assert cache.statistics().evicted == 2
    assert "the disk is full" in cache.statistics().trouble


@pytest.mark.expects_warning("Input/output error")
def test_a_block_that_cannot_be_read_is_a_miss_and_the_cache_pauses(cache, clock, monkeypatch, caplog):
    fill(cache, OTHER)
    monkeypatch.setattr(os, "pread", failing(errno.EIO))
    assert cache.file(*OTHER).read(0) is None
    monkeypatch.undo()
    assert hits(cache, OTHER) == []
    assert "Input/output" in cache.statistics().trouble
    clock.now += 61
    assert hits(cache, OTHER) == [1]  # the other one is given up
    assert len(warnings_in(caplog)) == 1


@pytest.mark.expects_warning("Too many open files")
def test_no_descriptors_are_a_pause_and_not_damage(cache, clock, monkeypatch):
    fill(cache, OTHER)
    cache._shelf.known(OTHER).release()
    opening = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *a, **kw: (failing(errno.EMFILE) if "xxh128" in str(path) else opening)(path, *a, **kw)
    )
    assert hits(cache, OTHER) == []
    monkeypatch.undo()
    clock.now += 61
    assert hits(cache, OTHER) == [0, 1]
    assert cache.statistics().damaged == 0


@pytest.mark.expects_warning("disk I/O error")
def test_what_the_ledger_cannot_take_now_is_recorded_later(tmp_path, clock, monkeypatch, caplog):
    with opened(tmp_path, clock=clock) as cache:
        ledger = keeper_of(cache).world.ledger

        def fail():
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(ledger, "transaction", fail)
        fill(cache, BIG)
        assert hits(cache, BIG)  # what was written is known, until it is recorded
        assert "disk I/O error" in cache.statistics().trouble
        monkeypatch.undo()
        clock.now += 61
        cache.flush()
        assert len(warnings_in(caplog)) == 1
    with opened(tmp_path) as cache:
        assert hits(cache, BIG)


@pytest.mark.expects_warning("database is locked")
def test_a_ledger_that_another_process_keeps_locked_does_not_stop_reads(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(ledgers, "_BUSY_SECONDS", 0.0)
    with opened(tmp_path, clock=clock) as cache:
        fill(cache, BIG)
        with sqlite3.connect(world_of(tmp_path) / "ledger.sqlite", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            fill(cache, OTHER)
            assert "locked" in cache.statistics().trouble
            assert hits(cache, BIG) == [0, 1, 2, 3]
            other.execute("COMMIT")
        other.close()
        clock.now += 61
        fill(cache, OTHER)
        assert hits(cache, OTHER) == [0, 1]


@pytest.mark.expects_warning("unable to open")
def test_a_ledger_that_cannot_be_read_is_a_pause(cache, clock, monkeypatch):
    fill(cache, BIG)
    file = cache.file(*OTHER)

    def fail(_):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(keeper_of(cache).world.ledger, "load", fail)
    assert cache.file(*SMALL).read(0) is None
    assert file.read(0) is None
    monkeypatch.undo()
    assert hits(cache, BIG) == []
    clock.now += 61
    assert hits(cache, BIG) == [0, 1, 2, 3]


@pytest.mark.expects_warning("its directory is gone")
@pytest.mark.parametrize("what", ["all of it", "the cache directory", "the world"])
def test_a_cache_that_was_deleted_while_in_use_begins_again_after_a_while(tmp_path, clock, caplog, what):
    cache_dir = tmp_path / "cache"
    with opened(cache_dir, clock=clock) as cache:
        fill(cache, BIG)
        shutil.rmtree(
            {"all of it": cache_dir, "the cache directory": cache_dir / "blocks", "the world": world_of(cache_dir)}[
                what
            ]
        )
        file = cache.file(*BIG)
        file.write(0, block_of(BIG, 0), proven=True)
        fill(cache, OTHER)
        assert hits(cache, OTHER) == []
        assert "directory is gone" in cache.statistics().trouble
        assert len(warnings_in(caplog)) == 1
        clock.now += 61
        fill(cache, BIG, OTHER)
        assert (hits(cache, BIG), hits(cache, OTHER)) == ([0, 1, 2, 3], [0, 1])
        assert cache.statistics().trouble is None
    with opened(cache_dir) as cache:
        assert hits(cache, BIG) == [0, 1, 2, 3]


@pytest.mark.expects_warning("its directory is gone")
def test_the_threads_notice_a_directory_that_is_gone(tmp_path, clock):
    with opened(tmp_path, clock=clock) as cache:
        keeper = keeper_of(cache)
        shutil.rmtree(tmp_path / "blocks")
        with pytest.raises(FileNotFoundError):
            keeper._work()
        cache._shelf.failed(keeper, FileNotFoundError(), writing=True)
        assert keeper.ended
        assert keeper_of(cache) is None
        keeper._threads[0].join()


@pytest.mark.expects_warning("another process keeps")
def test_opening_does_not_wait_for_ever_for_another_process(tmp_path, clock, monkeypatch):
    monkeypatch.setattr("artfs.cache.world._LOCK_SECONDS", 0.0)
    with opened(tmp_path) as first:
        fill(first, BIG)
        descriptor = os.open(tmp_path / "blocks" / "1" / "lock", os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with opened(tmp_path, clock=clock) as cache:
            assert hits(cache, BIG) == []
            os.close(descriptor)
            clock.now += 61
            assert hits(cache, BIG) == [0, 1, 2, 3]


@pytest.mark.expects_warning("Input/output error")
def test_a_content_that_could_not_be_dropped_is_dropped_later(cache, clock, monkeypatch):
    fill(cache, BIG, OTHER)

    def fail():
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(keeper_of(cache).world.ledger, "transaction", fail)
    cache.file(*BIG).drop()
    assert hits(cache, BIG) == []
    monkeypatch.undo()
    clock.now += 61
    cache.flush()
    assert (hits(cache, BIG), hits(cache, OTHER)) == ([], [0, 1])
    assert cache.statistics().blocks == 2


@pytest.mark.expects_warning("Input/output error")
def test_many_threads_that_fail_at_once_say_it_once(cache, monkeypatch, caplog):
    monkeypatch.setattr(DataFile, "write", failing(errno.EIO))
    threads = [
        threading.Thread(target=cache.file(*BIG).write, args=(number, block_of(BIG, number)), kwargs={"proven": True})
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(warnings_in(caplog)) == 1


def test_a_cache_disk_that_works_says_nothing(tmp_path, caplog):
    with opened(tmp_path) as cache:
        fill(cache, BIG)
        hits(cache, BIG)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
