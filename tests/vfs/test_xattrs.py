"""Extended attributes: what versions, files and drafts say of themselves, and what can be set."""

import errno
import json

import pytest

from artfs.errors import InvalidInputError, NotSupportedError, ReadOnlyError
from artfs.model.reference import artifact_uri
from artfs.vfs.types import ROOT
from artfs.vfs.xattrs import attribute_name, encode_names
from tests.vfs.world import DATA, ME, TTL

pytestmark = pytest.mark.trio


@pytest.fixture
async def version(world):
    world.version = world.publish({"d/f": b"hello\n"}, "best")
    return await world.ino("me/demo/data/v0")


@pytest.fixture
async def draft(world):
    return await world.stage()


async def test_names_have_the_prefix_and_all_others_are_not_supported():
    assert attribute_name(b"user.artfs.digest") == "digest"
    assert encode_names({"a": b"", "b": b""}) == [b"user.artfs.a", b"user.artfs.b"]
    for name in (b"user.other", b"security.selinux", b"system.posix_acl_access", b"user.artfs", b"", b"\xff"):
        with pytest.raises(NotSupportedError):
            attribute_name(name)


async def test_a_version_says_what_the_registry_knows_of_it(world, version):
    world.registry.log(world.version.id, used_by=["trainer"])
    world.registry.inner.set_description(DATA.at("v0"), "größer")
    world.registry.inner.set_metadata(DATA.at("v0"), {"rows": 150, "name": "ü"})
    world.catalog.forget()
    found = await world.fs.xattrs(version)
    known = world.registry.inner.version(DATA.at("v0"))
    assert found == {
        "id": known.id.encode(),
        "uri": artifact_uri(known.id).encode(),
        "type": known.type.encode(),
        "digest": known.digest.encode(),
        "state": b"COMMITTED",
        "size": b"6",
        "file_count": b"1",
        "description": "größer".encode(),
        "metadata": '{"rows": 150, "name": "ü"}'.encode(),
        "aliases": b'["best", "latest"]',
        "version": b"v0",
        "source_version": b"v0",
        "commit_hash": known.commit_hash.encode(),
        "created_at": known.created_at.isoformat().encode(),
        "updated_at": known.updated_at.isoformat().encode(),
        "logged_by": b"me/demo/logger",
        "used_by": b'["me/demo/trainer"]',
        "tags": b"[]",
    }


async def test_what_is_not_known_is_not_there(world, version):
    assert {"description", "logged_by"} & set(await world.fs.xattrs(version)) == set()


async def test_a_file_says_what_its_bytes_are_and_where(world, version):
    file = await world.ino("d/f", version)
    entry = world.open_index(world.version).entry(world.open_index(world.version).find("d/f").number)
    expected = {"digest": entry.digest.encode(), "size": b"6", "cached": b"yes", "verified": b"proven"}
    assert await world.fs.xattrs(file) == expected
    del world.store.blobs[entry.blob]
    assert (await world.fs.xattrs(file))["cached"] == b"no"


async def test_directories_and_upper_levels_say_nothing_and_the_root_what_the_mount_is(world, version):
    assert await world.fs.xattrs(ROOT) == {"pid": b"1"}
    for path in ("me", "me/demo", "me/demo/data", "me/demo/data/best", "me/demo/data/.staging", "me/demo/data/v0/d"):
        assert await world.fs.xattrs(await world.ino(path)) == {}


# Setting ----------------------------------------------------------------------------------------------------------


async def test_description_and_metadata_of_a_version_are_changed_in_the_registry_and_show_at_once(world, version):
    await world.fs.xattrs(version)
    for name, value in (("description", b"new text"), ("metadata", b'{"a": [1, null]}')):
        await world.fs.set_xattr(version, f"user.artfs.{name}".encode(), value, ME)
        assert (await world.fs.xattrs(version))[name] == value
    known = world.registry.inner.version(DATA.at("v0"))
    assert (known.description, known.metadata) == ("new text", {"a": [1, None]})
    assert json.loads(await world.read(".artfs/artifact.json", version))["description"] == "new text"
    for name in ("description", "metadata"):
        await world.fs.set_xattr(version, f"user.artfs.{name}".encode(), None, ME)
    known = world.registry.inner.version(DATA.at("v0"))
    assert (known.description, known.metadata) == (None, {})


@pytest.mark.parametrize("name", ["digest", "id", "type", "aliases", "state", "nothing"])
async def test_the_rest_of_a_version_never_changes(world, version, name):
    for value in (b"x", None):
        with pytest.raises(ReadOnlyError):
            await world.fs.set_xattr(version, f"user.artfs.{name}".encode(), value, ME)


BAD = [
    ("metadata", b"no json"),
    ("metadata", b"[1]"),
    ("metadata", b"\xff"),
    ("metadata", b"NaN"),
    ("description", b"\xff"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
async def test_values_that_cannot_be_recorded_are_refused(world, version, draft, name, value):
    for ino in (version, draft):
        with pytest.raises(InvalidInputError):
            await world.fs.set_xattr(ino, f"user.artfs.{name}".encode(), value, ME)
    assert world.registry.questions("set_description", "set_metadata") == []


@pytest.mark.parametrize("path", ["", "me", "me/demo/data", "me/demo/data/best", "me/demo/data/v0/d", "me/demo/data/v0/d/f",
                                  "me/demo/data/v0/.artfs"])  # fmt: skip
async def test_only_versions_and_drafts_can_be_described(world, version, path):
    with pytest.raises(ReadOnlyError):
        await world.fs.set_xattr(await world.ino(path), b"user.artfs.description", b"x", ME)


async def test_attributes_of_others_are_not_supported_anywhere(world, version, draft):
    for ino in (ROOT, version, draft):
        with pytest.raises(NotSupportedError):
            await world.fs.set_xattr(ino, b"user.other", b"x", ME)


async def test_a_draft_says_what_its_commit_will_record(world, draft):
    assert await world.fs.xattrs(draft) == {}
    values = {"type": b"model", "description": "größer".encode(), "metadata": b'{"a": 1}'}
    for name, value in values.items():
        await world.fs.set_xattr(draft, f"user.artfs.{name}".encode(), value, ME)
    assert await world.fs.xattrs(draft) == values
    for name in values:
        await world.fs.set_xattr(draft, f"user.artfs.{name}".encode(), None, ME)
    assert await world.fs.xattrs(draft) == {}


@pytest.mark.parametrize("value", [b"wandb-model", b"job", b"", b"a/b", b"\xff"])
async def test_a_type_that_cannot_be_used_is_refused(world, draft, value):
    with pytest.raises(InvalidInputError):
        await world.fs.set_xattr(draft, b"user.artfs.type", value, ME)


@pytest.mark.parametrize("name", ["digest", "error", "state", "progress"])
async def test_the_rest_of_a_draft_cannot_be_set(world, draft, name):
    with pytest.raises(NotSupportedError):
        await world.fs.set_xattr(draft, f"user.artfs.{name}".encode(), b"x", ME)


async def test_files_of_a_draft_have_no_attributes(world, draft):
    ino = await world.write(draft, "f", b"x")
    assert await world.fs.xattrs(ino) == {}
    with pytest.raises(OSError) as caught:
        await world.fs.set_xattr(ino, b"user.artfs.description", b"x", ME)
    assert caught.value.errno == errno.EOPNOTSUPP


async def test_answers_come_out_of_the_catalog(world, version, autojump_clock):
    await world.fs.xattrs(version)
    asked = len(world.registry.asked)
    await world.fs.xattrs(version)
    assert len(world.registry.asked) == asked
    world.registry.inner.set_description(DATA.at("v0"), "elsewhere")
    assert "description" not in await world.fs.xattrs(version)
    autojump_clock.jump(TTL)
    assert (await world.fs.xattrs(version))["description"] == b"elsewhere"
