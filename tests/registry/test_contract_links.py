"""Portfolios: links to versions that were logged elsewhere. Runs on every implementation."""

from functools import partial

import pytest

from artfs.errors import InvalidInputError, NotEmptyError, NotFoundError, VersionDeletedError
from artfs.model.names import CollectionRef
from artfs.registry.port import CollectionKind
from tests.registry.making import (
    DATA,
    OTHER,
    UNRECORDABLE,
    aliases,
    commit,
    everything,
    indices,
    make_portfolio,
    manifest,
    new,
)
from tests.registry.test_contract_concurrency import at_once

PICKED = CollectionRef("you", "shared", "picked")


@pytest.fixture
def three(registry):
    """Three versions, of which nothing is linked."""
    return [commit(registry, f"c{number}") for number in range(3)]


def test_a_link_makes_the_portfolio_and_what_it_lies_in(registry, three):
    linked = registry.link(three[1].id, PICKED, ["production", "production"])
    assert (linked.id, linked.collection, linked.index) == (three[1].id, PICKED, 0)
    assert (linked.source, linked.source_index, linked.type) == (DATA, 1, "dataset")
    assert linked.aliases == ("latest", "production")
    assert linked.is_link
    assert not registry.version_by_id(linked.id).is_link
    assert linked == registry.version(PICKED.at("production"))
    assert registry.projects("you") == ["shared"]
    listing = registry.listing(PICKED)
    assert (listing.kind, listing.type) == (CollectionKind.PORTFOLIO, "dataset")


def test_a_link_changes_nothing_where_the_version_was_logged(registry, three):
    before = (registry.listing(DATA), registry.versions(DATA))
    registry.link(three[1].id, OTHER, ["production"])
    registry.unlink(OTHER.at("production"))
    assert (registry.listing(DATA), registry.versions(DATA)) == before


def test_links_are_numbered_from_zero_and_the_newest_is_latest(registry, three):
    found = [registry.link(version.id, OTHER, ["best"]) for version in (three[2], three[0], three[1])]
    assert [version.index for version in found] == [0, 1, 2]
    assert [version.source_index for version in registry.versions(OTHER)] == [2, 0, 1]
    assert aliases(registry, OTHER) == {"best": 2, "latest": 2}


def test_a_version_that_is_linked_again_keeps_its_index_and_becomes_latest(registry, three):
    make_portfolio(registry, OTHER, three)
    again = registry.link(three[0].id, OTHER, ["best"])
    assert (again.index, again.aliases) == (0, ("best", "latest"))
    assert indices(registry, OTHER) == [0, 1, 2]
    assert registry.link(three[0].id, OTHER, []).index == 0


def test_a_link_is_not_a_change_of_the_version_but_of_the_portfolio(registry, three):
    make_portfolio(registry, OTHER, three[:1])
    before = registry.listing(OTHER)
    assert registry.link(three[1].id, OTHER, []).updated_at == three[1].updated_at
    assert registry.listing(OTHER).updated_at > before.updated_at


def test_an_empty_sequence_becomes_a_portfolio(registry, three):
    registry.create_collection(OTHER)
    assert registry.link(three[0].id, OTHER, []).index == 0
    assert registry.listing(OTHER).kind is CollectionKind.PORTFOLIO


def test_a_sequence_whose_only_reservation_was_abandoned_becomes_a_portfolio(registry, three):
    registry.reserve(new("c9", collection=OTHER, kind="model"))
    registry.abandon("c9")
    assert registry.link(three[0].id, OTHER, []).type == "dataset"
    assert registry.listing(OTHER).type == "dataset"


def test_nothing_is_linked_where_versions_are_or_were_logged(registry, three):
    commit(registry, "gone", collection=OTHER)
    registry.delete_version(OTHER.at("v0"), delete_aliases=True)
    underway = CollectionRef("me", "demo", "underway")
    registry.reserve(new("pending", collection=underway))
    before = everything(registry)
    for place in (OTHER, underway, DATA):
        with pytest.raises(InvalidInputError, match=f"{place} is not a portfolio"):
            registry.link(three[0].id, place, [])
    assert everything(registry) == before
    assert registry.publish("pending", manifest(), []).index == 0


def test_a_portfolio_has_one_type_also_when_its_links_are_gone(registry, three):
    model = commit(registry, "model", collection=CollectionRef("me", "demo", "models"), kind="model")
    make_portfolio(registry, OTHER, three[:1])
    for _ in range(2):
        before = everything(registry)
        with pytest.raises(InvalidInputError, match="'dataset', not 'model'"):
            registry.link(model.id, OTHER, ["best"])
        assert everything(registry) == before
        if registry.versions(OTHER):
            registry.unlink(OTHER.at("v0"))


def test_only_a_committed_version_is_linked_and_nothing_is_made_for_another(registry, three):
    reservation = registry.reserve(new("pending"))
    registry.delete_version(DATA.at("v0"))
    before = everything(registry)
    for version_id in (reservation.id, "no-such-id"):
        with pytest.raises(NotFoundError, match=version_id) as caught:
            registry.link(version_id, PICKED, [])
        assert not isinstance(caught.value, VersionDeletedError)
    with pytest.raises(VersionDeletedError, match=three[0].id):
        registry.link(three[0].id, PICKED, [])
    with pytest.raises(InvalidInputError):
        registry.link(three[1].id, PICKED, ["best", UNRECORDABLE])
    assert everything(registry) == before


def test_a_link_can_be_linked_on(registry, three):
    linked = registry.link(three[0].id, OTHER, [])
    assert registry.link(linked.id, PICKED, []).source == DATA


# Removing links -------------------------------------------------------------------------------------------------


def test_a_removed_link_is_gone_with_its_aliases_and_is_returned_as_it_was(registry, three):
    make_portfolio(registry, OTHER, three)
    registry.add_aliases(OTHER.at("v0"), ["best"])
    updated = registry.listing(OTHER).updated_at
    before = registry.version(OTHER.at("v2"))
    assert registry.unlink(OTHER.at("latest")) == before
    assert aliases(registry, OTHER) == {"best": 0}
    assert indices(registry, OTHER) == [0, 1]
    assert registry.listing(OTHER).updated_at > updated
    assert registry.version_by_id(three[2].id) == three[2]
    for ref in (OTHER.at("v2"), OTHER.at("latest")):
        with pytest.raises(NotFoundError) as caught:
            registry.version(ref)
        assert not isinstance(caught.value, VersionDeletedError)


@pytest.mark.parametrize("again", [0, 1, 2])
def test_an_index_is_never_used_again(registry, three, again):
    make_portfolio(registry, OTHER, three[:2])
    registry.unlink(OTHER.at("v1"))
    assert registry.link(three[again].id, OTHER, []).index == (0 if again == 0 else 2)
    registry.unlink(OTHER.at("v0"))
    for version in registry.versions(OTHER):
        registry.unlink(OTHER.at(f"v{version.index}"))
    assert registry.link(three[0].id, OTHER, []).index == (2 if again == 0 else 3)


def test_a_portfolio_whose_links_are_gone_stays_what_it_is(registry, three):
    make_portfolio(registry, OTHER, three[:1])
    registry.unlink(OTHER.at("v0"))
    with pytest.raises(NotEmptyError):
        registry.remove_collection(OTHER)
    with pytest.raises(InvalidInputError, match="portfolio"):
        registry.reserve(new("c9", collection=OTHER))
    assert registry.listing(OTHER).kind is CollectionKind.PORTFOLIO


def test_a_version_is_not_unlinked_from_where_it_was_logged(registry, three):
    make_portfolio(registry, OTHER, three)
    before = everything(registry)
    for name in ("v0", "latest"):
        with pytest.raises(InvalidInputError, match=f"me/demo/data:{name}"):
            registry.unlink(DATA.at(name))
    assert everything(registry) == before


def test_a_link_that_is_not_there_is_named(registry, three):
    make_portfolio(registry, OTHER, three[:2])
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    before = everything(registry)
    for name in ("v0", "v2", "best"):
        with pytest.raises(NotFoundError, match=f"me/demo/other:{name}"):
            registry.unlink(OTHER.at(name))
    with pytest.raises(NotFoundError, match="you/shared/picked"):
        registry.unlink(PICKED.at("v0"))
    assert everything(registry) == before


# Where a version is linked --------------------------------------------------------------------------------------


def test_links_are_listed_by_the_names_of_their_portfolios_each_as_it_is_shown_there(registry, three):
    names = ["me/demo/b", "me/demo/B", "me/demo-2/a", "you/a/a", "me/z/c"]
    places = [CollectionRef(*name.split("/")) for name in names]
    for place in places:
        make_portfolio(registry, place, three[1:])
    registry.add_aliases(places[0].at("v1"), ["best"])
    found = registry.links(three[2].id)
    assert [str(version.collection) for version in found] == [
        "me/demo/B",
        "me/demo/b",
        "me/demo-2/a",
        "me/z/c",
        "you/a/a",
    ]
    assert found == [registry.version(version.collection.at("v1")) for version in found]
    assert found[1].aliases == ("best", "latest")


def test_what_is_not_linked_has_no_links(registry, three):
    make_portfolio(registry, OTHER, three[1:])
    registry.unlink(OTHER.at("v1"))
    registry.delete_version(DATA.at("v1"), delete_aliases=True)
    for version in three:
        assert list(registry.links(version.id)) == []
    assert list(registry.links("no-such-id")) == []


# At once --------------------------------------------------------------------------------------------------------


def test_clients_that_link_at_once_never_share_an_index(clients):
    registry = clients()
    versions = [commit(registry, f"c{number}") for number in range(12)]

    def link(client, mine):
        return [client.link(version.id, PICKED, ["best"]).index for version in mine]

    found = at_once(*[partial(link, clients(), versions[number::4]) for number in range(4)])
    assert sorted(index for mine in found for index in mine) == indices(registry, PICKED) == list(range(12))
    assert set(aliases(registry, PICKED).values()) <= set(range(12))
    assert set(aliases(registry, PICKED)) == {"best", "latest"}


def test_one_version_linked_by_clients_at_once_is_linked_once(clients):
    registry = clients()
    version = commit(registry, "c1")
    found = at_once(*[partial(client.link, version.id, PICKED, []) for client in [clients() for _ in range(4)]])
    assert [linked.index for linked in found] == [0, 0, 0, 0]
    assert indices(registry, PICKED) == [0]
