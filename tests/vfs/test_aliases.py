"""Aliases by plain tools: symlinks that are made, replaced, renamed and removed, each as one change of the registry."""

import errno
import stat

import pytest

from artfs.errors import ArtfsError, ExistsError, InvalidInputError, NotFoundError, ReadOnlyError, UnreachableError
from artfs.model.names import CollectionRef
from artfs.vfs.versions import nanoseconds
from tests.vfs.world import DATA, ME

pytestmark = pytest.mark.trio

TEMPORARY = "Cub7X9qz"  # a name as `ln -sfn` makes it


@pytest.fixture
async def collection(world):
    """Three versions, of which the first is ``best``; the inode of their collection."""
    world.publish({"f": b"0"}, "best")
    world.publish({"f": b"1"})
    world.publish({"f": b"2"})
    world.kernel.attrs.clear()
    return await world.ino("me/demo/data")


def changes(world):
    """Return the changes that the registry was asked for."""
    return world.registry.questions("add_aliases", "rename_alias", "remove_alias")


async def link(world, collection, name, target):
    attr = await world.fs.symlink(collection, name.encode(), target.encode(), ME)
    assert stat.S_ISLNK(attr.mode)
    return attr


async def rename(world, collection, old, new, *, replace=True, to=None):
    goal = collection if to is None else to
    await world.fs.rename(collection, old.encode(), goal, new.encode(), ME, replace=replace, exchange=False)


async def target(world, name):
    return await world.fs.readlink(await world.ino(f"me/demo/data/{name}"))


async def test_an_alias_is_a_symlink_to_its_version(world, collection):
    attr = await world.at("me/demo/data/best")
    assert (attr.mode, attr.size, attr.nlink) == (stat.S_IFLNK | 0o777, len("v0"), 1)
    assert await world.fs.readlink(attr.ino) == "v0"
    assert await target(world, "latest") == "v2"
    assert attr.mtime_ns == nanoseconds(world.registry.inner.listing(DATA).aliases[0].updated_at)


@pytest.mark.parametrize(
    ("text", "version"), [("v1", "v1"), ("v1/", "v1"), ("./v1", "v1"), ("latest", "v2"), ("best", "v0")]
)
async def test_a_symlink_makes_an_alias_for_what_it_points_at(world, collection, text, version):
    attr = await link(world, collection, "new", text)
    assert await world.fs.readlink(attr.ino) == version
    assert attr.ino == await world.ino("me/demo/data/new")
    assert "new" in await world.names("me/demo/data")
    assert changes(world) == [("add_aliases", DATA.at(version), ["new"])]


@pytest.mark.parametrize(("name", "text", "error"), [
    ("new", "v9", NotFoundError),
    ("new", "/etc/passwd", InvalidInputError),
    ("new", "../data/v0", InvalidInputError),
    ("new", "", InvalidInputError),
    ("new", "worst", InvalidInputError),
    ("v7", "v0", InvalidInputError),
    ("v00", "v0", InvalidInputError),
    ("a:b", "v0", InvalidInputError),
    ("best", "v1", ExistsError),
    ("latest", "v1", ExistsError),
])  # fmt: skip
async def test_what_cannot_be_an_alias_is_refused_and_nothing_is_asked(world, collection, name, text, error):
    with pytest.raises(error):
        await world.fs.symlink(collection, name.encode(), text.encode(), ME)
    assert changes(world) == []
    assert await target(world, "best") == "v0"


@pytest.mark.parametrize(
    "path", ["", "me", "me/demo", "me/demo/data/.staging", "me/demo/data/.commit", "me/demo/data/v0"]
)
async def test_symlinks_are_for_collections_and_drafts_only(world, collection, path):
    with pytest.raises(ReadOnlyError):
        await world.fs.symlink(await world.ino(path), b"x", b"v0", ME)


async def test_a_deleted_version_cannot_get_an_alias(world, collection):
    world.registry.delete(DATA.at("v1"))
    world.catalog.forget()
    with pytest.raises(NotFoundError):
        await world.fs.symlink(collection, b"new", b"v1", ME)


# ln -sfn ----------------------------------------------------------------------------------------------------------


async def test_ln_sfn_is_one_change_of_the_registry(world, collection):
    with pytest.raises(ExistsError):
        await link(world, collection, "best", "v2")
    await link(world, collection, TEMPORARY, "v2")
    assert changes(world) == []
    assert (await world.at(f"me/demo/data/{TEMPORARY}")).entry_ttl == 0.0
    assert await target(world, TEMPORARY) == "v2"
    assert TEMPORARY not in await world.names("me/demo/data")
    await rename(world, collection, TEMPORARY, "best")
    assert changes(world) == [("add_aliases", DATA.at("v2"), ["best"])]
    assert await target(world, "best") == "v2"
    with pytest.raises(NotFoundError):
        await world.at(f"me/demo/data/{TEMPORARY}")


@pytest.mark.parametrize("name", [TEMPORARY, ".best.tmp", ".x"])
async def test_a_temporary_link_can_be_removed_again_and_then_made_again(world, collection, name):
    for _ in range(2):
        await link(world, collection, name, "v2")
        with pytest.raises(ExistsError):
            await link(world, collection, name, "v1")
        await world.fs.unlink(collection, name.encode(), ME)
        with pytest.raises(NotFoundError):
            await world.at(f"me/demo/data/{name}")
    assert changes(world) == []


@pytest.mark.parametrize("name", ["Customer", "Cuticles"])
async def test_a_word_that_looks_like_a_temporary_name_is_an_alias(world, collection, name):
    await link(world, collection, name, "v1")
    assert name in world.registry.inner.version(DATA.at("v1")).aliases
    assert name in await world.names("me/demo/data")


async def test_a_temporary_link_needs_a_version_too(world, collection):
    for text, error in (("v9", NotFoundError), ("/etc", InvalidInputError)):
        with pytest.raises(error):
            await link(world, collection, TEMPORARY, text)


async def test_a_temporary_link_of_a_version_deleted_meanwhile_makes_no_alias(world, collection):
    await link(world, collection, TEMPORARY, "v1")
    world.registry.delete(DATA.at("v1"))
    with pytest.raises(NotFoundError):
        await rename(world, collection, TEMPORARY, "best")
    assert await target(world, "best") == "v0"


async def test_temporary_links_of_two_collections_do_not_meet(world, collection):
    other = CollectionRef("me", "demo", "other")
    world.publish({"f": b"x"}, collection=other)
    await link(world, collection, TEMPORARY, "v2")
    with pytest.raises(NotFoundError):
        await world.at(f"me/demo/other/{TEMPORARY}")
    await link(world, await world.ino("me/demo/other"), TEMPORARY, "v0")
    assert await target(world, TEMPORARY) == "v2"


# Renaming and removing --------------------------------------------------------------------------------------------


async def test_a_renamed_alias_is_one_change_and_shows_at_once(world, collection):
    await rename(world, collection, "best", "good")
    assert changes(world) == [("rename_alias", DATA, "best", "good")]
    assert await target(world, "good") == "v0"
    with pytest.raises(NotFoundError):
        await world.at("me/demo/data/best")
    assert [name for name in await world.names("me/demo/data") if not name.startswith("v")][2:] == ["good", "latest"]


async def test_an_inode_keeps_its_alias_when_that_is_renamed(world, collection):
    """The kernel keeps the inode under the new name, and asks by it."""
    ino = await world.ino("me/demo/data/best")
    await rename(world, collection, "best", "good")
    assert await world.ino("me/demo/data/good") == ino
    assert await world.fs.readlink(ino) == "v0"
    assert (await world.fs.getattr(ino)).ino == ino
    await link(world, collection, "best", "v1")
    again = await world.ino("me/demo/data/best")
    assert again != ino
    assert (await world.fs.readlink(again), await world.fs.readlink(ino)) == ("v1", "v0")


async def test_an_inode_whose_name_was_replaced_is_what_has_the_name_now(world, collection):
    old, new = await world.ino("me/demo/data/latest"), await world.ino("me/demo/data/best")
    await rename(world, collection, "best", "latest")
    assert await world.ino("me/demo/data/latest") == new
    assert await world.fs.readlink(new) == "v0"
    assert await world.fs.readlink(old) == "v0"
    await link(world, collection, "third", "v1")
    assert len({old, new, await world.ino("me/demo/data/third")}) == 3


async def test_the_kernel_is_told_that_renamed_aliases_have_other_attributes(world, collection):
    inodes = {await world.ino("me/demo/data/best"), await world.ino("me/demo/data/latest")}
    await rename(world, collection, "best", "latest")
    assert set(world.kernel.attrs) & inodes


async def test_an_alias_is_not_replaced_where_that_is_not_wanted(world, collection):
    for name in ("best", TEMPORARY):
        if name == TEMPORARY:
            await link(world, collection, name, "v1")
        with pytest.raises(ExistsError):
            await rename(world, collection, name, "latest", replace=False)
    assert (await target(world, "best"), await target(world, "latest")) == ("v0", "v2")
    await rename(world, collection, "best", "good", replace=False)
    assert await target(world, "good") == "v0"


@pytest.mark.parametrize(("old", "new", "error"), [
    ("best", "v7", InvalidInputError),
    ("best", "a:b", InvalidInputError),
    ("best", ".hidden", InvalidInputError),
    ("v0", "best", ReadOnlyError),
    ("v0", "v7", ReadOnlyError),
    ("nothing", "good", NotFoundError),
    (".staging", "good", NotFoundError),
])  # fmt: skip
async def test_what_cannot_be_renamed_is_refused_and_stays(world, collection, old, new, error):
    before = await world.names("me/demo/data")
    with pytest.raises(error):
        await rename(world, collection, old, new)
    assert await world.names("me/demo/data") == before


async def test_an_alias_stays_in_its_collection(world, collection):
    world.publish({"f": b"x"}, collection=CollectionRef("me", "demo", "other"))
    with pytest.raises(InvalidInputError, match="belongs to its collection"):
        await rename(world, collection, "best", "best", to=await world.ino("me/demo/other"))
    for path in ("me/demo/data/.staging", "me/demo/data/.commit", "me/demo/data/v0", "me/demo"):
        with pytest.raises(ReadOnlyError):
            await rename(world, collection, "best", "x", to=await world.ino(path))


async def test_names_of_the_upper_levels_are_not_renamed_nor_exchanged(world, collection):
    for path, name in (("", "me"), ("me", "demo"), ("me/demo", "data")):
        ino = await world.ino(path)
        with pytest.raises(ReadOnlyError):
            await rename(world, ino, name, "other")
    with pytest.raises(OSError, match="exchanged"):
        await world.fs.rename(collection, b"best", collection, b"latest", ME, replace=True, exchange=True)


async def test_a_removed_alias_is_gone_at_once_and_its_version_stays(world, collection):
    await world.fs.unlink(collection, b"best", ME)
    assert changes(world) == [("remove_alias", DATA, "best")]
    with pytest.raises(NotFoundError):
        await world.at("me/demo/data/best")
    assert await world.read("me/demo/data/v0/f") == b"0"


async def test_only_aliases_are_removed(world, collection):
    for name, error in (("v0", ReadOnlyError), ("nothing", NotFoundError), (".staging", NotFoundError)):
        with pytest.raises(error):
            await world.fs.unlink(collection, name.encode(), ME)
    for path in ("", "me", "me/demo", "me/demo/data/.staging", "me/demo/data/v0"):
        with pytest.raises(ReadOnlyError):
            await world.fs.unlink(await world.ino(path), b"x", ME)


async def test_a_stale_alias_is_not_found(world, collection):
    ino = await world.ino("me/demo/data/best")
    await world.fs.unlink(collection, b"best", ME)
    with pytest.raises(NotFoundError):
        await world.fs.readlink(ino)
    with pytest.raises(NotFoundError):
        await world.fs.getattr(ino)


@pytest.mark.parametrize("call", [
    lambda world, ino: world.fs.symlink(ino, b"new", b"v1", ME),
    lambda world, ino: world.fs.unlink(ino, b"best", ME),
    lambda world, ino: rename(world, ino, "best", "latest"),
])  # fmt: skip
async def test_a_change_that_the_registry_refuses_changes_nothing_and_what_is_shown_is_asked_anew(
    world, collection, call
):
    before = await world.listing("me/demo/data")
    world.registry.asked.clear()
    world.registry.failure = UnreachableError("the registry does not answer")
    with pytest.raises(ArtfsError):
        await call(world, collection)
    world.registry.failure = None
    assert [(entry.name, entry.attr.ino) for entry in await world.listing("me/demo/data")] == [
        (entry.name, entry.attr.ino) for entry in before
    ]
    assert ("listing", DATA) in world.registry.asked  # the change may have happened: nobody knows


async def test_hard_links_of_aliases_are_refused(world, collection):
    ino = await world.ino("me/demo/data/best")
    with pytest.raises(ReadOnlyError):
        await world.fs.link(ino, collection, b"second", ME)
    with pytest.raises(OSError) as caught:
        await world.fs.link(ino, await world.stage(), b"second", ME)
    assert caught.value.errno == errno.EXDEV
