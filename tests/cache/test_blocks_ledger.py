"""Damage to the record of the block cache: every read is right, or a miss, and nothing becomes proven."""

import os
import shutil
import sqlite3

import pytest

from tests.cache.blockcaches import (
    BIG,
    MIB,
    block_of,
    checksums_of,
    evict,
    fill,
    flip,
    hits,
    keeper_of,
    numbered,
    opened,
    world_of,
)

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
