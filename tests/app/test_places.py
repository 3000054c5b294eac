"""The places that a draft is shown in are made where they are missing, and left alone where they are not."""

import pytest

from artfs.app.places import make_collection
from artfs.errors import UnreachableError
from artfs.model.names import CollectionRef
from tests.registry.fake import FakeRegistry
from tests.registry.making import commit, everything

COLLECTION = CollectionRef("you", "p", "c")


@pytest.mark.parametrize("there", range(4))
def test_what_is_missing_is_made(there):
    registry = FakeRegistry()
    for make in [
        lambda: registry.create_entity("you"),
        lambda: registry.create_project("you", "p"),
        lambda: registry.create_collection(COLLECTION),
    ][:there]:
        make()
    make_collection(registry, COLLECTION)
    assert registry.collections("you", "p") == ["c"]
    assert registry.listing(COLLECTION).versions == ()


def test_what_is_there_is_left_alone():
    registry = FakeRegistry()
    commit(registry, "c1", "best", collection=COLLECTION)
    before = everything(registry)
    make_collection(registry, COLLECTION)
    assert everything(registry) == before


def test_any_other_failure_is_not_hidden(monkeypatch):
    registry = FakeRegistry()

    def fail(*_):
        raise UnreachableError("the registry is away")

    monkeypatch.setattr(registry, "create_project", fail)
    with pytest.raises(UnreachableError, match="away"):
        make_collection(registry, COLLECTION)
