"""Entities, projects and collections: what exists, what can be made and removed. Runs on every implementation."""

import inspect

import pytest

from artfs.errors import ExistsError, InvalidInputError, NotEmptyError, NotFoundError
from artfs.model.names import CollectionRef
from artfs.registry.port import CollectionKind, Registry
from tests.registry.making import DATA, UNRECORDABLE, commit, everything, manifest, new, run


def test_an_implementation_has_the_methods_of_the_port_with_its_arguments(registry):
    for name, method in inspect.getmembers(Registry, inspect.isfunction):
        if not name.startswith("_"):
            expected = list(inspect.signature(method).parameters.values())[1:]
            found = list(inspect.signature(getattr(registry, name)).parameters.values())
            assert [(one.name, one.kind, one.default) for one in found] == [
                (one.name, one.kind, one.default) for one in expected
            ], name


def test_a_registry_has_one_id_for_all_clients_and_for_ever(clients):
    first = clients()
    commit(first, "c1")
    assert first.id == clients().id != ""


def test_two_registries_have_different_ids(clients):
    assert clients("one").id != clients("two").id


def test_the_default_entity_is_the_one_given(clients):
    assert (clients().default_entity, clients(default_entity="you").default_entity) == ("me", "you")


def test_what_one_client_makes_another_sees(clients):
    first, second = clients(), clients()
    version = commit(first, "c1", "best")
    assert second.version(DATA.at("best")) == version
    assert everything(first) == everything(second)


def test_the_default_entity_exists_before_anything_was_made(registry, implementation):
    assert registry.entities() == ["me", *implementation.entities]
    assert registry.projects("me") == []


def test_entities_are_sorted_with_the_default_entity_among_them(registry):
    for name in ("zoe", "abe"):
        registry.create_entity(name)
    assert registry.entities() == ["abe", "me", "zoe"]
    registry.create_entity("me")
    assert registry.entities() == ["abe", "me", "zoe"]


@pytest.fixture
def you(registry, implementation):
    """The name of an entity that is there, beside the default one."""
    if "you" not in implementation.entities:
        registry.create_entity("you")
    return "you"


def test_projects_and_collections_are_sorted_and_belong_to_their_parents(registry, you):
    for project in ("z", "a", "m"):
        registry.create_project("me", project)
    registry.create_project("you", "a")
    for name in ("z", "a", "m"):
        registry.create_collection(CollectionRef("me", "a", name))
    assert registry.projects("me") == ["a", "m", "z"]
    assert registry.projects("you") == ["a"]
    assert registry.collections("me", "a") == ["a", "m", "z"]
    assert registry.collections("you", "a") == registry.collections("me", "z") == []


def test_names_differ_by_case_and_may_be_of_any_script(registry):
    registry.create_project("me", "p")
    names = ["Data", "data", "données", "数据", "a b'\"%_"]
    for name in names:
        registry.create_collection(CollectionRef("me", "p", name))
    assert sorted(registry.collections("me", "p")) == sorted(names)
    commit(registry, "c1", collection=CollectionRef("me", "p", "Data"))
    assert registry.versions(CollectionRef("me", "p", "data")) == []


def test_a_new_collection_is_an_empty_sequence_without_a_type(registry):
    registry.create_project("me", "demo")
    registry.create_collection(DATA)
    listing = registry.listing(DATA)
    assert (listing.kind, listing.type, listing.versions, listing.aliases) == (
        CollectionKind.SEQUENCE,
        None,
        (),
        (),
    )
    assert registry.versions(DATA) == []


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda registry: registry.projects("nobody"), "'nobody'"),
        (lambda registry: registry.collections("nobody", "demo"), "nobody/demo"),
        (lambda registry: registry.collections("me", "demo"), "me/demo"),
        (lambda registry: registry.listing(DATA), "me/demo/data"),
        (lambda registry: registry.versions(DATA), "me/demo/data"),
        (lambda registry: registry.version(DATA.at("latest")), "me/demo/data"),
        (lambda registry: registry.create_project("nobody", "demo"), "'nobody'"),
        (lambda registry: registry.create_collection(DATA), "me/demo"),
        (lambda registry: registry.remove_entity("nobody"), "'nobody'"),
        (lambda registry: registry.remove_project("me", "demo"), "me/demo"),
        (lambda registry: registry.remove_project("nobody", "demo"), "nobody/demo"),
        (lambda registry: registry.remove_collection(DATA), "me/demo/data"),
    ],
)
def test_what_does_not_exist_is_named(registry, ask, named):
    before = everything(registry)
    with pytest.raises(NotFoundError) as caught:
        ask(registry)
    assert named in caught.value.message
    assert everything(registry) == before


def test_making_what_is_there_is_refused_and_names_it(registry, you):
    registry.create_project("you", "p")
    collection = CollectionRef("you", "p", "c")
    registry.create_collection(collection)
    commit(registry, "c1", collection=collection)
    before = everything(registry)
    for make, named in (
        (lambda: registry.create_entity("you"), "'you'"),
        (lambda: registry.create_project("you", "p"), "you/p"),
        (lambda: registry.create_collection(collection), "you/p/c"),
    ):
        with pytest.raises(ExistsError) as caught:
            make()
        assert named in caught.value.message
    assert everything(registry) == before


def test_what_holds_something_is_not_removed_and_is_named(registry, you):
    registry.create_project("you", "p")
    with pytest.raises(NotEmptyError, match="'you'"):
        registry.remove_entity("you")
    registry.create_collection(CollectionRef("you", "p", "c"))
    with pytest.raises(NotEmptyError, match="you/p"):
        registry.remove_project("you", "p")
    assert registry.collections("you", "p") == ["c"]


def test_a_project_with_runs_is_not_removed(registry):
    registry.record_run(run("r1", "p"))
    with pytest.raises(NotEmptyError, match="me/p"):
        registry.remove_project("me", "p")
    assert registry.projects("me") == ["p"]


def test_an_empty_collection_is_removed_and_can_be_made_again(registry):
    registry.create_project("me", "p")
    collection = CollectionRef("me", "p", "c")
    for _ in range(2):
        registry.create_collection(collection)
        assert registry.collections("me", "p") == ["c"]
        registry.remove_collection(collection)
        assert registry.collections("me", "p") == []


def test_what_is_empty_is_removed_and_can_be_made_again(registry):
    collection = CollectionRef("you", "p", "c")
    for _ in range(2):
        registry.create_entity("you")
        registry.create_project("you", "p")
        registry.create_collection(collection)
        registry.remove_collection(collection)
        assert registry.collections("you", "p") == []
        registry.remove_project("you", "p")
        assert registry.projects("you") == []
        registry.remove_entity("you")
        assert registry.entities() == ["me"]


def test_a_collection_is_removed_only_if_it_never_had_a_version(registry):
    registry.reserve(new("c1"))
    with pytest.raises(NotEmptyError, match="me/demo/data"):
        registry.remove_collection(DATA)
    registry.publish("c1", manifest(), [])
    with pytest.raises(NotEmptyError, match="me/demo/data"):
        registry.remove_collection(DATA)
    registry.delete_version(DATA.at("v0"), delete_aliases=True)
    with pytest.raises(NotEmptyError, match="me/demo/data"):
        registry.remove_collection(DATA)
    assert registry.collections("me", "demo") == ["data"]


def test_a_collection_whose_only_commit_was_abandoned_is_removed(registry):
    registry.reserve(new("c1"))
    registry.abandon("c1")
    registry.remove_collection(DATA)
    assert registry.collections("me", "demo") == []


@pytest.mark.parametrize(
    "make",
    [
        lambda registry: registry.create_entity(UNRECORDABLE),
        lambda registry: registry.create_project("me", UNRECORDABLE),
        lambda registry: registry.create_collection(CollectionRef("me", "demo", UNRECORDABLE)),
        lambda registry: commit(registry, "c1", collection=CollectionRef("me", "new", UNRECORDABLE)),
        lambda registry: commit(registry, "c1", digest=UNRECORDABLE),
        lambda registry: commit(registry, "c1", description=UNRECORDABLE),
        lambda registry: commit(registry, "c1", metadata={"loss": float("nan")}),
        lambda registry: commit(registry, "c1", size=1 << 64),
        lambda registry: registry.record_run(run("r1", "new", name=UNRECORDABLE)),
        lambda registry: registry.set_description(DATA.at("v0"), UNRECORDABLE),
        lambda registry: registry.set_metadata(DATA.at("v0"), {"loss": float("inf")}),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_leaves_no_trace(registry, make):
    commit(registry, "c0")
    before = everything(registry)
    with pytest.raises(InvalidInputError):
        make(registry)
    assert everything(registry) == before
