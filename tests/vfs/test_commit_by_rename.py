"""``mv .staging/x .commit/``: a draft becomes a version, is readable all the while, and comes back when it cannot."""

import errno
import json
import os
import threading
from functools import partial

import pytest
import trio
import trio.testing

from artfs.errors import (
    BusyError,
    ExistsError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    ReadOnlyError,
    UnreachableError,
)
from artfs.model.names import CollectionRef
from artfs.staging.turns import is_given_up
from tests.vfs.fakes import PATIENCE
from tests.vfs.world import DATA, ME

pytestmark = pytest.mark.trio


@pytest.fixture
async def draft(world):
    """The inode of a draft with two files."""
    ino = await world.stage()
    made = await world.fs.mkdir(ino, b"d", 0o755, ME)
    world.fs.remember(made.ino)
    await world.write(ino, "a", b"first")
    await world.write(made.ino, "e", b"deep")
    return ino


class Held:
    """Holds every commit back at a step."""

    def __init__(self, world, step):
        self._step, self._go, self._arrived = step, threading.Event(), threading.Event()
        world.before_step = self

    def __call__(self, step):
        if step == self._step:
            self._arrived.set()
            assert self._go.wait(PATIENCE), "a commit was held back for ever"

    async def arrived(self):
        assert await trio.to_thread.run_sync(self._arrived.wait, PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._go.set()


async def move(world, old, new, *, to=".commit", collection=DATA):
    """Rename ``.staging/<old>`` to a name in a directory of the collection."""
    await world.fs.rename(
        await world.ino(f"{collection}/.staging"), os.fsencode(old), await world.ino(f"{DATA}/{to}".rstrip("/")), os.fsencode(new),
        ME, replace=True, exchange=False,
    )  # fmt: skip


async def commit(world, name="draft", new="draft"):
    await move(world, name, new)
    await world.commits.finish()


async def test_a_draft_becomes_a_version(world, draft):
    await commit(world)
    assert await world.names("me/demo/data") == [".staging", ".commit", "v0", "latest"]
    assert await world.names("me/demo/data/.staging") == await world.names("me/demo/data/.commit") == []
    assert await world.read("me/demo/data/v0/a") == b"first"
    assert await world.read("me/demo/data/v0/d/e") == b"deep"
    assert await world.fs.readlink(await world.ino("me/demo/data/latest")) == "v0"


async def test_another_name_is_an_alias_for_the_version(world, draft):
    await commit(world, new="best")
    assert await world.names("me/demo/data") == [".staging", ".commit", "v0", "best", "latest"]


async def test_it_is_listed_in_commit_and_readable_until_it_is_published(world, draft):
    with Held(world, "adopted") as held:
        await move(world, "draft", "best")
        await held.arrived()
        assert await world.names("me/demo/data/.staging") == []
        assert await world.names("me/demo/data/.commit") == ["best"]
        assert await world.ino("me/demo/data/.commit/best") == draft
        assert await world.read("me/demo/data/.commit/best/a") == b"first"
        assert await world.read("d/e", draft) == b"deep"
        _, up, *_ = list(await world.fs.readdir(await world.fs.opendir(draft, ME), 0))
        assert up.attr.ino == await world.ino("me/demo/data/.commit")
        shown = await world.fs.xattrs(draft)
        assert shown["state"] == b"PENDING"
        assert json.loads(shown["progress"])["files_total"] == 2
        with pytest.raises(NotFoundError):
            await world.at("me/demo/data/v0")
        with pytest.raises(ReadOnlyError):
            await world.fs.create(draft, b"new", os.O_WRONLY, 0o644, ME)
        with pytest.raises(ReadOnlyError):
            await world.fs.set_xattr(draft, b"user.artfs.description", b"too late", ME)
    await world.commits.finish()
    assert await world.read("me/demo/data/v0/a") == b"first"


async def test_the_rename_returns_before_the_commit_is_done(world, draft):
    with Held(world, "scanned") as held:
        await move(world, "draft", "draft")
        await held.arrived()
        assert world.steps == ["frozen", "scanned"]
    await world.commits.finish()


async def test_what_the_draft_says_of_itself_is_recorded(world, draft):
    for name, value in ((b"type", b"model"), (b"description", "größer".encode()), (b"metadata", b'{"rows": [1, 2]}')):
        await world.fs.set_xattr(draft, b"user.artfs." + name, value, ME)
    await commit(world)
    version = world.registry.inner.version(DATA.at("v0"))
    assert (version.type, version.description, version.metadata) == ("model", "größer", {"rows": [1, 2]})


async def test_the_same_content_is_no_new_version(world, draft):
    await commit(world)
    ino = await world.stage(base=world.registry.inner.version(DATA.at("v0")))
    assert await world.names("", ino) == ["a", "d"]
    await commit(world, new="again")
    assert await world.names("me/demo/data") == [".staging", ".commit", "v0", "again", "latest"]


@pytest.mark.parametrize(
    ("new", "error"), [("v3", InvalidInputError), ("a:b", InvalidInputError), (".x", InvalidInputError)]
)
async def test_a_name_that_cannot_be_an_alias_is_refused_and_the_draft_stays(world, draft, new, error):
    with pytest.raises(error):
        await move(world, "draft", new)
    assert await world.names("me/demo/data/.staging") == ["draft"]
    await world.write(draft, "more", b"x")


async def test_files_that_are_open_for_writing_are_busy_and_named_on_the_draft(world, draft, autojump_clock):
    opened = await world.fs.open(await world.ino("d/e", draft), os.O_RDWR, ME)
    with pytest.raises(BusyError):
        await move(world, "draft", "draft")
    assert b"open for writing: d/e" in (await world.fs.xattrs(draft))["error"]
    assert await world.names("me/demo/data/.staging") == ["draft"]
    await world.fs.release(opened.handle)
    await commit(world)
    assert await world.read("me/demo/data/v0/d/e") == b"deep"


@pytest.mark.expects_warning("failed: ")
async def test_a_draft_that_cannot_be_committed_comes_back_with_the_reason(world, draft):
    await world.fs.symlink(draft, b"outside", b"/etc/passwd", ME)
    await commit(world, new="best")
    assert await world.names("me/demo/data/.staging") == ["draft"]
    assert await world.names("me/demo/data") == [".staging", ".commit"]
    assert await world.ino("me/demo/data/.staging/draft") == draft
    assert b"outside" in (await world.fs.xattrs(draft))["error"]
    await world.fs.unlink(draft, b"outside", ME)
    await commit(world, new="best")
    assert await world.names("me/demo/data") == [".staging", ".commit", "v0", "best", "latest"]


@pytest.mark.expects_warning("failed: ")
@pytest.mark.parametrize("step", ["reserved", "bound", "adopted", "stored"])
async def test_a_commit_that_fails_at_any_step_gives_back_a_draft_that_can_be_used(world, draft, step):
    names = {name: await world.ino(name, draft) for name in ("a", "d", "d/e")}

    def fail(found):
        if found == step:
            raise NoSpaceError("the store is full")

    world.before_step = fail
    await commit(world)
    world.before_step = lambda _: None
    assert {name: await world.ino(name, draft) for name in names} == names
    assert (await world.read("a", draft), await world.read("d/e", draft)) == (b"first", b"deep")
    opened = await world.fs.open(names["a"], os.O_RDWR, ME)
    await world.fs.write(opened.handle, 0, b"FIRST")
    await world.fs.release(opened.handle)
    assert (await world.fs.getattr(names["a"])).nlink == 1
    await world.write(draft, "new", b"new")
    await commit(world)
    root = await world.ino("me/demo/data/v0")
    assert {name: await world.read(name, root) for name in ("a", "d/e", "new")} == {
        "a": b"FIRST", "d/e": b"deep", "new": b"new",
    }  # fmt: skip


@pytest.mark.expects_warning("waits: ")
async def test_a_registry_that_comes_back_finishes_the_commit(world, draft, autojump_clock):
    answer = world.registry.inner.reserve
    failures = [UnreachableError("no answer")] * 5
    world.registry.inner.reserve = lambda new: answer(new) if not failures else raise_(failures.pop())
    await commit(world)
    assert await world.read("me/demo/data/v0/a") == b"first"
    assert 50 < trio.current_time() < 100


def raise_(error):
    raise error


@pytest.mark.parametrize("step", ["scanned", "hashed", "reserved", "bound", "adopted"])
async def test_a_commit_that_was_stopped_at_any_step_is_finished_by_the_next_mount(world, draft, step):
    with Held(world, step) as held:
        await move(world, "draft", "best")
        await held.arrived()
        world.commits.stop()
    await world.commits.finish()
    if step != "adopted":  # then all that is left is to publish, which is not worth stopping
        assert world.registry.inner.listing(DATA).versions == ()
    again = world.remount()
    assert await again.names("me/demo/data/.commit") == []
    again.commits.resume()
    await again.commits.finish()
    assert await again.names("me/demo/data") == [".staging", ".commit", "v0", "best", "latest"]
    assert await again.read("me/demo/data/v0/a") == b"first"
    again.staging.close()


# Names of drafts --------------------------------------------------------------------------------------------------


async def test_a_draft_is_renamed_and_keeps_its_inode(world, draft):
    await move(world, "draft", "other", to=".staging")
    assert await world.names("me/demo/data/.staging") == ["other"]
    assert await world.ino("me/demo/data/.staging/other") == draft
    await move(world, "other", "other", to=".staging")
    with pytest.raises(InvalidInputError):
        await move(world, "other", ".hidden", to=".staging")
    with pytest.raises(NotFoundError):
        await move(world, "nothing", "x", to=".staging")


@pytest.mark.expects_warning("failed: the draft is empty")
async def test_a_draft_does_not_take_the_name_of_another(world, draft):
    await world.stage("other")
    with pytest.raises(ExistsError):
        await move(world, "draft", "other", to=".staging")
    with Held(world, "scanned") as held:
        await move(world, "other", "other")
        await held.arrived()
        with pytest.raises(ExistsError):  # which comes back if its commit fails
            await move(world, "draft", "other", to=".staging")
        with pytest.raises(ExistsError):
            await world.fs.mkdir(await world.ino("me/demo/data/.staging"), b"other", 0o755, ME)
        world.before_step = lambda _: None
    await world.commits.finish()
    assert sorted(await world.names("me/demo/data/.staging")) == ["draft", "other"]  # it was empty


async def test_a_draft_stays_in_its_collection(world, draft):
    other = CollectionRef("me", "demo", "other")
    world.registry.place("me", "demo", other)
    world.catalog.forget()
    staging = await world.ino("me/demo/data/.staging")
    for path in ("me/demo/other/.staging", "me/demo/other/.commit"):
        with pytest.raises(OSError) as caught:
            await world.fs.rename(staging, b"draft", await world.ino(path), b"draft", ME, replace=True, exchange=False)
        assert caught.value.errno == errno.EXDEV
    for to in ("", "v0"):
        world.publish({"f": to.encode()})
        with pytest.raises(ReadOnlyError):
            await move(world, "draft", "draft", to=to)


async def test_nothing_but_a_draft_is_committed(world, draft):
    world.publish({"f": b"x"}, "best")
    place, collection = await world.ino("me/demo/data/.commit"), await world.ino("me/demo/data")
    with pytest.raises(ReadOnlyError):
        await world.fs.rename(collection, b"best", place, b"best", ME, replace=True, exchange=False)
    with pytest.raises(OSError) as caught:
        await world.fs.rename(draft, b"d", place, b"d", ME, replace=True, exchange=False)
    assert caught.value.errno == errno.EXDEV
    for call in (world.fs.mkdir(place, b"x", 0o755, ME), world.fs.rmdir(place, b"x", ME)):
        with pytest.raises(ReadOnlyError):
            await call


async def test_a_commit_is_taken_back_before_it_is_published_and_no_later(world, draft):
    place, staging = await world.ino("me/demo/data/.commit"), await world.ino("me/demo/data/.staging")
    async with trio.open_nursery() as nursery:
        with Held(world, "scanned") as held:
            await move(world, "draft", "best")
            await held.arrived()
            back = partial(world.fs.rename, place, b"best", staging, b"other", ME, replace=True, exchange=False)
            nursery.start_soon(back)
            while not is_given_up(world.commits.jobs[0].draft):
                await trio.sleep(0.01)
    assert await world.names("me/demo/data/.staging") == ["other"]
    assert (await world.names("me/demo/data/.commit"), world.commits.jobs) == ([], [])
    with Held(world, "published") as held:
        await move(world, "other", "best")
        await held.arrived()
        with trio.move_on_after(0.1):
            await back()
    await world.commits.finish()
    assert "v0" in await world.names("me/demo/data")


async def test_a_commit_that_waits_for_its_turn_is_taken_back_at_once(world, draft):
    ino = await world.stage("other")
    await world.write(ino, "f", b"other")
    place, staging = await world.ino("me/demo/data/.commit"), await world.ino("me/demo/data/.staging")
    with Held(world, "scanned") as held:
        await move(world, "draft", "draft")
        await held.arrived()
        await move(world, "other", "other")
        await world.fs.rename(place, b"other", staging, b"other", ME, replace=True, exchange=False)
        assert await world.names("me/demo/data/.staging") == ["other"]
        assert await world.names("me/demo/data/.commit") == ["draft"]
    await world.commits.finish()
    assert "v0" in await world.names("me/demo/data")


async def test_a_commit_cannot_be_renamed_or_removed(world, draft):
    with Held(world, "scanned") as held:
        await move(world, "draft", "draft")
        await held.arrived()
        place, staging = await world.ino("me/demo/data/.commit"), await world.ino("me/demo/data/.staging")
        with pytest.raises(ReadOnlyError):
            await world.fs.rename(place, b"draft", place, b"other", ME, replace=True, exchange=False)
        with pytest.raises(ReadOnlyError):
            await world.fs.rmdir(place, b"draft", ME)
        with pytest.raises(NotFoundError):
            await world.fs.rmdir(staging, b"draft", ME)
    await world.commits.finish()


async def test_two_commits_under_way_have_two_names(world, draft):
    ino = await world.stage("other")
    await world.write(ino, "f", b"other")
    with Held(world, "scanned") as held:
        await move(world, "draft", "best")
        await held.arrived()
        with pytest.raises(ExistsError, match="under way"):
            await move(world, "other", "best")
        assert await world.names("me/demo/data/.staging") == ["other"]
    await world.commits.finish()
    await commit(world, "other", "best")
    assert await world.fs.readlink(await world.ino("me/demo/data/best")) == "v1"


async def test_a_commit_is_listed_until_its_version_shows_although_its_files_are_gone_before(world, draft):
    with Held(world, "discarded") as held:
        await move(world, "draft", "draft")
        await held.arrived()
        listed = [entry.name for entry in await world.fs.readdir(await world.ino(f"{DATA}/.commit"), 0)]
        assert listed == [b".", b"..", b"draft"]
    await world.commits.finish()
    assert [entry.name for entry in await world.fs.readdir(await world.ino(f"{DATA}/.commit"), 0)] == [b".", b".."]
