"""Registries of organizations: found by less than the entity of the organization, as the SDK does it, and never made."""

import pytest

from artfs.errors import NotFoundError, PermissionDeniedError
from artfs.model.names import CollectionRef
from artfs.registry.port import CollectionKind
from artfs.registry.wandb.registry import WandbRegistry
from artfs.wandb.session import WandbSession
from tests.registry.making import new
from tests.wandb_server.fixtures import wandb_server  # noqa: F401 - a fixture

DATA = CollectionRef("me", "demo", "data")


@pytest.fixture
def server(wandb_server, monkeypatch, tmp_path):  # noqa: F811
    for name, value in wandb_server.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    return wandb_server


@pytest.fixture
def filled(server):
    for number in range(2):
        server.log_artifact("me", "demo", "data", files={"a": b"%d" % number})
    server.forget()
    registry = WandbRegistry(WandbSession(server.url), None)
    yield registry
    registry.close()


def test_a_registry_is_never_made_under_a_team(server, filled):
    server.registry("My Org", "model")
    version = filled.version(DATA.at("v1"))
    linked = filled.link(version.id, CollectionRef("my-org", "wandb-registry-model", "cool"), [])
    assert linked.is_link
    wrong = CollectionRef("me", "wandb-registry-none", "cool")
    for call in (
        lambda: filled.link(version.id, wrong, []),
        lambda: filled.create_project("me", "wandb-registry-none"),
        lambda: filled.create_collection(CollectionRef("me", "wandb-registry-model", "new")),
        lambda: filled.reserve(new("c-wrong", collection=wrong)),
        lambda: filled.reserve(new("c-wrong", collection=CollectionRef("me", "wandb-registry-model", "new"))),
    ):
        with pytest.raises(PermissionDeniedError, match="registries belong to organizations"):
            call()
    assert not filled.project_exists("me", "wandb-registry-none")
    assert list(server.entity("me").projects) == ["demo"]


@pytest.mark.parametrize("named", ["my-org", "My Org", "crew", "me"])
def test_a_registry_is_found_as_the_sdk_finds_it(server, filled, named):
    server.registry("My Org", "model")
    server.team("crew", "My Org")
    version = filled.version(DATA.at("v1"))
    cool = CollectionRef(named, "wandb-registry-model", "cool")
    home = CollectionRef("my-org", "wandb-registry-model", "cool")
    assert filled.link(version.id, cool, ["staging"]).collection == home
    assert filled.version(cool.at("staging")).collection == home
    assert filled.find(cool, "v0").index == 0
    assert [one.index for one in filled.listing(cool).versions] == [0]
    assert [info.ref.collection for info in filled.collection_infos(named, "wandb-registry-model")] == ["cool"]
    assert filled.collection_info(cool).kind is CollectionKind.PORTFOLIO
    assert filled.entity_exists(named)
    assert filled.add_aliases(cool.at("v0"), ["prod"]).aliases == ("latest", "prod", "staging")
    assert filled.unlink(cool.at("prod")).id == version.id
    assert server.count(operation="Organizations") <= 1


def test_a_registry_of_who_has_two_organizations_is_named_with_one(server, filled):
    for organization in ("My Org", "Other Org"):
        server.registry(organization, "model")
    version = filled.version(DATA.at("v1"))
    with pytest.raises(PermissionDeniedError, match="registries belong to organizations"):
        filled.link(version.id, CollectionRef("me", "wandb-registry-model", "cool"), [])
    named = CollectionRef("Other Org", "wandb-registry-model", "cool")
    assert filled.link(version.id, named, []).collection.entity == "other-org"
    with pytest.raises(NotFoundError):
        filled.version(CollectionRef("me", "wandb-registry-model", "cool").at("latest"))


def test_the_name_of_an_organization_lists_its_registries(server, filled):
    server.registry("My Org", "model")
    assert filled.projects("My Org") == filled.projects("my-org") == ["wandb-registry-model"]
