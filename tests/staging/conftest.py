"""A registry, a store and drafts in a temporary directory, without a mount."""

import pytest

from artfs.app.backends import Backends
from artfs.app.services import Services
from artfs.config import load_config


@pytest.fixture
def config(tmp_path, monkeypatch):
    for name in ("data", "cache", "state", "runtime"):
        monkeypatch.setenv(f"ARTFS_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("ARTFS_ENTITY", "me")
    return load_config()


@pytest.fixture
def services(config):
    backends = Backends(config)
    found = Services(config, backends.registry(), backends, mountpoints=("/mnt/artfs",))
    yield found
    found.close()
