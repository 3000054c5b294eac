"""Files that the block cache takes over instead of copying them."""

import os

import pytest

from artfs.cache.sweep import sweep
from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    BIG,
    MIB,
    block_of,
    checksums_of,
    evict,
    fill,
    hits,
    keeper_of,
    numbered,
    opened,
    whole_of,
)


@pytest.fixture
def private(tmp_path):
    path = tmp_path / "private"
    path.write_bytes(whole_of(BIG))
    path.chmod(0o644)
    return path


def test_an_adopted_file_is_the_whole_sealed_content_and_was_not_copied(tmp_path, private):
    inode = private.stat().st_ino
    with opened(tmp_path) as cache:
        file = cache.file(*BIG)
        file.write(1, block_of(BIG, 1), proven=False)  # not recorded yet
        assert cache.adopt(BIG.name, private, BIG.size, checksums_of(BIG))
        assert not private.exists()
        assert file.path.stat().st_ino == inode
        assert file.path.stat().st_mode & 0o777 == 0o600
        assert (file.whole, file.sealed) == (True, True)
        assert hits(cache, BIG) == [0, 1, 2, 3]
        cache.flush()
        assert cache.statistics().bytes == 3 * MIB + 8192
    with opened(tmp_path) as cache:
        assert (cache.file(*BIG).whole, cache.file(*BIG).sealed) == (True, True)
        assert cache.file(*BIG).read(2, only_proven=True) == block_of(BIG, 2)
        evict(cache, 1)
        assert hits(cache, BIG) == [1, 2, 3]


def test_an_adopted_file_is_verified_like_any_other(tmp_path, private):
    with opened(tmp_path) as cache:
        wrong = [b"\0" * 32, *checksums_of(BIG)[1:]]
        assert cache.adopt(BIG.name, private, BIG.size, wrong)
        assert hits(cache, BIG) == [1, 2, 3]


def test_readers_of_the_file_before_and_other_processes_go_on(tmp_path, private):
    with opened(tmp_path) as cache, opened(tmp_path) as other:
        fill(cache, BIG, numbers=[0])
        file = other.file(*BIG)
        assert file.read(0) == block_of(BIG, 0)
        assert cache.adopt(BIG.name, private, BIG.size, checksums_of(BIG))
        cache.flush()
        assert hits(other, BIG) == [0, 1, 2, 3]
        file.write(1, block_of(BIG, 1), proven=True)
        assert hits(cache, BIG) == [0, 1, 2, 3]


def test_a_file_that_is_adopted_while_the_one_before_is_evicted_stays(tmp_path, private, monkeypatch):
    with opened(tmp_path) as cache, opened(tmp_path) as other:
        fill(cache, BIG, numbers=[0])
        data = keeper_of(cache).world.data
        opening = data.open

        def adopt_after(content):
            file = opening(content)
            monkeypatch.undo()
            assert other.adopt(BIG.name, private, BIG.size, checksums_of(BIG))
            return file

        monkeypatch.setattr(data, "open", adopt_after)
        evict(cache, 1)
        other.flush()
        assert hits(cache, BIG) == hits(other, BIG) == [0, 1, 2, 3]


def test_a_file_that_cannot_be_adopted_stays(tmp_path, private, small_disk):
    checksums = checksums_of(BIG)
    with opened(tmp_path / "cache") as cache:
        assert not cache.adopt(BIG.name, private, BIG.size + 1, checksums)
        assert not cache.adopt(BIG.name, tmp_path / "nothing", BIG.size, checksums)
        (tmp_path / "link").symlink_to(private)
        assert not cache.adopt(BIG.name, tmp_path / "link", BIG.size, checksums)
        os.link(private, tmp_path / "second name")
        assert not cache.adopt(BIG.name, private, BIG.size, checksums)
        (tmp_path / "second name").unlink()
        lock = keeper_of(cache).world.data.create(BIG)
        assert lock.lock(0)
        assert not cache.adopt(BIG.name, private, BIG.size, checksums)
        lock.unlock(0)
        assert cache.statistics().bytes == 0
        assert private.read_bytes() == whole_of(BIG)
        assert private.stat().st_mode & 0o777 == 0o644
        assert cache.adopt(BIG.name, private, BIG.size, checksums)
    private.write_bytes(whole_of(BIG))
    with opened(small_disk(16)) as cache:  # another file system
        assert not cache.adopt(BIG.name, private, BIG.size, checksums)
        assert cache.statistics().trouble is None
    with opened(tmp_path / "tiny", max_bytes=MIB) as cache:
        assert not cache.adopt(BIG.name, private, BIG.size, checksums)
    assert private.read_bytes() == whole_of(BIG)


def test_adopting_makes_room(tmp_path, private):
    with opened(tmp_path, max_bytes=5 * MIB) as cache:
        fill(cache, *(numbered(number, BLOCK_SIZE) for number in range(4)))
        assert cache.adopt(BIG.name, private, BIG.size, checksums_of(BIG))
        assert cache.statistics().bytes <= 5 * MIB
        assert hits(cache, BIG) == [0, 1, 2, 3]


def test_a_spare_file_is_gone_in_the_end_and_one_that_was_left_is_swept(tmp_path):
    with opened(tmp_path) as cache:
        with cache.spare() as path:
            path.write_bytes(b"x")
        assert not path.exists()
        with cache.spare() as path:
            path.write_bytes(b"x")
            left = path.with_name(path.name + "left")
            left.write_bytes(b"x")
            os.utime(left, (0, 0))
            sweep(keeper_of(cache).world, lambda: False)
            assert path.exists()
            assert not left.exists()


@pytest.mark.expects_warning("is off")
def test_a_cache_that_is_off_has_no_spare_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with opened(tmp_path / "file/cache") as cache, cache.spare() as path:
        assert path is None
