"""The upkeep of a block cache: what is in it is told, damage is found without harm to readers, and what is pinned stays."""

import mmap
import os
import time

import pytest

from artfs.cache.blocks import BlockCache
from artfs.errors import BusyError, UnreachableError
from artfs.model.entry import BLOCK_SIZE
from tests.cache.blockcaches import (
    BIG,
    OTHER,
    SMALL,
    data_file,
    fill,
    flip,
    hits,
    numbered,
    opened,
    running,
)


@pytest.fixture
def cache(tmp_path):
    with opened(tmp_path) as cache:
        yield cache


def test_what_is_recorded_of_each_content_is_told(cache):
    fill(cache, SMALL, OTHER)
    fill(cache, BIG, numbers=[0, 3])
    cache.pin("me", [BIG.name])
    found = {kept.content: kept for kept in cache.upkeep.contents()}
    assert {content: (kept.blocks, kept.bytes, kept.pinned) for content, kept in found.items()} == {
        SMALL: (1, 4096, False), OTHER: (2, 2 * BLOCK_SIZE, False), BIG: (2, BLOCK_SIZE + 8192, True),
    }  # fmt: skip
    assert all(abs(kept.used / 1e9 - time.time()) < 60 for kept in found.values())
    space = cache.upkeep.space()
    assert (space.used, space.pinned) == (sum(kept.bytes for kept in found.values()), BLOCK_SIZE + 8192)


def test_a_cache_that_is_as_full_as_it_may_be_evicts_nothing(tmp_path):
    with opened(tmp_path, max_bytes=40 * BLOCK_SIZE) as cache:
        most = cache.upkeep.space().most
        fill(cache, *(numbered(number) for number in range(most // BLOCK_SIZE)))
        cache.upkeep.shrink()
        assert cache.statistics().evicted == 0
        fill(cache, numbered(most // BLOCK_SIZE))
        cache.upkeep.shrink()
        assert cache.statistics().evicted > 0


def test_damage_is_found_dropped_and_told_and_it_is_no_use_of_the_rest(cache, tmp_path):
    fill(cache, BIG, SMALL)
    before = {kept.content: kept.used for kept in cache.upkeep.contents()}
    flip(data_file(tmp_path, BIG), 2 * BLOCK_SIZE + 10)
    assert cache.upkeep.check(BIG) == (BIG.size, [2])
    assert cache.upkeep.check(SMALL) == (SMALL.size, [])
    assert {kept.content: kept.used for kept in cache.upkeep.contents()} == before
    assert hits(cache, BIG) == [0, 1, 3]
    assert cache.upkeep.check(BIG) == (BIG.size - BLOCK_SIZE, [])


def test_a_reader_elsewhere_that_trusts_its_pages_is_not_given_the_damage_that_was_found(cache, tmp_path):
    fill(cache, BIG)
    with opened(tmp_path) as elsewhere:
        reader = elsewhere.file(*BIG)
        assert reader.read(1) is not None
        descriptor = os.open(data_file(tmp_path, BIG), os.O_RDWR | os.O_DIRECT)
        try:
            damage_past_the_page_cache(descriptor, BLOCK_SIZE)
        finally:
            os.close(descriptor)
        assert cache.upkeep.check(BIG)[1] == [1]
        assert reader.read_nowait(1, 0, 10) is None
        assert reader.read(1) is None


def test_a_damaged_block_that_one_process_reads_is_not_trusted_by_another(cache, tmp_path):
    fill(cache, BIG)
    with opened(tmp_path) as elsewhere:
        reader, finder = elsewhere.file(*BIG), cache.file(*BIG)
        assert reader.read(1) is not None
        descriptor = os.open(data_file(tmp_path, BIG), os.O_RDWR | os.O_DIRECT)
        try:
            damage_past_the_page_cache(descriptor, BLOCK_SIZE)  # which drops the pages
        finally:
            os.close(descriptor)
        assert finder.read(1) is None  # and brings them back as they are on the disk
        assert reader.read_nowait(1, 0, 10) is None
        assert reader.read(1) is None
        assert finder.read(0) is not None
        assert reader.read(0) is not None


def damage_past_the_page_cache(descriptor, offset):
    with mmap.mmap(-1, 4096) as page:
        page[:] = b"\xff" * 4096
        os.pwritev(descriptor, [page], offset)


def test_a_file_that_is_gone_is_damage_and_one_that_was_never_here_is_not(cache, tmp_path):
    fill(cache, BIG)
    cache.upkeep.check(BIG)
    data_file(tmp_path, BIG).unlink()
    assert cache.upkeep.check(BIG)[1]
    assert cache.upkeep.contents() == []
    assert cache.upkeep.check(OTHER) == (0, [])


def test_all_goes_but_what_is_pinned_or_that_too(cache, tmp_path):
    fill(cache, BIG, SMALL, OTHER)
    cache.pin("me", [OTHER.name])
    assert cache.upkeep.clear() == 3 * BLOCK_SIZE + 8192 + 4096
    assert [kept.content for kept in cache.upkeep.contents()] == [OTHER]
    assert hits(cache, OTHER) == [0, 1]
    assert not data_file(tmp_path, BIG).exists()
    assert cache.upkeep.clear(pinned=True) == 2 * BLOCK_SIZE
    assert cache.upkeep.contents() == []
    assert not data_file(tmp_path, OTHER).exists()
    assert cache.upkeep.is_pinned(OTHER.name)
    fill(cache, OTHER)
    assert cache.upkeep.clear() == 0


def test_the_coldest_go_until_it_is_as_small_as_was_asked_for(cache):
    contents = [numbered(number) for number in range(6)]
    fill(cache, *contents)
    hits(cache, contents[0])
    cache.flush()
    assert cache.upkeep.shrink(2 * BLOCK_SIZE) == 4 * BLOCK_SIZE
    assert hits(cache, contents[0]) == [0]
    assert cache.upkeep.space().used == 2 * BLOCK_SIZE
    cache.pin("me", [content.name for content in contents])
    assert cache.upkeep.shrink(0) == 4 * BLOCK_SIZE  # as before


def test_what_a_killed_process_has_left_is_removed_when_it_is_old_enough(cache, tmp_path):
    fill(cache, SMALL)
    left, young = numbered(1), numbered(2)
    for content in (left, young):
        path = data_file(tmp_path, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    # The time of the change is what counts, too, and nobody can set that: the clock of the sweep goes on instead.
    temporary = tmp_path / "blocklists/md5/.new-x"
    temporary.parent.mkdir(parents=True)
    temporary.write_bytes(b"x")
    cache.upkeep.tidy()
    assert data_file(tmp_path, left).exists()
    assert temporary.exists()
    with pytest.MonkeyPatch.context() as patch:
        later = time.time() + 4000
        patch.setattr("artfs.cache.sweep.time.time", lambda: later)
        cache.upkeep.tidy()
    assert not data_file(tmp_path, left).exists()
    assert not temporary.exists()
    assert hits(cache, SMALL) == [0]


def test_who_evicts_in_another_process_is_waited_for_and_then_named(cache, tmp_path, monkeypatch):
    fill(cache, SMALL)
    monkeypatch.setattr("artfs.cache.upkeep._OTHERS_SECONDS", 0.0)
    program = """
        with keeper_of(cache).world.alone() as alone:
            print(alone, flush=True)
            input()
    """
    with running(tmp_path, program) as other:
        assert other.stdout.readline() == "True\n"
        with pytest.raises(BusyError, match="another process is evicting"):
            cache.upkeep.clear()
    assert hits(cache, SMALL) == [0]


@pytest.mark.expects_warning("is off for")
def test_a_cache_that_cannot_be_used_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    cache = BlockCache(tmp_path / "file", max_bytes=1 << 30, keep_free=0)
    for call in (cache.upkeep.contents, cache.upkeep.space, cache.upkeep.clear, lambda: cache.upkeep.check(SMALL)):
        with pytest.raises(UnreachableError, match="cannot be used"):
            call()
    cache.close()
