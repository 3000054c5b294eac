"""What was seen of a registry is shown without it, by name and in lists, and nothing else is."""

import pytest

from artfs.errors import CredentialsError, NotFoundError, UnreachableError
from artfs.model.names import CollectionRef, RunRef
from tests.registry.making import DATA, OTHER, commit, run
from tests.registry.remembered.link import AWAY, all_of, fill


@AWAY
def test_all_that_was_seen_is_shown_while_the_registry_is_away(link, opened, no_pause):
    registry = opened()
    fill(registry)
    seen = all_of(registry)
    link.cut = True
    assert all_of(registry) == seen


@AWAY
def test_all_that_was_seen_is_shown_by_a_program_that_never_reached_the_registry(link, opened):
    first = opened()
    fill(first)
    seen = all_of(first)
    link.cut = True
    assert all_of(opened()) == seen


@pytest.mark.parametrize("seen_by", ["name", "list"])
def test_without_credentials_what_was_seen_is_found_by_name_and_lists_are_refused(link, opened, seen_by):
    registry = opened()
    fill(registry)
    seen = all_of(registry)
    found = {name: registry.find(DATA, name) for name in ("v0", "best")}
    if seen_by == "list":
        for name in found:
            registry._memory.forget(f"find {DATA} {name}")
    link.refused = True
    for again in (registry, opened()):
        assert (again.id, again.version(DATA.at("best")), again.version(DATA.at("v0"))) == seen[1:]
        assert {name: again.find(DATA, name) for name in found} == found
        assert again.entity_exists("me")
        assert again.project_exists("me", "demo")
        assert again.collection_info(DATA).ref == DATA
        with pytest.raises(NotFoundError):
            again.find(DATA, "v9")
        for ask, *words in (
            (again.entities,),
            (again.listing, DATA),
            (again.version, DATA.at("v9")),
            (again.remove_alias, DATA, "best"),
        ):
            with pytest.raises(CredentialsError):
                ask(*words)
        assert again.health().away_since is None


@AWAY
def test_what_was_never_seen_is_unreachable(link, opened):
    link.cut = True
    registry = opened()
    for ask in (
        lambda: registry.id,
        lambda: registry.entities(),
        lambda: registry.listing(DATA),
        lambda: registry.logged_by("x"),
        lambda: registry.links("x"),
        lambda: registry.collection_infos("me", "demo"),
        lambda: registry.runs("me", "demo"),
        lambda: registry.run(RunRef("me", "demo", "r1")),
        lambda: registry.logged(RunRef("me", "demo", "r1")),
        lambda: registry.used(RunRef("me", "demo", "r1")),
    ):
        with pytest.raises(UnreachableError, match="the link is cut"):
            ask()


@AWAY
def test_questions_about_a_run_do_not_get_each_others_answers(link, opened):
    registry = opened()
    version, other = commit(registry, "c0"), commit(registry, "c1")
    ref = run("r1").ref
    registry.record_logged(run("r1"), version.id)
    registry.record_use(run("r1"), other.id)
    registry.run(ref), registry.logged(ref), registry.used(ref), registry.runs("me", "demo")
    link.cut = True
    assert registry.run(ref) == run("r1")
    assert registry.runs("me", "demo") == [run("r1")]
    assert [found.index for found in registry.logged(ref)] == [0]
    assert [found.index for found in registry.used(ref)] == [1]


@AWAY
def test_the_answer_that_was_seen_last_counts(link, opened):
    registry = opened()
    commit(registry, "c0")
    registry.listing(DATA)
    commit(registry, "c1")
    seen = registry.listing(DATA)
    link.cut = True
    assert registry.listing(DATA) == seen
    assert [info.index for info in seen.versions] == [0, 1]


@AWAY
def test_what_was_found_to_be_gone_is_not_shown_again(link, opened):
    registry = opened()
    commit(registry, "c0")
    registry.version(DATA.at("v0"))
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    with pytest.raises(NotFoundError):
        registry.version(DATA.at("v0"))
    link.cut = True
    with pytest.raises(UnreachableError):
        registry.version(DATA.at("v0"))


@AWAY
def test_lists_that_were_never_asked_for_show_the_names_that_were_seen(link, opened, no_pause):
    """Who reads by full names, as programs do, lists nothing while the registry is there."""
    fill(link.connect())
    registry = opened()
    assert registry.entity_exists("me")
    assert registry.project_exists("me", "demo")
    assert not registry.project_exists("me", "nothing")
    info = registry.collection_info(DATA)
    version, alias = registry.find(DATA, "v0"), registry.find(DATA, "latest")
    with pytest.raises(NotFoundError):
        registry.find(DATA, "v77")
    link.cut = True
    assert registry.entities() == ["me"]
    assert registry.projects("me") == ["demo"]
    assert registry.collection_infos("me", "demo") == [info]
    listing = registry.listing(DATA)
    assert (listing.versions, listing.aliases) == ((version,), (alias,))
    assert (listing.kind, listing.type, listing.updated_at) == (info.kind, info.type, info.updated_at)
    with pytest.raises(UnreachableError):
        registry.listing(OTHER)


@AWAY
def test_one_name_is_found_in_a_list_that_was_seen(link, opened, no_pause):
    fill(link.connect())
    registry = opened()
    listing, infos = registry.listing(DATA), registry.collection_infos("me", "demo")
    assert registry.entities()
    assert registry.projects("me")
    link.cut = True
    assert registry.find(DATA, "latest") in listing.aliases
    assert registry.find(DATA, f"v{listing.versions[0].index}") == listing.versions[0]
    assert registry.collection_info(DATA) in infos
    assert registry.entity_exists("me")
    assert registry.project_exists("me", "demo")
    assert not registry.project_exists("me", "nothing")
    for call in (
        lambda: registry.find(DATA, "nothing"),
        lambda: registry.collection_info(CollectionRef("me", "demo", "no")),
    ):
        with pytest.raises(NotFoundError):
            call()
