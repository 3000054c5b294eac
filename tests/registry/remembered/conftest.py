"""Registries over a link that a test can cut."""

import pytest

from artfs.registry import fallback
from artfs.registry.memory import Memory
from artfs.registry.remembered import RememberedRegistry
from tests.registry.remembered.link import Link


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "seen" / "registry.sqlite"


@pytest.fixture
def opened(link, path):
    """Open registries over the link, with one memory; all are closed at the end."""
    registries = []

    def open_one(connect=link.connect):
        registries.append(RememberedRegistry(connect, Memory(path), "me"))
        return registries[-1]

    yield open_one
    for registry in registries:
        registry.close()


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(fallback, "PAUSE", 0.0)
    monkeypatch.setattr(fallback, "PAUSE_PER_WAIT", 0.0)  # of a machine that is slow just then, too
