"""What the block cache promises when nothing goes wrong."""

import os
import stat
import threading

import pytest

from artfs.cache.datafiles import DataFile
from artfs.errors import InvalidInputError
from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    BIG,
    MIB,
    OTHER,
    PLENTY,
    SMALL,
    block_of,
    checksum_of,
    checksums_of,
    data_file,
    fill,
    hits,
    keeper_of,
    numbered,
    opened,
    whole_of,
    world_of,
)


@pytest.fixture
def cache(tmp_path):
    with opened(tmp_path) as cache:
        yield cache


@pytest.fixture
def reads(monkeypatch):
    """Sizes of the reads from data files."""
    sizes = []
    read, read_nowait = DataFile.read, DataFile.read_nowait
    monkeypatch.setattr(DataFile, "read", lambda self, offset, size: (sizes.append(size), read(self, offset, size))[1])
    monkeypatch.setattr(
        DataFile,
        "read_nowait",
        lambda self, offset, size: (sizes.append(size), read_nowait(self, offset, size))[1],
    )
    return sizes


def test_a_block_that_was_written_is_read_at_once_and_after_a_restart(tmp_path):
    with opened(tmp_path) as cache:
        file = cache.file(*BIG)
        assert [file.read(number) for number in range(4)] == [None] * 4
        file.write(1, block_of(BIG, 1), proven=True)
        file.write(3, memoryview(block_of(BIG, 3)), proven=True)
        assert hits(cache, BIG) == [1, 3]
    with opened(tmp_path) as cache:
        assert hits(cache, BIG) == [1, 3]


def test_parts_of_a_block_are_read_by_offset_in_the_block(cache):
    fill(cache, BIG)
    file, last = cache.file(*BIG), block_of(BIG, 3)
    assert file.read(1, 4096, 100) == block_of(BIG, 1)[4096:4196]
    assert file.read(3, 4990, 100) == last[4990:]
    assert file.read(3, 10) == last[10:]
    assert file.read(3, 5000, 1) == b""
    assert file.read(3, 6000, 1) == b""


@pytest.mark.parametrize(("number", "offset"), [(-1, 0), (4, 0), (1 << 60, 0), (0, -1)])
def test_what_is_not_in_the_content_is_a_miss(cache, number, offset):
    fill(cache, BIG)
    file = cache.file(*BIG)
    assert file.read(number, offset, 10) is None
    assert file.read_nowait(number, offset, 10) is None
    if number:
        assert (file.has(number), file.checksum(number), file.proven(number)) == (False, None, False)


def test_a_block_of_the_wrong_length_or_number_is_refused(cache):
    file = cache.file(*BIG)
    for number, data in [(0, b"x"), (3, bytes(BLOCK_SIZE)), (4, b""), (-1, bytes(BLOCK_SIZE))]:
        with pytest.raises(ValueError, match="are not block"):
            file.write(number, data, proven=True)
    with pytest.raises(ValueError, match="checksum"):
        file.write(3, block_of(BIG, 3), proven=True, checksum=b"short")


@pytest.mark.parametrize(
    "name",
    ["", "md5", "md5/", "/md5/abcdef0123", "md5/../../etc", "md5/abcd/ef01", "../abcdef0123", "md5/ABCDEF0123",
     "md5/abc", "md5/" + "a" * 200, "md5/abcdef0123\0", "md5/abcdef012\n", "MD5/abcdef0123"],
)  # fmt: skip
def test_a_name_that_could_be_another_path_is_refused(cache, name):
    with pytest.raises(InvalidInputError):
        cache.file(name, 10)
    with pytest.raises(InvalidInputError):
        cache.pin("owner", [name])
    assert cache.opened(name, 10) is None


def test_two_sizes_of_one_name_are_two_contents(cache):
    liar = SMALL._replace(size=SMALL.size + 1)
    fill(cache, SMALL, liar)
    assert hits(cache, SMALL) == hits(cache, liar) == [0]
    cache.file(*liar).drop()
    assert (hits(cache, SMALL), hits(cache, liar)) == ([0], [])


def test_what_is_here_is_told_from_memory(cache):
    file = cache.file(*BIG)
    assert file.missing(0, 3) == [0, 1, 2, 3]
    file.write(2, block_of(BIG, 2), proven=False)
    assert [file.has(number) for number in range(4)] == [False, False, True, False]
    assert file.missing(-5, 1 << 60) == [0, 1, 3]
    assert file.missing(2, 2) == []
    assert (file.checksum(2), file.checksum(1)) == (checksum_of(BIG, 2), None)
    assert not file.whole
    fill(cache, BIG, numbers=[0, 1, 3])
    assert file.whole


def test_an_absurd_size_costs_nothing_and_cannot_be_cached_where_the_disk_cannot(cache, tmp_path):
    huge = numbered(1, 100 << 40)
    file = cache.file(*huge)
    assert file.missing(10**6, 10**6 + 1) == [10**6, 10**6 + 1]
    file.write(10**6, bytes(BLOCK_SIZE), proven=True)  # ext4 has no files of this size, others do
    assert file.read(10**6) in {None, bytes(BLOCK_SIZE)}
    assert cache.statistics().trouble is None
    fill(cache, BIG)
    assert hits(cache, BIG) == [0, 1, 2, 3]


def test_content_without_bytes_is_whole_and_has_no_blocks(cache):
    file = cache.file("md5/d41d8cd98f00b204e9800998ecf8427e", 0)
    assert file.whole
    assert file.missing(0, 10) == []
    assert file.read(0) is None


def test_proven_and_sealed_are_kept(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, BIG, proven=False)
        fill(cache, OTHER, numbers=[1])
        file = cache.file(*BIG)
        assert not file.sealed
        assert not file.proven(0)
        assert cache.file(*OTHER).proven(1)
        file.seal()
    with opened(tmp_path) as cache:
        file = cache.file(*BIG)
        assert (file.sealed, file.whole) == (True, True)
        assert all(file.proven(number) for number in range(4))
        assert (cache.file(*OTHER).sealed, cache.file(*OTHER).proven(0)) == (False, False)
        assert hits(cache, BIG) == [0, 1, 2, 3]


def test_a_reader_may_ask_for_proven_bytes_only(cache):
    fill(cache, BIG, proven=False)
    file = cache.file(*BIG)
    assert file.read(1, 0, 10, only_proven=True) is None
    assert file.read_nowait(1, 0, 10, only_proven=True) is None
    assert file.read(1, 0, 10) is not None
    file.write(1, block_of(BIG, 1), proven=True)
    assert (
        file.read(1, 0, 10, only_proven=True) == file.read_nowait(1, 0, 10, only_proven=True) == block_of(BIG, 1)[:10]
    )


def test_sealing_with_checksums_drops_blocks_that_are_others(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, BIG, proven=False, numbers=[0, 1, 3])
        file = cache.file(*BIG)
        file.write(2, block_of(BIG, 2, variant="wrong"), proven=False)
        file.seal(checksums_of(BIG))
        assert hits(cache, BIG) == [0, 1, 3]
        assert file.proven(0)
    with opened(tmp_path) as cache:
        assert hits(cache, BIG) == [0, 1, 3]
        assert cache.file(*BIG).proven(0)


def test_an_unproven_block_in_a_sealed_content_breaks_the_seal(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, BIG, numbers=[0])
        file = cache.file(*BIG)
        file.seal()
        assert file.sealed
        file.write(1, block_of(BIG, 1), proven=False)
        assert not file.sealed
    with opened(tmp_path) as cache:
        assert not cache.file(*BIG).sealed


def test_what_is_not_proven_never_replaces_what_is(cache):
    fill(cache, BIG)
    file = cache.file(*BIG)
    file.write(0, block_of(BIG, 0, variant="wrong"), proven=False)
    assert hits(cache, BIG) == [0, 1, 2, 3]


def test_a_proven_block_replaces_one_that_is_not(tmp_path):
    with opened(tmp_path) as cache:
        file = cache.file(*BIG)
        file.write(0, block_of(BIG, 0, variant="wrong"), proven=False)
        assert file.read(0) == block_of(BIG, 0, variant="wrong")
        file.write(0, block_of(BIG, 0), proven=True)
        assert file.read(0, only_proven=True) == block_of(BIG, 0)
    with opened(tmp_path) as cache:
        assert cache.file(*BIG).read(0, only_proven=True) == block_of(BIG, 0)


def test_dropped_content_is_forgotten_with_its_file_for_good(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, BIG, OTHER)
        cache.file(*BIG).drop()
        assert hits(cache, BIG) == []
        assert not data_file(tmp_path, BIG).exists()
        assert cache.statistics().blocks == 2
        fill(cache, BIG, numbers=[1])
    with opened(tmp_path) as cache:
        assert hits(cache, BIG) == [1]
        assert hits(cache, OTHER) == [0, 1]


def test_a_block_that_was_being_written_when_all_was_dropped_is_not_kept(cache, monkeypatch):
    file = cache.file(*BIG)
    write = DataFile.write

    def write_and_drop(self, offset, data):
        write(self, offset, data)
        monkeypatch.setattr(DataFile, "write", write)
        file.drop()
        assert file.read(0) is None

    monkeypatch.setattr(DataFile, "write", write_and_drop)
    file.write(0, block_of(BIG, 0), proven=True)
    cache.flush()
    assert hits(cache, BIG) == []
    fill(cache, BIG)
    assert hits(cache, BIG) == [0, 1, 2, 3]


def test_what_comes_from_the_disk_is_verified_each_time_and_what_the_kernel_has_kept_since_is_not(tmp_path, reads):
    with opened(tmp_path) as cache:
        fill(cache, BIG)
    with opened(tmp_path) as cache:
        file = cache.file(*BIG)
        assert file.read_nowait(0, 0, 4096) is None  # not verified by this process yet
        assert reads == []
        assert file.read(0, 8192, 4096) == block_of(BIG, 0)[8192:12288]
        assert file.read_nowait(0, 0, 4096) == block_of(BIG, 0)[:4096]
        assert reads == [BLOCK_SIZE, 4096]
        with file.path.open("r+b") as damaged:  # after its first use
            damaged.seek(4096)
            damaged.write(b"damage")
        assert file.read(0, 4096, 4096) is None
        assert not file.has(0)


def test_a_read_that_would_block_is_left_to_another(tmp_path, monkeypatch):
    with opened(tmp_path) as cache:
        fill(cache, BIG)
        file = cache.file(*BIG)
        assert file.read_nowait(3, 4990, 100) == block_of(BIG, 3)[4990:]

        def blocks(*_):
            raise BlockingIOError

        monkeypatch.setattr(os, "preadv", blocks)
        assert file.read_nowait(0, 0, 10) is None
        assert file.read(0, 0, 10) == block_of(BIG, 0)[:10]


def test_only_content_that_is_loaded_is_opened_without_waiting(cache):
    assert cache.opened(*BIG) is None
    fill(cache, BIG)
    assert cache.opened(*BIG).read_nowait(0, 0, 10) == block_of(BIG, 0)[:10]
    assert cache.opened(*BIG._replace(size=1)) is None


def test_the_data_file_is_a_sparse_copy_of_the_content_and_private(cache, tmp_path):
    fill(cache, BIG, numbers=[0])
    path = data_file(tmp_path, BIG)
    assert cache.file(*BIG).path == path
    status = path.stat()
    assert status.st_size == BIG.size
    assert status.st_blocks * 512 < 1.5 * MIB
    fill(cache, BIG)
    assert path.read_bytes() == whole_of(BIG)
    for found in (tmp_path / "blocks").rglob("*"):
        assert stat.S_IMODE(found.stat().st_mode) == (0o700 if found.is_dir() else 0o600), found


def test_hundreds_of_contents_cost_a_bounded_number_of_open_files(cache):
    held = []
    before = len(os.listdir("/proc/self/fd"))
    for number in range(700):
        content = numbered(number, 100)
        file = cache.file(*content)
        file.write(0, block_of(content, 0), proven=True)
        held.append(file)
    cache.flush()
    assert len(os.listdir("/proc/self/fd")) - before < 520
    assert all(file.read(0) == block_of(file._content, 0) for file in held)
    assert all(file.has(0) for file in held)
    assert len(os.listdir("/proc/self/fd")) - before < 520


def test_statistics_count_what_is_there_and_what_was_done(cache):
    fill(cache, BIG, SMALL)
    hits(cache, BIG)
    hits(cache, OTHER)
    cache.file(*BIG).read_nowait(0, 0, 1)
    found = cache.statistics()
    assert (found.blocks, found.files, found.bytes, found.max_bytes) == (5, 2, 3 * MIB + 8192 + 4096, PLENTY)
    assert (found.hits, found.misses, found.damaged, found.evicted, found.trouble) == (5, 2, 0, 0, None)


def test_many_threads_may_use_one_cache(cache):
    contents = [numbered(number, 3 * BLOCK_SIZE) for number in range(4)]
    wrong = []

    def work(offset):
        for turn in range(24):
            content, number = contents[(turn + offset) % 4], (turn + offset) % 3
            file = cache.file(*content)
            data = file.read(number, 100, 5000)
            if data is not None and data != block_of(content, number)[100:5100]:
                wrong.append((content, number))
            file.write(number, block_of(content, number), proven=True)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.flush()
    assert wrong == []
    assert all(hits(cache, content) == [0, 1, 2] for content in contents)
    assert cache.statistics().blocks == 12


def test_a_closed_cache_misses_and_keeps_nothing(tmp_path):
    with opened(tmp_path) as cache:
        fill(cache, SMALL)
        file = cache.file(*SMALL)
    assert (file.read(0), file.read_nowait(0, 0, 1), file.has(0), cache.pinned("x")) == (None, None, False, frozenset())
    file.write(0, block_of(SMALL, 0), proven=True)
    cache.flush()
    cache.close()
    assert not cache.adopt(SMALL.name, tmp_path / "none", SMALL.size, checksums_of(SMALL))


def test_opening_looks_at_no_content(tmp_path, monkeypatch):
    with opened(tmp_path) as cache:
        fill(cache, BIG, OTHER)
    looked = []
    for name in ("open", "listdir", "scandir"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os,
            name,
            lambda path=".", *args, _original=original, **kw: (looked.append(str(path)), _original(path, *args, **kw))[
                1
            ],
        )
    with opened(tmp_path) as cache:
        keeper_of(cache)._threads[1].join()  # the sweeper has ended
        assert str(world_of(tmp_path) / "epochs") in looked
        assert not [path for path in looked if "data/" in path or "md5" in path]
        assert hits(cache, BIG) == [0, 1, 2, 3]
        assert [path for path in looked if "md5" in path]
