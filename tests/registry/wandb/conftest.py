"""An artfs whose registry is the double of a W&B server, in this process, and helpers to look at both sides."""

import os

import pytest

from artfs.app.backends import Backends
from artfs.app.services import Services
from artfs.config import load_config
from artfs.model.manifest import decode_manifest
from tests.wandb_server.fixtures import wandb_server

__all__ = ["wandb_server"]


@pytest.fixture
def server(wandb_server):
    wandb_server.project("me", "demo")
    return wandb_server


@pytest.fixture
def environment(server, tmp_path, monkeypatch):
    """The variables by which artfs, here and in a process of its own, finds the server."""
    found = server.environment() | {"ARTFS_REGISTRY": server.url, "ARTFS_METADATA_TTL": "0.2"}
    found |= {f"ARTFS_{name.upper()}_DIR": str(tmp_path / name) for name in ("data", "cache", "state", "runtime")}
    monkeypatch.delenv("ARTFS_ENTITY", raising=False)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


def open_one():
    config = load_config()
    config.data_dir.mkdir(parents=True, exist_ok=True)
    backends = Backends(config)
    return Services(config, backends.registry(), backends, mountpoints=("/mnt/artfs",))


@pytest.fixture
def services(environment):
    found = open_one()
    yield found
    found.close()


@pytest.fixture
def fresh(environment, tmp_path, monkeypatch):
    """Another machine, which has nothing in its cache."""
    with monkeypatch.context() as patch:
        patch.setenv("ARTFS_CACHE_DIR", str(tmp_path / "other/cache"))
        patch.setenv("ARTFS_DATA_DIR", str(tmp_path / "other/data"))
        found = open_one()
    yield found
    found.close()


def manifest_of(server, path):
    """Return the manifest of a version as it was uploaded: its text, and its entries by path."""
    artifact = server.artifact(path)
    stored = server.state.bucket.objects[artifact.current_manifest.key]
    data = stored.content.read(0, stored.content.size)
    return data.decode(), {entry.path: entry for entry in decode_manifest([data])}


def uploads(server):
    """Return the requests that carried bytes of files."""
    return server.requests("PUT", "/wandb_artifacts/")


def pending(server):
    """Return the artifacts that were begun and not ended."""
    return [node for node in server.state.nodes.values() if getattr(node, "state", None) == "PENDING"]
