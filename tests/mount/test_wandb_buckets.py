"""References to S3 and Google Cloud Storage on a W&B server: what the real SDK logs, a mount reads; what artfs commits, the SDK reads."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys

import pytest

from tests.harness import Artfs, tree_of
from tests.wandb_server.programs import run
from tests.wandb_server.server import WandbServer

pytest.importorskip("wandb")

OBJECTS = {"one": b"one", "d/two": os.urandom(3 << 20), "d/e/ünï c": b"three", "big": os.urandom(9 << 20)}
LATER = b"another one"

_COMMIT = """
import sys, artfs
with artfs.init(project="demo") as run:
    artifact = artfs.Artifact("ours", "dataset")
    for number, uri in enumerate(sys.argv[1:]):
        artifact.add_reference(uri, name=f"r{number}")
    run.log_artifact(artifact).wait()
print(artifact.digest)
"""


class S3:
    def __init__(self, server, versioned):
        self.environment = server.environment()
        self.environment["AWS_S3_ENDPOINT_URL"] = self.environment["AWS_ENDPOINT_URL_S3"]  # the SDK's own
        self.bucket = server.bucket(versioned=versioned)
        self.root = f"s3://{self.bucket}"
        self._server = server

    def put(self, key, data):
        with contextlib.closing(self._server.client()) as client:
            client.put_object(Bucket=self.bucket, Key=key, Body=data)


class GCS:
    def __init__(self, server, versioned):
        self.environment = server.environment()
        self.bucket = server.bucket(versioned=versioned)
        self.root = f"gs://{self.bucket}"
        self._server = server

    def put(self, key, data):
        with contextlib.closing(self._server.client()) as client:
            client.bucket(self.bucket).blob(key).upload_from_string(data)


@pytest.fixture(scope="module", params=["s3", "s3 with versions", "gs", "gs with versions"])
def bucket(request):
    kind, _, versioned = request.param.partition(" ")
    name, make = {"s3": ("s3_server", S3), "gs": ("gcs_server", GCS)}[kind]
    found = make(request.getfixturevalue(name), bool(versioned))
    found.versioned = bool(versioned)
    for key, data in OBJECTS.items():
        found.put(f"data/{key}", data)
    found.uris = [f"{found.root}/data", f"{found.root}/data/d/two"]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory, bucket):
    with WandbServer(tmp_path_factory.mktemp("wandb-server")) as server:
        server.project("me", "demo")
        yield server


@pytest.fixture(scope="module")
def logged(server, bucket):
    """What the SDK says of what it has logged."""
    seen = run(server, "buckets", "log", "theirs", *bucket.uris, **bucket.environment)
    server.check()
    return seen


@pytest.fixture(scope="module")
def artfs(server, bucket, tmp_path_factory):
    found = Artfs(tmp_path_factory.mktemp("artfs"))
    del found.environment["ARTFS_ENTITY"]
    found.environment |= server.environment(found.root / "home") | bucket.environment
    found.environment["ARTFS_REGISTRY"] = server.url
    found.mount()
    yield found
    found.close()
    assert not found.unexpected_log(*([] if bucket.versioned else ["data/one"]))
    server.check()


@pytest.fixture(scope="module")
def committed(artfs, server, bucket):
    """What the SDK says of what artfs has committed."""
    done = subprocess.run(
        [sys.executable, "-c", _COMMIT, *bucket.uris],
        env=artfs.environment, cwd=artfs.root, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = run(server, "buckets", "read", "ours", **bucket.environment)
    seen["said"] = done.stdout.strip()
    return seen


def md5s(files):
    return {path: hashlib.md5(data).hexdigest() for path, data in files.items() if data is not None}


EXPECTED = {**{f"r0/{key}": data for key, data in OBJECTS.items()}, "r1": OBJECTS["d/two"]}


def test_what_the_sdk_logs_a_mount_reads(logged, artfs):
    assert logged["files"] == md5s(EXPECTED)
    version = artfs.collection("theirs") / "latest"
    assert md5s(tree_of(version)) == logged["files"]
    told = artfs.json("show", "me/demo/theirs:latest")
    assert (told["digest"], told["size"]) == (logged["digest"], logged["size"])


def test_what_artfs_commits_the_sdk_downloads_and_verifies(logged, committed, server, bucket):
    assert committed["files"] == md5s(EXPECTED)
    assert committed["entries"] == logged["entries"]
    assert committed["digest"] == committed["said"] == logged["digest"]
    has_version = {"versionID" in extra for _, _, _, extra in committed["entries"].values()}
    assert has_version == {bucket.versioned or bucket.root.startswith("gs")}


def test_an_object_that_was_replaced_is_read_as_it_was_or_not_at_all(logged, committed, artfs, bucket, server):
    bucket.put("data/one", LATER)
    artfs.umount()
    shutil.rmtree(artfs.root / "cache")
    artfs.mount()
    for name in ("theirs", "ours"):
        file = artfs.collection(name) / "latest/r0/one"
        if bucket.versioned:
            assert file.read_bytes() == b"one"
        else:
            with pytest.raises(OSError, match="Input/output"):
                file.read_bytes()
