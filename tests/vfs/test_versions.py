"""Committed versions: what never changes, for ever; what is refused; what is loaded once."""

import os
import random
import stat

import pytest
import trio
import trio.testing

from artfs.errors import IntegrityError, NotFoundError, ReadOnlyError, UnreachableError, VersionDeletedError
from artfs.model.entry import BLOCK_SIZE
from artfs.model.names import CollectionRef
from artfs.vfs.inodes import NUMBER_MASK, SLOT_BITS
from artfs.vfs.types import FOREVER, ROOT, Change, Negative
from artfs.vfs.versions import nanoseconds
from tests.vfs.world import DATA, ME

pytestmark = pytest.mark.trio

BIG = random.Random(6).randbytes(2 * BLOCK_SIZE + 9)
FILES = {"a.txt": b"hello\n", "d/e/f": b"deep", "d/run.sh": b"#!/bin/sh\n", "empty": b"", "big": BIG, "ü ñ": b"text"}


@pytest.fixture
async def version(world):
    """The inode of a version's root."""
    world.version = world.publish(FILES)
    return await world.ino("me/demo/data/v0")


async def test_every_file_is_there_with_its_bytes(world, version):
    for path, data in FILES.items():
        assert await world.read(path, version) == data
    assert await world.names("", version) == sorted(["a.txt", "big", "d", "empty", "ü ñ"])
    assert await world.names("d", version) == ["e", "run.sh"]


async def test_attributes_are_those_of_the_manifest_and_never_expire(world, version):
    created = nanoseconds(world.version.created_at)
    for path, data in FILES.items():
        attr = await world.at(path, version)
        bits = 0o555 if path.endswith(".sh") else 0o444
        assert (attr.mode, attr.nlink, attr.size) == (stat.S_IFREG | bits, 1, len(data))
        assert attr.blocks == -(-len(data) // 512)
        assert {attr.atime_ns, attr.mtime_ns, attr.ctime_ns} == {created}
        assert {attr.entry_ttl, attr.attr_ttl} == {FOREVER}
        assert attr == await world.fs.getattr(attr.ino)
    for path, links in (("d", 3), ("d/e", 2)):
        attr = await world.at(path, version)
        assert (attr.mode, attr.nlink, attr.entry_ttl) == (stat.S_IFDIR | 0o555, links, FOREVER)


async def test_times_are_exact_to_the_microsecond(world, version):
    microseconds = world.version.created_at.microsecond
    assert 0 < microseconds < 1000
    assert (await world.at("a.txt", version)).mtime_ns % 10**9 == microseconds * 1000


@pytest.mark.parametrize("name", [b"nothing", b"\xff\xfe", b".artfs2", b"a.txt2", b"A.TXT", "u\u0308 ñ".encode()])
async def test_a_name_that_is_not_there_stays_away_for_ever(world, version, name):
    for path in ("", "d"):
        ino = await world.ino(path, version)
        assert await world.fs.lookup(ino, name, ME) == Negative(FOREVER)


async def test_the_inode_numbers_are_computed_from_the_slot_and_the_manifest(world, version):
    assert version == (version >> SLOT_BITS) << SLOT_BITS
    numbers = {path: await world.ino(path, version) & NUMBER_MASK for path in FILES}
    index = world.open_index(world.version)
    assert numbers == {path: index.find(path).number for path in FILES}


async def test_attributes_and_numbers_survive_a_restart_and_a_lost_cache(world, version):
    paths = ["me/demo/data/v0" + path for path in ("", "/a.txt", "/d", "/d/e/f", "/.artfs", "/.artfs/manifest.json")]
    before = [(await world.at(path))._replace(entry_ttl=0) for path in paths]
    world.publish({"other": b"x"}, collection=CollectionRef("me", "demo", "another"))
    await world.at("me/demo/another/v0/other")
    for path in (world.root / "cache").rglob("*.sqlite"):
        path.unlink()
    again = world.remount()
    again.publish({"other": b"x"}, collection=CollectionRef("me", "demo", "a-third"))
    await again.at("me/demo/a-third/v0/other")
    assert [(await again.at(path))._replace(entry_ttl=0) for path in paths] == before


async def test_a_link_in_a_portfolio_is_the_same_content_under_other_numbers(world, version):
    picked = CollectionRef("me", "demo", "picked")
    world.registry.inner.make_portfolio(picked, world.version.type, [world.version.id])
    world.catalog.forget()
    other = await world.ino("me/demo/picked/v0")
    assert other != version
    assert await world.read("d/e/f", other) == b"deep"
    (_, up, *_) = await world.fs.readdir(await world.fs.opendir(other, ME), 0)
    assert up.attr.ino == await world.ino("me/demo/picked")


# Changing ---------------------------------------------------------------------------------------------------------

CHANGES = {
    "create": lambda fs, root, file: fs.create(root, b"new", os.O_WRONLY, 0o644, ME),
    "mkdir": lambda fs, root, file: fs.mkdir(root, b"new", 0o755, ME),
    "mknod": lambda fs, root, file: fs.mknod(root, b"new", stat.S_IFREG | 0o644, ME),
    "symlink": lambda fs, root, file: fs.symlink(root, b"new", b"a.txt", ME),
    "link": lambda fs, root, file: fs.link(file, root, b"new", ME),
    "unlink": lambda fs, root, file: fs.unlink(root, b"a.txt", ME),
    "rmdir": lambda fs, root, file: fs.rmdir(root, b"d", ME),
    "rename": lambda fs, root, file: fs.rename(root, b"a.txt", root, b"b", ME, replace=True, exchange=False),
    "rename in": lambda fs, root, file: fs.rename(ROOT, b"me", root, b"b", ME, replace=True, exchange=False),
    "rename out": lambda fs, root, file: fs.rename(root, b"a.txt", ROOT, b"b", ME, replace=True, exchange=False),
    "open for writing": lambda fs, root, file: fs.open(file, os.O_WRONLY, ME),
    "open for both": lambda fs, root, file: fs.open(file, os.O_RDWR, ME),
    "open to truncate": lambda fs, root, file: fs.open(file, os.O_RDONLY | os.O_TRUNC, ME),
    "truncate": lambda fs, root, file: fs.setattr(file, Change(size=0), None, ME),
    "chmod": lambda fs, root, file: fs.setattr(file, Change(mode=0o644), None, ME),
    "chown": lambda fs, root, file: fs.setattr(root, Change(uid=5), None, ME),
    "utimens": lambda fs, root, file: fs.setattr(file, Change(mtime_ns=1), None, ME),
    "setxattr": lambda fs, root, file: fs.set_xattr(root, b"user.artfs.digest", b"x", ME),
    "setxattr of a file": lambda fs, root, file: fs.set_xattr(file, b"user.artfs.digest", b"x", ME),
    "access": lambda fs, root, file: fs.access(file, os.W_OK, ME),
    "access to the root": lambda fs, root, file: fs.access(root, os.W_OK | os.X_OK, ME),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_is_refused_as_read_only(world, version, change):
    file = await world.ino("a.txt", version)
    with pytest.raises(ReadOnlyError):
        await CHANGES[change](world.fs, version, file)
    assert await world.read("a.txt", version) == b"hello\n"


async def test_reading_is_not_refused(world, version):
    file = await world.ino("a.txt", version)
    await world.fs.access(file, os.R_OK, ME)
    opened = await world.fs.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME, ME)
    assert (opened.keep_cache, opened.direct) == (True, False)
    await world.fs.fsync(opened.handle, data_only=False)


# Loading ----------------------------------------------------------------------------------------------------------


async def test_what_is_loaded_is_answered_without_suspending(world, version):
    file, directory = await world.ino("a.txt", version), await world.ino("d", version)
    await world.read("a.txt", version)
    with trio.testing.assert_no_checkpoints():
        await world.fs.lookup(version, b"a.txt", ME)
        await world.fs.lookup(version, b"nothing", ME)
        await world.fs.getattr(file)
        opened = await world.fs.open(file, os.O_RDONLY, ME)
        assert bytes(await world.fs.read(opened.handle, 0, 100)) == b"hello\n"
        await world.fs.release(opened.handle)
        handle = await world.fs.opendir(directory, ME)
        assert len(list(await world.fs.readdir(handle, 0))) == 4


async def test_a_manifest_is_asked_for_and_opened_once_however_many_come_first(world, version, monkeypatch):
    opened = []
    monkeypatch.setattr(world.versions, "_open_index", lambda found: (opened.append(found), world.open_index(found))[1])
    world.registry.asked.clear()
    async with trio.open_nursery() as readers:
        for path in FILES:
            readers.start_soon(world.read, path, version)
    assert world.registry.questions("version") == [("version", DATA.at("v0"))]
    assert len(opened) == 1


async def test_a_loaded_version_needs_no_registry(world, version):
    await world.read("a.txt", version)
    world.registry.failure = UnreachableError("the registry does not answer")
    world.catalog.forget()
    for path, data in FILES.items():
        assert await world.read(path, version) == data


async def test_a_version_that_was_deleted_under_its_reader_is_stale(world, version):
    world.registry.delete(DATA.at("v0"))
    for call in (world.names("", version), world.at("a.txt", version)):
        with pytest.raises(VersionDeletedError, match="v0"):
            await call
    world.catalog.forget()
    with pytest.raises(NotFoundError):
        await world.at("me/demo/data/v0")


async def test_a_version_of_which_the_registry_knows_nothing_any_more_is_stale_too(world, version):
    world.registry.failure = NotFoundError("there is no such collection")
    with pytest.raises(VersionDeletedError, match="v0"):
        await world.names("", version)


async def test_a_deleted_version_can_be_read_on_by_who_has_begun(world, version):
    file = await world.ino("a.txt", version)
    world.registry.delete(DATA.at("v0"))
    world.catalog.forget()
    opened = await world.fs.open(file, os.O_RDONLY, ME)
    assert bytes(await world.fs.read(opened.handle, 0, 100)) == b"hello\n"


async def test_a_failed_load_is_tried_again(world, version):
    world.registry.failure = UnreachableError("the registry does not answer")
    with pytest.raises(UnreachableError):
        await world.at("a.txt", version)
    world.registry.failure = None
    assert await world.read("a.txt", version) == b"hello\n"


async def test_a_damaged_manifest_is_an_error_and_no_empty_directory(world, version):
    world.store.flip(world.version.manifest.digest, 100)
    with pytest.raises(IntegrityError, match="manifest"):
        await world.names("", version)


@pytest.mark.expects_warning("is damaged or missing")
async def test_damaged_bytes_are_an_error(world, version):
    entry = world.open_index(world.version).entry(await world.ino("a.txt", version) & NUMBER_MASK)
    world.store.flip(entry.blob, 0)
    with pytest.raises(IntegrityError):
        await world.read("a.txt", version)
    assert await world.read("d/e/f", version) == b"deep"
