"""The upper levels: what is looked up, what is listed, how places are made and removed."""

import stat

import pytest

from artfs.errors import (
    ExistsError,
    InvalidInputError,
    NotEmptyError,
    NotFoundError,
    ReadOnlyError,
    UnreachableError,
)
from artfs.model.names import CollectionRef
from artfs.vfs.types import ROOT
from artfs.vfs.versions import nanoseconds
from tests.vfs.world import DATA, ME, TTL

pytestmark = pytest.mark.trio


async def test_every_level_is_found_by_name(world):
    world.publish({"d/f": b"x"}, "best")
    for path in ("", "me", "me/demo", "me/demo/data", "me/demo/data/.staging", "me/demo/data/.commit"):
        attr = await world.at(path)
        assert stat.S_ISDIR(attr.mode)
        assert stat.S_IMODE(attr.mode) == 0o755
        assert (attr.uid, attr.gid) == (world.owner.uid, world.owner.gid)
    assert stat.S_IMODE((await world.at("me/demo/data/v0")).mode) == 0o555
    assert stat.S_ISLNK((await world.at("me/demo/data/best")).mode)


@pytest.mark.parametrize("path", ["you", "me/other", "me/demo/none", "me/demo/data/v1", "me/demo/data/worst",
                                  "me/demo/data/.artfs", "me/demo/data/.staging/x", "me/demo/data/.commit/x",
                                  "me/demo/data/v00", "me/demo/data/V0", "me/.staging", ".staging"])  # fmt: skip
async def test_what_is_not_there_is_not_found(world, path):
    world.publish({"f": b"x"})
    with pytest.raises(NotFoundError):
        await world.at(path)


async def test_names_that_are_no_text_are_not_found(world):
    world.publish({"f": b"x"})
    for path in ("", "me", "me/demo", "me/demo/data", "me/demo/data/.staging"):
        with pytest.raises(NotFoundError):
            await world.fs.lookup(await world.ino(path), b"\xff\xfe", ME)


async def test_each_level_lists_what_is_in_it(world):
    world.publish({"f": b"x"}, "best")
    world.publish({"f": b"y"})
    world.registry.place("you", "lab")
    world.catalog.forget()
    assert await world.names("") == ["me", "you"]
    assert await world.names("me") == ["demo"]
    assert await world.names("you/lab") == []
    assert await world.names("me/demo") == ["data"]
    assert await world.names("me/demo/data") == [".staging", ".commit", "v0", "v1", "best", "latest"]


async def test_a_listing_tells_the_same_attributes_as_a_lookup(world, autojump_clock):
    world.publish({"f": b"x"}, "best")
    await world.stage("x")
    for path in ("", "me", "me/demo", "me/demo/data", "me/demo/data/.staging"):
        for entry in await world.listing(path):
            assert entry.attr == await world.fs.lookup(await world.ino(path), entry.name, ME)


async def test_a_listing_has_dots_that_name_itself_and_its_parent(world):
    world.publish({"f": b"x"})
    paths = ["", "me", "me/demo", "me/demo/data", "me/demo/data/.staging"]
    for path in paths:
        ino = await world.ino(path)
        own, up, *_ = await world.fs.readdir(await world.fs.opendir(ino, ME), 0)
        assert (own.name, up.name, own.attr.ino) == (b".", b"..", ino)
        assert up.attr.ino == await world.ino(path.rpartition("/")[0])


async def test_a_listing_goes_on_after_any_of_its_entries(world, autojump_clock):
    for number in range(20):
        world.publish({"f": b"%d" % number}, f"a{number:02}")
    handle = await world.fs.opendir(await world.ino("me/demo/data"), ME)
    whole = list(await world.fs.readdir(handle, 0))
    for place, entry in enumerate(whole):
        assert list(await world.fs.readdir(handle, entry.next)) == whole[place + 1 :]
    assert len({entry.name for entry in whole}) == len(whole) == 2 + 2 + 20 + 21
    assert await world.namespace.readdir(handle, 7) == whole[7:]


async def test_the_inode_of_a_name_is_the_same_for_the_life_of_the_mount(world):
    world.publish({"f": b"x"}, "best")
    paths = ["me", "me/demo", "me/demo/data", "me/demo/data/.staging", "me/demo/data/.commit", "me/demo/data/best"]
    first = [await world.ino(path) for path in paths]
    assert len({ROOT, *first}) == 1 + len(paths)
    world.catalog.forget()
    assert [await world.ino(path) for path in paths] == first


async def test_a_collection_shows_when_it_last_changed(world):
    version = world.publish({"f": b"x"})
    attr = await world.at("me/demo/data")
    assert attr.mtime_ns == attr.ctime_ns == nanoseconds(world.registry.inner.listing(DATA).updated_at)
    assert attr.mtime_ns > nanoseconds(version.created_at)


async def test_the_kernel_may_keep_a_name_as_long_as_the_answer_is_good(world, autojump_clock):
    world.publish({"f": b"x"}, "best")
    for path in ("me", "me/demo", "me/demo/data", "me/demo/data/v0", "me/demo/data/best"):
        world.catalog.forget()
        assert (await world.at(path)).entry_ttl == TTL
    for path in ("me/demo/data/v0", "me/demo/data/best"):
        await world.at(path)
    autojump_clock.jump(TTL / 3)
    for path in ("me/demo/data", "me/demo/data/v0", "me/demo/data/best"):
        assert (await world.at(path)).entry_ttl == pytest.approx(TTL * 2 / 3)
    for path in ("", "me/demo/data/.staging", "me/demo/data/.commit"):
        assert (await world.at(path)).entry_ttl == 0.0


async def test_what_another_machine_does_shows_when_the_answer_has_expired(world, autojump_clock):
    world.publish({"f": b"x"}, "best")
    assert await world.fs.readlink(await world.ino("me/demo/data/best")) == "v0"
    world.registry.add(world.store, DATA, [world.store.add("f", b"y")], "best")
    autojump_clock.jump(TTL - 1)
    assert await world.fs.readlink(await world.ino("me/demo/data/best")) == "v0"
    autojump_clock.jump(2)
    assert await world.fs.readlink(await world.ino("me/demo/data/best")) == "v1"
    assert await world.read("me/demo/data/v1/f") == b"y"


async def test_a_listing_asks_one_question_for_its_level(world):
    world.registry.place("me", "demo", *(CollectionRef("me", "demo", f"c{number}") for number in range(30)))
    world.catalog.forget()
    world.registry.asked.clear()
    assert len(await world.names("me/demo")) == 30
    assert [question[0] for question in world.registry.asked] == ["entity_exists", "project_exists", "collection_infos"]


async def test_looking_at_everything_that_was_listed_asks_nothing_more(world):
    """As ``ls -l`` and ``ls --color`` do, for each name."""
    world.registry.place("me", "demo", *(CollectionRef("me", "demo", f"c{number}") for number in range(30)))
    for number in range(5):
        world.publish({"f": b"%d" % number}, f"a{number}")
    world.catalog.forget()
    for path, count in (("", 1), ("me", 1), ("me/demo", 31), ("me/demo/data", 2 + 5 + 6)):
        world.catalog.forget()
        names = await world.names(path)
        assert len(names) == count
        world.registry.asked.clear()
        for name in names:
            await world.fs.lookup(await world.ino(path), name.encode(), ME)
        assert [question[0] for question in world.registry.asked] == []


async def test_looking_one_name_up_lists_nothing(world):
    for number in range(5):
        world.publish({"f": b"%d" % number}, f"a{number}")
    world.catalog.forget()
    world.registry.asked.clear()
    assert await world.read("me/demo/data/v3/f") == b"3"
    assert await world.fs.readlink(await world.ino("me/demo/data/a2")) == "v2"
    lists = {"entities", "projects", "collections", "collection_infos", "listing", "versions"}
    assert not lists & {question[0] for question in world.registry.asked}


# Places -----------------------------------------------------------------------------------------------------------


async def test_places_are_made_and_show_at_once(world):
    await world.names("")
    for parent, name in (("", "you"), ("you", "lab"), ("you/lab", "things")):
        ino = await world.ino(parent)
        made = await world.fs.mkdir(ino, name.encode(), 0o755, ME)
        assert made.ino == await world.ino(f"{parent}/{name}".lstrip("/"))
        assert name in await world.names(parent)
    assert await world.names("you/lab/things") == [".staging", ".commit"]


async def test_a_place_that_is_there_cannot_be_made(world):
    world.publish({"f": b"x"})
    for parent, name in (("", "me"), ("me", "demo"), ("me/demo", "data")):
        with pytest.raises(ExistsError):
            await world.fs.mkdir(await world.ino(parent), name.encode(), 0o755, ME)


@pytest.mark.parametrize(("parent", "name"), [("", "a:b"), ("", ".hidden"), ("me", "a?b"), ("me", "x" * 129),
                                              ("me/demo", "a b"), ("me/demo", "\x01"), ("me/demo", ".staging")])  # fmt: skip
async def test_a_name_that_a_registry_cannot_keep_is_refused_before_it_is_asked(world, parent, name):
    world.registry.place("me", "demo")
    ino = await world.ino(parent)
    with pytest.raises(InvalidInputError):
        await world.fs.mkdir(ino, name.encode(), 0o755, ME)
    assert not [question for question in world.registry.asked if question[0].startswith("create")]


@pytest.mark.parametrize("name", ["v7", "best", "anything"])
async def test_nothing_but_drafts_is_made_by_mkdir_in_a_collection(world, name):
    world.publish({"f": b"x"})
    for path in ("me/demo/data", "me/demo/data/.commit", "me/demo/data/v0"):
        with pytest.raises(ReadOnlyError):
            await world.fs.mkdir(await world.ino(path), name.encode(), 0o755, ME)


async def test_empty_places_are_removed_and_are_gone_at_once(world):
    world.registry.place("you", "lab", CollectionRef("you", "lab", "things"))
    for parent, name in (("you/lab", "things"), ("you", "lab"), ("", "you")):
        ino = await world.ino(parent)
        assert name in await world.names(parent)
        await world.fs.rmdir(ino, name.encode(), ME)
        assert name not in await world.names(parent)


async def test_places_that_hold_something_stay(world):
    world.publish({"f": b"x"})
    for parent, name in (("", "me"), ("me", "demo"), ("me/demo", "data")):
        with pytest.raises(NotEmptyError):
            await world.fs.rmdir(await world.ino(parent), name.encode(), ME)
    assert await world.read("me/demo/data/v0/f") == b"x"


async def test_a_collection_with_a_draft_stays(world):
    await world.stage("x", collection=CollectionRef("me", "demo", "new"))
    with pytest.raises(ExistsError, match="drafts"):
        await world.fs.rmdir(await world.ino("me/demo"), b"new", ME)


@pytest.mark.parametrize("name", ["v0", "best", ".staging", ".commit", "nothing"])
async def test_nothing_in_a_collection_is_removed_by_rmdir(world, name):
    world.publish({"f": b"x"}, "best")
    with pytest.raises(ReadOnlyError):
        await world.fs.rmdir(await world.ino("me/demo/data"), name.encode(), ME)


async def test_a_registry_that_cannot_be_reached_is_an_error_and_no_empty_directory(world):
    world.publish({"f": b"x"})
    world.registry.failure = UnreachableError("the registry does not answer")
    with pytest.raises(UnreachableError):
        await world.names("")
    with pytest.raises(UnreachableError):
        await world.at("me")
    world.registry.failure = None
    assert await world.names("") == ["me"]


async def test_files_are_not_made_in_the_upper_levels(world):
    world.publish({"f": b"x"})
    for path in ("", "me", "me/demo", "me/demo/data", "me/demo/data/.staging", "me/demo/data/.commit"):
        ino = await world.ino(path)
        with pytest.raises(ReadOnlyError):
            await world.fs.create(ino, b"f", 0, 0o644, ME)
        with pytest.raises(ReadOnlyError):
            await world.fs.mknod(ino, b"f", 0o100644, ME)
        with pytest.raises(IsADirectoryError):
            await world.fs.open(ino, 0, ME)
