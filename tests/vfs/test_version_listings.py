"""Listings of committed directories: stateless, so that any offset goes on, whatever else is listed meanwhile."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artfs.vfs import versions as versions_module
from tests.vfs.world import ME, World, run_in_world

WIDTH = 23


@pytest.fixture
def short_batches(monkeypatch):
    monkeypatch.setattr(versions_module, "_CHUNK", 5)


async def long_directories(world):
    """Return the root of a version whose directories are much longer than what is listed at once."""
    world.publish({f"{directory}/f{number:02}": b"x" for directory in "abc" for number in range(WIDTH)})
    return await world.ino("me/demo/data/v0")


@pytest.fixture
async def root(world, short_batches):
    return await long_directories(world)


async def whole(world: World, ino):
    """List a directory from its start to its end."""
    handle, entries, offset = await world.fs.opendir(ino, ME), [], 0
    while batch := list(await world.fs.readdir(handle, offset)):
        entries += batch
        offset = batch[-1].next
    return entries


@pytest.mark.trio
async def test_a_long_directory_is_listed_once_and_in_order(world, root):
    entries = await whole(world, await world.ino("a", root))
    assert [entry.name for entry in entries] == [b".", b"..", *(b"f%02d" % number for number in range(WIDTH))]
    assert entries[0].attr == await world.at("a", root)
    assert entries[1].attr.ino == root
    for entry in entries[2:]:
        assert entry.attr == await world.fs.lookup(entries[0].attr.ino, entry.name, ME)


@pytest.mark.trio
async def test_the_root_of_a_version_lists_its_collection_as_parent(world, root):
    own, up, *rest = await whole(world, root)
    assert (own.attr.ino, up.attr.ino) == (root, await world.ino("me/demo/data"))
    assert [entry.name for entry in rest] == [b"a", b"b", b"c"]


@pytest.mark.trio
async def test_a_listing_goes_on_after_any_entry_in_a_new_mount(world, root):
    ino = await world.ino("b", root)
    entries = await whole(world, ino)
    again = world.remount()
    assert await again.ino("me/demo/data/v0/b") == ino
    for place in reversed(range(len(entries))):
        rest = list(await again.fs.readdir(await again.fs.opendir(ino, ME), entries[place].next))
        assert rest == entries[place + 1 :][: len(rest)]
        assert bool(rest) == (place < len(entries) - 1)


@pytest.mark.trio
async def test_a_directory_without_entries_after_an_offset_has_ended(world, root):
    ino = await world.ino("a", root)
    last = (await whole(world, ino))[-1]
    for _ in range(2):
        assert list(await world.fs.readdir(await world.fs.opendir(ino, ME), last.next)) == []


async def read_side_by_side(world, steps):
    """Six readers, two of each directory, take a few entries at a time, in any order."""
    root = await long_directories(world)
    inodes = [await world.ino("abc"[reader % 3], root) for reader in range(6)]
    expected = [await whole(world, ino) for ino in inodes]
    seen = [[] for _ in inodes]
    for reader, count in [*steps, *((reader, 100) for reader in range(6) for _ in range(WIDTH))]:
        offset = seen[reader][-1].next if seen[reader] else 0
        seen[reader] += list(await world.fs.readdir(inodes[reader], offset))[:count]
    assert seen == expected


@pytest.mark.usefixtures("short_batches")
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 7)), max_size=60))
def test_listings_that_go_on_side_by_side_do_not_disturb_each_other(steps):
    run_in_world(read_side_by_side, steps)
