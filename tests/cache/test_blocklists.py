"""Block lists on disk: what was put comes back, and damage is a miss."""

import os
import stat

import pytest

from artfs.cache.blocklists import BlockLists
from artfs.model.digest import Algorithm, Digest

CONTENT = Digest.of(b"some content")
DIGESTS = [bytes([number]) * 32 for number in range(3)]


@pytest.fixture
def lists(tmp_path):
    return BlockLists(tmp_path)


def the_file(tmp_path):
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    return path


def test_a_list_that_was_kept_comes_back_also_to_another_process(lists, tmp_path):
    assert lists.get(CONTENT, 3) is None
    lists.put(CONTENT, DIGESTS)
    assert lists.get(CONTENT, 3) == BlockLists(tmp_path).get(CONTENT, 3) == b"".join(DIGESTS)


def test_lists_are_kept_by_algorithm_and_digest(lists):
    other = Digest(Algorithm.XXH128, CONTENT.raw)
    lists.put(CONTENT, DIGESTS)
    assert lists.get(other, 3) is None
    lists.put(other, DIGESTS[:1])
    assert (lists.get(CONTENT, 3), lists.get(other, 1)) == (b"".join(DIGESTS), DIGESTS[0])


def test_a_list_of_another_length_is_a_miss(lists):
    lists.put(CONTENT, DIGESTS)
    assert lists.get(CONTENT, 2) is None
    assert lists.get(CONTENT, 4) is None


@pytest.mark.parametrize("place", [0, 31, 32, 95, 96, 127])
def test_a_flipped_bit_is_a_miss_and_can_be_replaced(lists, tmp_path, place):
    lists.put(CONTENT, DIGESTS)
    path = the_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert lists.get(CONTENT, 3) is None
    lists.put(CONTENT, DIGESTS)
    assert lists.get(CONTENT, 3) == b"".join(DIGESTS)


@pytest.mark.parametrize("size", [0, 31, 32, 96, 127])
def test_a_file_that_was_cut_off_is_a_miss(lists, tmp_path, size):
    lists.put(CONTENT, DIGESTS)
    os.truncate(the_file(tmp_path), size)
    assert lists.get(CONTENT, 3) is None


def test_nothing_that_can_be_in_the_way_of_a_read_is_more_than_a_miss(lists, tmp_path):
    lists.put(CONTENT, DIGESTS)
    path = the_file(tmp_path)
    path.unlink()
    path.mkdir()
    assert lists.get(CONTENT, 3) is None


def test_files_are_private(lists, tmp_path):
    lists.put(CONTENT, DIGESTS)
    path = the_file(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_list_appears_whole_or_not_at_all_and_leaves_nothing_behind(lists, tmp_path, monkeypatch):
    lists.put(CONTENT, DIGESTS)
    before = the_file(tmp_path).read_bytes()

    def full(_):
        assert lists.get(CONTENT, 3) == b"".join(DIGESTS)  # the old one is there until the new one is whole
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        lists.put(CONTENT, DIGESTS[::-1])
    assert the_file(tmp_path).read_bytes() == before


def test_a_cache_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "blocklists").write_text("in the way")
    with pytest.raises(OSError):
        BlockLists(tmp_path).put(CONTENT, DIGESTS)
