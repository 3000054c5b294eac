"""What the tests of design section 8 (docs/security.md) share: real mounts, other users, hostile manifests."""

import base64
import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess

import pytest

from artfs.api import session
from tests.harness import DEADLINE, Artfs
from tests.mount.conftest import NOBODY, as_root, fresh, open_path, remote, require_fuse

__all__ = ["as_root", "fresh", "open_path", "remote"]


@pytest.fixture(scope="session", autouse=True)
def fuse():
    require_fuse()


@pytest.fixture
def cli(tmp_path):
    """An artfs without a mount."""
    return Artfs(tmp_path)


@contextlib.contextmanager
def as_program(artfs):
    """Let the API of this process be that of a new program with the settings of an artfs."""
    one = session._Session()
    one.ends = True
    (artfs.root / "config.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ARTFS_")]:
            patch.delenv(name)
        for name, value in artfs.environment.items():
            if name.startswith("ARTFS_"):
                patch.setenv(name, value)
        patch.setenv("ARTFS_CONFIG", str(artfs.root / "config.toml"))
        patch.setattr(session, "_session", one)
        try:
            yield
        finally:
            if one.run is not None:
                one.run.finish()
            if one.client is not None:
                one.client.close()


def md5(data):
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def manifest_of(entries):
    """Return a manifest with entries as they are, whoever would refuse them: pairs of path and fields."""
    head = '{"version":1,"storagePolicy":"wandb-storage-policy-v1","storagePolicyConfig":{"storageLayout":"V2"},"contents":{'
    lines = ",".join(f"{json.dumps(path)}:{json.dumps(fields)}" for path, fields in entries)
    return f"{head}{lines}}}}}".encode()


def plant(artfs, collection, manifest):
    """Put a manifest that no commit would write in the place of that of the newest version of a collection."""
    path = artfs.root / f"planted-{collection}"
    path.write_bytes(manifest)
    plant_file(artfs, collection, path, hashlib.md5(manifest, usedforsecurity=False).digest())


def plant_file(artfs, collection, path, digest):
    """Do so with a manifest in a file of its own, which is moved into the store."""
    blob, size = artfs.root / "data/store/md5" / digest.hex()[:2] / digest.hex()[2:], path.stat().st_size
    blob.parent.mkdir(parents=True, exist_ok=True)
    path.rename(blob)
    with contextlib.closing(sqlite3.connect(artfs.root / "data/registry.sqlite")) as database, database:
        changed = database.execute(
            "UPDATE manifests SET digest = ?, size = ? WHERE id = (SELECT manifest_id FROM versions"
            " JOIN memberships ON version_id = versions.id JOIN collections ON collection_id = collections.id"
            " WHERE collections.name = ? ORDER BY version_index DESC LIMIT 1)",
            (base64.b64encode(digest).decode(), size, collection),
        ).rowcount
    assert changed == 1


def as_other(command, uid=NOBODY, **kwargs):
    """Run a command as another user, without any capability."""
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return subprocess.run(
        [*user, *map(str, command)], capture_output=True, text=True, check=False, timeout=DEADLINE, **kwargs
    )
