"""Aliases, descriptions, deletion, and versions seen through a portfolio. Runs on every implementation."""

import pytest

from artfs.errors import BusyError, InvalidInputError, NotFoundError, VersionDeletedError
from artfs.registry.port import CollectionKind, State
from tests.registry.making import DATA, OTHER, UNRECORDABLE, aliases, commit, everything, indices, make_portfolio, new


@pytest.fixture
def three(registry):
    """Three versions; ``old`` is at v0, ``best`` at v1."""
    return [commit(registry, "c0", "old"), commit(registry, "c1", "best"), commit(registry, "c2")]


ODD = {"half a pair: \ud800": "a\0b\u2028\U0001f600", "": [1 << 70, -0.0, 1e-300, [[]]]}
CHANGES = {
    "version": lambda registry, ref: registry.version(ref),
    "add_aliases": lambda registry, ref: registry.add_aliases(ref, ["x"]),
    "set_description": lambda registry, ref: registry.set_description(ref, "x"),
    "set_metadata": lambda registry, ref: registry.set_metadata(ref, {"x": 1}),
    "delete_version": lambda registry, ref: registry.delete_version(ref, delete_aliases=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("alias", ["v3", "v00", "nothing", "Best", ""])
def test_a_version_that_is_not_there_is_named_and_nothing_changes(registry, three, change, alias):
    registry.reserve(new("pending"))
    before = everything(registry)
    with pytest.raises(NotFoundError) as caught:
        change(registry, DATA.at(alias))
    assert f"me/demo/data:{alias}" in caught.value.message
    assert not isinstance(caught.value, VersionDeletedError)
    assert everything(registry) == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_version_of_a_collection_that_is_not_there_is_named(registry, three, change):
    with pytest.raises(NotFoundError, match="me/demo/other"):
        change(registry, OTHER.at("v0"))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_deleted_version_is_said_to_be_deleted(registry, three, change):
    registry.delete_version(DATA.at("v1"), delete_aliases=True)
    before = everything(registry)
    with pytest.raises(VersionDeletedError, match="me/demo/data:v1"):
        change(registry, DATA.at("v1"))
    assert everything(registry) == before


def test_a_version_is_found_by_index_and_by_every_alias(registry, three):
    assert registry.version(DATA.at("v1")) == registry.version(DATA.at("best"))
    assert [registry.version(DATA.at(name)).index for name in ("old", "best", "latest")] == [0, 1, 2]


def test_versions_and_listings_are_sorted(registry, three):
    registry.add_aliases(DATA.at("v0"), ["z", "a"])
    assert indices(registry) == [info.index for info in registry.listing(DATA).versions] == [0, 1, 2]
    assert list(aliases(registry)) == ["a", "best", "latest", "old", "z"]
    assert [version.aliases for version in registry.versions(DATA)] == [("a", "old", "z"), ("best",), ("latest",)]
    assert registry.versions(DATA) == [registry.version(DATA.at(f"v{index}")) for index in range(3)]


def test_answers_are_snapshots(registry, three):
    listing, versions = registry.listing(DATA), registry.versions(DATA)
    seen = (listing.aliases, versions[0].aliases, versions[0].description, len(versions))
    registry.add_aliases(DATA.at("v0"), ["new"])
    registry.set_description(DATA.at("v0"), "new")
    commit(registry, "c3")
    assert (listing.aliases, versions[0].aliases, versions[0].description, len(versions)) == seen


# Aliases --------------------------------------------------------------------------------------------------------


def test_aliases_move_to_the_version(registry, three):
    version = registry.add_aliases(DATA.at("old"), ["best", "x", "x", "latest"])
    assert (version.index, version.aliases) == (0, ("best", "latest", "old", "x"))
    assert aliases(registry) == {"best": 0, "latest": 0, "old": 0, "x": 0}
    assert registry.version(DATA.at("v0")) == version


def test_adding_no_alias_returns_the_version(registry, three):
    assert registry.add_aliases(DATA.at("v1"), []) == registry.version(DATA.at("v1"))


def test_several_aliases_move_in_one_transaction(registry, three):
    before = everything(registry)
    with pytest.raises(InvalidInputError):
        registry.add_aliases(DATA.at("v0"), ["best", "latest", UNRECORDABLE])
    assert everything(registry) == before


def test_an_alias_says_when_it_last_moved(registry, three):
    before = {alias.name: alias.updated_at for alias in registry.listing(DATA).aliases}
    registry.add_aliases(DATA.at("v2"), ["best"])
    after = {alias.name: alias.updated_at for alias in registry.listing(DATA).aliases}
    assert [name for name in before if before[name] != after[name]] == ["best"]


def test_aliases_belong_to_one_collection(registry, three):
    commit(registry, "c3", "best", collection=OTHER)
    registry.remove_alias(OTHER, "best")
    assert aliases(registry) == {"best": 1, "latest": 2, "old": 0}
    assert aliases(registry, OTHER) == {"latest": 0}


def test_a_renamed_alias_points_where_it_did(registry, three):
    registry.rename_alias(DATA, "best", "better")
    assert aliases(registry) == {"better": 1, "latest": 2, "old": 0}


def test_a_renamed_alias_replaces_the_one_that_has_the_name(registry, three):
    registry.rename_alias(DATA, "best", "latest")
    assert aliases(registry) == {"latest": 1, "old": 0}


def test_renaming_an_alias_to_itself_changes_nothing(registry, three):
    before = everything(registry)
    registry.rename_alias(DATA, "best", "best")
    assert everything(registry) == before


def test_a_rename_that_fails_changes_nothing(registry, three):
    before = everything(registry)
    with pytest.raises(InvalidInputError):
        registry.rename_alias(DATA, "best", UNRECORDABLE)
    assert everything(registry) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda registry, collection, name: registry.rename_alias(collection, name, "x"),
        lambda registry, collection, name: registry.rename_alias(collection, name, name),
        lambda registry, collection, name: registry.remove_alias(collection, name),
    ],
)
@pytest.mark.parametrize("name", ["nothing", "v0"])
def test_an_alias_that_is_not_there_is_named(registry, three, change, name):
    before = everything(registry)
    with pytest.raises(NotFoundError) as caught:
        change(registry, DATA, name)
    assert "me/demo/data" in caught.value.message
    assert name in caught.value.message
    with pytest.raises(NotFoundError, match="me/demo/other"):
        change(registry, OTHER, name)
    assert everything(registry) == before


def test_a_removed_alias_leaves_its_version(registry, three):
    registry.remove_alias(DATA, "latest")
    assert aliases(registry) == {"best": 1, "old": 0}
    assert indices(registry) == [0, 1, 2]
    with pytest.raises(NotFoundError, match="me/demo/data:latest"):
        registry.version(DATA.at("latest"))


def test_what_a_directory_shows_has_a_time_of_change(registry, three):
    for change in (
        lambda: registry.add_aliases(DATA.at("v0"), ["x"]),
        lambda: registry.rename_alias(DATA, "x", "y"),
        lambda: registry.remove_alias(DATA, "y"),
        lambda: registry.delete_version(DATA.at("v1"), delete_aliases=True),
        lambda: commit(registry, "c3"),
    ):
        before = registry.listing(DATA)
        change()
        after = registry.listing(DATA)
        assert after.updated_at != before.updated_at
        assert after.created_at == before.created_at


# Descriptions and metadata --------------------------------------------------------------------------------------


def test_a_description_is_replaced_and_can_be_taken_away(registry, three):
    others = [registry.version(DATA.at(name)) for name in ("v0", "v2")]
    for text in ("first", "Größe", None):
        registry.set_description(DATA.at("best"), text)
        assert registry.version(DATA.at("v1")).description == text
    assert [registry.version(DATA.at(name)) for name in ("v0", "v2")] == others


def test_an_empty_description_is_one(registry, three):
    registry.set_description(DATA.at("best"), "")
    assert registry.version(DATA.at("best")).description == ""


def test_metadata_are_replaced_as_a_whole(registry, three):
    others = [registry.version(DATA.at(name)) for name in ("v0", "v2")]
    for value in ({"a": 1, "b": {"c": [None, 1.5]}}, {"b": "ü"}, ODD, {}):
        registry.set_metadata(DATA.at("best"), value)
        assert registry.version(DATA.at("v1")).metadata == value
    assert [registry.version(DATA.at(name)) for name in ("v0", "v2")] == others


@pytest.mark.parametrize("change", ["set_description", "set_metadata"])
def test_a_change_is_dated_and_leaves_the_rest_of_the_version_alone(registry, three, change):
    before = registry.version(DATA.at("v1"))
    CHANGES[change](registry, DATA.at("v1"))
    after = registry.version(DATA.at("v1"))
    assert after.updated_at != before.updated_at
    for name in ("id", "index", "digest", "manifest", "size", "file_count", "created_at", "aliases", "commit_hash"):
        assert getattr(after, name) == getattr(before, name)


# Deletion -------------------------------------------------------------------------------------------------------


def test_a_deleted_version_is_returned_as_it_was_and_shown_no_more(registry, three):
    registry.remove_alias(DATA, "best")
    before = registry.version(DATA.at("v1"))
    assert before.state is State.COMMITTED
    assert registry.delete_version(DATA.at("v1")) == before
    assert indices(registry) == [info.index for info in registry.listing(DATA).versions] == [0, 2]
    assert aliases(registry) == {"latest": 2, "old": 0}


def test_a_version_with_aliases_is_not_deleted_and_they_are_named(registry, three):
    registry.add_aliases(DATA.at("v1"), ["also"])
    before = everything(registry)
    with pytest.raises(BusyError) as caught:
        registry.delete_version(DATA.at("v1"))
    for part in ("me/demo/data:v1", "also", "best"):
        assert part in caught.value.message
    assert everything(registry) == before


def test_a_version_is_deleted_with_its_aliases_where_that_is_asked_for(registry, three):
    before = registry.version(DATA.at("latest"))
    assert registry.delete_version(DATA.at("latest"), delete_aliases=True) == before
    assert aliases(registry) == {"best": 1, "old": 0}
    with pytest.raises(NotFoundError, match="me/demo/data:latest") as caught:
        registry.version(DATA.at("latest"))
    assert not isinstance(caught.value, VersionDeletedError)


# Portfolios -----------------------------------------------------------------------------------------------------


def test_a_portfolio_shows_versions_of_other_collections_under_its_own_indices(registry, three):
    make_portfolio(registry, OTHER, [three[2], three[0]])
    registry.add_aliases(OTHER.at("v0"), ["production"])
    listing = registry.listing(OTHER)
    assert (listing.kind, listing.type) == (CollectionKind.PORTFOLIO, "dataset")
    assert [(info.id, info.index) for info in listing.versions] == [(three[2].id, 0), (three[0].id, 1)]
    linked = registry.version(OTHER.at("production"))
    assert (linked.id, linked.collection, linked.index) == (three[2].id, OTHER, 0)
    assert (linked.source, linked.source_index, linked.aliases) == (DATA, 2, ("production",))
    assert [version.source_index for version in registry.versions(OTHER)] == [2, 0]
    assert registry.version(DATA.at("v2")).aliases == ("latest",)


def test_a_version_is_deleted_everywhere(registry, three):
    make_portfolio(registry, OTHER, [three[1]])
    registry.add_aliases(OTHER.at("v0"), ["production"])
    registry.remove_alias(DATA, "best")
    with pytest.raises(BusyError, match="production"):
        registry.delete_version(DATA.at("v1"))
    registry.delete_version(DATA.at("v1"), delete_aliases=True)
    assert (registry.versions(OTHER), aliases(registry, OTHER)) == ([], {})
    with pytest.raises(NotFoundError, match="me/demo/other:v0"):
        registry.version(OTHER.at("v0"))


def test_a_link_of_a_deleted_version_is_said_to_be_of_one(registry, three):
    make_portfolio(registry, OTHER, [three[1]])
    registry.delete_version(DATA.at("v1"), delete_aliases=True)
    for ask in (registry.version, registry.unlink):
        with pytest.raises(VersionDeletedError, match="me/demo/other:v0"):
            ask(OTHER.at("v0"))
