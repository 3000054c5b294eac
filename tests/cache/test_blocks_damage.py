"""Damage to the files of the block cache: every read is right, or a miss."""

import logging
import os
import shutil
import sqlite3

import pytest

from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    BIG,
    MIB,
    OTHER,
    SMALL,
    block_of,
    checksums_of,
    data_file,
    evict,
    fill,
    flip,
    hits,
    keeper_of,
    numbered,
    opened,
    world_of,
)

LAST = 3 * BLOCK_SIZE


@pytest.fixture
def filled(tmp_path):
    """A cache directory with two contents of several blocks and one of a single one."""
    with opened(tmp_path) as cache:
        fill(cache, BIG, OTHER, SMALL)
    return tmp_path


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("part", [0, 0.3, 0.999])
def test_a_flipped_bit_is_a_miss_of_its_block_only(filled, number, part):
    flip(data_file(filled, BIG), number * BLOCK_SIZE + int(part * BIG.length(number)), bit=64)
    with opened(filled) as cache:
        assert hits(cache, BIG) == [other for other in range(4) if other != number]
        assert hits(cache, OTHER) == [0, 1]
        assert cache.statistics().damaged == 1


def test_a_damaged_block_is_forgotten_for_good_and_can_be_written_again(filled):
    flip(data_file(filled, BIG), 0)
    with opened(filled) as cache:
        assert hits(cache, BIG) == [1, 2, 3]
        cache.flush()
        assert cache.statistics().blocks == 6
    with opened(filled) as cache:
        file = cache.file(*BIG)
        assert file.missing(0, 3) == [0]
        fill(cache, BIG, numbers=[0], proven=False)
        assert hits(cache, BIG) == [0, 1, 2, 3]
    with opened(filled) as cache:
        assert hits(cache, BIG) == [0, 1, 2, 3]


def test_a_damaged_block_can_be_written_again_at_once(filled):
    flip(data_file(filled, BIG), 0)
    with opened(filled) as cache:
        assert hits(cache, BIG) == [1, 2, 3]
        fill(cache, BIG, numbers=[0], proven=False)
        assert hits(cache, BIG) == [0, 1, 2, 3]


def test_damage_is_told_once_for_each_content(filled, caplog):
    for number in range(3):
        flip(data_file(filled, BIG), number * BLOCK_SIZE)
    data_file(filled, SMALL).unlink()
    with opened(filled) as cache:
        assert (hits(cache, BIG), hits(cache, SMALL), hits(cache, OTHER)) == ([3], [], [0, 1])
        assert cache.statistics().damaged == 4
        assert cache.statistics().trouble is None
    told = [record for record in caplog.records if "is damaged or missing" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.INFO, logging.INFO]
    assert BIG.name in told[0].getMessage()


@pytest.mark.parametrize(
    ("size", "left"),
    [(0, []), (1, []), (BLOCK_SIZE - 1, []), (BLOCK_SIZE, [0]), (LAST, [0, 1, 2]), (BIG.size - 1, [0, 1, 2])],
)
def test_a_truncated_file_has_the_blocks_that_are_left(filled, size, left):
    os.truncate(data_file(filled, BIG), size)
    with opened(filled) as cache:
        assert hits(cache, BIG) == left
        fill(cache, BIG)
        assert hits(cache, BIG) == [0, 1, 2, 3]
        assert data_file(filled, BIG).stat().st_size == BIG.size


def test_a_file_truncated_while_it_is_open_has_the_blocks_that_are_left(filled):
    with opened(filled) as cache:
        assert hits(cache, BIG) == [0, 1, 2, 3]
        os.truncate(data_file(filled, BIG), BLOCK_SIZE + 10)
        file = cache.file(*BIG)
        assert file.read_nowait(2, 0, 10) is None
        assert file.read(2, 0, 10) is None
        assert file.read(1, 5, 10) is None
        assert file.read(0, 5, 10) == block_of(BIG, 0)[5:15]


def test_what_was_verified_is_not_trusted_in_another_file_at_the_same_path(filled):
    with opened(filled) as cache:
        assert hits(cache, BIG) == [0, 1, 2, 3]
        cache._shelf.known(BIG).release()  # as when many others were opened
        path = data_file(filled, BIG)
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:BLOCK_SIZE] + bytes(len(data) - BLOCK_SIZE))
        file = cache.file(*BIG)
        assert file.read(0, 5, 10) == block_of(BIG, 0)[5:15]
        assert file.read_nowait(1, 5, 10) is None
        assert file.read(1, 5, 10) is None


def test_a_file_that_is_longer_than_its_content_is_read_and_cut(filled):
    with data_file(filled, BIG).open("ab") as file:
        file.write(b"more")
    with opened(filled) as cache:
        assert hits(cache, BIG) == [0, 1, 2, 3]
        keeper_of(cache).evictor.discard(BIG, 0)
        fill(cache, BIG)
        assert data_file(filled, BIG).stat().st_size == BIG.size


def test_swapped_files_are_misses(filled):
    one, other = numbered(1), numbered(2)
    with opened(filled) as cache:
        fill(cache, one, other)
    paths = [data_file(filled, one), data_file(filled, other)]
    paths[0].rename(filled / "third")
    paths[1].rename(paths[0])
    (filled / "third").rename(paths[1])
    with opened(filled) as cache:
        assert hits(cache, one) == hits(cache, other) == []
        fill(cache, one)
        assert (hits(cache, one), hits(cache, other)) == ([0], [])


def test_a_hole_is_a_miss(filled):
    with data_file(filled, BIG).open("r+b") as file:
        file.seek(BLOCK_SIZE)
        file.write(bytes(BLOCK_SIZE))
    with opened(filled) as cache:
        assert hits(cache, BIG) == [0, 2, 3]


def in_the_way(path, kind):
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "dangling link":
        path.symlink_to("nothing")


@pytest.mark.parametrize("kind", ["nothing", "directory", "link", "dangling link"])
def test_whatever_is_in_the_place_of_a_file_is_a_miss_and_no_trouble(filled, kind):
    in_the_way(data_file(filled, BIG), kind)
    with opened(filled) as cache:
        assert hits(cache, BIG) == []
        fill(cache, BIG)
        assert hits(cache, BIG) == ([0, 1, 2, 3] if kind == "nothing" else [])
        fill(cache, OTHER)
        assert hits(cache, OTHER) == [0, 1]
        assert cache.statistics().trouble is None


@pytest.mark.parametrize("kind", ["nothing", "directory", "link"])
def test_a_file_that_cannot_be_evicted_is_forgotten(filled, kind):
    in_the_way(data_file(filled, BIG), kind)
    with opened(filled) as cache:
        evict(cache)
        assert (cache.statistics().blocks, cache.statistics().bytes, cache.statistics().files) == (0, 0, 0)
        assert cache.statistics().trouble is None


def test_a_missing_directory_of_data_is_misses_and_is_made_again(filled):
    shutil.rmtree(data_file(filled, BIG).parent)
    with opened(filled) as cache:
        assert hits(cache, BIG) == []
        fill(cache, BIG)
        assert hits(cache, BIG) == [0, 1, 2, 3]


# --- the ledger

EMPTY = "the record of the block cache"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed cache of small files, proven, not proven and sealed, with pins."""
    directory = tmp_path_factory.mktemp("template")
    with opened(directory) as cache:
        for number in range(12):
            content = numbered(number, 900 + number)
            cache.file(*content).write(0, block_of(content, 0), proven=number % 2 == 0)
        cache.file(*numbered(0, 900)).seal()
        cache.pin("somebody", [numbered(3, 903).name])
    return directory


def check_everything(cache):
    """Every read is right or a miss, nothing unproven is called proven, and the cache can be written and emptied."""
    for number in range(12):
        content = numbered(number, 900 + number)
        file = cache.file(*content)
        proven = file.proven(0)
        data = file.read(0)
        assert data in {None, block_of(content, 0)}
        if number % 2:
            assert data is None or not proven
            assert file.read(0, only_proven=True) is None
    cache.flush()
    assert cache.statistics().trouble is None
    content = numbered(5, 905)
    cache.file(*content).write(0, block_of(content, 0), proven=True)
    cache.flush()
    assert cache.file(*content).read(0) == block_of(content, 0)
    evict(cache)
    keeper_of(cache)._threads[1].join()
    assert cache.statistics().trouble is None


def ledgers(directory):
    return world_of(directory) / "ledger.sqlite"


def copy_of(template, directory):
    shutil.rmtree(directory / "copy", ignore_errors=True)
    shutil.copytree(template, directory / "copy")
    return directory / "copy"


@pytest.mark.expects_warning(EMPTY)
@pytest.mark.parametrize("part", range(8))
def test_a_flipped_bit_anywhere_in_the_ledger_is_at_most_misses(template, fast_path, part):
    size = ledgers(template).stat().st_size
    places = [place for place in range(part * 7, size, 101) if place // 101 % 8 == part]
    for turn, place in enumerate(places):
        directory = copy_of(template, fast_path)
        flip(ledgers(directory), place, bit=1 << turn % 8)
        with opened(directory) as cache:
            check_everything(cache)


@pytest.mark.expects_warning(EMPTY)
def test_a_damaged_name_in_the_schema_is_a_cache_that_begins_empty(template, fast_path):
    place = ledgers(template).read_bytes().index(b"sqlite_autoindex_files_1")
    directory = copy_of(template, fast_path)
    flip(ledgers(directory), place + 10, bit=128)  # not UTF-8: the sqlite3 module raises no error of its own
    with opened(directory) as cache:
        assert cache.statistics().blocks == 0
        check_everything(cache)


def rows_of(template):
    """Yield where the stored checksums lie in the ledger, with their length."""
    data = ledgers(template).read_bytes()
    for number in range(12):
        checksum = checksums_of(numbered(number, 900 + number))[0]
        for stored in (checksum, bytes(255 - byte for byte in checksum)):
            place = data.find(stored)
            if place >= 0:
                yield number, place


@pytest.mark.expects_warning(EMPTY)
def test_every_bit_around_a_row_may_be_flipped(template, fast_path):
    rows = list(rows_of(template))
    assert len(rows) == 12
    for row, place in rows[:4]:
        for offset in (-7, -6, -5, -4, -3, -2, -1, 0, 31, 32, 33, 34, 35, 36):
            directory = copy_of(template, fast_path)
            flip(ledgers(directory), place + offset, bit=1 << (row + offset) % 8)
            with opened(directory) as cache:
                check_everything(cache)


def test_a_block_cannot_become_proven_by_a_flipped_flag(template, fast_path):
    directory = copy_of(template, fast_path)
    database = sqlite3.connect(ledgers(directory))
    with database:
        database.execute("UPDATE blocks SET proven = 1")
        database.execute("UPDATE files SET sealed = 1")
    database.close()
    with opened(directory) as cache:
        for number in range(12):
            content = numbered(number, 900 + number)
            assert cache.file(*content).read(0, only_proven=True) == (None if number % 2 else block_of(content, 0))


@pytest.mark.expects_warning(EMPTY)
@pytest.mark.parametrize("size", [0, 1, 16, 100, 4095, 4096, 5000, 8192, 20000, -4096, -1])
def test_a_truncated_ledger_is_at_most_misses(template, fast_path, size):
    directory = copy_of(template, fast_path)
    path = ledgers(directory)
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    with opened(directory) as cache:
        check_everything(cache)


@pytest.mark.expects_warning(EMPTY)
@pytest.mark.parametrize("garbage", [b"", b"garbage" * 3000, bytes(40960)])
def test_garbage_in_place_of_the_ledger_is_a_cache_that_begins_empty(template, fast_path, garbage, caplog):
    directory = copy_of(template, fast_path)
    before = world_of(directory)
    ledgers(directory).write_bytes(garbage)
    with opened(directory) as cache:
        assert [record.getMessage() for record in caplog.records if EMPTY in record.getMessage()]
        assert cache.statistics().blocks == 0
        check_everything(cache)
        assert not before.exists()  # removed in the background
    with opened(directory) as cache:
        check_everything(cache)


@pytest.mark.expects_warning(EMPTY)
@pytest.mark.parametrize("part", ["ledger.sqlite", "epochs", "data"])
def test_a_part_that_is_missing_is_a_cache_that_begins_empty(template, fast_path, part):
    directory = copy_of(template, fast_path)
    path = world_of(directory) / part
    if part == "data":
        shutil.rmtree(path)
    else:
        path.unlink()
    with opened(directory) as cache:
        check_everything(cache)


@pytest.mark.expects_warning(EMPTY)
@pytest.mark.parametrize("size", [0, 1000, 1 << 20])
def test_counters_of_another_length_are_not_trusted(template, fast_path, size):
    directory = copy_of(template, fast_path)
    before = world_of(directory)
    os.truncate(before / "epochs", size)
    with opened(directory) as cache:
        check_everything(cache)
        assert world_of(directory) != before


@pytest.mark.expects_warning(EMPTY)
def test_a_ledger_of_another_format_is_not_used(template, fast_path):
    directory = copy_of(template, fast_path)
    database = sqlite3.connect(ledgers(directory))
    database.execute("PRAGMA user_version = 2")
    database.close()
    with opened(directory) as cache:
        assert cache.statistics().blocks == 0
        check_everything(cache)


def test_files_of_another_format_are_left_alone(fast_path):
    newer = fast_path / "blocks" / "2"
    newer.mkdir(parents=True)
    (newer / "ledger.sqlite").write_bytes(b"of the future")
    with opened(fast_path) as cache:
        fill(cache, BIG)
        assert hits(cache, BIG) == [0, 1, 2, 3]
    assert (newer / "ledger.sqlite").read_bytes() == b"of the future"


@pytest.mark.expects_warning(EMPTY)
def test_damage_found_while_the_cache_is_in_use_begins_it_anew(fast_path, caplog):
    with opened(fast_path) as cache:
        fill(cache, *(numbered(number, 100) for number in range(2000)))
    before = world_of(fast_path)
    size = (before / "ledger.sqlite").stat().st_size
    with (before / "ledger.sqlite").open("r+b") as file:
        for place in range(8192, size, 4096):  # the first pages hold the schema
            file.seek(place)
            file.write(b"\xff" * 64)
    with opened(fast_path) as cache:
        for number in range(2000):
            cache.file(*numbered(number, 100)).read(0)
        assert [record for record in caplog.records if EMPTY in record.getMessage()]
        assert world_of(fast_path) != before
        fill(cache, BIG)
        assert hits(cache, BIG) == [0, 1, 2, 3]
        assert cache.statistics().bytes == 3 * MIB + 8192


@pytest.mark.expects_warning(EMPTY)
def test_a_flipped_bit_in_the_write_ahead_log_is_at_most_misses(fast_path):
    (fast_path / "live").mkdir()
    with opened(fast_path / "live") as cache:
        for number in range(12):
            content = numbered(number, 900 + number)
            cache.file(*content).write(0, block_of(content, 0), proven=number % 2 == 0)
        cache.flush()
        shutil.copytree(fast_path / "live", fast_path / "killed")  # what a kill leaves
    log = world_of(fast_path / "killed") / "ledger.sqlite-wal"
    for place in range(3, log.stat().st_size, log.stat().st_size // 60):
        directory = copy_of(fast_path / "killed", fast_path)
        flip(world_of(directory) / "ledger.sqlite-wal", place)
        with opened(directory) as cache:
            check_everything(cache)
