"""A draft that starts from a version: nothing is copied until it is written to, and nobody sees where bytes lie."""

import os
import random
import stat
from pathlib import Path

import pytest
import trio.testing

from artfs.errors import IntegrityError
from artfs.model.entry import BLOCK_SIZE
from artfs.vfs.types import Change
from artfs.vfs.versions import nanoseconds
from tests.vfs.world import ME

pytestmark = pytest.mark.trio

BIG = random.Random(7).randbytes(2 * BLOCK_SIZE + 9)
FILES = {"a": b"first file", "b": b"second", "d/e": b"deep", "d/f": b"deeper", "big": BIG, "run.sh": b"#!/bin/sh"}


@pytest.fixture
async def draft(world):
    """The inode of a draft from a version of `FILES`."""
    world.version = world.publish(FILES)
    return await world.stage(base=world.version)


def local(world):
    """Return what lies in the local tree of the only draft."""
    (draft,) = world.staging.owned()
    tree = Path(draft.tree.local_path(""))
    return {str(path.relative_to(tree)) for path in tree.rglob("*")}


async def content(world, draft, path=""):
    """Return all files below a directory of a draft."""
    found = {}
    for entry in await world.listing(path, draft):
        name = f"{path}/{os.fsdecode(entry.name)}".lstrip("/")
        if stat.S_ISDIR(entry.attr.mode):
            found |= await content(world, draft, name)
        else:
            found[name] = await world.read(name, draft)
    return found


async def test_it_shows_the_version_and_costs_no_bytes(world, draft):
    assert await content(world, draft) == FILES
    created = nanoseconds(world.version.created_at)
    for path, data in FILES.items():
        attr = await world.at(path, draft)
        bits = 0o755 if path.endswith(".sh") else 0o644
        assert (attr.mode, attr.size, attr.nlink, attr.mtime_ns) == (stat.S_IFREG | bits, len(data), 1, created)
    assert local(world) == set()


async def test_opening_for_writing_copies_nothing_and_writing_copies_the_file(world, draft):
    ino = await world.ino("a", draft)
    opened = await world.fs.open(ino, os.O_RDWR, ME)
    assert bytes(await world.fs.read(opened.handle, 0, 100)) == FILES["a"]
    assert local(world) == set()
    await world.fs.write(opened.handle, 0, b"FIRST")
    assert local(world) == {"a"}
    assert bytes(await world.fs.read(opened.handle, 0, 100)) == b"FIRST file"
    await world.fs.release(opened.handle)
    assert await world.read("a", draft) == b"FIRST file"
    assert await world.ino("a", draft) == ino
    assert await world.read("me/demo/data/v0/a") == FILES["a"]


async def test_the_version_stays_whatever_happens_in_the_draft(world, draft):
    await world.write(draft, "a", b"x")
    await world.fs.unlink(draft, b"b", ME)
    await world.fs.setattr(await world.ino("big", draft), Change(size=0), None, ME)
    root = await world.ino("me/demo/data/v0")
    assert {path: await world.read(path, root) for path in FILES} == FILES


@pytest.mark.parametrize(("change", "expected"), [
    (Change(mode=stat.S_IFREG | 0o600), b"first file"),
    (Change(mtime_ns=5), b"first file"),
    (Change(size=5), b"first"),
    (Change(size=12), b"first file\0\0"),
    (Change(size=0), b""),
])  # fmt: skip
async def test_a_change_of_attributes_copies_the_file_and_keeps_its_inode(world, draft, change, expected):
    ino = await world.ino("a", draft)
    attr = await world.fs.setattr(ino, change, None, ME)
    assert (attr.ino, await world.ino("a", draft)) == (ino, ino)
    assert (local(world), await world.read("a", draft)) == ({"a"}, expected)
    if change.mode is not None:
        assert attr.mode == change.mode
    if change.mtime_ns is not None:
        assert attr.mtime_ns == change.mtime_ns


async def test_reading_times_do_not_copy_a_file(world, draft):
    await world.fs.setattr(await world.ino("a", draft), Change(atime_ns=5), None, ME)
    assert local(world) == set()


async def test_truncating_does_not_read_what_is_thrown_away(world, draft):
    opened = await world.fs.open(await world.ino("big", draft), os.O_WRONLY | os.O_TRUNC, ME)
    await world.fs.write(opened.handle, 0, b"new")
    await world.fs.release(opened.handle)
    assert await world.read("big", draft) == b"new"
    assert world.store.reads == []


async def test_a_new_file_may_take_the_place_of_one_of_the_base(world, draft):
    await world.fs.unlink(draft, b"a", ME)
    assert "a" not in await world.names("", draft)
    await world.write(draft, "a", b"other")
    assert await world.read("a", draft) == b"other"
    await world.fs.unlink(draft, b"a", ME)
    assert await content(world, draft) == {path: data for path, data in FILES.items() if path != "a"}


async def test_directories_of_the_base_are_renamed_and_removed_without_a_copy(world, draft):
    directory, file = await world.ino("d", draft), await world.ino("d/e", draft)
    await world.fs.rename(draft, b"d", draft, b"moved", ME, replace=True, exchange=False)
    assert (await world.ino("moved", draft), await world.ino("moved/e", draft)) == (directory, file)
    made = await world.fs.mkdir(draft, b"d", 0o755, ME)
    assert made.ino != directory
    assert await world.names("d", draft) == []
    for name in (b"e", b"f"):
        await world.fs.unlink(directory, name, ME)
    await world.fs.rmdir(draft, b"moved", ME)
    assert local(world) == {"d"}
    assert await world.names("", draft) == ["a", "b", "big", "d", "run.sh"]


async def test_a_hard_link_of_a_base_file_copies_it_once(world, draft):
    ino = await world.ino("a", draft)
    made = await world.fs.link(ino, draft, b"second", ME)
    assert (made.ino, made.nlink) == (ino, 2)
    await world.write(draft, "second", b"changed")
    assert await world.read("a", draft) == b"changed"


async def test_who_reads_sees_what_another_writes(world, draft):
    ino = await world.ino("a", draft)
    reader, writer = await world.fs.open(ino, os.O_RDONLY, ME), await world.fs.open(ino, os.O_RDWR, ME)
    assert bytes(await world.fs.read(reader.handle, 0, 5)) == b"first"
    await world.fs.write(writer.handle, 0, b"FIRST")
    assert bytes(await world.fs.read(reader.handle, 0, 5)) == b"FIRST"
    assert bytes(await world.fs.read(writer.handle, 0, 100)) == b"FIRST file"


@pytest.mark.parametrize("remove", ["unlink", "replace"])
async def test_an_open_file_keeps_what_was_written_when_its_name_is_gone(world, draft, remove):
    ino = await world.ino("a", draft)
    reader, writer = await world.fs.open(ino, os.O_RDONLY, ME), await world.fs.open(ino, os.O_RDWR, ME)
    await world.fs.write(writer.handle, 0, b"FIRST")
    await take_name(world, draft, remove)
    assert bytes(await world.fs.read(reader.handle, 0, 100)) == b"FIRST file"
    assert bytes(await world.fs.read(writer.handle, 0, 100)) == b"FIRST file"
    assert (await world.fs.getattr(ino)).nlink == 0


@pytest.mark.parametrize("remove", ["unlink", "replace"])
async def test_an_open_file_can_be_read_and_written_when_its_name_is_gone(world, draft, remove):
    ino = await world.ino("a", draft)
    reader, writer = await world.fs.open(ino, os.O_RDONLY, ME), await world.fs.open(ino, os.O_RDWR, ME)
    await take_name(world, draft, remove)
    attr = await world.fs.getattr(ino)
    assert (attr.nlink, attr.size) == (0, len(FILES["a"]))
    assert bytes(await world.fs.read(reader.handle, 0, 100)) == FILES["a"]
    assert await world.fs.write(writer.handle, 0, b"FIRST") == 5
    assert bytes(await world.fs.read(writer.handle, 0, 100)) == b"FIRST file"
    assert bytes(await world.fs.read(reader.handle, 0, 100)) == b"FIRST file"
    assert (await world.fs.setattr(ino, Change(size=5), writer.handle, ME)).size == 5


async def test_an_open_file_is_kept_although_the_kernel_has_forgotten_it(world, draft):
    ino = await world.ino("a", draft)
    opened = await world.fs.open(ino, os.O_RDWR, ME)
    world.fs.forget(ino, 1)
    assert await world.fs.write(opened.handle, 0, b"FIRST") == 5
    await world.fs.release(opened.handle)
    assert await world.read("a", draft) == b"FIRST file"
    assert await world.ino("a", draft) != ino


async def test_a_directory_is_kept_as_long_as_something_in_it_is_known(world, draft):
    directory, file = await world.ino("d", draft), await world.ino("d/e", draft)
    for _ in range(2):  # it was looked up on the way to the file too
        world.fs.forget(directory, 1)
    assert (await world.fs.getattr(file)).size == len(FILES["d/e"])
    assert await world.ino("d", draft) == directory
    world.fs.forget(directory, 1)
    world.fs.forget(file, 1)
    assert await world.ino("d", draft) != directory


async def take_name(world, draft, how):
    if how == "unlink":
        await world.fs.unlink(draft, b"a", ME)
    else:
        await world.write(draft, "other", b"other")
        await world.fs.rename(draft, b"other", draft, b"a", ME, replace=True, exchange=False)
        assert await world.read("a", draft) == b"other"


async def test_what_is_in_memory_is_read_without_suspending(world, draft):
    await world.read("a", draft)
    opened = await world.fs.open(await world.ino("a", draft), os.O_RDONLY, ME)
    with trio.testing.assert_no_checkpoints():
        assert bytes(await world.fs.read(opened.handle, 0, 100)) == FILES["a"]


@pytest.mark.expects_warning("is damaged or missing")
async def test_a_damaged_file_cannot_be_copied_up_and_leaves_nothing(world, draft):
    index = world.open_index(world.version)
    world.store.flip(index.entry(index.find("big").number).blob, BLOCK_SIZE)
    ino = await world.ino("big", draft)
    opened = await world.fs.open(ino, os.O_RDWR, ME)
    with pytest.raises(IntegrityError):
        await world.fs.write(opened.handle, 0, b"x")
    with pytest.raises(IntegrityError):
        await world.fs.setattr(ino, Change(mode=0o600), None, ME)
    assert local(world) == set()
    assert list((world.root / "data/drafts").glob("*/*/tmp/*")) == []
    await world.fs.release(opened.handle)
    await world.write(draft, "big", b"new")  # what was damaged can be replaced
    assert await world.read("big", draft) == b"new"


async def test_it_survives_a_restart(world, draft):
    await world.write(draft, "a", b"changed")
    await world.fs.unlink(draft, b"b", ME)
    await world.fs.rename(draft, b"d", draft, b"moved", ME, replace=True, exchange=False)
    expected = await content(world, draft)
    again = world.remount()
    found = await content(again, await again.ino("me/demo/data/.staging/draft"))
    assert (
        found
        == expected
        == {"a": b"changed", "big": BIG, "run.sh": b"#!/bin/sh", "moved/e": b"deep", "moved/f": b"deeper"}
    )
    again.staging.close()
