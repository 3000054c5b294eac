"""A W&B server as the registry: what it shows, how little it is asked, and what it refuses."""

import json
from dataclasses import replace
from datetime import datetime

import pytest

from artfs.errors import (
    BusyError,
    ConflictError,
    ExistsError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    VersionDeletedError,
)
from artfs.model.digest import Digest
from artfs.model.names import CollectionRef, RunRef
from artfs.model.run import RunChange, RunState
from artfs.registry.port import CollectionKind, State, VersionChange
from artfs.registry.wandb.registry import WandbRegistry
from artfs.wandb.session import WandbSession
from tests.registry.making import become, new
from tests.registry.making import run as make_run
from tests.wandb_server.faults import GraphQLError
from tests.wandb_server.fixtures import wandb_server  # noqa: F401 - a fixture

DATA = CollectionRef("me", "demo", "data")


@pytest.fixture
def server(wandb_server, monkeypatch, tmp_path):  # noqa: F811
    for name, value in wandb_server.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    return wandb_server


@pytest.fixture
def registry(server):
    found = WandbRegistry(WandbSession(server.url), None)
    yield found
    found.close()


@pytest.fixture
def filled(server, registry):
    server.log_artifact(
        "me", "demo", "data", files={"a": b"1"}, aliases=["best", "latest"], metadata={"k": 1}, description="d"
    )
    server.log_artifact("me", "demo", "data", files={"a": b"2"}, aliases=["latest"], tags=["t one", "b"])
    server.log_artifact("me", "demo", "net", "model", files={"w": b"3"})
    server.forget()
    return registry


def test_the_latest_version_of_a_collection_by_the_id_of_the_sdk(server, filled):
    server.state.client_ids["sequence"] = server.artifact("me/demo/data:v0").sequence.id
    assert filled.version_of_commit("sequence:latest") == filled.version(DATA.at("latest"))
    for client_id in ("sequence", "sequence:best", "nobody:latest"):
        with pytest.raises(NotFoundError):
            filled.version_of_commit(client_id)


# Looking ----------------------------------------------------------------------------------------------------------


def test_who_has_logged_in_and_the_teams(server, registry):
    server.team("crew")
    assert {"me", "crew"} <= set(registry.entities())
    assert registry.default_entity == "me"
    assert registry.entity_exists("crew")
    assert not registry.entity_exists("nobody")


def test_an_entity_that_is_not_listed_is_there_by_name(server, registry):
    server.entity("others")
    assert "others" not in registry.entities()
    assert registry.entity_exists("others")


def test_the_entity_of_the_settings_comes_first(server):
    assert WandbRegistry(WandbSession(server.url), "crew").default_entity == "crew"


def test_projects_collections_and_types(filled):
    assert filled.projects("me") == ["demo"]
    assert filled.project_exists("me", "demo")
    assert not filled.project_exists("me", "nothing")
    assert [(info.ref.collection, info.type, info.kind) for info in filled.collection_infos("me", "demo")] == [
        ("data", "dataset", CollectionKind.SEQUENCE),
        ("net", "model", CollectionKind.SEQUENCE),
    ]
    assert filled.collections("me", "demo") == ["data", "net"]
    for call in (lambda: filled.projects("nobody"), lambda: filled.collections("me", "nothing")):
        with pytest.raises(NotFoundError):
            call()


def test_a_version_tells_everything(filled):
    found = filled.version(DATA.at("best"))
    assert (found.collection, found.index, found.type, found.state) == (DATA, 0, "dataset", State.COMMITTED)
    assert (found.size, found.file_count, found.description, dict(found.metadata)) == (1, 1, "d", {"k": 1})
    assert (found.aliases, found.tags, found.source, found.source_index) == (("best",), (), DATA, 0)
    assert filled.version(DATA.at("latest")).tags == ("b", "t one")
    assert filled.version_by_id(found.id) == filled.version(DATA.at("v0")) == found
    assert [version.index for version in filled.versions(DATA)] == [0, 1]


def test_a_listing_and_what_is_found_by_name_agree(filled):
    listing = filled.listing(DATA)
    assert [info.index for info in listing.versions] == [0, 1]
    assert {alias.name: alias.index for alias in listing.aliases} == {"best": 0, "latest": 1}
    for shown in (*listing.versions, *listing.aliases):
        name = getattr(shown, "name", f"v{shown.index}")
        assert filled.find(DATA, name) == shown


@pytest.mark.parametrize("name", ["v2", "nothing", "v00"])
def test_names_that_are_not_there(filled, name):
    for call in (lambda: filled.find(DATA, name), lambda: filled.version(DATA.at(name))):
        with pytest.raises(NotFoundError):
            call()


def test_a_digest_or_a_commit_hash_is_no_name(filled):
    found = filled.version(DATA.at("v0"))
    for name in (found.digest, found.commit_hash):
        for call in (lambda name=name: filled.find(DATA, name), lambda name=name: filled.version(DATA.at(name))):
            with pytest.raises(NotFoundError):
                call()


def test_a_deleted_version(server, filled):
    found = filled.version(DATA.at("v0"))
    filled.delete_version(DATA.at("v0"), delete_aliases=True)
    with pytest.raises((VersionDeletedError, NotFoundError)):
        filled.version(DATA.at("v0"))
    with pytest.raises(NotFoundError):
        filled.version_by_id(found.id)
    assert [info.index for info in filled.listing(DATA).versions] == [1]


def test_a_portfolio_and_a_registry_show_links(server, filled):
    version = filled.version(DATA.at("v1"))
    linked = filled.link(version.id, CollectionRef("me", "port", "models"), ["prod"])
    assert (linked.is_link, linked.index, linked.source_index, linked.aliases) == (True, 0, 1, ("latest", "prod"))
    assert filled.listing(linked.collection).kind is CollectionKind.PORTFOLIO
    assert [found.collection for found in filled.links(version.id)] == [linked.collection]
    assert filled.version_by_id(version.id).collection == DATA
    assert filled.unlink(linked.collection.at("v0")).id == version.id
    assert filled.links(version.id) == []
    with pytest.raises(InvalidInputError):
        filled.unlink(DATA.at("v0"))
    with pytest.raises(InvalidInputError):
        filled.link(version.id, CollectionRef("me", "demo", "net"), [])


# How little is asked ----------------------------------------------------------------------------------------------


def test_one_name_is_one_question(server, filled):
    for call, operation in (
        (lambda: filled.find(DATA, "best"), "Find"),
        (lambda: filled.version(DATA.at("v1")), "Version"),
        (lambda: filled.collection_info(DATA), "Collection"),
        (lambda: filled.project_exists("me", "demo"), "Project"),
    ):
        server.forget()
        call()
        assert server.operations() == [operation]


def test_a_list_is_one_walk_of_pages(server, filled):
    server.max_page_size = 10
    for number in range(25):
        server.log_artifact("me", "demo", "data", files={"a": b"%d" % (number + 10)})
        server.log_artifact("me", "demo", f"c{number}", files={"a": b"1"})
    server.forget()
    assert len(filled.collection_infos("me", "demo")) == 27
    assert server.operations() == ["Collections"] * 3
    server.forget()
    assert len(filled.listing(DATA).versions) == 27
    assert server.operations() == ["Collection", *["Listing"] * 3]


# Changing ---------------------------------------------------------------------------------------------------------


def test_aliases(filled):
    assert filled.add_aliases(DATA.at("v0"), ["latest", "new"]).aliases == ("best", "latest", "new")
    filled.rename_alias(DATA, "new", "newer")
    filled.remove_alias(DATA, "best")
    assert filled.version(DATA.at("v0")).aliases == ("latest", "newer")
    with pytest.raises(NotFoundError):
        filled.remove_alias(DATA, "best")


def test_a_change_of_a_version(filled):
    change = VersionChange(
        description=("d", "new"),
        metadata=({"k": 1}, {"k": 2, "l": 3}),
        ttl_seconds=(None, 3600),
        add_aliases=("one",),
        remove_aliases=("best",),
        add_tags=("tag",),
    )
    found = filled.change_version(DATA.at("best"), change)
    assert (found.description, dict(found.metadata), found.ttl_seconds) == ("new", {"k": 2, "l": 3}, 3600)
    assert (found.aliases, found.tags) == (("one",), ("tag",))
    assert (
        filled.change_version(DATA.at("v0"), VersionChange(remove_tags=("tag",), ttl_seconds=(3600, None))).tags == ()
    )


def test_a_change_of_what_somebody_else_has_changed_is_a_conflict(filled):
    with pytest.raises(ConflictError):
        filled.change_version(DATA.at("v0"), VersionChange(description=("seen", "wanted")))
    with pytest.raises(ConflictError):
        filled.change_version(DATA.at("v0"), VersionChange(metadata=({"k": 9}, {"k": 8})))


def test_deleting_needs_leave_for_aliases(filled):
    with pytest.raises(BusyError, match="latest"):
        filled.delete_version(DATA.at("v1"))


def test_descriptions_of_collections(filled):
    filled.set_collection_description(DATA, "what it is")
    assert filled.collection_info(DATA).description == "what it is"


def test_runs(server, filled):
    run = make_run("r1", config={"lr": 0.1})
    filled.record_run(run)
    found = filled.run(RunRef("me", "demo", "r1"))
    assert (found.name, found.job_type, dict(found.config), found.state) == (
        "run r1",
        "train",
        {"lr": 0.1},
        RunState.RUNNING,
    )
    version = filled.version(DATA.at("v0"))
    filled.record_use(found, version.id)
    assert [one.id for one in filled.used_by(version.id)] == ["r1"]
    assert [one.id for one in filled.used(found.ref)] == [version.id]
    assert [one.id for one in filled.runs("me", "demo")] == ["r1"]
    assert filled.logged_by(version.id) is None
    with pytest.raises(NotFoundError):
        filled.run(RunRef("me", "demo", "r2"))


def test_what_the_sdk_keeps_in_the_configuration_of_a_run_stays(server, filled):
    theirs = server.run("me", "demo", "r1")
    theirs.config = json.dumps({"_wandb": {"value": {"cli_version": "0.31.0"}}, "lr": {"desc": None, "value": 0.1}})
    theirs.commit = "abc"
    found = filled.run(RunRef("me", "demo", "r1"))
    assert (dict(found.config), dict(found.metadata), found.exit_code) == (
        {"lr": 0.1},
        {"git": {"commit": "abc"}},
        None,
    )
    become(filled, replace(found, config={"lr": 0.2}, exit_code=3, metadata={"host": "h"}))
    changed = filled.run(found.ref)
    assert (dict(changed.config), changed.exit_code, dict(changed.metadata)) == ({"lr": 0.2}, 3, {"host": "h"})
    assert changed.created_at == found.created_at
    assert json.loads(theirs.config)["_wandb"]["value"]["cli_version"] == "0.31.0"


def test_notes_tags_and_group_of_a_run_are_in_the_fields_of_the_server_too(server, filled):
    said = {"notes": "first", "tags": ["a", "b"], "group": "g"}
    filled.record_run(make_run("r1", metadata=said))
    theirs = server.run("me", "demo", "r1")
    assert (theirs.notes, theirs.tags, theirs.group) == ("first", ["a", "b"], "g")
    found = filled.change_run(RunRef("me", "demo", "r1"), RunChange(metadata={**said, "tags": ["c"], "notes": 7}))
    assert (theirs.notes, theirs.tags, found.metadata["tags"]) == ("first", ["c"], ["c"])


@pytest.mark.parametrize("own", ["text", {"created_at": "never", "finished_at": 7, "exit_code": "x", "metadata": [1]}])
def test_what_cannot_be_of_a_run_is_left_out(server, filled, own):
    theirs = server.run("me", "demo", "r1")
    theirs.config = json.dumps({"_wandb": {"value": {"artfs": own}}, "lr": {"value": 0.1}})
    found = filled.run(RunRef("me", "demo", "r1"))
    assert (dict(found.config), found.exit_code, dict(found.metadata)) == ({"lr": 0.1}, None, {})
    assert found.created_at == datetime.fromisoformat(theirs.created_at)


def test_a_configuration_does_not_replace_what_is_w_and_bs_own(filled):
    with pytest.raises(InvalidInputError, match="'_wandb'"):
        filled.record_run(make_run("r1", config={"_wandb": {}}))


def test_who_logged_a_version_is_not_recorded_afterwards_and_that_is_said(filled):
    with pytest.raises(NotSupportedError, match="when a commit begins"):
        filled.record_logged(make_run("r1"), filled.version(DATA.at("v0")).id)
    assert list(filled.runs("me", "demo")) == []


def test_metadata_that_others_recorded_by_other_rules_are_read(server, filled):
    many = {str(number): number for number in range(150)}
    for text, expected in (
        (json.dumps(many), many),
        ('{"a": NaN, "b": [-Infinity]}', {"a": None, "b": [None]}),
        ("null", {}),
        ("", {}),
    ):
        server.artifact("me/demo/data:v0").metadata = text
        assert filled.version(DATA.at("v0")).metadata == expected
    for text in ("[1]", "{", "7"):
        server.artifact("me/demo/data:v0").metadata = text
        with pytest.raises(IntegrityError):
            filled.version(DATA.at("v0"))


def test_what_a_sequence_has_no_more_is_deleted_and_what_it_never_had_is_not(server, filled):
    server.delete(server.artifact("me/demo/data:v0"))
    with pytest.raises(VersionDeletedError):
        filled.version(DATA.at("v0"))
    with pytest.raises(NotFoundError) as caught:
        filled.version(DATA.at("v2"))
    assert not isinstance(caught.value, VersionDeletedError)


def test_a_description_of_a_collection_that_the_server_does_not_know_yet_comes_with_the_first_link(server, filled):
    ref = CollectionRef("me", "demo", "picked")
    filled.create_collection(ref)
    filled.set_collection_description(ref, "what it is")
    assert filled.collection_info(ref).description == "what it is"
    filled.link(filled.version(DATA.at("v0")).id, ref, [])
    assert server.state.project("me", "demo").collections["picked"].description == "what it is"


def test_a_description_that_could_not_be_told_is_told_when_the_commit_goes_on(server, registry):
    registry.create_project("me", "demo")
    registry.create_collection(DATA)
    registry.set_collection_description(DATA, "what it is")
    wanted = new("c1", "0" * 32)
    with (
        server.injected(GraphQLError(message="not allowed"), operation="UpdateSequence"),
        pytest.raises(PermissionDeniedError),
    ):
        registry.reserve(wanted)
    assert registry.reserve(wanted).own
    assert registry.collection_info(DATA).description == "what it is"


def test_places(server, registry):
    registry.create_project("me", "new")
    assert registry.project_exists("me", "new")
    with pytest.raises(ExistsError):
        registry.create_project("me", "new")
    ref = CollectionRef("me", "new", "data")
    registry.create_collection(ref)
    assert registry.collections("me", "new") == ["data"]
    assert registry.listing(ref).versions == ()
    with pytest.raises(ExistsError):
        registry.create_collection(ref)
    registry.remove_collection(ref)
    assert registry.collections("me", "new") == []
    for call in (lambda: registry.create_entity("e"), lambda: registry.remove_project("me", "new")):
        with pytest.raises(PermissionDeniedError):
            call()


# What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.expects_warning("does not accept the credentials")
def test_a_key_that_is_refused(server, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "local-" + "0" * 40)
    with pytest.raises(PermissionDeniedError):
        WandbRegistry(WandbSession(server.url), None).projects("me")


def test_an_error_of_the_server_is_told(server, filled):
    error = server.injected(GraphQLError(message="permission denied for this"), operation="UpdateArtifact")
    with error, pytest.raises(PermissionDeniedError, match="permission denied for this"):
        filled.set_description(DATA.at("v0"), "x")


def test_the_manifest_is_named_by_its_digest(server, filled):
    found = filled.version(DATA.at("v0"))
    assert isinstance(found.manifest.digest, Digest)
    assert found.manifest.size > 0
