"""A file of 3 GiB and an artifact of 100,000 files, both directions with the real SDK: minutes, so it runs by `make test-heavy` only.

Each step is timed: the SDK logs, a mount reads, artfs commits, the SDK downloads and verifies.
"""

import contextlib
import hashlib
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness import Artfs
from tests.wandb_server import programs
from tests.wandb_server.server import WandbServer

pytest.importorskip("wandb")
pytestmark = pytest.mark.heavy

SIZE = 3 << 30
MANY = 100_000
PATIENCE = 1800.0  # seconds of a step on a machine that does other things; alone, each takes less than five minutes
PIECE = 8 << 20
READERS = 8


@contextlib.contextmanager
def timed(step):
    began = time.monotonic()
    yield
    print(f"\n{step}: {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="module", params=["3 GiB", "100,000 files"])
def source(request, tmp_path_factory):
    """A directory to be logged."""
    root = tmp_path_factory.mktemp("source")
    if request.param == "3 GiB":
        with (root / "big").open("wb") as file:
            for at in range(0, SIZE, 97 << 20):  # no two parts are the same
                file.seek(at)
                file.write(b"%d" % at)
            file.truncate(SIZE)
    else:
        for number in range(MANY):
            path = root / f"d{number % 100:02}" / f"{number:06}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"file %d" % number)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def server(source, tmp_path):
    """A server that has nothing yet: what it has is not sent again."""
    with WandbServer(tmp_path / "wandb-server") as server:
        server.project("me", "heavy")
        server.state.verify_multipart = False  # who reads them verifies
        yield server
        server.check()


@pytest.fixture
def artfs(server, tmp_path):
    found = Artfs(tmp_path / "artfs")
    found.root.mkdir()
    del found.environment["ARTFS_ENTITY"]
    found.environment |= server.environment(found.root / "home") | {"ARTFS_REGISTRY": server.url}
    found.environment["ARTFS_LOG_LEVEL"] = "info"
    yield found
    found.close()
    assert not found.unexpected_log()
    shutil.rmtree(found.root)


@pytest.fixture
def run(server, monkeypatch):
    """Return what runs a program with the real SDK."""
    monkeypatch.setattr(programs, "DEADLINE", PATIENCE)
    return lambda *arguments: programs.run(server, "heavy", *map(str, arguments))


def digest_of(path):
    hasher = hashlib.md5()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(PIECE):
            hasher.update(data)
    return hasher.digest()


def digests(root):
    paths = [Path(directory, name) for directory, _, names in os.walk(root) for name in names]
    with ThreadPoolExecutor(READERS) as pool:
        return {path.relative_to(root): found for path, found in zip(paths, pool.map(digest_of, paths), strict=True)}


def test_what_the_sdk_logs_a_mount_reads(source, server, artfs, run):
    with timed("the SDK logs"):
        seen = run("log", "theirs", source)
    is_big = (source / "big").exists()
    assert server.count(operation="CompleteMultipartUploadArtifact") == is_big
    artfs.mount()
    version = artfs.mountpoint / "me/heavy/theirs/latest"
    with timed("a mount reads"):
        found = digests(version)
    wanted = digests(source)
    assert len(found) == len(wanted)
    assert [path for path in wanted if found[path] != wanted[path]][:10] == []
    assert artfs.json("show", "me/heavy/theirs:latest")["digest"] == seen["digest"]
    if is_big:
        assert os.getxattr(version / "big", "user.artfs.verified") == b"proven"


def test_what_artfs_commits_the_sdk_downloads_and_verifies(source, server, artfs, run):
    with timed("artfs commits"):
        process = artfs.start("put", source, "me/heavy/ours")
        said, error = process.communicate(timeout=PATIENCE)
    assert (said, process.returncode) == ("me/heavy/ours:v0\n", 0), error
    assert server.count(operation="CompleteMultipartUploadArtifact") == (source / "big").exists()
    with timed("the SDK downloads and verifies"):
        seen = run("read", "ours", source)
    files = [path for path in source.rglob("*") if path.is_file()]
    assert seen["different"][:10] == []
    assert (seen["count"], seen["size"]) == (len(files), sum(path.stat().st_size for path in files))
    assert seen["digest"] == artfs.json("show", "me/heavy/ours:latest")["digest"]
