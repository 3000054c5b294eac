"""``.artfs/`` in each version: found but not listed, the manifest as it is stored, what the registry knows as JSON."""

import json

import pytest

from artfs.errors import VersionDeletedError
from artfs.vfs.types import FOREVER, Negative
from tests.vfs.world import DATA, ME, TTL

pytestmark = pytest.mark.trio


@pytest.fixture
async def version(world):
    world.version = world.publish({"d/f": b"data"}, "best")
    return await world.ino("me/demo/data/v0")


async def test_it_is_found_in_the_root_but_not_listed(world, version):
    assert (await world.at(".artfs", version)).entry_ttl == FOREVER
    assert await world.names("", version) == ["d"]
    assert await world.fs.lookup(await world.ino("d", version), b".artfs", ME) == Negative(FOREVER)


async def test_it_lists_its_two_files_with_their_sizes(world, version, autojump_clock):
    listed = {entry.name: entry.attr for entry in await world.listing(".artfs", version)}
    assert sorted(listed) == [b"artifact.json", b"manifest.json"]
    for name, attr in listed.items():
        assert attr.size == len(await world.read(f".artfs/{name.decode()}", version))
        assert attr == await world.fs.getattr(attr.ino)
        assert attr == await world.at(f".artfs/{name.decode()}", version)


async def test_a_listing_of_it_goes_on_after_any_entry(world, version):
    handle = await world.fs.opendir(await world.ino(".artfs", version), ME)
    names = [[entry.name for entry in await world.fs.readdir(handle, offset)] for offset in range(4)]
    assert names == [[b"artifact.json", b"manifest.json"], [b"manifest.json"], [], []]


async def test_nothing_else_is_in_it(world, version):
    assert await world.fs.lookup(await world.ino(".artfs", version), b"other", ME) == Negative(FOREVER)


async def test_the_manifest_is_served_as_it_is_stored(world, version):
    data = await world.read(".artfs/manifest.json", version)
    assert data == bytes(world.store.blobs[world.version.manifest.digest])
    assert list(json.loads(data)["contents"]) == ["d/f"]


async def test_what_the_registry_knows_is_served_as_json(world, version):
    world.registry.log(world.version.id, used_by=["trainer", "judge"])
    world.catalog.forget()
    shown = json.loads(await world.read(".artfs/artifact.json", version))
    assert (shown["version"], shown["aliases"], shown["digest"]) == ("v0", ["best", "latest"], world.version.digest)
    assert (shown["logged_by"], shown["used_by"]) == ("me/demo/logger", ["me/demo/trainer", "me/demo/judge"])


async def test_what_may_change_is_not_kept_by_the_kernel_longer_than_the_answer_is_good(world, version, autojump_clock):
    artifact = await world.at(".artfs/artifact.json", version)
    assert (artifact.entry_ttl, artifact.attr_ttl) == (FOREVER, TTL)
    opened = await world.fs.open(artifact.ino, 0, ME)
    assert (opened.direct, (await world.fs.open(await world.ino("d/f", version), 0, ME)).direct) == (True, False)
    world.registry.set_description(DATA.at("v0"), "new")
    assert json.loads(await world.read(".artfs/artifact.json", version))["description"] is None
    autojump_clock.jump(TTL)
    assert json.loads(await world.read(".artfs/artifact.json", version))["description"] == "new"
    assert (await world.at(".artfs/manifest.json", version)).attr_ttl == FOREVER


async def test_an_entry_of_that_name_comes_first(world):
    world.publish({".artfs/own": b"mine"})
    assert await world.names("me/demo/data/v0/.artfs") == ["own"]
    assert await world.read("me/demo/data/v0/.artfs/own") == b"mine"


async def test_it_has_no_extended_attributes(world, version):
    for path in (".artfs", ".artfs/manifest.json", ".artfs/artifact.json"):
        assert await world.fs.xattrs(await world.ino(path, version)) == {}


async def test_of_a_deleted_version_it_is_gone(world, version):
    world.registry.delete(DATA.at("v0"))
    with pytest.raises(VersionDeletedError):
        await world.read(".artfs/artifact.json", version)
