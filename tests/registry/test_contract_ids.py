"""Versions by their ids. Runs on every implementation."""

import pytest

from artfs.errors import InvalidInputError, NotFoundError, UnreachableError, VersionDeletedError
from artfs.model.names import CollectionRef
from artfs.model.reference import artifact_uri, parse_artifact_uri
from artfs.registry.memory import Memory
from artfs.registry.remembered import RememberedRegistry
from tests.registry.fake import FakeRegistry
from tests.registry.making import DATA, OTHER, UNRECORDABLE, commit, make_portfolio, new


def test_an_id_finds_the_version_that_has_it(registry):
    first, second = commit(registry, "c1", "best", description="text"), commit(registry, "c2")
    elsewhere = commit(registry, "c3", collection=OTHER)
    for version in (first, second, elsewhere):
        assert registry.version_by_id(version.id) == registry.version(version.collection.at(f"v{version.index}"))
    assert registry.version_by_id(first.id).aliases == ("best",)


def test_a_version_is_shown_where_it_was_logged_also_if_it_is_linked_elsewhere(registry):
    version = commit(registry, "c1")
    commit(registry, "c2")
    portfolio = CollectionRef("me", "demo", "portfolio")
    make_portfolio(registry, portfolio, [version])
    assert registry.version(portfolio.at("v0")).collection == portfolio
    found = registry.version_by_id(version.id)
    assert (found.collection, found.index) == (DATA, 0)


def test_what_is_pending_or_was_never_there_is_not_found_and_named(registry):
    reservation = registry.reserve(new("c1"))
    for version_id in (reservation.id, "no-such-id", ""):
        with pytest.raises(NotFoundError, match=f"'{version_id}'") as caught:
            registry.version_by_id(version_id)
        assert not isinstance(caught.value, VersionDeletedError)


def test_a_version_is_found_by_the_commit_that_made_it(registry):
    first, second = commit(registry, "c1", "best"), commit(registry, "c2", collection=OTHER)
    assert registry.version_of_commit("c1") == first
    assert registry.version_of_commit("c2") == second


def test_a_commit_that_has_made_no_version_is_named(registry):
    registry.reserve(new("pending"))
    for client_id in ("pending", "nobody", "nobody:latest", ""):
        with pytest.raises(NotFoundError) as caught:
            registry.version_of_commit(client_id)
        assert not isinstance(caught.value, VersionDeletedError)


def test_the_version_of_a_commit_may_have_been_deleted(registry):
    commit(registry, "c1")
    commit(registry, "c2")
    registry.delete_version(DATA.at("v0"))
    with pytest.raises(VersionDeletedError):
        registry.version_of_commit("c1")


def test_an_id_is_compared_as_it_is(registry):
    version = commit(registry, "c1")
    for version_id in (version.id.upper(), version.id[:-1], f"{version.id} ", "%"):
        with pytest.raises(NotFoundError):
            registry.version_by_id(version_id)


def test_a_deleted_version_says_so(registry):
    version = commit(registry, "c1")
    commit(registry, "c2")
    registry.delete_version(DATA.at("v0"))
    with pytest.raises(VersionDeletedError, match=version.id):
        registry.version_by_id(version.id)


def test_an_abandoned_version_is_not_there(registry):
    reservation = registry.reserve(new("c1"))
    registry.abandon("c1")
    with pytest.raises(NotFoundError):
        registry.version_by_id(reservation.id)


def test_an_id_that_no_registry_can_hold_is_refused(registry):
    with pytest.raises((InvalidInputError, NotFoundError)):
        registry.version_by_id(UNRECORDABLE)


def test_every_id_can_be_written_in_a_uri(registry):
    version = commit(registry, "c1")
    assert parse_artifact_uri(artifact_uri(version.id, "a")) == (version.id, "a")


@pytest.mark.expects_warning("the registry is away")
def test_a_version_that_was_seen_by_its_id_is_found_while_the_registry_is_away(tmp_path):
    inner, away = FakeRegistry(), []

    def connect():
        if away:
            raise UnreachableError("nobody answers")
        return inner

    version, other = commit(inner, "c1"), commit(inner, "c2")
    seen = RememberedRegistry(connect, Memory(tmp_path / "seen.sqlite"), "me")
    assert seen.version_by_id(version.id) == inner.version_by_id(version.id)
    seen.close()
    away.append(True)
    offline = RememberedRegistry(connect, Memory(tmp_path / "seen.sqlite"), "me")
    assert offline.version_by_id(version.id) == inner.version_by_id(version.id)
    with pytest.raises(UnreachableError):
        offline.version_by_id(other.id)
    offline.close()
