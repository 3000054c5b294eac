"""The way to a registry that can be cut, and a registry with some of everything."""

import pytest

from artfs.errors import CredentialsError, UnreachableError
from artfs.model.names import CollectionRef
from artfs.model.run import RunState
from tests.registry.fake import FakeRegistry
from tests.registry.fake_data import FakeData
from tests.registry.making import DATA, OTHER, become, commit, everything, make_portfolio, run

PICKED = CollectionRef("me", "demo", "picked")
AWAY = pytest.mark.expects_warning("the registry is away")


class Link:
    """The way to a registry, which can be cut: then every method of what ``connect`` has returned fails. Counts the calls."""

    def __init__(self):
        self.data = FakeData()
        self.cut = False
        self.refused = False
        self.calls = 0

    def connect(self):
        self.check()
        return _Linked(self)

    def check(self):
        self.calls += 1
        if self.cut:
            raise UnreachableError("the link is cut")
        if self.refused:
            raise CredentialsError("the key is not accepted")


class _Linked:
    def __init__(self, link):
        self._link = link
        self._registry = FakeRegistry("me", link.data)

    def __getattr__(self, name):
        self._link.check()
        return getattr(self._registry, name)

    def close(self):
        self._registry.close()


def fill(registry):
    """Make some of everything that a registry can show."""
    commit(registry, "c0", "best", description="Größe", metadata={"a": [1, None, "\ud800"]})
    version = commit(registry, "c1", collection=OTHER, kind="model")
    registry.create_collection(type(OTHER)("me", "demo", "empty"))
    registry.create_entity("you")
    registry.record_logged(run("r1"), version.id)
    registry.record_use(run("r2", config={"a": [1]}), version.id)
    become(registry, run("r1", state=RunState.FAILED, exit_code=3, finished_at=run("r1").created_at))
    registry.set_collection_description(DATA, "text")
    make_portfolio(registry, PICKED, [version])


def all_of(registry):
    return (everything(registry), registry.id, registry.version(DATA.at("best")), registry.version(DATA.at("v0")))
