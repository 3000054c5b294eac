"""Damage to the files of the block cache: every read is right, or a miss."""

import logging
import os
import shutil

import pytest

from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    BIG,
    OTHER,
    SMALL,
    block_of,
    data_file,
    evict,
    fill,
    flip,
    hits,
    keeper_of,
    numbered,
    opened,
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
