"""A registry, a store and drafts in a temporary directory, without a mount."""

import pytest

from artfs.app.services import Services
from artfs.config import load_config
from artfs.registry.sql.registry import open_registry


@pytest.fixture
def config(tmp_path, monkeypatch):
    for name in ("data", "cache", "state", "runtime"):
        monkeypatch.setenv(f"ARTFS_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("ARTFS_ENTITY", "me")
    return load_config()


@pytest.fixture
def services(config):
    found = Services(config, open_registry(config.registry, config.entity), mountpoints=("/mnt/artfs",))
    yield found
    found.close()
