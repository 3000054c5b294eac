"""A draft is an ordinary file system: names, links, open files, attributes."""

import errno
import os
import stat

import pytest

from artfs.errors import NotEmptyError
from artfs.vfs.types import Change
from tests.vfs.world import DATA, ME

pytestmark = pytest.mark.trio


@pytest.fixture
async def draft(world):
    """The inode of an empty draft."""
    return await world.stage()


async def fails(number, call):
    """Await a call that must fail with an errno."""
    with pytest.raises(OSError) as caught:
        await call
    assert caught.value.errno == number, caught.value


async def mkdir(world, parent, name, mode=0o755):
    attr = await world.fs.mkdir(parent, os.fsencode(name), mode, ME)
    world.fs.remember(attr.ino)
    return attr.ino


async def rename(world, parent, old, new_parent, new, *, replace=True, exchange=False):
    await world.fs.rename(
        parent, os.fsencode(old), new_parent, os.fsencode(new), ME, replace=replace, exchange=exchange
    )


async def test_a_draft_is_made_by_mkdir_and_listed(world):
    world.registry.place("me", "demo", DATA)
    staging = await world.ino("me/demo/data/.staging")
    made = await world.fs.mkdir(staging, b"x", 0o755, ME)
    assert stat.S_ISDIR(made.mode)
    assert await world.names("me/demo/data/.staging") == ["x"]
    assert await world.names("me/demo/data/.staging/x") == []
    assert await world.names("me/demo/data/.commit") == []
    assert staging in world.kernel.attrs


async def test_a_draft_is_removed_by_rmdir_when_it_is_empty(world, draft):
    staging = await world.ino("me/demo/data/.staging")
    await world.write(draft, "f", b"x")
    with pytest.raises(NotEmptyError):
        await world.fs.rmdir(staging, b"draft", ME)
    await world.fs.unlink(draft, b"f", ME)
    await world.fs.rmdir(staging, b"draft", ME)
    assert await world.names("me/demo/data/.staging") == []
    assert world.staging.owned() == []
    assert list((world.root / "data/drafts").glob("*/*")) == []


async def test_what_was_written_is_read(world, draft):
    ino = await world.write(draft, "f", b"0123456789")
    assert await world.read("f", draft) == b"0123456789"
    attr = await world.fs.getattr(ino)
    assert (attr.mode, attr.size, attr.nlink) == (stat.S_IFREG | 0o644, 10, 1)
    opened = await world.fs.open(ino, os.O_RDWR, ME)
    assert await world.fs.write(opened.handle, 15, b"end") == 3
    assert bytes(await world.fs.read(opened.handle, 8, 100)) == b"89\0\0\0\0\0end"
    assert bytes(await world.fs.read(opened.handle, 100, 10)) == b""
    await world.fs.fsync(opened.handle, data_only=True)
    await world.fs.fsync(opened.handle, data_only=False)
    await world.fs.release(opened.handle)
    assert (await world.fs.getattr(ino)).size == 18


async def test_every_byte_of_a_big_write_is_written(world, draft):
    data = os.urandom(3 << 20)
    await world.write(draft, "f", data)
    assert await world.read("f", draft) == data


async def test_flags_of_creation(world, draft):
    await world.write(draft, "f", b"text")
    await fails(errno.EEXIST, world.fs.create(draft, b"f", os.O_WRONLY | os.O_EXCL, 0o644, ME))
    opened, attr = await world.fs.create(draft, b"f", os.O_RDONLY, 0o644, ME)
    world.fs.remember(attr.ino)
    assert bytes(await world.fs.read(opened.handle, 0, 10)) == b"text"
    await world.fs.release(opened.handle)
    await world.write(draft, "f", b"new")
    assert await world.read("f", draft) == b"new"
    await mkdir(world, draft, "d")
    await fails(errno.EISDIR, world.fs.create(draft, b"d", os.O_WRONLY, 0o644, ME))


async def test_the_umask_of_the_caller_is_taken_from_new_modes(world, draft):
    for name, make in {
        "file": world.fs.create(draft, b"file", os.O_WRONLY, 0o777, ME),
        "dir": world.fs.mkdir(draft, b"dir", 0o777, ME),
        "node": world.fs.mknod(draft, b"node", stat.S_IFREG | 0o777, ME),
    }.items():
        await make
        assert stat.S_IMODE((await world.at(name, draft)).mode) == 0o777 & ~ME.umask


async def test_fifos_and_sockets_can_be_made(world, draft):
    for name, kind in (("fifo", stat.S_IFIFO), ("socket", stat.S_IFSOCK)):
        made = await world.fs.mknod(draft, name.encode(), kind | 0o600, ME)
        assert stat.S_IFMT(made.mode) == kind
        assert stat.S_IFMT((await world.at(name, draft)).mode) == kind
        for call in (
            lambda name=name: world.fs.create(draft, name.encode(), os.O_WRONLY, 0o644, ME),
            lambda made=made: world.fs.open(made.ino, os.O_RDONLY, ME),
        ):
            await fails(errno.ENXIO, call())  # a kernel opens them itself


async def test_attributes_can_be_set_and_the_others_stay(world, draft):
    ino = await world.write(draft, "f", b"0123456789")
    for change, expected in (
        (Change(mode=stat.S_IFREG | 0o751), {"mode": stat.S_IFREG | 0o751}),
        (Change(atime_ns=10**18), {"atime_ns": 10**18}),
        (Change(mtime_ns=10**18 + 7), {"mtime_ns": 10**18 + 7, "atime_ns": 10**18}),
        (Change(size=4, mtime_ns=10**17), {"size": 4, "mtime_ns": 10**17}),
        (Change(uid=os.geteuid(), gid=os.getegid()), {"uid": os.geteuid(), "gid": os.getegid()}),
    ):
        before = (await world.fs.getattr(ino))._asdict()
        found = (await world.fs.setattr(ino, change, None, ME))._asdict()
        assert {name: found[name] for name in expected} == expected
        assert found["mode"] == expected.get("mode", before["mode"])
        assert found["size"] == expected.get("size", before["size"])
    assert await world.read("f", draft) == b"0123"


async def test_a_file_can_be_made_longer_and_shorter_also_by_handle(world, draft):
    ino = await world.write(draft, "f", b"0123456789")
    opened = await world.fs.open(ino, os.O_RDWR, ME)
    assert (await world.fs.setattr(ino, Change(size=3), opened.handle, ME)).size == 3
    assert (await world.fs.setattr(ino, Change(size=6), opened.handle, ME)).size == 6
    await world.fs.release(opened.handle)
    assert (await world.fs.setattr(ino, Change(size=5), None, ME)).size == 5
    assert await world.read("f", draft) == b"012\0\0"


async def test_symlinks_keep_their_target_as_it_is(world, draft):
    for name, target in (("a", b"../v0/x"), ("b", b"s3://bucket/key"), ("c", b"\xff\xfe"), ("d", b"/abs")):
        attr = await world.fs.symlink(draft, name.encode(), target, ME)
        assert stat.S_ISLNK(attr.mode)
        assert os.fsencode(await world.fs.readlink(await world.ino(name, draft))) == target


async def test_names_of_any_bytes_can_be_used(world, draft):
    for name in ("\udcff\udcfe", "x" * 255, "new\nline", ".hidden", "v0", "Cu123456", "ü"):
        await world.write(draft, name, name.encode(errors="surrogateescape"))
    assert sorted(await world.names("", draft)) == sorted(
        ["\udcff\udcfe", "x" * 255, "new\nline", ".hidden", "v0", "Cu123456", "ü"]
    )
    await fails(errno.ENAMETOOLONG, world.fs.create(draft, b"x" * 256, os.O_WRONLY, 0o644, ME))


async def test_what_is_not_there_is_not_found(world, draft):
    ino = await world.write(draft, "f", b"")
    for call in (
        world.fs.lookup(draft, b"nothing", ME),
        world.fs.unlink(draft, b"nothing", ME),
        world.fs.rmdir(draft, b"nothing", ME),
        rename(world, draft, "nothing", draft, "x"),
    ):
        await fails(errno.ENOENT, call)
    await fails(errno.ENOTDIR, world.fs.rmdir(draft, b"f", ME))
    await mkdir(world, draft, "d")
    await fails(errno.EISDIR, world.fs.unlink(draft, b"d", ME))
    await fails(errno.EEXIST, world.fs.mkdir(draft, b"f", 0o755, ME))
    await fails(errno.ENOTDIR, rename(world, draft, "d", draft, "f"))
    await fails(errno.EISDIR, rename(world, draft, "f", draft, "d"))
    assert await world.ino("f", draft) == ino


# Renaming ---------------------------------------------------------------------------------------------------------


async def test_an_inode_goes_with_its_name_and_below_it_with_its_directory(world, draft):
    directory = await mkdir(world, draft, "d")
    file = await world.write(directory, "f", b"x")
    await rename(world, draft, "d", draft, "e")
    assert await world.ino("e", draft) == directory
    assert await world.ino("e/f", draft) == file
    assert (await world.fs.getattr(file)).size == 1
    await rename(world, directory, "f", draft, "g")
    assert await world.ino("g", draft) == file
    await fails(errno.ENOENT, world.fs.lookup(directory, b"f", ME))


async def test_a_replaced_file_lives_on_for_who_has_it_open(world, draft):
    old = await world.write(draft, "f", b"old")
    new = await world.write(draft, "g", b"new")
    opened = await world.fs.open(old, os.O_RDWR, ME)
    await rename(world, draft, "g", draft, "f")
    assert await world.ino("f", draft) == new
    assert bytes(await world.fs.read(opened.handle, 0, 10)) == b"old"
    assert (await world.fs.getattr(old)).nlink == 0
    await world.fs.write(opened.handle, 3, b"er")
    assert bytes(await world.fs.read(opened.handle, 0, 10)) == b"older"
    assert await world.read("f", draft) == b"new"
    await world.fs.release(opened.handle)


async def test_names_are_exchanged_with_their_inodes(world, draft):
    directory = await mkdir(world, draft, "d")
    inner = await world.write(directory, "inner", b"i")
    file = await world.write(draft, "f", b"x")
    await rename(world, draft, "f", draft, "d", exchange=True)
    assert (await world.ino("f", draft), await world.ino("d", draft)) == (directory, file)
    assert await world.ino("f/inner", draft) == inner
    await fails(errno.ENOENT, rename(world, draft, "f", draft, "nothing", exchange=True))


async def test_a_name_is_not_replaced_where_that_is_not_wanted(world, draft):
    await world.write(draft, "f", b"1")
    await world.write(draft, "g", b"2")
    await fails(errno.EEXIST, rename(world, draft, "f", draft, "g", replace=False))
    await rename(world, draft, "f", draft, "h", replace=False)
    assert (await world.read("g", draft), await world.read("h", draft)) == (b"2", b"1")


async def test_nothing_leaves_its_draft(world, draft):
    other = await world.stage("other")
    ino = await world.write(draft, "f", b"x")
    collection, staging = await world.ino("me/demo/data"), await world.ino("me/demo/data/.staging")
    for call in (
        rename(world, draft, "f", other, "f"),
        rename(world, draft, "f", staging, "f"),
        rename(world, draft, "f", collection, "f"),
        rename(world, staging, "other", draft, "other"),
        world.fs.link(ino, other, b"f", ME),
    ):
        await fails(errno.EXDEV, call)
    assert await world.read("f", draft) == b"x"


# Links and unlinked files -----------------------------------------------------------------------------------------


async def test_hard_links_are_one_inode(world, draft):
    directory = await mkdir(world, draft, "d")
    ino = await world.write(draft, "f", b"one")
    made = await world.fs.link(ino, directory, b"g", ME)
    world.fs.remember(made.ino)
    assert (made.ino, made.nlink) == (ino, 2)
    assert await world.ino("d/g", draft) == ino
    await world.write(directory, "g", b"changed")
    assert await world.read("f", draft) == b"changed"
    await world.fs.unlink(draft, b"f", ME)
    assert (await world.fs.getattr(ino)).nlink == 1
    assert await world.ino("d/g", draft) == ino
    await rename(world, directory, "g", draft, "h")
    assert await world.ino("h", draft) == ino


async def test_two_names_of_one_file_that_are_renamed_onto_each_other_both_stay(world, draft):
    ino = await world.write(draft, "f", b"one")
    await world.fs.link(ino, draft, b"g", ME)
    await rename(world, draft, "f", draft, "g")
    assert (await world.ino("f", draft), await world.ino("g", draft)) == (ino, ino)


async def test_a_link_whose_first_name_is_replaced_keeps_its_inode(world, draft):
    ino = await world.write(draft, "f", b"one")
    await world.fs.link(ino, draft, b"g", ME)
    await world.write(draft, "new", b"two")
    await rename(world, draft, "new", draft, "f")
    assert await world.ino("g", draft) == ino
    assert await world.ino("f", draft) != ino
    assert (await world.fs.getattr(ino)).nlink == 1


async def test_an_unlinked_file_lives_on_for_who_has_it_open(world, draft):
    ino = await world.write(draft, "f", b"still there")
    opened = await world.fs.open(ino, os.O_RDWR, ME)
    await world.fs.unlink(draft, b"f", ME)
    again = await world.write(draft, "f", b"another")
    assert again != ino
    assert bytes(await world.fs.read(opened.handle, 0, 100)) == b"still there"
    attr = await world.fs.getattr(ino)
    assert (attr.nlink, attr.size, attr.entry_ttl, attr.attr_ttl) == (0, 11, 0.0, 0.0)
    assert (await world.fs.setattr(ino, Change(size=5), opened.handle, ME)).size == 5
    await world.fs.write(opened.handle, 5, b"!")
    assert bytes(await world.fs.read(opened.handle, 0, 100)) == b"still!"
    await world.fs.release(opened.handle)
    await fails(errno.ENOENT, world.fs.getattr(ino))
    assert await world.read("f", draft) == b"another"


async def test_an_unlinked_file_that_nobody_has_open_is_gone(world, draft):
    ino = await world.write(draft, "f", b"x")
    await world.fs.unlink(draft, b"f", ME)
    for call in (
        world.fs.getattr(ino),
        world.fs.open(ino, os.O_RDONLY, ME),
        world.fs.setattr(ino, Change(size=0), None, ME),
        world.fs.link(ino, draft, b"g", ME),
    ):
        await fails(errno.ENOENT, call)


async def test_a_number_is_not_given_to_another_file_while_it_is_remembered(new_world, tmp_path):
    """Also when the local file system uses its own number again at once, as those on disks do."""
    world = new_world(root=tmp_path)
    draft, seen = await world.stage(), set()
    for _ in range(20):
        seen.add(await world.write(draft, "f", b"x"))
        await world.fs.unlink(draft, b"f", ME)
    assert len(seen) == 20


async def test_a_removed_directory_is_gone_for_who_still_stands_in_it(world, draft):
    directory = await mkdir(world, draft, "d")
    await world.fs.rmdir(draft, b"d", ME)
    for call in (
        world.fs.getattr(directory),
        world.fs.mkdir(directory, b"x", 0o755, ME),
        world.fs.lookup(directory, b"x", ME),
    ):
        await fails(errno.ENOENT, call)


# Listing ----------------------------------------------------------------------------------------------------------


async def test_a_directory_lists_itself_its_parent_and_its_names_in_order(world, draft):
    directory = await mkdir(world, draft, "d")
    for name in ("b", "a", "c"):
        await world.write(directory, name, b"x")
    for ino, parent in ((directory, draft), (draft, await world.ino("me/demo/data/.staging"))):
        handle = await world.fs.opendir(ino, ME)
        own, up, *rest = list(await world.fs.readdir(handle, 0))
        assert (own.name, own.attr.ino, up.name, up.attr.ino) == (b".", ino, b"..", parent)
        await world.fs.releasedir(handle)
        for entry in rest:
            assert entry.attr._replace(ino=0) == (await world.at(entry.name.decode(), ino))._replace(ino=0)
    assert await world.names("d", draft) == ["a", "b", "c"]


async def test_a_listing_goes_on_after_any_of_its_entries(world, draft):
    for name in "abcde":
        await world.write(draft, name, b"x")
    handle = await world.fs.opendir(draft, ME)
    whole = [(entry.name, entry.next) for entry in await world.fs.readdir(handle, 0)]
    for place, (_, offset) in enumerate(whole):
        assert [(entry.name, entry.next) for entry in await world.fs.readdir(handle, offset)] == whole[place + 1 :]


async def test_a_directory_can_be_emptied_while_it_is_listed(world, draft):
    for number in range(50):
        await world.write(draft, f"f{number:02}", b"x")
    handle, offset, removed = await world.fs.opendir(draft, ME), 0, []
    while batch := list(await world.fs.readdir(handle, offset))[:7]:
        offset = batch[-1].next
        for entry in batch:
            if entry.name not in {b".", b".."}:
                await world.fs.unlink(draft, entry.name, ME)
                removed.append(entry.name)
    assert removed == [b"f%02d" % number for number in range(50)]
    assert await world.names("", draft) == []


async def test_a_listing_that_begins_again_sees_what_is_new(world, draft):
    handle = await world.fs.opendir(draft, ME)
    assert [entry.name for entry in await world.fs.readdir(handle, 0)] == [b".", b".."]
    await world.write(draft, "new", b"x")
    assert [entry.name for entry in await world.fs.readdir(handle, 2)] == []
    assert [entry.name for entry in await world.fs.readdir(handle, 0)] == [b".", b"..", b"new"]


async def test_two_listings_of_one_directory_go_on_side_by_side(world, draft):
    for name in "abc":
        await world.write(draft, name, b"x")
    first, second = await world.fs.opendir(draft, ME), await world.fs.opendir(draft, ME)
    assert next(iter(await world.fs.readdir(first, 0))).name == b"."
    await world.fs.unlink(draft, b"a", ME)
    assert [entry.name for entry in await world.fs.readdir(second, 0)][2:] == [b"b", b"c"]
    assert [entry.name for entry in await world.fs.readdir(first, 2)] == [b"b", b"c"]
    assert [entry.name for entry in await world.fs.readdir(first, 4)] == [b"c"]
