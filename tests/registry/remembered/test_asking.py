"""When a registry that is away is asked again; changes are never made up for."""

import threading

import pytest

from artfs.errors import UnreachableError
from artfs.registry import fallback
from artfs.registry.port import VersionChange
from tests.registry.fake import FakeRegistry
from tests.registry.making import DATA, become, commit, everything, new, run
from tests.registry.remembered.link import AWAY, PICKED, all_of, fill


@AWAY
@pytest.mark.parametrize(
    "change",
    [
        lambda registry: registry.change_version(DATA.at("v0"), VersionChange(add_tags=("t",))),
        lambda registry: registry.set_collection_description(DATA, "another"),
        lambda registry: registry.link(registry.version(DATA.at("v0")).id, PICKED, []),
        lambda registry: registry.unlink(PICKED.at("v0")),
        lambda registry: become(registry, run("r1")),
    ],
)
def test_a_change_fails_while_the_registry_is_away_and_is_never_made_up_for(link, opened, change):
    registry = opened()
    fill(registry)
    all_of(registry)
    before = everything(FakeRegistry("me", link.data))
    link.cut = True
    with pytest.raises(UnreachableError):
        change(registry)
    link.cut = False
    assert everything(FakeRegistry("me", link.data)) == before


@AWAY
def test_a_registry_that_is_away_is_not_asked_again_at_once(link, opened, monkeypatch):
    monkeypatch.setattr(fallback, "PAUSE", 1e6)
    registry = opened()
    fill(registry)
    seen = everything(registry)
    link.cut = True
    registry.entities()
    asked = link.calls
    assert everything(registry) == seen
    assert link.calls == asked


@AWAY
def test_a_registry_that_is_back_is_asked_again(link, opened, no_pause):
    registry = opened()
    commit(registry, "c0")
    seen = registry.listing(DATA)
    link.cut = True
    assert registry.listing(DATA) == seen
    away = registry.health()
    assert away.away_since is not None
    assert "the link is cut" in away.reason
    registry.listing(DATA)
    assert registry.health() == away
    link.cut = False
    commit(FakeRegistry("me", link.data), "c1")
    assert [info.index for info in registry.listing(DATA).versions] == [0, 1]
    assert registry.health().away_since is None


@AWAY
def test_a_change_is_tried_though_the_registry_was_away_just_now(link, opened, monkeypatch):
    monkeypatch.setattr(fallback, "PAUSE", 1e6)
    registry = opened()
    link.cut = True
    with pytest.raises(UnreachableError):
        registry.reserve(new("c1"))
    assert registry.health().away_since is not None
    link.cut = False
    assert registry.reserve(new("c1")).index == 0
    assert registry.health().away_since is None
    assert registry.entities() == ["me"]


@AWAY
def test_a_registry_that_cannot_be_reached_is_tried_once_however_many_ask_at_once(opened, monkeypatch):
    """Each attempt may take as long as a connection may: one after the other they would hold up every listing."""
    monkeypatch.setattr(fallback, "PAUSE", 1e6)
    readers = 8
    attempts, asking = [], threading.Barrier(readers)

    def connect():
        attempts.append(threading.get_ident())
        raise UnreachableError("nobody answers")

    registry = opened(connect)
    monkeypatch.setattr(registry, "_lock", _SlowLock(registry._lock, asking))
    found = []

    def read():
        try:
            registry.entities()
        except UnreachableError as error:
            found.append(error)

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == readers
    assert len(attempts) == 1


class _SlowLock:
    """A lock that lets nobody in before all those who will ask for it have."""

    def __init__(self, lock, asking):
        self._lock = lock
        self._asking = asking

    def __enter__(self):
        self._asking.wait(60)
        return self._lock.__enter__()

    def __exit__(self, *error):
        return self._lock.__exit__(*error)
