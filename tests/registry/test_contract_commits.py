"""The commit protocol: reserve, publish, abandon. Runs on every implementation."""

import pytest

from artfs.errors import InvalidInputError, NotFoundError, VersionDeletedError
from artfs.model.names import CollectionRef
from artfs.registry.port import State
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


def test_a_reservation_makes_entity_project_and_collection(registry, implementation):
    collection = CollectionRef("you", "p", "c")
    reservation = registry.reserve(new("c1", collection=collection))
    assert (reservation.index, reservation.existing) == (implementation.reserved(0), False)
    assert registry.entities() == ["me", "you"]
    assert registry.projects("you") == ["p"]
    assert registry.collections("you", "p") == ["c"]


def test_a_reserved_version_is_invisible_to_every_listing(registry):
    commit(registry, "c0")
    before = everything(registry)
    registry.reserve(new("c1"))
    assert everything(registry) == before
    with pytest.raises(NotFoundError, match="me/demo/data:v1"):
        registry.version(DATA.at("v1"))
    registry.reserve(new("c2", collection=OTHER, kind="model"))
    assert registry.listing(OTHER).versions == ()
    with pytest.raises(NotFoundError, match="me/demo/other:latest"):
        registry.version(OTHER.at("latest"))


def test_the_same_client_id_gets_the_same_reservation(registry, implementation):
    first = registry.reserve(new("c1"))
    assert registry.reserve(new("c1")) == first
    assert registry.reserve(new("c2")).index == implementation.reserved(1)
    assert registry.reserve(new("c1")) == first


def test_each_commit_gets_its_own_id_and_the_next_index(registry, implementation):
    reservations = [registry.reserve(new(f"c{number}")) for number in range(4)]
    assert [reservation.index for reservation in reservations] == [implementation.reserved(index) for index in range(4)]
    assert len({reservation.id for reservation in reservations}) == 4
    assert registry.reserve(new("c4", collection=OTHER)).index == implementation.reserved(0)
    versions = [registry.publish(f"c{number}", manifest(f"{number}"), []) for number in range(4)]
    assert [(version.id, version.index) for version in versions] == [
        (reservation.id, index) for index, reservation in enumerate(reservations)
    ]


def test_a_published_version_is_what_was_reserved(registry, implementation):
    asked = new(
        "c1",
        "0123456789abcdef0123456789abcdef",
        kind="model",
        algorithm=implementation.algorithm,
        size=1 << 52,
        file_count=1,
        description="Größe: 数",
        metadata={"a": [1, 2.5, None, True, {"b": "ü\x00"}], "": {}},
    )
    reservation = registry.reserve(asked)
    published = manifest("m", 1 << 52)
    version = registry.publish("c1", published, ["best", "a"])
    assert (version.id, version.index, version.collection) == (reservation.id, 0, DATA)
    assert (version.source, version.source_index, version.state) == (DATA, 0, State.COMMITTED)
    assert (version.digest, version.algorithm, version.manifest) == (asked.digest, asked.algorithm, published)
    assert (version.size, version.file_count) == (asked.size, asked.file_count)
    assert (version.type, version.description, version.metadata) == ("model", asked.description, asked.metadata)
    assert (version.aliases, version.tags) == (("a", "best", "latest"), ())
    assert version.created_at.utcoffset().total_seconds() == 0
    assert len(version.commit_hash) >= 20
    assert registry.version(DATA.at("v0")) == registry.version(DATA.at("best")) == version
    assert registry.versions(DATA) == [version]
    listing = registry.listing(DATA)
    assert listing.type == "model"
    assert [(info.id, info.index, info.created_at) for info in listing.versions] == [
        (version.id, 0, version.created_at)
    ]
    assert [(alias.name, alias.index) for alias in listing.aliases] == [("a", 0), ("best", 0), ("latest", 0)]


def test_a_new_version_has_not_changed_since_it_was_created(registry):
    version = commit(registry, "c1")
    assert version.created_at == version.updated_at


def test_the_number_of_files_is_the_one_that_was_told(registry):
    assert commit(registry, "c1", file_count=1_000_000).file_count == 1_000_000


def test_commit_hashes_are_different(registry):
    assert commit(registry, "c1").commit_hash != commit(registry, "c2").commit_hash


def test_two_versions_may_have_one_manifest(registry):
    registry.reserve(new("c1"))
    first = registry.publish("c1", manifest("m"), [])
    registry.reserve(new("c2", collection=OTHER))
    assert registry.publish("c2", manifest("m"), []).manifest == first.manifest == manifest("m")


def test_latest_always_moves_to_what_was_published_last(registry):
    for client_id in ("c0", "c1"):
        registry.reserve(new(client_id))
    for client_id in ("c1", "c0"):
        version = registry.publish(client_id, manifest(), [])
        assert version.aliases == ("latest",)
        assert aliases(registry) == {"latest": version.index}
    assert indices(registry) == [0, 1]


def test_publishing_moves_the_aliases_from_where_they_were(registry):
    commit(registry, "c0", "best", "first")
    version = commit(registry, "c1", "best", "best", "latest")
    assert version.aliases == ("best", "latest")
    assert aliases(registry) == {"best": 1, "first": 0, "latest": 1}
    assert registry.version(DATA.at("v0")).aliases == ("first",)


def test_publishing_is_one_transaction(registry):
    commit(registry, "c0", "best")
    registry.reserve(new("c1"))
    before = everything(registry)
    with pytest.raises(InvalidInputError):
        registry.publish("c1", manifest(), ["best", UNRECORDABLE])
    assert everything(registry) == before
    assert registry.publish("c1", manifest(), ["best"]).aliases == ("best", "latest")


def test_publishing_again_returns_the_same_version_and_moves_nothing_back(registry):
    commit(registry, "c0")
    first = commit(registry, "c1", "best")
    assert registry.publish("c1", manifest("c1"), ["best"]) == first
    commit(registry, "c2", "best")
    before = everything(registry)
    again = registry.publish("c1", manifest("c1"), ["best"])
    assert (again.id, again.index, again.aliases) == (first.id, 1, ())
    assert everything(registry) == before


def test_reserving_again_after_publishing_says_that_the_version_exists(registry):
    version = commit(registry, "c1")
    commit(registry, "c2")
    reservation = registry.reserve(new("c1"))
    assert (reservation.id, reservation.index, reservation.existing) == (version.id, 0, True)
    assert indices(registry) == [0, 1]


def test_publishing_without_a_reservation_is_refused_and_names_the_commit(registry):
    commit(registry, "c0")
    with pytest.raises(NotFoundError, match="c7"):
        registry.publish("c7", manifest(), ["best"])
    assert aliases(registry) == {"latest": 0}


def test_the_same_digest_as_latest_is_nothing_to_commit(registry, implementation):
    version = commit(registry, "c1", digest="d")
    before = everything(registry)
    reservation = registry.reserve(new("c2", "d"))
    assert (reservation.id, reservation.index, reservation.existing) == (version.id, 0, True)
    assert everything(registry) == before
    assert registry.reserve(new("c3")).index == implementation.reserved(1)


def test_what_was_nothing_to_commit_is_no_reservation(registry):
    commit(registry, "c1", digest="d")
    registry.reserve(new("c2", "d"))
    with pytest.raises(NotFoundError, match="c2"):
        registry.publish("c2", manifest(), [])


@pytest.mark.parametrize("why", ["older", "pending", "elsewhere", "deleted", "no latest"])
def test_the_same_digest_anywhere_else_is_a_new_version(registry, why):
    if why == "pending":
        registry.reserve(new("c1", "d"))
    else:
        commit(registry, "c1", digest="d", collection=OTHER if why == "elsewhere" else DATA)
    if why == "older":
        commit(registry, "c2")
    elif why == "deleted":
        registry.delete_version(DATA.at("v0"), delete_aliases=True)
    elif why == "no latest":
        registry.remove_alias(DATA, "latest")
    assert not registry.reserve(new("c3", "d")).existing
    assert registry.publish("c3", manifest(), []).digest == "d"


def test_a_commit_that_another_one_anticipated_gets_that_version(registry):
    registry.reserve(new("c1", "d"))
    registry.reserve(new("c2", "d"))
    first = registry.publish("c1", manifest("one"), ["one"])
    version = registry.publish("c2", manifest("two"), ["two"])
    assert (version.id, version.manifest, version.aliases) == (first.id, manifest("one"), ("latest", "one", "two"))
    assert indices(registry) == [0]
    assert registry.reserve(new("c3")).index == 1


def test_a_commit_that_another_one_anticipated_can_be_repeated_for_ever(registry):
    registry.reserve(new("c1", "d"))
    registry.reserve(new("c2", "d"))
    first = registry.publish("c1", manifest(), [])
    registry.publish("c2", manifest(), ["two"])
    commit(registry, "c3", "two")
    registry.abandon("c2")
    before = everything(registry)
    assert registry.publish("c2", manifest(), ["two"]).id == first.id
    reservation = registry.reserve(new("c2", "d"))
    assert (reservation.id, reservation.index, reservation.existing) == (first.id, 0, True)
    assert everything(registry) == before


def test_a_collection_holds_one_type(registry):
    commit(registry, "c1", kind="model")
    before = everything(registry)
    with pytest.raises(InvalidInputError) as caught:
        registry.reserve(new("c2", kind="dataset"))
    for part in ("me/demo/data", "'model'", "'dataset'"):
        assert part in caught.value.message
    assert everything(registry) == before
    assert commit(registry, "c3").type == commit(registry, "c4", kind="model").type == "model"
    assert indices(registry) == [0, 1, 2]


def test_the_type_is_settled_by_the_first_reservation(registry):
    registry.reserve(new("c1", kind="model"))
    with pytest.raises(InvalidInputError, match="'model'"):
        registry.reserve(new("c2", kind="dataset"))
    registry.publish("c1", manifest(), [])
    assert registry.listing(DATA).type == "model"


def test_the_type_is_dataset_where_nobody_said_another(registry):
    assert commit(registry, "c1").type == "dataset"


def test_abandoned_first_commits_leave_the_type_open(registry):
    registry.reserve(new("c1", kind="model"))
    registry.abandon("c1")
    assert commit(registry, "c2", kind="dataset").type == "dataset"


def test_the_type_stays_while_one_version_of_the_collection_is_left(registry):
    registry.reserve(new("c1", kind="model"))
    registry.reserve(new("c2"))
    registry.abandon("c1")
    with pytest.raises(InvalidInputError, match="'model'"):
        registry.reserve(new("c3", kind="dataset"))
    registry.publish("c2", manifest(), [])
    registry.delete_version(DATA.at("latest"), delete_aliases=True)
    assert registry.listing(DATA).type == "model"
    with pytest.raises(InvalidInputError, match="'model'"):
        registry.reserve(new("c3", kind="dataset"))


def test_versions_are_not_logged_in_a_portfolio(registry):
    version = commit(registry, "c1", kind="model")
    make_portfolio(registry, OTHER, [version])
    before = everything(registry)
    with pytest.raises(InvalidInputError, match="me/demo/other is a portfolio"):
        registry.reserve(new("c2", collection=OTHER, kind="model"))
    assert everything(registry) == before


def test_an_abandoned_reservation_is_gone_and_its_index_free(registry, implementation):
    commit(registry, "c0")
    dropped = registry.reserve(new("c1"))
    registry.abandon("c1")
    with pytest.raises(NotFoundError):
        registry.publish("c1", manifest(), [])
    other = registry.reserve(new("c2"))
    assert (other.index, other.existing) == (implementation.reserved(1), False)
    assert other.id != dropped.id
    assert registry.publish("c2", manifest(), []).index == 1


def test_an_abandoned_commit_may_begin_again(registry):
    dropped = registry.reserve(new("c1"))
    registry.abandon("c1")
    with pytest.raises(NotFoundError, match="c1"):
        registry.publish("c1", manifest(), [])
    again = registry.reserve(new("c1"))
    assert not again.existing
    assert again.id != dropped.id
    assert registry.publish("c1", manifest(), []).id == again.id


def test_abandoning_touches_nothing_else(registry):
    commit(registry, "c0")
    other = registry.reserve(new("c1"))
    before = everything(registry)
    registry.abandon("c0")
    registry.abandon("nobody")
    assert everything(registry) == before
    assert registry.reserve(new("c1")) == other


def test_no_index_below_a_published_one_is_given_again(registry):
    for client_id in ("c0", "c1"):
        registry.reserve(new(client_id))
    registry.abandon("c0")
    published = registry.publish("c1", manifest(), [])
    assert commit(registry, "c2").index == published.index + 1


def test_the_index_of_a_deleted_version_is_never_given_again(registry):
    ids = {commit(registry, f"c{number}").id for number in range(3)}
    for index in (2, 0):
        registry.delete_version(DATA.at(f"v{index}"), delete_aliases=True)
    version = commit(registry, "c3")
    assert version.index == 3
    assert version.id not in ids
    assert indices(registry) == [1, 3]


def test_repeating_the_commit_of_a_deleted_version_does_not_bring_it_back(registry):
    version = commit(registry, "c1", "best")
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    before = everything(registry)
    again = registry.publish("c1", manifest(), ["best"])
    assert (again.id, again.state, again.aliases) == (version.id, State.DELETED, ())
    registry.reserve(new("c1"))
    assert everything(registry) == before
    with pytest.raises(VersionDeletedError, match="me/demo/data:v0"):
        registry.version(DATA.at("v0"))
