"""The moment of a commit: nothing changes under it, nothing that was done before is lost, and what comes too late is told so."""

import errno
import os
import stat
from pathlib import Path

import pytest
import trio
import trio.testing

from artfs.errors import BusyError, ReadOnlyError
from artfs.staging.journal import Journal
from artfs.vfs import draft_handles as handles_module
from artfs.vfs import drafts as drafts_module
from artfs.vfs.types import Change
from tests.vfs.world import ME, Gate

pytestmark = pytest.mark.trio


@pytest.fixture
async def draft(world):
    """The inode of a draft from a version with a few files."""
    world.version = world.publish({"a": b"first", "b": b"second", "d/e": b"deep"})
    return await world.stage(base=world.version)


def the_draft(world):
    (draft,) = world.staging.owned()
    return draft


def freeze(world):
    """Begin a commit that does not run."""
    world.commits._launch = lambda draft, *_: world.commits._jobs.setdefault(draft.id, None)
    world.commits.start(the_draft(world), "draft", Journal())


async def start_held(nursery, gate, function, *arguments):
    """Start a call and wait until its thread is held back."""
    nursery.start_soon(function, *arguments)
    await trio.to_thread.run_sync(gate.wait)


@pytest.fixture
def held_copy(world, draft, monkeypatch):
    """Hold every copy-up back until ``open()``."""
    tree = the_draft(world).tree
    with Gate(tree.copy_up) as gate:
        monkeypatch.setattr(tree, "copy_up", gate)
        yield gate


async def chmod(world, ino):
    await world.fs.setattr(ino, Change(mode=stat.S_IFREG | 0o600), None, ME)


# Settling ---------------------------------------------------------------------------------------------------------


async def test_a_draft_without_writers_is_settled_without_waiting(world, draft):
    await world.fs.open(await world.ino("a", draft), os.O_RDONLY, ME)
    with trio.testing.assert_no_checkpoints():
        await world.drafts.handles.settle(the_draft(world))


async def test_settling_waits_for_a_close_that_is_on_its_way(world, draft, mock_clock):
    opened, attr = await world.fs.create(draft, b"f", os.O_WRONLY, 0o644, ME)
    world.fs.remember(attr.ino)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.drafts.handles.settle, the_draft(world))
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        await world.fs.release(opened.handle)


async def test_files_that_stay_open_for_writing_are_named_after_a_moment(world, draft, autojump_clock):
    directory = await world.ino("d", draft)
    for parent, name in ((draft, b"f"), (directory, b"g")):
        _, attr = await world.fs.create(parent, name, os.O_WRONLY, 0o644, ME)
        world.fs.remember(attr.ino)
    await world.fs.open(await world.ino("a", draft), os.O_RDONLY, ME)
    with pytest.raises(BusyError, match=r"open for writing: d/g, f \(") as caught:
        await world.drafts.handles.settle(the_draft(world))
    assert caught.value.hint
    assert trio.current_time() == handles_module._RELEASE_WAIT


async def test_many_open_files_are_not_all_named(world, draft, autojump_clock):
    for number in range(9):
        _, attr = await world.fs.create(draft, b"f%d" % number, os.O_WRONLY, 0o644, ME)
        world.fs.remember(attr.ino)
    with pytest.raises(BusyError, match=r"f0, f1, f2, f3, f4, \.\.\. \("):
        await world.drafts.handles.settle(the_draft(world))


async def test_writers_of_another_draft_do_not_count(world, draft, autojump_clock):
    other = await world.stage("other")
    await world.fs.create(other, b"f", os.O_WRONLY, 0o644, ME)
    await world.drafts.handles.settle(world.commits.find(the_ref(world), "draft"))
    assert trio.current_time() == 0.0


def the_ref(world):
    return world.staging.owned()[0].collection


async def test_an_unlinked_file_that_is_still_written_to_counts(world, draft, autojump_clock):
    _, attr = await world.fs.create(draft, b"f", os.O_WRONLY, 0o644, ME)
    world.fs.remember(attr.ino)
    await world.fs.unlink(draft, b"f", ME)
    with pytest.raises(BusyError, match="removed file"):
        await world.drafts.handles.settle(the_draft(world))


async def test_settling_waits_for_a_copy_that_is_under_way(world, draft, held_copy, mock_clock):
    ino = await world.ino("a", draft)
    async with trio.open_nursery() as nursery:
        await start_held(nursery, held_copy, chmod, world, ino)
        with trio.CancelScope() as settling:

            async def settle():
                await world.drafts.handles.settle(the_draft(world))
                assert (await world.fs.getattr(ino)).mode == stat.S_IFREG | 0o600  # what was begun before is done
                settling.cancel()

            nursery.start_soon(settle)
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 2
            held_copy.open()
            await trio.sleep_forever()


async def test_a_copy_that_takes_too_long_is_busy(world, draft, held_copy, autojump_clock):
    ino = await world.ino("a", draft)
    async with trio.open_nursery() as nursery:
        await start_held(nursery, held_copy, chmod, world, ino)
        with pytest.raises(BusyError, match="still being written to"):
            await world.drafts.handles.settle(the_draft(world))
        held_copy.open()


async def test_a_file_that_is_just_being_opened_to_be_truncated_counts(world, draft, held_copy, mock_clock):
    ino, opened = await world.ino("a", draft), []

    async def truncate():
        opened.append(await world.fs.open(ino, os.O_WRONLY | os.O_TRUNC, ME))

    async with trio.open_nursery() as nursery:
        await start_held(nursery, held_copy, truncate)
        nursery.start_soon(world.drafts.handles.settle, the_draft(world))
        await trio.testing.wait_all_tasks_blocked()
        held_copy.open()
        while not opened:
            await trio.sleep(0)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks  # settle waits for the writer now
        await world.fs.release(opened[0].handle)


# While a thread works on the draft --------------------------------------------------------------------------------

NAME_CHANGES = {
    "mkdir": lambda fs, draft: fs.mkdir(draft, b"new", 0o755, ME),
    "create": lambda fs, draft: fs.create(draft, b"new", os.O_WRONLY, 0o644, ME),
    "mknod": lambda fs, draft: fs.mknod(draft, b"new", stat.S_IFREG | 0o644, ME),
    "symlink": lambda fs, draft: fs.symlink(draft, b"new", b"a", ME),
    "unlink": lambda fs, draft: fs.unlink(draft, b"b", ME),
    "rename": lambda fs, draft: fs.rename(draft, b"d", draft, b"new", ME, replace=True, exchange=False),
}


@pytest.mark.parametrize("change", NAME_CHANGES)
async def test_names_stand_still_while_a_file_is_copied_up(world, draft, held_copy, change):
    ino, before = await world.ino("a", draft), await world.names("", draft)
    async with trio.open_nursery() as nursery:
        await start_held(nursery, held_copy, chmod, world, ino)
        nursery.start_soon(NAME_CHANGES[change], world.fs, draft)
        await trio.testing.wait_all_tasks_blocked()
        assert await world.names("", draft) == before
        assert await world.read("b", draft) == b"second"  # and no reader waits
        held_copy.open()
    assert await world.names("", draft) != before


@pytest.mark.parametrize("change", NAME_CHANGES)
async def test_what_waited_for_a_copy_is_refused_when_a_commit_has_begun_meanwhile(world, draft, held_copy, change):
    ino, before = await world.ino("a", draft), await world.names("", draft)

    async def too_late():
        with pytest.raises(ReadOnlyError, match="being committed"):
            await NAME_CHANGES[change](world.fs, draft)

    async with trio.open_nursery() as nursery:
        await start_held(nursery, held_copy, chmod, world, ino)
        nursery.start_soon(too_late)
        await trio.testing.wait_all_tasks_blocked()
        freeze(world)
        held_copy.open()
    assert await world.names("", draft) == before


async def test_a_rename_that_waited_sees_where_its_file_is_now(world, draft, held_copy):
    """Its directory was renamed by another that waited before it."""
    ino, directory = await world.ino("a", draft), await world.ino("d", draft)
    async with trio.open_nursery() as nursery:
        await start_held(nursery, held_copy, chmod, world, ino)
        for old, parent, new in ((b"d", draft, b"moved"), (b"e", directory, b"f")):
            nursery.start_soon(rename, world, draft if old == b"d" else directory, old, parent, new)
            await trio.testing.wait_all_tasks_blocked()
        held_copy.open()
    assert await world.read("moved/f", draft) == b"deep"


async def rename(world, parent, old, new_parent, new):
    await world.fs.rename(parent, old, new_parent, new, ME, replace=True, exchange=False)


@pytest.mark.parametrize("change", ["mkdir", "rename"])
async def test_names_stand_still_while_a_big_file_is_removed(world, draft, monkeypatch, change):
    monkeypatch.setattr(drafts_module, "_BIG", 4)
    await world.write(draft, "big file", b"12345")
    tree, before = the_draft(world).tree, await world.names("", draft)
    with Gate(tree.unlink) as gate:
        monkeypatch.setattr(tree, "unlink", gate)
        async with trio.open_nursery() as nursery:
            await start_held(nursery, gate, world.fs.unlink, draft, b"big file", ME)
            nursery.start_soon(NAME_CHANGES[change], world.fs, draft)
            await trio.testing.wait_all_tasks_blocked()
            assert await world.names("", draft) == before
            gate.open()
    assert "big file" not in await world.names("", draft)
    assert "new" in await world.names("", draft)


async def test_a_file_is_copied_up_once_however_many_write_first(world, draft, monkeypatch):
    tree, calls = the_draft(world).tree, []
    copy_up = tree.copy_up
    monkeypatch.setattr(tree, "copy_up", lambda *arguments: (calls.append(arguments[0]), copy_up(*arguments)))
    ino = await world.ino("a", draft)
    handles = [(await world.fs.open(ino, os.O_RDWR, ME)).handle for _ in range(5)]
    async with trio.open_nursery() as nursery:
        for place, handle in enumerate(handles):
            nursery.start_soon(world.fs.write, handle, place, b"%d" % place)
    assert calls == ["a"]
    assert await world.read("a", draft) == b"01234"


# Frozen, and gone -------------------------------------------------------------------------------------------------

ALL_CHANGES = NAME_CHANGES | {
    "rmdir": lambda fs, draft: fs.rmdir(draft, b"d", ME),
    "open": lambda fs, draft: open_to_write(fs, draft),
    "chmod": lambda fs, draft: change(fs, draft, Change(mode=0o600)),
    "truncate": lambda fs, draft: change(fs, draft, Change(size=0)),
    "utimens": lambda fs, draft: change(fs, draft, Change(mtime_ns=0)),
    "atime": lambda fs, draft: change(fs, draft, Change(atime_ns=0)),
    "link": lambda fs, draft: link(fs, draft),
}


async def open_to_write(fs, draft):
    return await fs.open((await fs.lookup(draft, b"a", ME)).ino, os.O_RDWR, ME)


async def change(fs, draft, wanted):
    return await fs.setattr((await fs.lookup(draft, b"a", ME)).ino, wanted, None, ME)


async def link(fs, draft):
    return await fs.link((await fs.lookup(draft, b"a", ME)).ino, draft, b"new", ME)


@pytest.mark.parametrize("change", ALL_CHANGES)
async def test_a_frozen_draft_can_be_read_and_not_changed(world, draft, change):
    before = await world.names("", draft)
    freeze(world)
    with pytest.raises(ReadOnlyError, match="being committed"):
        await ALL_CHANGES[change](world.fs, draft)
    assert await world.names("", draft) == before
    assert await world.read("a", draft) == b"first"


@pytest.mark.parametrize("change", ALL_CHANGES)
async def test_who_still_stands_in_a_draft_that_is_gone_changes_nothing_on_disk(world, draft, change):
    for name in (b"a", b"d"):
        world.fs.remember((await world.fs.lookup(draft, name, ME)).ino)
    await world.commits.discard(the_draft(world))
    with pytest.raises(OSError) as caught:
        await ALL_CHANGES[change](world.fs, draft)
    assert caught.value.errno == errno.ENOENT
    assert list((world.root / "data/drafts").glob("*/*")) == []


async def test_a_file_that_is_open_when_its_draft_goes_can_be_read_on(world, draft):
    await world.write(draft, "mine", b"mine")
    handles = [(await world.fs.open(await world.ino(name, draft), os.O_RDONLY, ME)).handle for name in ("a", "mine")]
    await world.commits.discard(the_draft(world))
    assert [bytes(await world.fs.read(handle, 0, 10)) for handle in handles] == [b"first", b"mine"]
    for handle in handles:
        await world.fs.release(handle)


async def test_the_local_files_of_a_draft_are_not_left_open(world, draft):
    ino = await world.write(draft, "f", b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for flags in (os.O_RDONLY, os.O_RDWR):
        opened = await world.fs.open(ino, flags, ME)
        assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
        await world.fs.release(opened.handle)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
