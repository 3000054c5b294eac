"""Collections in a list, and what is said of them. Runs on every implementation."""

import pytest

from artfs.errors import InvalidInputError, NotFoundError
from artfs.model.names import CollectionRef
from artfs.registry.port import CollectionKind
from tests.registry.making import DATA, OTHER, UNRECORDABLE, commit, everything, make_portfolio, manifest, new

EMPTY = CollectionRef("me", "demo", "Empty")


def infos(registry):
    return {info.ref.collection: info for info in registry.collection_infos("me", "demo")}


def test_the_collections_of_a_project_come_by_name_with_what_a_list_shows(registry, implementation):
    commit(registry, "c0", "best", collection=OTHER, kind="model")
    versions = [commit(registry, "c1"), commit(registry, "c2"), commit(registry, "c3")]
    registry.reserve(new("pending"))
    registry.delete_version(DATA.at("v1"))
    registry.create_collection(EMPTY)
    portfolio = CollectionRef("me", "demo", "picked")
    make_portfolio(registry, portfolio, [versions[0], versions[2]])
    commit(registry, "c4", collection=CollectionRef("me", "elsewhere", "data"))
    found = registry.collection_infos("me", "demo")
    assert [(info.ref, info.kind, info.type, info.description, info.version_count) for info in found] == [
        (EMPTY, CollectionKind.SEQUENCE, None, None, 0),
        (DATA, CollectionKind.SEQUENCE, "dataset", None, implementation.counted(2)),
        (OTHER, CollectionKind.SEQUENCE, "model", None, implementation.counted(1)),
        (portfolio, CollectionKind.PORTFOLIO, "dataset", None, implementation.counted(2)),
    ]


def test_a_list_says_the_same_as_the_directory_of_a_collection(registry, implementation):
    version = commit(registry, "c1")
    make_portfolio(registry, OTHER, [version])
    registry.reserve(new("c2", collection=EMPTY))
    for info in registry.collection_infos("me", "demo"):
        listing = registry.listing(info.ref)
        assert (info.kind, info.type) == (listing.kind, listing.type)
        assert info.version_count == implementation.counted(len(listing.versions))
        assert (info.created_at, info.updated_at) == (listing.created_at, listing.updated_at)


def test_a_collection_has_a_type_with_its_first_version_and_keeps_it(registry, implementation):
    registry.reserve(new("c1", kind="model"))
    registry.publish("c1", manifest(), [])
    assert infos(registry)["data"].type == registry.listing(DATA).type == "model"
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    info = infos(registry)["data"]
    assert (info.type, info.version_count) == ("model", implementation.counted(0))
    assert registry.listing(DATA).type == "model"


def test_a_collection_has_no_type_before_its_first_version(registry):
    registry.reserve(new("c1", kind="model"))
    assert infos(registry)["data"].type is registry.listing(DATA).type is None


def test_a_portfolio_keeps_its_type_without_links(registry, implementation):
    version = commit(registry, "c1", kind="model")
    make_portfolio(registry, OTHER, [version])
    registry.unlink(OTHER.at("v0"))
    info = infos(registry)["other"]
    assert (info.kind, info.type) == (CollectionKind.PORTFOLIO, "model")
    assert info.version_count == implementation.counted(0)
    assert registry.listing(OTHER).type == "model"


def test_a_project_without_collections_has_none(registry):
    registry.create_project("me", "bare")
    assert list(registry.collection_infos("me", "bare")) == []


@pytest.mark.parametrize("place", [("me", "nowhere"), ("you", "demo")])
def test_a_project_that_is_not_there_is_named(registry, place):
    commit(registry, "c1")
    with pytest.raises(NotFoundError, match="/".join(place)):
        registry.collection_infos(*place)


# Descriptions ---------------------------------------------------------------------------------------------------


def test_a_description_is_of_one_collection_and_can_be_taken_away(registry):
    commit(registry, "c1")
    commit(registry, "c2", collection=OTHER)
    before = infos(registry)["data"]
    registry.set_collection_description(DATA, "Größe\n\U0001f600")
    after = infos(registry)["data"]
    assert after.description == "Größe\n\U0001f600"
    assert infos(registry)["other"].description is None
    assert after.updated_at > before.updated_at
    registry.set_collection_description(DATA, None)
    assert infos(registry)["data"].description is None


def test_a_description_stays_when_versions_come(registry):
    registry.create_project("me", "demo")
    registry.create_collection(DATA)
    registry.set_collection_description(DATA, "text")
    commit(registry, "c1")
    assert infos(registry)["data"].description == "text"


def test_a_collection_that_is_not_there_is_named(registry):
    commit(registry, "c1")
    before = everything(registry)
    with pytest.raises(NotFoundError, match="me/demo/other"):
        registry.set_collection_description(OTHER, "text")
    assert everything(registry) == before


def test_a_description_that_cannot_be_recorded_is_refused(registry):
    commit(registry, "c1")
    before = infos(registry)
    with pytest.raises(InvalidInputError):
        registry.set_collection_description(DATA, UNRECORDABLE)
    assert infos(registry) == before
