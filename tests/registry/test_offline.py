"""A registry while no network is to be used: what was seen is answered at once, and nobody is asked."""

import contextlib
import inspect

import pytest

from artfs.errors import ExistsError, NotFoundError, OfflineError
from artfs.model.names import CollectionRef
from artfs.registry.memory import Memory
from artfs.registry.offline import OfflineRegistry
from artfs.registry.port import Registry
from artfs.registry.remembered import RememberedRegistry
from tests.registry.fake import FakeRegistry
from tests.registry.fake_data import FakeData
from tests.registry.making import DATA, commit


@pytest.fixture
def path(tmp_path):
    """The memory of a registry with a version, of which some was seen."""
    path = tmp_path / "seen.sqlite"
    registry = FakeRegistry("me", FakeData())
    for make in (
        lambda: registry.create_entity("me"),
        lambda: registry.create_project("me", DATA.project),
        lambda: registry.create_collection(DATA),
    ):
        with contextlib.suppress(ExistsError):
            make()
    commit(registry, "1", "latest", "best")
    with contextlib.closing(RememberedRegistry(lambda: registry, Memory(path), "")) as remembered:
        remembered.id, remembered.default_entity  # noqa: B018 - asked, to be remembered
        remembered.version(DATA.at("v0"))
        remembered.find(DATA, "best")
        remembered.collection_info(DATA)
    return path


@pytest.fixture
def offline(path):
    with contextlib.closing(OfflineRegistry(Memory(path), "")) as registry:
        yield registry


def test_what_was_seen_is_answered(offline):
    assert offline.default_entity == "me"
    assert offline.version(DATA.at("v0")).index == 0
    assert offline.find(DATA, "best").index == 0
    assert offline.version(DATA.at("best")).index == 0
    assert [alias.name for alias in offline.listing(DATA).aliases] == ["best"]
    assert [version.index for version in offline.seen()] == [0]
    assert offline.health().away_since is None


def test_what_was_not_seen_is_refused_and_not_made_up(offline):
    for call in (
        lambda: offline.version(DATA.at("v1")),
        lambda: offline.versions(DATA),
        lambda: offline.projects("you"),
        lambda: offline.listing(CollectionRef("me", "demo", "other")),
    ):
        with pytest.raises(OfflineError, match="was not seen of the registry"):
            call()
    with pytest.raises(NotFoundError):
        offline.find(DATA, "worst")  # as the list has it that was seen


CHANGES = [
    name
    for name, _ in inspect.getmembers(Registry, inspect.isfunction)
    if name.startswith(
        ("create_", "remove_", "set_", "add_", "change_", "record_", "delete_", "link", "unlink", "re", "pub", "aband")
    )
    and name != "links"
]


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_is_changed(offline, name):
    method = getattr(offline, name)
    arguments = [
        None for parameter in inspect.signature(method).parameters.values() if parameter.default is parameter.empty
    ]
    with pytest.raises(OfflineError, match="cannot be changed"):
        method(*arguments)


def test_what_is_asked_is_not_forgotten(offline, path):
    with pytest.raises(OfflineError):
        offline.versions(DATA)
    assert OfflineRegistry(Memory(path), "").version(DATA.at("v0")).index == 0
