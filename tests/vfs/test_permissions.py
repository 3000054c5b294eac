"""``-o ro``, and what another user may do under ``allow_other``."""

import dataclasses
import os
import stat

import pytest

from artfs.errors import NotFoundError, PermissionDeniedError, ReadOnlyError
from artfs.vfs.types import ROOT, Caller, Change, Owner
from tests.vfs.world import ME, STRANGER

pytestmark = pytest.mark.trio

CHANGES = {
    "create": lambda fs, ino, who: fs.create(ino, b"new", os.O_WRONLY, 0o644, who),
    "mkdir": lambda fs, ino, who: fs.mkdir(ino, b"new", 0o755, who),
    "mknod": lambda fs, ino, who: fs.mknod(ino, b"new", stat.S_IFREG | 0o644, who),
    "symlink": lambda fs, ino, who: fs.symlink(ino, b"new", b"v0", who),
    "link": lambda fs, ino, who: fs.link(ino, ino, b"new", who),
    "unlink": lambda fs, ino, who: fs.unlink(ino, b"best", who),
    "rmdir": lambda fs, ino, who: fs.rmdir(ino, b"best", who),
    "rename": lambda fs, ino, who: fs.rename(ino, b"best", ino, b"new", who, replace=True, exchange=False),
    "setattr": lambda fs, ino, who: fs.setattr(ino, Change(mode=0o700), None, who),
    "setxattr": lambda fs, ino, who: fs.set_xattr(ino, b"user.artfs.description", b"x", who),
    "removexattr": lambda fs, ino, who: fs.set_xattr(ino, b"user.artfs.description", None, who),
    "access": lambda fs, ino, who: fs.access(ino, os.W_OK, who),
}


# -o ro ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(new_world):
    world = new_world(read_only=True)
    world.publish({"f": b"text"}, "best")
    return world


@pytest.mark.parametrize("path", ["", "me", "me/demo", "me/demo/data", "me/demo/data/v0"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_read_only_mount_changes_nothing(read_only, change, path):
    ino = await read_only.ino(path)
    read_only.registry.asked.clear()
    with pytest.raises(ReadOnlyError):
        await CHANGES[change](read_only.fs, ino, ME)
    assert read_only.registry.asked == []


async def test_a_read_only_mount_has_no_staging(read_only):
    assert await read_only.names("me/demo/data") == ["v0", "best", "latest"]
    for name in (".staging", ".commit"):
        with pytest.raises(NotFoundError):
            await read_only.at(f"me/demo/data/{name}")


async def test_a_read_only_mount_is_read_and_shows_that_it_cannot_be_written(read_only):
    assert await read_only.read("me/demo/data/v0/f") == b"text"
    assert await read_only.fs.readlink(await read_only.ino("me/demo/data/best")) == "v0"
    for path in ("", "me", "me/demo", "me/demo/data", "me/demo/data/v0"):
        attr = await read_only.at(path)
        assert stat.S_IMODE(attr.mode) == 0o555
        await read_only.fs.access(attr.ino, os.R_OK | os.X_OK, ME)


# allow_other ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def shared(new_world):
    world = new_world(shared=True)
    world.publish({"f": b"text", "d/g": b"deep"}, "best")
    world.draft = await world.stage()
    made = await world.fs.mkdir(world.draft, b"d", 0o755, ME)
    world.fs.remember(made.ino)
    await world.write(world.draft, "f", b"mine")
    await world.write(made.ino, "g", b"deep")
    return world


async def chmod(world, path, mode):
    await world.fs.setattr(await world.ino(path, world.draft), Change(mode=mode), None, ME)


@pytest.mark.parametrize("path", ["", "me", "me/demo", "me/demo/data", "me/demo/data/.staging", "me/demo/data/.staging/draft",
                                  "me/demo/data/.staging/draft/d"])  # fmt: skip
@pytest.mark.parametrize("change", CHANGES)
async def test_another_user_changes_nothing(shared, change, path):
    ino = await shared.ino(path)
    before = await shared.names(path)
    with pytest.raises(PermissionDeniedError):
        await CHANGES[change](shared.fs, ino, STRANGER)
    assert await shared.names(path) == before


async def test_another_user_cannot_write_into_a_file_even_if_its_mode_lets_him(shared):
    await chmod(shared, "f", 0o666)
    ino = await shared.ino("f", shared.draft)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        with pytest.raises(PermissionDeniedError):
            await shared.fs.open(ino, flags, STRANGER)
    assert await shared.read("f", shared.draft) == b"mine"


async def test_for_another_user_too_a_version_is_read_only_and_not_forbidden(shared):
    root = await shared.ino("me/demo/data/v0")
    for name, change in CHANGES.items():  # what describes a version may change: there the user is what is wrong
        with pytest.raises(PermissionDeniedError if "xattr" in name else ReadOnlyError):
            await change(shared.fs, root, STRANGER)


async def test_another_user_reads_what_everybody_may_read(shared):
    for path in ("me/demo/data/v0/f", "me/demo/data/v0/d/g", "me/demo/data/.staging/draft/d/g"):
        ino = ROOT
        for name in path.split("/"):
            found = await shared.fs.lookup(ino, name.encode(), STRANGER)
            shared.fs.remember(found.ino)
            ino = found.ino
        await shared.fs.access(ino, os.R_OK, STRANGER)
        opened = await shared.fs.open(ino, os.O_RDONLY, STRANGER)
        assert bytes(await shared.fs.read(opened.handle, 0, 4)) in {b"text", b"deep"}
        await shared.fs.release(opened.handle)
    for path in ("", "me/demo/data", "me/demo/data/v0", "me/demo/data/.staging/draft"):
        handle = await shared.fs.opendir(await shared.ino(path), STRANGER)
        await shared.fs.releasedir(handle)


async def test_a_file_that_only_its_owner_may_read_is_read_by_him_and_by_root_only(shared):
    await chmod(shared, "f", 0o600)
    ino = await shared.ino("f", shared.draft)
    for want in (os.R_OK, os.X_OK):
        with pytest.raises(PermissionDeniedError, match="rw-------"):
            await shared.fs.access(ino, want, STRANGER)
    with pytest.raises(PermissionDeniedError):
        await shared.fs.open(ino, os.O_RDONLY, STRANGER)
    for uid in {0, os.geteuid()}:
        await shared.fs.release((await shared.fs.open(ino, os.O_RDWR, dataclasses.replace(ME, uid=uid))).handle)


@pytest.mark.parametrize(("mode", "group", "others"), [(0o640, True, False), (0o604, False, True), (0o644, True, True)])
async def test_a_group_has_its_own_bits(shared, mode, group, others):
    await chmod(shared, "f", mode)
    attr = await shared.at("f", shared.draft)
    for caller, allowed in ((Caller(54321, attr.gid, 3, 0), group), (STRANGER, others)):
        if allowed:
            await shared.fs.release((await shared.fs.open(attr.ino, os.O_RDONLY, caller)).handle)
        else:
            with pytest.raises(PermissionDeniedError):
                await shared.fs.open(attr.ino, os.O_RDONLY, caller)


async def test_a_directory_that_others_may_not_enter_hides_what_is_in_it(shared):
    """Also from who names it by a path that the kernel knows already, so that it looks nothing up."""
    file = await shared.ino("d/g", shared.draft)
    directory = await shared.ino("d", shared.draft)
    await chmod(shared, "d", 0o700)
    for call in (
        shared.fs.lookup(directory, b"g", STRANGER),
        shared.fs.opendir(directory, STRANGER),
        shared.fs.open(file, os.O_RDONLY, STRANGER),
        shared.fs.access(file, os.R_OK, STRANGER),
    ):
        with pytest.raises(PermissionDeniedError):
            await call
    await chmod(shared, "d", 0o711)
    opened = await shared.fs.open(file, os.O_RDONLY, STRANGER)
    assert bytes(await shared.fs.read(opened.handle, 0, 4)) == b"deep"
    with pytest.raises(PermissionDeniedError):
        await shared.fs.opendir(directory, STRANGER)


async def test_a_draft_that_others_may_not_enter_is_closed_to_them(shared):
    file = await shared.ino("d/g", shared.draft)
    await shared.fs.setattr(shared.draft, Change(mode=0o700), None, ME)
    for ino in (shared.draft, await shared.ino("d", shared.draft)):
        with pytest.raises(PermissionDeniedError):
            await shared.fs.opendir(ino, STRANGER)
    with pytest.raises(PermissionDeniedError):
        await shared.fs.open(file, os.O_RDONLY, STRANGER)


async def test_the_umask_of_the_mount_closes_it_to_others(new_world):
    world = new_world(shared=True, umask=0o077)
    world.publish({"f": b"text"})
    root, file = await world.ino("me/demo/data/v0"), await world.ino("me/demo/data/v0/f")
    assert stat.S_IMODE((await world.fs.getattr(file)).mode) == 0o400
    for call in (
        world.fs.lookup(ROOT, b"me", STRANGER),
        world.fs.opendir(ROOT, STRANGER),
        world.fs.opendir(root, STRANGER),
        world.fs.open(file, os.O_RDONLY, STRANGER),
    ):
        with pytest.raises(PermissionDeniedError):
            await call
    assert await world.read("me/demo/data/v0/f") == b"text"


async def test_without_allow_other_the_kernel_keeps_others_out_and_nothing_is_checked(world):
    draft = await world.stage()
    ino = await world.write(draft, "f", b"x")
    await world.fs.setattr(ino, Change(mode=0o600), None, ME)
    await world.fs.release((await world.fs.open(ino, os.O_RDONLY, STRANGER)).handle)


async def test_what_the_mount_shows_belongs_to_the_owner_that_it_was_given(new_world):
    world = new_world(owner=Owner(1234, 4321, 0))
    world.publish({"f": b"x"}, "best")
    draft = await world.stage()
    ino = await world.write(draft, "f", b"x")
    for path in ("", "me/demo/data", "me/demo/data/best", "me/demo/data/v0/f", "me/demo/data/.staging/draft/f"):
        attr = await world.at(path)
        assert (attr.uid, attr.gid) == (1234, 4321)
    attr = await world.fs.setattr(ino, Change(uid=1234, gid=4321, mode=0o640), None, ME)
    assert (attr.uid, attr.gid, stat.S_IMODE(attr.mode)) == (1234, 4321, 0o640)
