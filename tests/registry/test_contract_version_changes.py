"""Changing what is said of a version while others do the same. Runs on every implementation."""

import contextlib
from functools import partial

import pytest

from artfs.errors import ConflictError, InvalidInputError, NotFoundError, VersionDeletedError
from artfs.registry.port import VersionChange
from tests.registry.making import DATA, OTHER, UNRECORDABLE, aliases, commit, everything, make_portfolio, new
from tests.registry.test_contract_concurrency import at_once

V0 = DATA.at("v0")


@pytest.fixture
def version(registry):
    """v0, which has the alias ``best``; v1 is ``latest``."""
    found = commit(registry, "c0", "best", description="first", metadata={"a": 1, "b": [1, 2]})
    commit(registry, "c1")
    return found


def change(registry, ref=V0, **values):
    return registry.change_version(ref, VersionChange(**values))


def test_all_of_a_version_changes_at_once_and_is_returned(registry, version):
    found = change(
        registry,
        description=("first", "second"),
        metadata=(version.metadata, {"b": [1, 2], "c": {"d": None}}),
        ttl_seconds=(None, 3600),
        add_aliases=("x", "latest", "x"),
        remove_aliases=("best",),
        add_tags=("t2", "t1", "t1"),
    )
    assert (found.description, found.metadata, found.ttl_seconds) == ("second", {"b": [1, 2], "c": {"d": None}}, 3600)
    assert (found.aliases, found.tags) == (("latest", "x"), ("t1", "t2"))
    assert found == registry.version(V0) == registry.versions(DATA)[0]
    assert found.updated_at > version.updated_at
    assert found.created_at == version.created_at
    assert aliases(registry) == {"latest": 0, "x": 0}


def test_what_is_left_out_stays_as_it_is(registry, version):
    change(registry, ttl_seconds=(None, 60), add_tags=("t",))
    before = registry.version(V0)
    after = change(registry, description=("first", None))
    assert after.description is None
    assert (after.metadata, after.ttl_seconds, after.aliases, after.tags) == (
        before.metadata,
        before.ttl_seconds,
        before.aliases,
        before.tags,
    )


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"description": ("first", "first")},
        {"description": ("something else", "first")},
        {"metadata": ({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1})},
        {"metadata": ({}, {"a": 1})},
        {"metadata": ({"gone": 1}, {})},
        {"ttl_seconds": (5, None)},
        {"add_aliases": ("best",), "remove_aliases": ("latest", "nothing", "best")},
        {"remove_tags": ("nothing",)},
    ],
)
def test_nothing_is_written_where_all_is_as_wanted_already(registry, version, values):
    before = everything(registry)
    assert change(registry, **values) == registry.version(V0)
    assert everything(registry) == before


def test_the_time_to_live_is_taken_away_again(registry, version):
    assert change(registry, ttl_seconds=(None, 1 << 40)).ttl_seconds == 1 << 40
    assert change(registry, ttl_seconds=(1 << 40, None)).ttl_seconds is None


def test_a_time_to_live_of_no_seconds_is_one(registry, version):
    assert change(registry, ttl_seconds=(None, 0)).ttl_seconds == 0


def test_values_change_the_time_of_the_version_and_aliases_that_of_the_collection(registry, version):
    before = (registry.version(V0).updated_at, registry.listing(DATA).updated_at)
    change(registry, add_tags=("t",))
    tagged = (registry.version(V0).updated_at, registry.listing(DATA).updated_at)
    assert tagged[0] > before[0]
    assert tagged[1] == before[1]
    change(registry, remove_aliases=("best",))
    untied = (registry.version(V0).updated_at, registry.listing(DATA).updated_at)
    assert untied[0] == tagged[0]
    assert untied[1] > tagged[1]
    change(registry, add_aliases=("best",))
    assert registry.listing(DATA).updated_at > untied[1]


# Conflicts ------------------------------------------------------------------------------------------------------

CONFLICTS = {
    "description": ({"description": ("first", "theirs")}, {"description": ("first", "mine")}),
    "description that was taken away": ({"description": ("first", None)}, {"description": ("first", "mine")}),
    "time to live": ({"ttl_seconds": (None, 1)}, {"ttl_seconds": (None, 2)}),
    "metadata": ({"metadata": ({"a": 1}, {"a": 2})}, {"metadata": ({"a": 1}, {"a": 3})}),
    "metadata that was removed": ({"metadata": ({"a": 1}, {})}, {"metadata": ({"a": 1}, {"a": 3})}),
    "metadata that was added": ({"metadata": ({}, {"n": 1})}, {"metadata": ({}, {"n": True})}),
}


@pytest.mark.parametrize(("theirs", "mine"), CONFLICTS.values(), ids=CONFLICTS)
def test_what_somebody_else_has_changed_meanwhile_is_a_conflict_and_nothing_changes(registry, version, theirs, mine):
    change(registry, **theirs)
    before = everything(registry)
    more = {"add_aliases": ("x",), "remove_aliases": ("best",), "add_tags": ("t",)}
    if "description" not in mine:
        more["description"] = ("first", "mine, too")
    if "ttl_seconds" not in mine:
        more["ttl_seconds"] = (None, 77)
    (what,) = mine
    with pytest.raises(ConflictError, match={"ttl_seconds": "time to live"}.get(what, what)) as caught:
        change(registry, **mine, **more)
    assert "look" in caught.value.hint
    assert everything(registry) == before


def test_the_same_change_by_two_is_no_conflict(registry, version):
    wanted = {"description": ("first", "x"), "ttl_seconds": (None, 5), "metadata": ({"a": 1}, {"a": 2})}
    assert change(registry, **wanted) == change(registry, **wanted)


def test_changes_of_different_keys_of_the_metadata_are_merged(registry, version):
    seen = version.metadata
    change(registry, metadata=(seen, {**seen, "a": 2, "theirs": 1}))
    assert change(registry, metadata=(seen, {"a": 1, "mine": 1})).metadata == {"a": 2, "theirs": 1, "mine": 1}


def test_too_many_keys_together_are_refused(registry, version):
    theirs = {f"t{number}": 1 for number in range(90)}
    change(registry, metadata=({}, theirs))
    before = everything(registry)
    with pytest.raises(InvalidInputError, match="110 keys"):
        change(registry, metadata=({}, {f"m{number}": 1 for number in range(18)}), add_tags=("t",))
    assert everything(registry) == before


@pytest.mark.parametrize(
    "values",
    [
        {"description": ("first", UNRECORDABLE)},
        {"metadata": ({}, {"x": float("nan")})},
        {"ttl_seconds": (None, 1 << 70)},
        {"add_aliases": ("x", UNRECORDABLE)},
        {"add_tags": ("x", UNRECORDABLE)},
    ],
)
def test_what_cannot_be_recorded_is_refused_and_nothing_changes(registry, version, values):
    before = everything(registry)
    with pytest.raises(InvalidInputError):
        change(registry, **{"description": ("first", "x"), "add_aliases": ("y",), "add_tags": ("z",), **values})
    assert everything(registry) == before


def test_a_version_that_is_not_there_or_deleted_is_named(registry, version):
    commit(registry, "c2")
    registry.reserve(new("pending"))
    registry.delete_version(DATA.at("v1"), delete_aliases=True)
    for alias in ("v3", "v4", "nothing"):
        with pytest.raises(NotFoundError, match=f"me/demo/data:{alias}"):
            change(registry, DATA.at(alias), add_tags=("t",))
    with pytest.raises(VersionDeletedError, match="me/demo/data:v1"):
        change(registry, DATA.at("v1"), add_tags=("t",))
    with pytest.raises(NotFoundError, match="me/demo/other"):
        change(registry, OTHER.at("v0"), add_tags=("t",))


# Aliases and tags -----------------------------------------------------------------------------------------------


def test_an_alias_that_has_moved_meanwhile_is_not_removed(registry, version):
    registry.add_aliases(DATA.at("v1"), ["best"])
    assert change(registry, remove_aliases=("best", "latest")).aliases == ()
    assert aliases(registry) == {"best": 1, "latest": 1}


def test_what_is_both_removed_and_added_is_there(registry, version):
    change(registry, add_tags=("t",))
    found = change(
        registry, add_aliases=("best", "x"), remove_aliases=("best", "x"), add_tags=("t", "u"), remove_tags=("t", "u")
    )
    assert (found.aliases, found.tags) == (("best", "x"), ("t", "u"))


def test_an_alias_that_stays_has_not_moved(registry, version):
    before = {alias.name: alias for alias in registry.listing(DATA).aliases}
    change(registry, add_aliases=("best", "x"))
    after = {alias.name: alias for alias in registry.listing(DATA).aliases}
    assert [name for name in after if after[name] != before.get(name)] == ["x"]


def test_tags_are_of_the_version_wherever_it_is_shown_and_sorted(registry, version):
    make_portfolio(registry, OTHER, [version])
    change(registry, add_tags=("b", "a", "c"))
    change(registry, OTHER.at("v0"), remove_tags=("b",))
    commit(registry, "c2")
    for found in (registry.version(V0), registry.version(OTHER.at("v0")), registry.versions(DATA)[0]):
        assert found.tags == ("a", "c")
    assert [found.tags for found in registry.versions(DATA)] == [("a", "c"), (), ()]


def test_a_link_is_changed_with_the_version_but_has_its_own_aliases(registry, version):
    make_portfolio(registry, OTHER, [version])
    found = change(
        registry,
        OTHER.at("v0"),
        description=("first", "x"),
        ttl_seconds=(None, 9),
        add_aliases=("production",),
        remove_aliases=("latest", "best"),
    )
    assert (found.collection, found.aliases) == (OTHER, ("production",))
    source = registry.version(V0)
    assert (source.description, source.ttl_seconds, source.aliases) == ("x", 9, ("best",))
    assert aliases(registry) == {"best": 0, "latest": 1}


# At once --------------------------------------------------------------------------------------------------------


def test_no_key_of_the_metadata_is_lost_when_clients_change_theirs_at_once(clients):
    registry = clients()
    commit(registry, "c0")

    def write(name, client):
        for number in range(8):
            seen = client.version(V0).metadata
            change(client, metadata=(seen, {**seen, f"{name}{number}": number}), add_tags=(f"{name}{number}",))

    at_once(*[partial(write, name, clients()) for name in "abc"])
    found = registry.version(V0)
    assert found.metadata == {f"{name}{number}": number for name in "abc" for number in range(8)}
    assert len(found.tags) == 24


def test_what_several_claim_at_once_is_of_one_of_them_and_the_others_are_told(clients):
    registry = clients()
    commit(registry, "c0")

    def claim(name, client):
        won = 0
        for number in range(20):
            with contextlib.suppress(ConflictError):
                change(client, metadata=({}, {f"slot{number}": name}))
                won += 1
        return won

    won = at_once(*[partial(claim, name, clients()) for name in "abc"])
    slots = list(registry.version(V0).metadata.values())
    assert len(slots) == 20
    assert won == [slots.count(name) for name in "abc"]


def test_an_alias_that_two_move_at_once_is_at_one_of_them(clients):
    registry = clients()
    commit(registry, "c0")
    commit(registry, "c1")

    def move(client, ref):
        for _ in range(10):
            change(client, ref, add_aliases=("best", "good"), remove_aliases=("old",))

    at_once(*[partial(move, clients(), DATA.at(name)) for name in ("v0", "v1")])
    found = aliases(registry)
    assert found["best"] == found["good"]
    assert sorted(found) == ["best", "good", "latest"]
