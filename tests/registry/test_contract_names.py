"""One name is looked up without listing the others, and tells the same as the list does."""

import pytest

from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import CollectionRef
from artfs.registry.port import AliasInfo, VersionInfo
from tests.registry.making import DATA, OTHER, commit


@pytest.fixture
def filled(registry):
    for number in range(3):
        commit(registry, f"commit {number}", f"a{number}")
    commit(registry, "other", collection=OTHER)
    registry.create_collection(CollectionRef("me", "demo", "empty"))
    registry.delete_version(DATA.at("v1"), delete_aliases=True)
    return registry


def test_an_entity(filled):
    assert filled.entity_exists("me")
    assert not filled.entity_exists("nobody")


def test_the_default_entity_is_there_before_anything_is(registry):
    assert registry.entity_exists("me")


def test_a_project(filled):
    assert filled.project_exists("me", "demo")
    assert not filled.project_exists("me", "nothing")
    assert not filled.project_exists("nobody", "demo")


def test_a_collection(filled):
    for info in filled.collection_infos("me", "demo"):
        assert filled.collection_info(info.ref) == info
    assert filled.collection_info(CollectionRef("me", "demo", "empty")).version_count == 0
    for ref in (
        CollectionRef("me", "demo", "nothing"),
        CollectionRef("me", "x", "data"),
        CollectionRef("x", "demo", "data"),
    ):
        with pytest.raises(NotFoundError):
            filled.collection_info(ref)


def test_what_a_collection_has(filled):
    listing = filled.listing(DATA)
    assert {info.index for info in listing.versions} == {0, 2}
    for info in listing.versions:
        assert filled.find(DATA, f"v{info.index}") == info
    assert {alias.name for alias in listing.aliases} == {"a0", "a2", "latest"}
    for alias in listing.aliases:
        assert filled.find(DATA, alias.name) == alias
    assert isinstance(filled.find(DATA, "v0"), VersionInfo)
    assert isinstance(filled.find(DATA, "latest"), AliasInfo)


@pytest.mark.parametrize("name", ["v1", "v3", "v00", "v99999999999999", "a1", "nothing", ".", "", "V0"])
def test_what_a_collection_has_not(filled, name):
    with pytest.raises(NotFoundError):
        filled.find(DATA, name)
    with pytest.raises(NotFoundError):
        filled.find(CollectionRef("me", "demo", "nothing"), name)


def test_names_that_no_registry_can_hold(filled):
    for call in (
        lambda: filled.find(DATA, "a\udc80"),
        lambda: filled.entity_exists("a\udc80"),
        lambda: filled.project_exists("me", "a\udc80"),
    ):
        with pytest.raises((InvalidInputError, NotFoundError)):
            call()
